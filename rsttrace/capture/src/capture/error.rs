//! Why a capture cannot be read.

use std::io;

use thiserror::Error;

use super::{Compression, LinkType, Looks};

/// Why a capture cannot be read, or not further. Each says what to do next; the file is named by the caller's
/// [`CaptureInfo::name`](super::CaptureInfo::name) and here alike.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file cannot be opened.
    #[error("{name} cannot be opened: {source}; check the path and who may read it")]
    Open {
        /// The file.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// Reading failed: the disk or the pipe, not what is in it. What came before was given.
    #[error(
        "{name} cannot be read any further: {source}; copy the file to another disk and try again"
    )]
    Read {
        /// The file.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// Not even its first bytes can be unpacked.
    #[error(
        "{name} cannot be unpacked ({compression}: {source}); copy the file again from where it was captured"
    )]
    Unpack {
        /// The file.
        name: String,
        /// How it is compressed.
        compression: Compression,
        /// What is wrong with it.
        source: io::Error,
    },
    /// It is something else.
    #[error("{name} is no packet capture: {looks}")]
    NotACapture {
        /// The file.
        name: String,
        /// What it seems to be.
        looks: Looks,
    },
    /// A version of pcap or pcapng that nobody has defined yet, or a file header that is damaged.
    #[error(
        "{name} says that it is {format} of version {version}, which is not known; re-write it with `editcap -F pcapng OLD NEW`"
    )]
    Version {
        /// The file.
        name: String,
        /// "pcap" or "pcapng".
        format: &'static str,
        /// Major version.
        version: u16,
    },
    /// A pcap file, all frames of which are of a kind that is not read. In pcapng, such frames are counted.
    #[error(
        "{name} has frames of link type {link_type}, in which TCP is not looked for; capture Ethernet, Linux cooked, \
         raw IP or loopback frames, as `tcpdump -i any` does"
    )]
    LinkType {
        /// The file.
        name: String,
        /// Of all its frames.
        link_type: LinkType,
    },
}

//! Why a capture cannot be read.

use std::io;

use thiserror::Error;

use super::{Compression, LinkType, Looks};

/// Why a capture cannot be read, or not further. Each says what to do next; the file is named by the caller's
/// [`CaptureInfo::name`](super::CaptureInfo::name) and here alike.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file cannot be opened.
    #[error("cannot open {name}: {source}; check the path and its permissions")]
    Open {
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// Reading failed: the disk or the pipe, not what is in it. What came before was given.
    #[error("cannot read {name}: {source}; copy the file to another disk and try again")]
    Read {
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// Not even its first bytes can be unpacked.
    #[error(
        "cannot decompress {name} ({compression}: {source}); copy the file again from its source"
    )]
    Unpack {
        name: String,
        /// How it is compressed.
        compression: Compression,
        /// What is wrong with it.
        source: io::Error,
    },
    /// It is something else.
    #[error("{name} is not a packet capture: {looks}")]
    NotACapture {
        name: String,
        /// What it seems to be.
        looks: Looks,
    },
    /// A version of pcap or pcapng that nobody has defined yet, or a file header that is damaged.
    #[error(
        "{name} has unsupported {format} version {version}; convert it with `editcap -F pcapng OLD NEW`"
    )]
    Version {
        name: String,
        /// "pcap" or "pcapng".
        format: &'static str,
        /// Major version.
        version: u16,
    },
    /// A pcap file, all frames of which are of a kind that is not read. In pcapng, such frames are counted.
    #[error(
        "{name} has unsupported link type {link_type}; capture Ethernet, Linux cooked, \
         raw IP, loopback, PPP or IEEE 802.11 frames, for example with `tcpdump -i any`"
    )]
    LinkType {
        name: String,
        /// Of all its frames.
        link_type: LinkType,
    },
}

//! Metadata of a capture, and read statistics.

use std::fmt;

use super::{LinkType, TimeResolution};

/// What a capture says of itself. Interfaces of pcapng come anywhere in the file: more may be known later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureInfo {
    /// The path as it was given; "standard input" for `-`.
    pub name: String,
    /// How its packets are framed.
    pub format: Format,
    /// How the file is compressed; absent if it is not.
    pub compression: Option<Compression>,
    /// In the order of the file, over all sections; [`Segment::interface`](super::Segment::interface) counts them from 0 on.
    /// A pcap file has one.
    pub interfaces: Vec<Interface>,
}

/// How packets are framed in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What `tcpdump -w` writes.
    Pcap,
    /// What Wireshark writes.
    Pcapng,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Of one or several members.
    Gzip,
    /// Of one or several frames.
    Zstd,
}

/// An interface that packets were captured at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What the capturing host calls it, at most 64 bytes of it; absent where the file does not say, as in pcap.
    pub name: Option<String>,
    /// What its frames begin with.
    pub link_type: LinkType,
    /// Bytes of a frame that are kept at most; absent where the file names no limit.
    pub snaplen: Option<u32>,
    /// Unit of its timestamps.
    pub resolution: TimeResolution,
    /// Seconds that its timestamps lack (`if_tsoffset`).
    pub(super) time_offset: i64,
}

/// How much has been read, and what it was. Each frame is counted once besides in `frames`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Frames (packets), of any kind.
    pub frames: u64,
    /// TCP segments that were given.
    pub segments: u64,
    /// Frames that carry something else than TCP.
    pub not_tcp: u64,
    /// Frames that may carry TCP in a protocol that is not read; [`Reader::not_analyzed`](super::Reader::not_analyzed) names them.
    pub unread: u64,
    /// Frames of a link type that is not read.
    pub link_types: u64,
    /// Fragments of IP packets, other than the first.
    pub fragments: u64,
    /// Frames of which less was captured than their TCP header.
    pub cut: u64,
    /// Frames whose headers contradict themselves or the frame's length, or whose interface the file does not describe.
    pub malformed: u64,
    /// Among `segments`, those without a time: pcapng's Simple Packet Blocks have none, and are given the epoch.
    pub untimed: u64,
    /// Bytes taken from the file or pipe, compressed as they are: up to a few hundred KiB ahead of the frames.
    pub bytes: u64,
}

impl ReadCounts {
    /// What of a capture was not read, by name; zeroes, too.
    pub fn shortfalls(&self) -> [(&'static str, u64); 6] {
        [
            ("frames with unsupported link type", self.link_types),
            ("frames in protocols that are not read", self.unread),
            ("fragments without TCP header", self.fragments),
            (
                "frames truncated before the end of the TCP header",
                self.cut,
            ),
            ("malformed packets", self.malformed),
            ("frames without timestamp", self.untimed),
        ]
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcap => "pcap",
            Self::Pcapng => "pcapng",
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

//! One TCP segment of a capture, headers read, in the order of the file.

use std::net::SocketAddr;
use std::time::Duration;

use crate::event::TcpFlags;

/// Nanoseconds since the epoch (UTC) by the clock of the machine that captured. The clocks of two captures need not agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaptureTime(pub u64);

impl CaptureTime {
    /// How long `self` is after `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant `duration` later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// A TCP segment as it was captured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment<'a> {
    /// When it was captured; the epoch where the file gives no time (pcapng's Simple Packet Blocks, counted as
    /// [`untimed`](super::ReadCounts::untimed)). Not always later than that of the segment before it.
    pub time: CaptureTime,
    /// Number of its frame in the file, from 1 on, as Wireshark counts: every packet counts, TCP or not.
    pub frame: u64,
    /// Interface: the index at the capturing host where Linux cooked capture v2 gives it (`tcpdump -i any`), else its number in a
    /// pcapng file (over all sections, from 0 on), else 0.
    pub interface: u32,
    /// Where the addresses hold.
    pub overlay: Overlay,
    /// Source, as in the innermost IP header.
    pub source: SocketAddr,
    /// Destination, as in the innermost IP header.
    pub destination: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; meaningful with ACK.
    pub ack: u32,
    pub flags: TcpFlags,
    /// Window, unscaled.
    pub window: u16,
    /// Options, as far as they were captured.
    pub options: TcpOptions,
    /// Payload bytes by the length in the IP header, captured or not; by the length of the frame where offloads leave 0 there. Of a first
    /// fragment: what it holds.
    pub payload_len: u32,
    /// Payload as far as it was captured.
    pub payload: &'a [u8],
    /// TTL or hop limit of the innermost IP header.
    pub ttl: u8,
    /// IPv4 identification; absent for IPv6.
    pub ip_id: Option<u16>,
    /// IPv4 "don't fragment"; absent for IPv6.
    pub dont_fragment: Option<bool>,
    /// Source MAC address of the outermost frame; absent on link layers without one, and where it is all zero.
    pub source_mac: Option<[u8; 6]>,
    /// Which way it went at the capturing host; absent where the file does not say (Linux cooked capture and pcapng's flags do).
    pub way: Option<Way>,
}

/// TCP options that say something of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// Shift of the window.
    pub window_scale: Option<u8>,
    /// Any option other than padding.
    pub any: bool,
    /// The capture cut them off: what is absent may have been there.
    pub cut: bool,
}

/// Which way a segment went at the capturing host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It came in.
    In,
    /// It left.
    Out,
    /// It passed by: promiscuous mode.
    By,
}

/// Addresses are unique within one of these: the VLANs and tunnels around the IP header, hashed; the same both ways, and in every run.
/// 0: none.
///
/// A tunnel counts by its number (VNI, key of GRE), else by the addresses of its ends. A capture of all interfaces may hold a packet
/// several times, with and without its VLAN or tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Overlay(pub u32);

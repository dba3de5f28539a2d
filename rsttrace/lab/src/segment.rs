//! Building and parsing of single TCP segments for the staging side.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, NetSlice, PacketBuilder, SlicedPacket,
    TransportSlice,
};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

/// The header bits of a segment that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags(pub u8);

impl Flags {
    pub const FIN: Self = Self(0x01);
    pub const SYN: Self = Self(0x02);
    pub const RST: Self = Self(0x04);
    pub const PSH: Self = Self(0x08);
    pub const ACK: Self = Self(0x10);
    pub const RST_ACK: Self = Self(0x14);
    pub const SYN_ACK: Self = Self(0x12);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A TCP segment without payload bytes, as written or captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: u32,
    /// Acknowledgement number, as in the header even if the ACK bit is not set.
    pub ack: u32,
    pub flags: Flags,
    /// Window field, unscaled.
    pub window: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 identification; absent for IPv6.
    pub ip_id: Option<u16>,
    /// Bytes of TCP options.
    pub options: usize,
    /// Bytes of payload.
    pub payload: usize,
    /// When the kernel captured it, since the epoch; absent for one that was not captured.
    pub captured: Option<Duration>,
}

impl Segment {
    /// A bare segment with a usual TTL, to be refined by the caller.
    pub fn new(source: SocketAddr, destination: SocketAddr, flags: Flags) -> Self {
        Self {
            source,
            destination,
            seq: 0,
            ack: 0,
            flags,
            window: 0,
            ttl: 64,
            ip_id: None,
            options: 0,
            payload: 0,
            captured: None,
        }
    }

    /// The same with these sequence numbers.
    pub fn numbered(mut self, seq: u32, ack: u32) -> Self {
        self.seq = seq;
        self.ack = ack;
        self
    }

    /// The IP packet, checksums included; `None` if the addresses are of two families.
    pub fn to_packet(&self) -> Option<Vec<u8>> {
        let ip = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let protocol = IpNumber::TCP;
                let mut header =
                    Ipv4Header::new(0, self.ttl, protocol, from.octets(), to.octets()).ok()?;
                header.identification = self.ip_id.unwrap_or(0);
                PacketBuilder::ip(IpHeaders::Ipv4(header, Ipv4Extensions::default()))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                PacketBuilder::ipv6(from.octets(), to.octets(), self.ttl)
            }
            _ => return None,
        };
        let (from, to) = (self.source.port(), self.destination.port());
        let mut tcp = ip.tcp(from, to, self.seq, self.window);
        if self.flags.has(Flags::ACK) {
            tcp = tcp.ack(self.ack);
        }
        if self.flags.has(Flags::RST) {
            tcp = tcp.rst();
        }
        if self.flags.has(Flags::SYN) {
            tcp = tcp.syn();
        }
        if self.flags.has(Flags::FIN) {
            tcp = tcp.fin();
        }
        if self.flags.has(Flags::PSH) {
            tcp = tcp.psh();
        }
        let payload = vec![b'x'; self.payload];
        let mut packet = Vec::with_capacity(tcp.size(payload.len()));
        tcp.write_to_vec(&mut packet, &payload).ok()?;
        Some(packet)
    }

    /// Reads an IP packet; `None` if it carries no whole TCP header.
    pub fn from_packet(packet: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ip(packet).ok()?;
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
            return None;
        };
        let (source, destination, ttl, ip_id) = match packet.net.as_ref()? {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                (
                    IpAddr::V4(header.source_addr()),
                    IpAddr::V4(header.destination_addr()),
                    header.ttl(),
                    Some(header.identification()),
                )
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                (
                    IpAddr::V6(header.source_addr()),
                    IpAddr::V6(header.destination_addr()),
                    header.hop_limit(),
                    None,
                )
            }
            NetSlice::Arp(_) => return None,
        };
        Some(Self {
            source: SocketAddr::new(source, tcp.source_port()),
            destination: SocketAddr::new(destination, tcp.destination_port()),
            seq: tcp.sequence_number(),
            ack: tcp.acknowledgment_number(),
            flags: Flags(tcp.header_slice().get(13).copied().unwrap_or(0)),
            window: tcp.window_size(),
            ttl,
            ip_id,
            options: tcp.options().len(),
            payload: tcp.payload().len(),
            captured: None,
        })
    }
}

/// Sends crafted segments through a raw socket of the calling thread's network namespace.
#[derive(Debug)]
pub struct Injector(Socket);

impl Injector {
    /// For segments of the same family as this address.
    pub fn new(like: SocketAddr) -> io::Result<Self> {
        // IPPROTO_RAW: the packet has its own IP header, for both families.
        let protocol = Protocol::from(libc::IPPROTO_RAW);
        let socket = Socket::new(Domain::for_address(like), Type::RAW, Some(protocol))?;
        Ok(Self(socket))
    }

    /// Bytes sent.
    pub fn send(&self, segment: &Segment) -> io::Result<usize> {
        let packet = segment.to_packet().ok_or(Errno::EAFNOSUPPORT)?;
        let destination = SocketAddr::new(segment.destination.ip(), 0);
        self.0.send_to(&packet, &destination.into())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub source: SocketAddr,
    /// Destination address and port; `None`: any.
    pub destination: Option<SocketAddr>,
    pub with: Flags,
    pub without: Flags,
}

impl Pattern {
    /// A RST on this way, or from the source to anyone.
    pub fn reset(source: SocketAddr, destination: Option<SocketAddr>) -> Self {
        Self {
            source,
            destination,
            with: Flags::RST,
            without: Flags(0),
        }
    }

    /// Data on this way.
    pub fn data(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::with(Flags::PSH, source, destination)
    }

    /// A segment with these bits on this way, but no RST.
    pub fn with(with: Flags, source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            source,
            destination: Some(destination),
            with,
            without: Flags::RST,
        }
    }

    pub fn fits(&self, segment: &Segment) -> bool {
        segment.source == self.source
            && self
                .destination
                .is_none_or(|meant| segment.destination == meant)
            && segment.flags.has(self.with)
            && segment.flags.0 & self.without.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset(source: &str, destination: &str) -> Segment {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Segment::new(source, destination, Flags::RST_ACK).numbered(7, 9)
    }

    #[test]
    fn a_written_segment_reads_back() {
        for mut segment in [
            reset("192.0.2.1:5", "203.0.113.3:80"),
            reset("[fd01::1]:5", "[fd03::3]:80"),
        ] {
            segment.payload = 3;
            segment.ttl = 61;
            segment.ip_id = segment.source.is_ipv4().then_some(7);
            let packet = segment.to_packet().unwrap();
            assert_eq!(Segment::from_packet(&packet), Some(segment));
        }
    }

    #[test]
    fn families_do_not_mix() {
        assert_eq!(reset("192.0.2.1:5", "[fd03::3]:80").to_packet(), None);
    }

    #[test]
    fn a_pattern_asks_for_way_and_bits() {
        let segment = reset("192.0.2.1:5", "203.0.113.3:80");
        let pattern = Pattern::reset(segment.source, Some(segment.destination));
        assert!(pattern.fits(&segment));
        assert!(Pattern::reset(segment.source, None).fits(&segment));
        assert!(!Pattern::reset(segment.destination, None).fits(&segment));
        assert!(
            !Pattern {
                without: Flags::ACK,
                ..pattern
            }
            .fits(&segment)
        );
    }

    #[test]
    fn rubbish_is_no_segment() {
        assert_eq!(Segment::from_packet(&[]), None);
        assert_eq!(Segment::from_packet(&[0xff; 40]), None);
    }
}

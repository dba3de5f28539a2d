//! Headers around a packet: per number space a table that says what follows, for all of them one kind of reader.
//!
//! A header that is missing here is a row in one of the tables and a reader in [`link`](super::link), [`tunnel`] or [`wifi`](super::wifi).

use std::fmt;

use super::{LinkType, Way, link, tunnel};

/// What begins at some byte of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layer {
    /// IP of either version: its first bits say which.
    Ip,
    /// A header around something else.
    Header(ReadHeader),
    /// Nothing that carries TCP.
    NotTcp,
    /// What may carry TCP, and is not read.
    Unread(Unread),
}

/// Reads the header at the beginning of the bytes; `None` if it is not whole.
pub(super) type ReadHeader = fn(&[u8]) -> Option<Header>;

/// A header around a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Bytes.
    pub len: usize,
    /// What follows it.
    pub next: Layer,
    pub network: Network,
    pub source_mac: Option<[u8; 6]>,
    pub way: Option<Way>,
    /// Index of the interface.
    pub interface: Option<u32>,
}

/// Whether addresses behind a header are of another network than before it.
///
/// Only what is the same both ways tells networks apart: not labels of MPLS, tunnel endpoints of GTP-U and paths of NSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Same,
    Vlan(u16),
    /// Session of PPPoE.
    Session(u16),
    /// VNI, by the kind of tunnel.
    Vni(u8, [u8; 3]),
    /// Key of GRE.
    Key(u32),
    /// Told by the addresses of the IP header before it.
    Ends,
    /// A copy of a frame, sent to a collector: nothing before this header says anything of the frame.
    Mirrored,
}

/// What may carry TCP, and is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    LinkType(LinkType),
    EtherType(u16),
    /// Organization and its protocol in SNAP.
    Snap([u8; 3], u16),
    IpProtocol(u8),
    PppProtocol(u16),
    UdpPort(u16),
    /// Anything else, by name.
    Named(&'static str),
    TooDeep,
}

impl Header {
    /// In the same network, without anything else to say.
    pub fn new(len: usize, next: Layer) -> Self {
        Self {
            len,
            next,
            network: Network::Same,
            source_mac: None,
            way: None,
            interface: None,
        }
    }

    pub fn within(self, network: Network) -> Self {
        Self { network, ..self }
    }
}

impl Layer {
    /// <https://www.iana.org/assignments/ieee-802-numbers>
    pub fn of_ether_type(number: u16) -> Self {
        match number {
            0x0800 | 0x86dd => Self::Ip,
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => Self::Header(link::vlan),
            0x8847 | 0x8848 => Self::Header(tunnel::mpls),
            0x8864 => Self::Header(link::pppoe),
            0x880b => Self::Header(link::ppp),
            0x883e => Self::Header(tunnel::wccp),
            0x894f => Self::Header(tunnel::nsh),
            0x8926 => Self::Header(link::vn_tag),
            0x88e7 => Self::Header(tunnel::provider_backbone),
            // "Transparent Ethernet bridging": a frame in GRE and Geneve.
            0x6558 => Self::Header(link::ethernet),
            _ if NOT_TCP.contains(&number) => Self::NotTcp,
            _ => Self::Unread(Unread::EtherType(number)),
        }
    }

    /// What an Ethernet header or a tag says of what follows: its length, for IEEE 802.3, or its type.
    pub fn of_length_or_type(number: u16) -> Self {
        match number {
            ..=0x05dc => Self::Header(link::llc),
            _ => Self::of_ether_type(number),
        }
    }

    /// <https://www.iana.org/assignments/ppp-numbers>
    pub fn of_ppp(number: u16) -> Self {
        match number {
            0x0021 | 0x0057 => Self::Ip,
            0x0281 | 0x0283 => Self::Header(tunnel::mpls),
            // Control protocols and authentication.
            0x8000.. => Self::NotTcp,
            _ => Self::Unread(Unread::PppProtocol(number)),
        }
    }

    /// What an IP header carries that is not TCP. <https://www.iana.org/assignments/protocol-numbers>
    pub fn of_ip_protocol(number: u8) -> Self {
        match number {
            4 | 41 => Self::Header(tunnel::ip_in_ip),
            17 => Self::Header(tunnel::udp),
            47 => Self::Header(tunnel::gre),
            97 => Self::Header(tunnel::ether_in_ip),
            137 => Self::Header(tunnel::mpls),
            // ICMP, IGMP, GGP, EGP, IGP, DCCP, RSVP, ICMPv6, "no next header", EIGRP, OSPF, PIM, VRRP,
            // PGM, SCTP, mobility, UDP-Lite.
            1 | 2 | 3 | 8 | 9 | 33 | 46 | 58 | 59 | 88 | 89 | 103 | 112 | 113 | 132 | 135 | 136 => {
                Self::NotTcp
            }
            _ => Self::Unread(Unread::IpProtocol(number)),
        }
    }

    /// By destination port.
    pub fn of_udp(port: u16) -> Self {
        match port {
            // IANA's, GPE's, and what Linux took before there was one (`IANA_VXLAN_UDP_PORT`, drivers/net/vxlan).
            4789 | 4790 | 8472 => Self::Header(tunnel::vxlan),
            6081 => Self::Header(tunnel::geneve),
            1701 => Self::Header(tunnel::l2tp),
            2152 => Self::Header(tunnel::gtp_u),
            6635 => Self::Header(tunnel::mpls),
            37_008 => Self::Header(tunnel::tzsp),
            3544 | 4341 | 4500 | 5247 | 51_820 => Self::Unread(Unread::UdpPort(port)),
            _ => Self::NotTcp,
        }
    }

    /// What follows the header of NSH (RFC 8300) and of VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe), which agree.
    pub fn of_nsh(number: u8) -> Self {
        match number {
            1 | 2 => Self::Ip,
            3 => Self::Header(link::ethernet),
            4 => Self::Header(tunnel::nsh),
            5 => Self::Header(tunnel::mpls),
            _ => Self::Unread(Unread::Named("unknown protocol in NSH or VXLAN-GPE")),
        }
    }
}

/// EtherTypes that carry no IP: RARP, ARP, CDP, IPX, AppleTalk, slow protocols, PPPoE discovery, EAPOL, PROFINET, Realtek, EtherCAT,
/// GOOSE, pre-authentication, NLB, ATA, TIPC, LLDP, LLTD, HomePlug, MRP, PTP, CFM, FCoE, TDLS, IEEE 1905, AVTP, DEC, loopback tests.
const NOT_TCP: &[u16] = &[
    0x0806, 0x2000, 0x2004, 0x22f0, 0x22ea, 0x6001, 0x6002, 0x6003, 0x6004, 0x6007, 0x8035, 0x809b,
    0x80f3, 0x8137, 0x8809, 0x8863, 0x888e, 0x8892, 0x8899, 0x886f, 0x88a2, 0x88a4, 0x88b8, 0x88b9,
    0x88ba, 0x88c7, 0x88ca, 0x88cc, 0x88d9, 0x88e1, 0x88e3, 0x88f7, 0x8902, 0x8906, 0x8914, 0x890d,
    0x893a, 0x9000,
];

impl Unread {
    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::EtherType(0x876b) => "TCP/IP compression",
            Self::EtherType(0x88e5) => "MACsec",
            Self::EtherType(0x8903) => "FabricPath",
            Self::EtherType(0x8909) => "Cisco metadata",
            Self::EtherType(0x22f3) => "TRILL",
            Self::EtherType(0xdada) => "DSA",
            Self::EtherType(_) => return None,
            Self::IpProtocol(50) => "ESP",
            Self::IpProtocol(55) => "mobile IP",
            Self::IpProtocol(108) => "IPComp",
            Self::IpProtocol(115) => "L2TPv3",
            Self::IpProtocol(_) => return None,
            Self::PppProtocol(0x002d | 0x002f) => "compressed TCP headers",
            Self::PppProtocol(0x0031) => "bridging",
            Self::PppProtocol(0x003d) => "multilink",
            Self::PppProtocol(0x0053) => "encrypted",
            Self::PppProtocol(0x00fd) => "compressed or encrypted",
            Self::PppProtocol(_) => return None,
            Self::UdpPort(3544) => "Teredo",
            Self::UdpPort(4341) => "LISP",
            Self::UdpPort(4500) => "IPsec",
            Self::UdpPort(5247) => "CAPWAP",
            Self::UdpPort(51_820) => "WireGuard",
            Self::UdpPort(_)
            | Self::LinkType(_)
            | Self::Snap(..)
            | Self::Named(_)
            | Self::TooDeep => return None,
        })
    }
}

/// Number, and name where it is known.
impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkType(link_type) => write!(f, "link type {link_type}"),
            Self::EtherType(number) => write!(f, "EtherType {number:#06x}"),
            Self::Snap([a, b, c], number) => {
                write!(f, "SNAP {a:02x}-{b:02x}-{c:02x} {number:#06x}")
            }
            Self::IpProtocol(number) => write!(f, "IP protocol {number}"),
            Self::PppProtocol(number) => write!(f, "PPP protocol {number:#06x}"),
            Self::UdpPort(number) => write!(f, "UDP port {number}"),
            Self::Named(name) => f.write_str(name),
            Self::TooDeep => f.write_str("too many headers before TCP"),
        }?;
        self.name().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_named() {
        for (unread, named) in [
            (Unread::EtherType(0x88e5), "EtherType 0x88e5 (MACsec)"),
            (Unread::EtherType(0x1234), "EtherType 0x1234"),
            (Unread::IpProtocol(50), "IP protocol 50 (ESP)"),
            (Unread::PppProtocol(0x3d), "PPP protocol 0x003d (multilink)"),
            (Unread::UdpPort(4500), "UDP port 4500 (IPsec)"),
            (Unread::Snap([0, 0x80, 0xc2], 7), "SNAP 00-80-c2 0x0007"),
            (Unread::LinkType(LinkType(189)), "link type 189 (USB)"),
            (
                Unread::LinkType(LinkType(147)),
                "link type 147 (private use)",
            ),
        ] {
            assert_eq!(unread.to_string(), named);
        }
    }
}

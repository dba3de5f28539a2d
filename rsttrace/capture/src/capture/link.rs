//! Link layers: start of the packet, and packet direction.

use std::fmt;

use etherparse::{EtherType, Ethernet2HeaderSlice, ether_type};

use super::{Way, dissect::Skipped};

/// Link type of an interface, as <https://www.tcpdump.org/linktypes.html> numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u16);

impl LinkType {
    const NULL: Self = Self(0);
    pub(super) const ETHERNET: Self = Self(1);
    /// OpenBSD's, FreeBSD's and the official number of IP without link layer.
    const RAW: [Self; 3] = [Self(12), Self(14), Self(101)];
    const LOOP: Self = Self(108);
    const LINUX_SLL: Self = Self(113);
    const IPV4: Self = Self(228);
    const IPV6: Self = Self(229);
    const LINUX_SLL2: Self = Self(276);

    /// Whether TCP is found in its frames.
    pub fn is_supported(self) -> bool {
        self.reader().is_some()
    }

    /// What it is called, where it is known.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "BSD loopback",
            1 => "Ethernet",
            9 => "PPP",
            12 | 14 | 101 => "raw IP",
            50 => "PPP in HDLC framing",
            51 => "PPPoE",
            104 => "Cisco HDLC",
            105 => "IEEE 802.11",
            108 => "OpenBSD loopback",
            113 => "Linux cooked capture v1",
            119 | 163 => "IEEE 802.11 with Prism or AVS header",
            127 => "IEEE 802.11 with radiotap",
            147..=162 => "private use",
            187 | 201 => "Bluetooth",
            189 | 220 | 249 => "USB",
            192 => "per-packet information",
            195 | 215 | 230 => "IEEE 802.15.4",
            227 => "CAN",
            228 => "raw IPv4",
            229 => "raw IPv6",
            239 => "netfilter log",
            240 => "netANALYZER",
            252 => "Wireshark's exported PDUs",
            253 => "netlink",
            276 => "Linux cooked capture v2",
            _ => return None,
        })
    }

    fn reader(self) -> Option<ReadLink> {
        Some(match self {
            Self::ETHERNET => ethernet,
            Self::LINUX_SLL => cooked_v1,
            Self::LINUX_SLL2 => cooked_v2,
            Self::NULL | Self::LOOP => loopback,
            Self::IPV4 | Self::IPV6 => raw,
            other if Self::RAW.contains(&other) => raw,
            _ => return None,
        })
    }
}

/// Number, and name where it is known.
impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// What begins at some byte of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Ethernet,
    /// A VLAN tag: identifier, then the type of what follows.
    Vlan,
    /// Of either version: its first bits say which.
    Ip,
    /// Nothing that carries TCP, as far as is known here.
    Other,
}

impl Layer {
    pub fn of_ether_type(number: u16) -> Self {
        match EtherType(number) {
            ether_type::IPV4 | ether_type::IPV6 => Self::Ip,
            ether_type::VLAN_TAGGED_FRAME
            | ether_type::PROVIDER_BRIDGING
            | ether_type::VLAN_DOUBLE_TAGGED_FRAME => Self::Vlan,
            TRANSPARENT_ETHERNET => Self::Ethernet,
            _ => Self::Other,
        }
    }
}

/// "Transparent Ethernet bridging": a frame in GRE and Geneve.
const TRANSPARENT_ETHERNET: EtherType = EtherType(0x6558);

/// What a link layer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Bytes of its header.
    pub header_len: usize,
    pub layer: Layer,
    pub source_mac: Option<[u8; 6]>,
    pub way: Option<Way>,
    /// Index of the interface.
    pub interface: Option<u32>,
}

impl Link {
    fn new(header_len: usize, layer: Layer) -> Self {
        Self {
            header_len,
            layer,
            source_mac: None,
            way: None,
            interface: None,
        }
    }
}

/// Reads the header of one link type, if it is whole.
type ReadLink = fn(&[u8]) -> Option<Link>;

/// Reads the link layer of a frame; `short` is why a frame without a whole one is skipped.
pub(super) fn read(link_type: LinkType, frame: &[u8], short: Skipped) -> Result<Link, Skipped> {
    let reader = link_type.reader().ok_or(Skipped::LinkType)?;
    reader(frame).ok_or(short)
}

fn ethernet(frame: &[u8]) -> Option<Link> {
    let header = Ethernet2HeaderSlice::from_slice(frame).ok()?;
    let layer = Layer::of_ether_type(header.ether_type().0);
    Some(Link {
        source_mac: mac(header.source()),
        ..Link::new(header.slice().len(), layer)
    })
}

fn raw(_: &[u8]) -> Option<Link> {
    Some(Link::new(0, Layer::Ip))
}

/// An address family: in the byte order of the machine that captured, or of the network. IPv6 has a number of its own on
/// each system (Linux, NetBSD and OpenBSD, FreeBSD, macOS).
fn loopback(frame: &[u8]) -> Option<Link> {
    let family = u32::from_be_bytes(*frame.first_chunk()?);
    let family = if family > 0xffff {
        family.swap_bytes()
    } else {
        family
    };
    let layer = match family {
        2 | 10 | 24 | 28 | 30 => Layer::Ip,
        _ => Layer::Other,
    };
    Some(Link::new(4, layer))
}

/// <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html>
fn cooked_v1(frame: &[u8]) -> Option<Link> {
    let header: &[u8; 16] = frame.first_chunk()?;
    let [_, way, _, _, _, mac_len, a, b, c, d, e, f, _, _, high, low] = *header;
    Some(Link {
        source_mac: cooked_mac(mac_len, [a, b, c, d, e, f]),
        way: cooked_way(way),
        ..Link::new(
            header.len(),
            Layer::of_ether_type(u16::from_be_bytes([high, low])),
        )
    })
}

/// <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>
fn cooked_v2(frame: &[u8]) -> Option<Link> {
    let header: &[u8; 20] = frame.first_chunk()?;
    let [
        high,
        low,
        _,
        _,
        i,
        j,
        k,
        l,
        _,
        _,
        way,
        mac_len,
        a,
        b,
        c,
        d,
        e,
        f,
        _,
        _,
    ] = *header;
    Some(Link {
        source_mac: cooked_mac(mac_len, [a, b, c, d, e, f]),
        way: cooked_way(way),
        interface: Some(u32::from_be_bytes([i, j, k, l])),
        ..Link::new(
            header.len(),
            Layer::of_ether_type(u16::from_be_bytes([high, low])),
        )
    })
}

/// `PACKET_HOST` and so on, include/uapi/linux/if_packet.h.
fn cooked_way(packet_type: u8) -> Option<Way> {
    match packet_type {
        0..=2 => Some(Way::In),
        3 => Some(Way::By),
        4 => Some(Way::Out),
        _ => None,
    }
}

fn cooked_mac(length: u8, address: [u8; 6]) -> Option<[u8; 6]> {
    mac(address).filter(|_| length == 6)
}

fn mac(address: [u8; 6]) -> Option<[u8; 6]> {
    (address != [0; 6]).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_takes_either_byte_order_and_every_system() {
        for family in [2_u32, 10, 24, 28, 30] {
            for bytes in [family.to_be_bytes(), family.to_le_bytes()] {
                assert_eq!(loopback(&bytes).unwrap().layer, Layer::Ip, "{bytes:?}");
            }
        }
        assert_eq!(loopback(&[0, 0, 0, 7]).unwrap().layer, Layer::Other);
        assert_eq!(loopback(&[2, 0, 0]), None);
    }

    #[test]
    fn cooked_capture_tells_way_address_and_interface() {
        let v1 = [0, 4, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0];
        let link = cooked_v1(&v1).unwrap();
        assert_eq!(link.way, Some(Way::Out));
        assert_eq!(link.source_mac, Some([1, 2, 3, 4, 5, 6]));
        assert_eq!((link.layer, link.interface), (Layer::Ip, None));
        let v2 = [
            0x86, 0xdd, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let link = cooked_v2(&v2).unwrap();
        assert_eq!(link.way, Some(Way::In));
        assert_eq!(link.source_mac, None, "the loopback device's are zero");
        assert_eq!((link.layer, link.interface), (Layer::Ip, Some(3)));
        assert_eq!(cooked_v2(&v2[..19]), None);
    }

    #[test]
    fn a_link_type_is_named() {
        assert_eq!(LinkType(127).to_string(), "127 (IEEE 802.11 with radiotap)");
        assert_eq!(LinkType(60_000).to_string(), "60000");
        assert!(LinkType(1).is_supported() && !LinkType(127).is_supported());
    }
}

//! Link layers: start of the packet, and packet direction.

use std::fmt;

use etherparse::{Ethernet2HeaderSlice, SingleVlanHeaderSlice};

use super::{
    Way,
    layer::{Header, Layer, Network, ReadHeader, Unread},
    tunnel, wifi,
};

/// Link type of an interface, as <https://www.tcpdump.org/linktypes.html> numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u16);

/// How the frames of link types are read.
#[rustfmt::skip]
const LINK_TYPES: &[(u16, &str, ReadHeader)] = &[
    (0,   "BSD loopback", loopback),
    (1,   "Ethernet", ethernet),
    (9,   "PPP", ppp),
    (11,  "LLC-encapsulated ATM", llc),
    // OpenBSD's, FreeBSD's and the official number of IP without link layer.
    (12,  "raw IP", raw),
    (14,  "raw IP", raw),
    (50,  "PPP in HDLC framing", hdlc),
    (51,  "PPPoE", pppoe),
    (101, "raw IP", raw),
    (104, "Cisco HDLC", cisco_hdlc),
    (105, "IEEE 802.11", wifi::wifi),
    (108, "OpenBSD loopback", loopback),
    (113, "Linux cooked capture v1", cooked_v1),
    (119, "IEEE 802.11 with Prism or AVS header", wifi::prism),
    (127, "IEEE 802.11 with radiotap", wifi::radiotap),
    (163, "IEEE 802.11 with Prism or AVS header", wifi::prism),
    (166, "PPP of pppd", directed_ppp),
    (192, "per-packet information", wifi::ppi),
    (204, "PPP with direction", directed_ppp),
    (219, "MPLS", tunnel::mpls),
    (228, "raw IPv4", raw),
    (229, "raw IPv6", raw),
    (239, "netfilter log", netfilter_log),
    (276, "Linux cooked capture v2", cooked_v2),
];

/// What others are called.
const UNREAD_LINK_TYPES: &[(u16, &str)] = &[
    (6, "Token Ring"),
    (10, "FDDI"),
    (107, "Frame Relay"),
    (187, "Bluetooth"),
    (189, "USB"),
    (195, "IEEE 802.15.4"),
    (201, "Bluetooth"),
    (215, "IEEE 802.15.4"),
    (220, "USB"),
    (227, "CAN"),
    (230, "IEEE 802.15.4"),
    (240, "netANALYZER"),
    (249, "USB"),
    (252, "Wireshark's exported PDUs"),
    (253, "netlink"),
];

impl LinkType {
    /// Whether TCP is found in its frames.
    pub fn is_supported(self) -> bool {
        self.reader().is_some()
    }

    /// What it is called, where it is known.
    pub fn name(self) -> Option<&'static str> {
        if (147..=162).contains(&self.0) {
            return Some("private use");
        }
        let read = LINK_TYPES.iter().map(|(number, name, _)| (number, name));
        let unread = UNREAD_LINK_TYPES
            .iter()
            .map(|(number, name)| (number, name));
        read.chain(unread)
            .find(|(number, _)| **number == self.0)
            .map(|(_, name)| *name)
    }

    fn reader(self) -> Option<ReadHeader> {
        LINK_TYPES
            .iter()
            .find(|(number, ..)| *number == self.0)
            .map(|(.., reader)| *reader)
    }

    /// What its frames begin with.
    pub(super) fn layer(self) -> Layer {
        self.reader()
            .map_or(Layer::Unread(Unread::LinkType(self)), Layer::Header)
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

pub(super) fn ethernet(frame: &[u8]) -> Option<Header> {
    let header = Ethernet2HeaderSlice::from_slice(frame).ok()?;
    Some(Header {
        source_mac: mac(header.source()),
        ..Header::new(
            header.slice().len(),
            Layer::of_length_or_type(header.ether_type().0),
        )
    })
}

pub(super) fn vlan(bytes: &[u8]) -> Option<Header> {
    let tag = SingleVlanHeaderSlice::from_slice(bytes).ok()?;
    let next = Layer::of_length_or_type(tag.ether_type().0);
    let id = tag.vlan_identifier().value();
    Some(Header::new(tag.slice().len(), next).within(Network::Vlan(id)))
}

/// Between a virtual interface and its switch (IEEE 802.1BR's forerunner): the addresses are those of its network.
pub(super) fn vn_tag(bytes: &[u8]) -> Option<Header> {
    let [_, _, _, _, high, low] = *bytes.first_chunk()?;
    let next = Layer::of_length_or_type(u16::from_be_bytes([high, low]));
    Some(Header::new(6, next))
}

/// IEEE 802.2, with SNAP or with the protocol numbers of OSI (RFC 1042, RFC 2684).
pub(super) fn llc(bytes: &[u8]) -> Option<Header> {
    let fields: &[u8; 3] = bytes.first_chunk()?;
    match fields {
        [0xaa, 0xaa, 0x03] => snap(bytes, 3),
        [0x06, 0x06, 0x03] => Some(Header::new(3, Layer::Ip)),
        [0xfe, 0xfe, 0x03] => match bytes.get(3)? {
            0xcc | 0x8e => Some(Header::new(4, Layer::Ip)),
            0x80 => snap(bytes, 4),
            _ => Some(Header::new(4, Layer::NotTcp)),
        },
        _ => Some(Header::new(3, Layer::NotTcp)),
    }
}

fn snap(bytes: &[u8], at: usize) -> Option<Header> {
    let [a, b, c, high, low] = *bytes.get(at..)?.first_chunk()?;
    let number = u16::from_be_bytes([high, low]);
    let next = match [a, b, c] {
        // EtherTypes, and what bridges put before those of AppleTalk and IPX.
        [0, 0, 0] | [0, 0, 0xf8] => Layer::of_ether_type(number),
        // Cisco's own protocols, and AppleTalk.
        [0, 0, 0x0c] | [8, 0, 7] => Layer::NotTcp,
        organization => Layer::Unread(Unread::Snap(organization, number)),
    };
    Some(Header::new(at + 5, next))
}

fn raw(_: &[u8]) -> Option<Header> {
    Some(Header::new(0, Layer::Ip))
}

/// RFC 1661: address and control only in HDLC-like framing; the number may be compressed to one byte.
pub(super) fn ppp(bytes: &[u8]) -> Option<Header> {
    let at = match bytes {
        [0xff] => return None,
        [0xff, 0x03, ..] => 2,
        _ => 0,
    };
    let first = *bytes.get(at)?;
    if first & 1 == 1 {
        return Some(Header::new(at + 1, Layer::of_ppp(first.into())));
    }
    let number = u16::from_be_bytes([first, *bytes.get(at + 1)?]);
    Some(Header::new(at + 2, Layer::of_ppp(number)))
}

/// PPP or Cisco's.
fn hdlc(frame: &[u8]) -> Option<Header> {
    match frame.first()? {
        0x0f | 0x8f => cisco_hdlc(frame),
        _ => ppp(frame),
    }
}

fn cisco_hdlc(frame: &[u8]) -> Option<Header> {
    let [_, _, high, low] = *frame.first_chunk()?;
    Some(Header::new(
        4,
        Layer::of_ether_type(u16::from_be_bytes([high, low])),
    ))
}

/// PPP behind a byte that says whether it was sent; pppd puts it in the place of the address.
fn directed_ppp(frame: &[u8]) -> Option<Header> {
    let [direction, control] = *frame.first_chunk()?;
    let inside = ppp(frame.get(1..)?)?;
    let way = if direction == 0 { Way::In } else { Way::Out };
    let of_pppd = (control == 0x03).then(|| ppp(frame.get(2..)?));
    let (at, inside) = match of_pppd {
        Some(whole) => (2, whole?),
        None => (1, inside),
    };
    Some(Header {
        way: Some(way),
        ..Header::new(at + inside.len, inside.next)
    })
}

/// RFC 2516: a session.
pub(super) fn pppoe(bytes: &[u8]) -> Option<Header> {
    let [_, code, high, low, _, _] = *bytes.first_chunk()?;
    let next = if code == 0 {
        Layer::Header(ppp)
    } else {
        Layer::NotTcp
    };
    let session = u16::from_be_bytes([high, low]);
    Some(Header::new(6, next).within(Network::Session(session)))
}

/// An address family: in the byte order of the machine that captured, or of the network. IPv6 has a number of its own on
/// each system (Linux, NetBSD and OpenBSD, FreeBSD, macOS).
fn loopback(frame: &[u8]) -> Option<Header> {
    let family = u32::from_be_bytes(*frame.first_chunk()?);
    let family = if family > 0xffff {
        family.swap_bytes()
    } else {
        family
    };
    let layer = match family {
        2 | 10 | 24 | 28 | 30 => Layer::Ip,
        _ => Layer::NotTcp,
    };
    Some(Header::new(4, layer))
}

/// <https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html>
fn netfilter_log(frame: &[u8]) -> Option<Header> {
    const PACKET_HEADER: u16 = 1;
    const PAYLOAD: u16 = 9;
    let [family, ..] = *frame.first_chunk::<4>()?;
    let mut at = 4;
    let mut way = None;
    loop {
        let [a, b, c, d] = *frame.get(at..)?.first_chunk()?;
        // In the byte order of the host that captured: types are small.
        let (size, kind) = if c == 0 {
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        } else {
            (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
        };
        match kind {
            PAYLOAD => break,
            // The number of the hook follows the EtherType (`enum nf_inet_hooks`).
            PACKET_HEADER => {
                way = match frame.get(at + 6)? {
                    0 | 1 => Some(Way::In),
                    3 | 4 => Some(Way::Out),
                    _ => None,
                }
            }
            _ => {}
        }
        at += usize::from(size).max(4).next_multiple_of(4);
    }
    let next = match family {
        2 | 10 => Layer::Ip,
        // A bridge logs frames without their headers; ARP has a family of its own.
        _ => Layer::NotTcp,
    };
    Some(Header {
        way,
        ..Header::new(at + 4, next)
    })
}

/// <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html>
fn cooked_v1(frame: &[u8]) -> Option<Header> {
    let header: &[u8; 16] = frame.first_chunk()?;
    let [_, way, _, _, _, mac_len, a, b, c, d, e, f, _, _, high, low] = *header;
    Some(Header {
        source_mac: cooked_mac(mac_len, [a, b, c, d, e, f]),
        way: cooked_way(way),
        ..Header::new(header.len(), cooked_layer(u16::from_be_bytes([high, low])))
    })
}

/// <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>
fn cooked_v2(frame: &[u8]) -> Option<Header> {
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
    Some(Header {
        source_mac: cooked_mac(mac_len, [a, b, c, d, e, f]),
        way: cooked_way(way),
        interface: Some(u32::from_be_bytes([i, j, k, l])),
        ..Header::new(header.len(), cooked_layer(u16::from_be_bytes([high, low])))
    })
}

/// An EtherType, or one of Linux's own numbers for frames without (include/uapi/linux/if_ether.h).
fn cooked_layer(number: u16) -> Layer {
    match number {
        4 => Layer::Header(llc),
        // `ETH_P_802_3` is IPX.
        ..=0x05dc => Layer::NotTcp,
        _ => Layer::of_ether_type(number),
    }
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

    fn is_ip(header: Option<Header>) -> bool {
        matches!(header.unwrap().next, Layer::Ip)
    }

    #[test]
    fn loopback_takes_either_byte_order_and_every_system() {
        for family in [2_u32, 10, 24, 28, 30] {
            for bytes in [family.to_be_bytes(), family.to_le_bytes()] {
                assert!(is_ip(loopback(&bytes)), "{bytes:?}");
            }
        }
        assert!(!is_ip(loopback(&[0, 0, 0, 7])));
        assert!(loopback(&[2, 0, 0]).is_none());
    }

    #[test]
    fn cooked_capture_tells_way_address_and_interface() {
        let v1 = [0, 4, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0];
        let link = cooked_v1(&v1).unwrap();
        assert_eq!(link.way, Some(Way::Out));
        assert_eq!(link.source_mac, Some([1, 2, 3, 4, 5, 6]));
        assert_eq!(link.interface, None);
        assert!(is_ip(Some(link)));
        let v2 = [
            0x86, 0xdd, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let link = cooked_v2(&v2).unwrap();
        assert_eq!(link.way, Some(Way::In));
        assert_eq!(link.source_mac, None, "the loopback device's are zero");
        assert_eq!(link.interface, Some(3));
        assert!(is_ip(Some(link)));
        assert!(cooked_v2(&v2[..19]).is_none());
    }

    #[test]
    fn ppp_is_read_with_and_without_address_and_compressed() {
        for (bytes, len) in [
            (&[0, 0x21][..], 2),
            (&[0x21], 1),
            (&[0xff, 3, 0, 0x57], 4),
            (&[0xff, 3, 0x57], 3),
        ] {
            let header = ppp(bytes).unwrap();
            assert_eq!(header.len, len, "{bytes:?}");
            assert!(is_ip(Some(header)));
        }
        assert!(ppp(&[0xff, 3, 0]).is_none() && ppp(&[0xff]).is_none());
        assert!(is_ip(hdlc(&[0x0f, 0, 8, 0])) && is_ip(hdlc(&[0xff, 3, 0, 0x21])));
        let lcp = ppp(&[0xc0, 0x21]).unwrap();
        assert!(matches!(lcp.next, Layer::NotTcp));
        let multilink = ppp(&[0x3d]).unwrap();
        assert!(matches!(multilink.next, Layer::Unread(_)));
        let of_pppd = directed_ppp(&[1, 3, 0, 0x21]).unwrap();
        assert_eq!((of_pppd.len, of_pppd.way), (4, Some(Way::Out)));
        let directed = directed_ppp(&[0, 0xff, 3, 0, 0x21]).unwrap();
        assert_eq!((directed.len, directed.way), (5, Some(Way::In)));
    }

    #[test]
    fn snap_carries_ether_types_of_some_organizations_only() {
        let of = |organization: [u8; 3]| {
            let [a, b, c] = organization;
            llc(&[0xaa, 0xaa, 3, a, b, c, 8, 0]).unwrap()
        };
        assert!(is_ip(Some(of([0, 0, 0]))) && of([0, 0, 0]).len == 8);
        assert!(is_ip(Some(of([0, 0, 0xf8]))));
        assert!(matches!(of([0, 0, 0x0c]).next, Layer::NotTcp));
        assert!(matches!(of([0, 0x80, 0xc2]).next, Layer::Unread(_)));
        assert!(matches!(llc(&[0x42, 0x42, 3]).unwrap().next, Layer::NotTcp));
        assert!(is_ip(llc(&[0xfe, 0xfe, 3, 0xcc])));
        assert!(llc(&[0xaa, 0xaa, 3, 0, 0, 0, 8]).is_none());
    }

    #[test]
    fn a_netfilter_log_is_read_in_either_byte_order_and_tells_the_way() {
        let log = |number: fn(u16) -> [u8; 2], hook: u8| {
            let mut log = vec![2, 0, 0, 5];
            for (kind, body) in [
                (1_u16, &[8, 0, hook, 0][..]),
                (10, b"odd\0\0"),
                (9, &[0x45; 20]),
            ] {
                log.extend(number(4 + body.len() as u16));
                log.extend(number(kind));
                log.extend(body);
                log.resize(log.len().next_multiple_of(4), 0);
            }
            log
        };
        for (hook, way) in [(1, Some(Way::In)), (2, None), (3, Some(Way::Out))] {
            for number in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
                let bytes = log(number, hook);
                let header = netfilter_log(&bytes).unwrap();
                assert_eq!((header.len, header.way), (bytes.len() - 20, way));
                assert!(is_ip(Some(header)));
                assert!(netfilter_log(&bytes[..20]).is_none());
            }
        }
    }

    #[test]
    fn a_link_type_is_named() {
        assert_eq!(LinkType(127).to_string(), "127 (IEEE 802.11 with radiotap)");
        assert_eq!(LinkType(60_000).to_string(), "60000");
        assert!(LinkType(1).is_supported() && !LinkType(189).is_supported());
    }
}

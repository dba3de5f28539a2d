//! Headers of tunnels: IP in IP, GRE, ERSPAN, WCCP, L2TP, VXLAN, Geneve, GTP-U, MPLS, NSH, TZSP.
//!
//! UDP ports only suggest a tunnel: what does not look like one is taken for something else that uses the port.

use super::{
    layer::{Header, Layer, Network, Unread},
    link, wifi,
};

/// Another use of a port, or control messages of a tunnel.
const OTHER: Header = Header {
    len: 0,
    next: Layer::NotTcp,
    network: Network::Same,
    source_mac: None,
    way: None,
    interface: None,
};

/// RFC 2003, RFC 4213: without a header of its own.
pub(super) fn ip_in_ip(_: &[u8]) -> Option<Header> {
    Some(Header::new(0, Layer::Ip).within(Network::Ends))
}

/// EtherIP, RFC 3378.
pub(super) fn ether_in_ip(bytes: &[u8]) -> Option<Header> {
    let _: &[u8; 2] = bytes.first_chunk()?;
    Some(Header::new(2, Layer::Header(link::ethernet)).within(Network::Ends))
}

/// RFC 768.
pub(super) fn udp(bytes: &[u8]) -> Option<Header> {
    let [_, _, high, low, _, _, _, _] = *bytes.first_chunk()?;
    Some(Header::new(
        8,
        Layer::of_udp(u16::from_be_bytes([high, low])),
    ))
}

/// RFC 2784 with the key of RFC 2890, PPTP's (RFC 2637), and what is mirrored to a collector (ERSPAN).
pub(super) fn gre(bytes: &[u8]) -> Option<Header> {
    let [flags, version, high, low] = *bytes.first_chunk()?;
    let protocol = u16::from_be_bytes([high, low]);
    let optional = |byte: u8, bit: u8| if byte & bit == 0 { 0 } else { 4 };
    let (checksum, key, sequence) = (
        optional(flags, 0x80),
        optional(flags, 0x20),
        optional(flags, 0x10),
    );
    if flags & 0x40 != 0 {
        return Some(Header::new(
            0,
            Layer::Unread(Unread::Named("GRE with source routes")),
        ));
    }
    match version & 0x07 {
        0 => {}
        // The key is the length and a call, another one each way. Without a sequence number there is no payload.
        1 if protocol == 0x880b && key > 0 => {
            let acknowledgment = optional(version, 0x80);
            let next = match sequence {
                0 => Layer::NotTcp,
                _ => Layer::Header(link::ppp),
            };
            return Some(Header::new(8 + sequence + acknowledgment, next).within(Network::Ends));
        }
        _ => {
            return Some(Header::new(
                0,
                Layer::Unread(Unread::Named("GRE of unknown version")),
            ));
        }
    }
    let len = 4 + checksum + key + sequence;
    let mirrored = |next| Some(Header::new(len, next).within(Network::Mirrored));
    match (protocol, sequence) {
        // Type I has no header; type II has one, and numbers.
        (0x88be, 0) => return mirrored(Layer::Header(link::ethernet)),
        (0x88be, _) => return mirrored(Layer::Header(erspan_2)),
        (0x22eb, _) => return mirrored(Layer::Header(erspan_3)),
        _ => {}
    }
    let network = match key {
        0 => Network::Ends,
        _ => Network::Key(u32::from_be_bytes(
            *bytes.get(4 + checksum..)?.first_chunk()?,
        )),
    };
    Some(Header::new(len, Layer::of_ether_type(protocol)).within(network))
}

/// draft-foschiano-erspan-03, section 4.2.
fn erspan_2(bytes: &[u8]) -> Option<Header> {
    let _: &[u8; 8] = bytes.first_chunk()?;
    Some(Header::new(8, Layer::Header(link::ethernet)))
}

/// The same, section 4.3.
fn erspan_3(bytes: &[u8]) -> Option<Header> {
    let [.., frame_type, options] = *bytes.first_chunk::<12>()?;
    let next = match frame_type >> 2 & 0x1f {
        0 => Layer::Header(link::ethernet),
        2 => Layer::Ip,
        _ => Layer::Unread(Unread::Named("ERSPAN of another frame type")),
    };
    let platform = if options & 1 == 0 { 0 } else { 8 };
    Some(Header::new(12 + platform, next))
}

/// What a router redirects to a cache; version 2 puts four bytes before the packet (draft-param-wccp-v2rev1, section 4).
pub(super) fn wccp(bytes: &[u8]) -> Option<Header> {
    let len = match bytes.first()? >> 4 {
        4 => 0,
        _ => 4,
    };
    Some(Header::new(len, Layer::Ip))
}

/// RFC 2661, with or without length and sequence numbers. The numbers of tunnel and session are others each way.
pub(super) fn l2tp(bytes: &[u8]) -> Option<Header> {
    let [flags, version] = *bytes.first_chunk()?;
    let optional = |bit: u8, size: usize| if flags & bit == 0 { 0 } else { size };
    if flags & 0x80 != 0 {
        return Some(OTHER);
    }
    if version & 0x0f != 2 {
        return Some(Header::new(
            0,
            Layer::Unread(Unread::Named("L2TP of another version")),
        ));
    }
    let fields = 6 + optional(0x40, 2) + optional(0x08, 4);
    let len = match optional(0x02, 2) {
        0 => fields,
        size => {
            let padding: &[u8; 2] = bytes.get(fields..)?.first_chunk()?;
            fields + size + usize::from(u16::from_be_bytes(*padding))
        }
    };
    Some(Header::new(len, Layer::Header(link::ppp)).within(Network::Ends))
}

/// RFC 7348, and VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe), which says what follows.
pub(super) fn vxlan(bytes: &[u8]) -> Option<Header> {
    let [flags, _, _, protocol, a, b, c, _] = *bytes.first_chunk()?;
    if flags & 0x08 == 0 {
        return Some(OTHER);
    }
    let next = if flags & 0x04 == 0 {
        Layer::Header(link::ethernet)
    } else {
        Layer::of_nsh(protocol)
    };
    Some(Header::new(8, next).within(Network::Vni(b'x', [a, b, c])))
}

/// RFC 8926.
pub(super) fn geneve(bytes: &[u8]) -> Option<Header> {
    let [version_options, _, high, low, a, b, c, _] = *bytes.first_chunk()?;
    if version_options >> 6 != 0 {
        return Some(OTHER);
    }
    let len = 8 + usize::from(version_options & 0x3f) * 4;
    let next = Layer::of_ether_type(u16::from_be_bytes([high, low]));
    Some(Header::new(len, next).within(Network::Vni(b'g', [a, b, c])))
}

/// 3GPP TS 29.281: packets of a subscriber.
pub(super) fn gtp_u(bytes: &[u8]) -> Option<Header> {
    let [flags, message, _, _, _, _, _, _] = *bytes.first_chunk()?;
    // Version 1, not GTP'; a packet, not signalling.
    if flags & 0xf0 != 0x30 || message != 0xff {
        return Some(OTHER);
    }
    let mut len = 8;
    if flags & 0x07 != 0 {
        let [_, _, _, mut next] = *bytes.get(len..)?.first_chunk()?;
        len += 4;
        // The length of an extension header is its first byte, in units of 4; the type of the next one is its last.
        while flags & 0x04 != 0 && next != 0 {
            let extension = bytes.get(len..)?;
            let size = usize::from(*extension.first()?) * 4;
            if size == 0 {
                return Some(OTHER);
            }
            next = *extension.get(size - 1)?;
            len += size;
        }
    }
    let next = match bytes.get(len)? >> 4 {
        4 | 6 => Layer::Ip,
        // Of a 5G session of Ethernet type: nothing in the header says so.
        _ => Layer::Header(link::ethernet),
    };
    Some(Header::new(len, next))
}

/// A label (RFC 3032). Nothing says what follows the last one but its own first bits (RFC 4928, RFC 4385).
pub(super) fn mpls(bytes: &[u8]) -> Option<Header> {
    let [a, b, c, _] = *bytes.first_chunk()?;
    if c & 1 == 0 {
        return Some(Header::new(4, Layer::Header(mpls)));
    }
    let label = u32::from_be_bytes([0, a, b, c]) >> 4;
    let inside = bytes.get(4..).unwrap_or_default();
    let next = match (label, *inside.first()?) {
        // Explicit null.
        (0 | 2, _) | (_, 0x45..=0x4f | 0x60..=0x6f) => Layer::Ip,
        // Generic associated channel and OAM.
        (13 | 14, _) | (_, 0x10..=0x1f) => Layer::NotTcp,
        // A control word, or the first byte of an address.
        (_, 0x00..=0x0f) if !is_ethernet(inside)? => {
            return Some(Header::new(8, Layer::Header(link::ethernet)));
        }
        _ => Layer::Header(link::ethernet),
    };
    Some(Header::new(4, next))
}

/// Whether these bytes begin like a frame of something that is known.
fn is_ethernet(bytes: &[u8]) -> Option<bool> {
    let [high, low] = *bytes.get(12..)?.first_chunk()?;
    Some(
        match Layer::of_ether_type(u16::from_be_bytes([high, low])) {
            Layer::Ip | Layer::Header(_) | Layer::NotTcp => true,
            Layer::Unread(_) => false,
        },
    )
}

/// RFC 8300.
pub(super) fn nsh(bytes: &[u8]) -> Option<Header> {
    let [version, length, _, protocol, _, _, _, _] = *bytes.first_chunk()?;
    let len = usize::from(length & 0x3f) * 4;
    // Version 0; OAM packets carry nothing.
    if version & 0xe0 != 0 || len < 8 {
        return Some(Header::new(0, Layer::NotTcp));
    }
    Some(Header::new(len, Layer::of_nsh(protocol)))
}

/// IEEE 802.1ah: a service identifier and the customer's frame.
pub(super) fn provider_backbone(bytes: &[u8]) -> Option<Header> {
    let [_, a, b, c] = *bytes.first_chunk()?;
    Some(Header::new(4, Layer::Header(link::ethernet)).within(Network::Vni(b'i', [a, b, c])))
}

/// TaZmen Sniffer Protocol: frames that a wireless device or a router mirrors to a collector.
pub(super) fn tzsp(bytes: &[u8]) -> Option<Header> {
    let [version, message, high, low] = *bytes.first_chunk()?;
    let next = match u16::from_be_bytes([high, low]) {
        1 => Layer::Header(link::ethernet),
        18 => Layer::Header(wifi::wifi),
        119 => Layer::Header(wifi::prism),
        127 => Layer::Header(wifi::avs),
        _ => return Some(OTHER),
    };
    // Received frames, and frames to be sent.
    if version != 1 || message > 1 {
        return Some(OTHER);
    }
    let mut len = 4;
    loop {
        let tag = *bytes.get(len)?;
        len += match tag {
            // Padding, and the end of the list.
            0 => 1,
            1 => break,
            _ => 2 + usize::from(*bytes.get(len + 1)?),
        };
    }
    Some(Header::new(len + 1, next).within(Network::Mirrored))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ip(header: &Header) -> bool {
        matches!(header.next, Layer::Ip)
    }

    fn is_wrapped(header: &Header) -> bool {
        matches!(header.next, Layer::Header(_))
    }

    fn is_other(header: Option<Header>) -> bool {
        matches!(header.unwrap().next, Layer::NotTcp | Layer::Unread(_))
    }

    #[test]
    fn gre_is_as_long_as_its_flags_say() {
        let plain = gre(&[0, 0, 8, 0]).unwrap();
        assert_eq!((plain.len, plain.network), (4, Network::Ends));
        assert!(is_ip(&plain));
        let all = gre(&[0xb0, 0, 0x65, 0x58, 1, 1, 1, 1, 0, 0, 0, 42]).unwrap();
        assert_eq!((all.len, all.network), (16, Network::Key(42)));
        assert!(is_wrapped(&all));
        let pptp = gre(&[0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 0]).unwrap();
        assert_eq!((pptp.len, pptp.network), (16, Network::Ends));
        assert!(is_wrapped(&pptp));
    }

    #[test]
    fn what_only_looks_like_a_tunnel_is_none() {
        assert!(
            is_other(gre(&[0x20, 1, 0x88, 0x0b])),
            "PPTP without payload"
        );
        assert!(is_other(gre(&[0x40, 0, 8, 0])), "source routes");
        assert!(gre(&[0x20, 0, 8, 0, 1, 2]).is_none(), "cut within the key");
        assert!(is_other(vxlan(&[0; 8])), "no VNI");
        assert!(vxlan(&[8; 7]).is_none(), "cut");
        assert!(
            is_other(geneve(&[0x40, 0, 0x65, 0x58, 0, 0, 1, 0])),
            "version 1"
        );
        assert!(
            is_other(gtp_u(&[0x32, 1, 0, 4, 0, 0, 0, 0])),
            "echo request"
        );
        assert!(
            is_other(gtp_u(&[0x48, 0xff, 0, 4, 0, 0, 0, 0])),
            "version 2"
        );
        assert!(is_other(nsh(&[0x20, 2, 0, 1, 0, 0, 0, 0])), "OAM");
        assert!(is_other(tzsp(&[1, 4, 0, 1])), "keepalive");
    }

    #[test]
    fn options_of_geneve_are_stepped_over() {
        let inside = geneve(&[2, 0, 0x86, 0xdd, 0, 1, 2, 0]).unwrap();
        assert_eq!(
            (inside.len, inside.network),
            (16, Network::Vni(b'g', [0, 1, 2]))
        );
        assert!(is_ip(&inside));
    }

    #[test]
    fn optional_fields_and_extension_headers_of_gtp_u_are_stepped_over() {
        let plain = gtp_u(&[0x30, 0xff, 0, 4, 0, 0, 0, 7, 0x45]).unwrap();
        assert_eq!((plain.len, is_ip(&plain)), (8, true));
        let numbered = gtp_u(&[0x32, 0xff, 0, 4, 0, 0, 0, 7, 0, 1, 0, 0x85, 0x45]).unwrap();
        assert_eq!(numbered.len, 12, "no E flag: no extension headers");
        let session = [
            0x34, 0xff, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0x85, 1, 0, 9, 0x40, 1, 0, 0, 0, 0x60,
        ];
        let two = gtp_u(&session).unwrap();
        assert_eq!((two.len, is_ip(&two)), (20, true));
        let mut endless = session;
        endless[12] = 0;
        assert!(
            is_other(gtp_u(&endless)),
            "an extension header without length"
        );
    }

    #[test]
    fn labels_end_with_what_their_payload_looks_like() {
        let last = |payload: &[u8]| mpls(&[&[0, 1, 1, 64], payload].concat());
        assert!(is_ip(&last(&[0x45]).unwrap()));
        assert!(is_ip(&last(&[0x60]).unwrap()));
        assert!(is_other(last(&[0x10])), "associated channel");
        let ethernet = [0, 0, 0x5e, 0, 1, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 0];
        assert_eq!(last(&ethernet).unwrap().len, 4, "no control word");
        let controlled = [&[0, 0, 0, 9][..], &ethernet].concat();
        assert_eq!(last(&controlled).unwrap().len, 8, "control word");
        assert!(mpls(&[0, 1, 0, 64]).is_some_and(|label| is_wrapped(&label)));
        assert!(last(&[]).is_none(), "cut");
    }

    #[test]
    fn tags_of_tzsp_are_stepped_over() {
        let header = tzsp(&[1, 0, 0, 1, 0, 0x29, 2, 9, 9, 1, 7]).unwrap();
        assert_eq!((header.len, header.network), (10, Network::Mirrored));
        assert!(tzsp(&[1, 0, 0, 1, 0x29, 200, 9]).is_none(), "cut");
    }
}

//! GRE, VXLAN and Geneve decapsulation.
//!
//! Each takes the bytes from its own header on, and gives nothing for what is not this tunnel or carries something else than packets.

use super::link::Layer;

/// What follows the header of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inside<Id> {
    /// Bytes of the tunnel's header.
    pub header_len: usize,
    pub layer: Layer,
    pub id: Id,
}

/// UDP ports of VXLAN: IANA's, and what Linux took before there was one (`IANA_VXLAN_UDP_PORT`, drivers/net/vxlan).
pub(super) const VXLAN_PORTS: [u16; 2] = [4789, 8472];
/// UDP port of Geneve.
pub(super) const GENEVE_PORT: u16 = 6081;

/// RFC 7348.
pub(super) fn vxlan(bytes: &[u8]) -> Option<Inside<[u8; 3]>> {
    let [flags, _, _, _, a, b, c, _] = *bytes.first_chunk()?;
    (flags & 0x08 != 0).then_some(Inside {
        header_len: 8,
        layer: Layer::Ethernet,
        id: [a, b, c],
    })
}

/// RFC 8926.
pub(super) fn geneve(bytes: &[u8]) -> Option<Inside<[u8; 3]>> {
    let [version_options, _, high, low, a, b, c, _] = *bytes.first_chunk()?;
    (version_options >> 6 == 0).then(|| Inside {
        header_len: 8 + usize::from(version_options & 0x3f) * 4,
        layer: Layer::of_ether_type(u16::from_be_bytes([high, low])),
        id: [a, b, c],
    })
}

/// RFC 2784 with the key of RFC 2890; not PPTP's version 1, not source routes.
pub(super) fn gre(bytes: &[u8]) -> Option<Inside<Option<u32>>> {
    let [flags, version, high, low] = *bytes.first_chunk()?;
    if version & 0x07 != 0 || flags & 0x40 != 0 {
        return None;
    }
    let optional = |bit| if flags & bit == 0 { 0 } else { 4 };
    let (checksum, key, sequence) = (optional(0x80), optional(0x20), optional(0x10));
    let id = match key {
        0 => None,
        _ => Some(u32::from_be_bytes(
            *bytes.get(4 + checksum..)?.first_chunk()?,
        )),
    };
    Some(Inside {
        header_len: 4 + checksum + key + sequence,
        layer: Layer::of_ether_type(u16::from_be_bytes([high, low])),
        id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gre_is_as_long_as_its_flags_say() {
        let plain = gre(&[0, 0, 8, 0]).unwrap();
        assert_eq!(
            (plain.header_len, plain.layer, plain.id),
            (4, Layer::Ip, None)
        );
        let all = gre(&[0xb0, 0, 0x65, 0x58, 1, 1, 1, 1, 0, 0, 0, 42]).unwrap();
        assert_eq!(
            (all.header_len, all.layer, all.id),
            (16, Layer::Ethernet, Some(42))
        );
    }

    #[test]
    fn what_only_looks_like_a_tunnel_is_none() {
        assert_eq!(gre(&[0, 1, 0x88, 0x0b]), None, "PPTP");
        assert_eq!(gre(&[0x40, 0, 8, 0]), None, "source routes");
        assert_eq!(gre(&[0x20, 0, 8, 0, 1, 2]), None, "cut within the key");
        assert_eq!(vxlan(&[0; 8]), None, "no VNI");
        assert_eq!(vxlan(&[8; 7]), None, "cut");
        assert_eq!(
            geneve(&[0x40, 0, 0x65, 0x58, 0, 0, 1, 0]),
            None,
            "version 1"
        );
    }

    #[test]
    fn options_of_geneve_are_stepped_over() {
        let inside = geneve(&[2, 0, 0x86, 0xdd, 0, 1, 2, 0]).unwrap();
        assert_eq!(
            (inside.header_len, inside.layer, inside.id),
            (16, Layer::Ip, [0, 1, 2])
        );
    }
}

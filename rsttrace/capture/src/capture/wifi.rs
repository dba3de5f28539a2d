//! IEEE 802.11 data frames, and the headers that capturing drivers put before them.

use super::{
    LinkType,
    layer::{Header, Layer, Unread},
    link,
};

/// A frame: data is read, management and control are not. What is encrypted stays unread.
pub(super) fn wifi(frame: &[u8]) -> Option<Header> {
    read(frame, false)
}

/// The same where the driver fills up the header to a multiple of 4 bytes.
fn padded(frame: &[u8]) -> Option<Header> {
    read(frame, true)
}

fn read(frame: &[u8], is_padded: bool) -> Option<Header> {
    let [control, flags] = *frame.first_chunk()?;
    let (is_data, has_body) = (control & 0x0c == 0x08, control & 0x40 == 0);
    if !is_data || !has_body {
        return Some(Header::new(0, Layer::NotTcp));
    }
    let unread = |name| Some(Header::new(0, Layer::Unread(Unread::Named(name))));
    if flags & 0x40 != 0 {
        return unread("encrypted IEEE 802.11 frames");
    }
    let (to_access_point, from_access_point) = (flags & 1 != 0, flags & 2 != 0);
    let has_four_addresses = to_access_point && from_access_point;
    let addresses = if has_four_addresses { 30 } else { 24 };
    let mut len = addresses;
    if control & 0x80 != 0 {
        let [quality, _] = *frame.get(len..)?.first_chunk()?;
        if quality & 0x80 != 0 {
            return unread("aggregated IEEE 802.11 frames (A-MSDU)");
        }
        len += 2;
        // High throughput control.
        if flags & 0x80 != 0 {
            len += 4;
        }
    }
    if is_padded {
        len = len.next_multiple_of(4);
    }
    let fragment = frame.get(22)? & 0x0f;
    if fragment != 0 {
        return unread("fragments of IEEE 802.11 frames");
    }
    let source = match (to_access_point, from_access_point) {
        (_, false) => 10,
        (false, true) => 16,
        (true, true) => 24,
    };
    Some(Header {
        source_mac: frame.get(source..)?.first_chunk().copied(),
        ..Header::new(len, Layer::Header(link::llc))
    })
}

/// <https://www.radiotap.org>
pub(super) fn radiotap(frame: &[u8]) -> Option<Header> {
    let [_, _, low, high] = *frame.first_chunk()?;
    let len = u16::from_le_bytes([low, high]).into();
    let fields = frame.get(..len)?;
    let flags = radiotap_flags(fields).unwrap_or_default();
    let next = if flags & 0x40 != 0 {
        Layer::Unread(Unread::Named("IEEE 802.11 frames with a bad checksum"))
    } else if flags & 0x20 != 0 {
        Layer::Header(padded)
    } else {
        Layer::Header(wifi)
    };
    Some(Header::new(len, next))
}

/// The field of flags, if there is one: behind a time stamp at most.
fn radiotap_flags(fields: &[u8]) -> Option<u8> {
    let word = |at: usize| {
        let bytes = fields.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let first = word(4)?;
    let mut at = 8;
    let mut present = first;
    while present & 1 << 31 != 0 {
        present = word(at)?;
        at += 4;
    }
    if first & 1 != 0 {
        at = at.next_multiple_of(8) + 8;
    }
    (first & 2 != 0).then(|| fields.get(at).copied()).flatten()
}

/// linux-wlan-ng's header; drivers put AVS's under the same link type.
pub(super) fn prism(frame: &[u8]) -> Option<Header> {
    let [a, b, _, _, d, e, f, g] = *frame.first_chunk()?;
    if [a, b] == [0x80, 0x21] {
        return avs(frame);
    }
    // In the byte order of the host that captured.
    let len = u32::from_le_bytes([d, e, f, g]);
    let len = if len > 0xffff { len.swap_bytes() } else { len };
    Some(Header::new(len as usize, Layer::Header(wifi)))
}

/// AVS WLAN monitor header.
pub(super) fn avs(frame: &[u8]) -> Option<Header> {
    let [_, _, _, _, a, b, c, d] = *frame.first_chunk()?;
    Some(Header::new(
        u32::from_be_bytes([a, b, c, d]) as usize,
        Layer::Header(wifi),
    ))
}

/// Per-packet information: a length, and the link type of what follows.
pub(super) fn ppi(frame: &[u8]) -> Option<Header> {
    let [_, _, low, high, a, b, c, d] = *frame.first_chunk()?;
    let number = u32::from_le_bytes([a, b, c, d]);
    // A link type of its own may not come again.
    let link_type = LinkType(u16::try_from(number).unwrap_or(u16::MAX));
    Some(Header::new(
        u16::from_le_bytes([low, high]).into(),
        link_type.layer(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data frame from an access point.
    fn frame(control: u8, flags: u8, quality: &[u8]) -> Vec<u8> {
        let mut frame = vec![control, flags, 0, 0];
        for address in 1..=3 {
            frame.extend([2, 0, 0, 0, 0, address]);
        }
        frame.extend([0, 0]);
        frame.extend(quality);
        frame.resize(64, 0);
        frame
    }

    #[test]
    fn data_is_read_and_the_rest_is_named() {
        let plain = wifi(&frame(0x08, 2, &[])).unwrap();
        assert_eq!(plain.len, 24);
        assert_eq!(plain.source_mac, Some([2, 0, 0, 0, 0, 3]));
        assert!(matches!(plain.next, Layer::Header(_)));
        let to = wifi(&frame(0x88, 1, &[0, 0])).unwrap();
        assert_eq!((to.len, to.source_mac), (26, Some([2, 0, 0, 0, 0, 2])));
        assert_eq!(wifi(&frame(0x88, 0x81, &[0, 0])).unwrap().len, 30);
        assert_eq!(wifi(&frame(0x88, 3, &[])).unwrap().len, 32);
        assert_eq!(padded(&frame(0x88, 1, &[0, 0])).unwrap().len, 28);
        for (control, flags, quality) in [(0x80, 0, 0), (0x48, 0, 0), (0xc8, 0, 0), (0xb4, 0, 0)] {
            let next = wifi(&frame(control, flags, &[quality])).unwrap().next;
            assert!(matches!(next, Layer::NotTcp), "{control:#x}");
        }
        for (flags, quality) in [(0x42, 0), (2, 0x80)] {
            let next = wifi(&frame(0x88, flags, &[quality])).unwrap().next;
            assert!(matches!(next, Layer::Unread(_)), "{flags:#x}");
        }
        assert!(wifi(&frame(0x08, 2, &[])[..20]).is_none());
    }

    #[test]
    fn flags_of_radiotap_are_found_behind_a_time_stamp() {
        let header = |present: u32, rest: &[u8]| {
            let mut header = vec![0, 0, 8 + rest.len() as u8, 0];
            header.extend(present.to_le_bytes());
            header.extend(rest);
            header
        };
        assert_eq!(radiotap_flags(&header(2, &[0x20])), Some(0x20));
        assert_eq!(
            radiotap_flags(&header(3, &[0, 0, 0, 0, 0, 0, 0, 0, 0x40])),
            Some(0x40)
        );
        let extended = header(1 << 31 | 3, &[&[0; 4][..], &[0; 12], &[0x20]].concat());
        assert_eq!(radiotap_flags(&extended), Some(0x20));
        assert_eq!(radiotap_flags(&header(1 << 31, &[0xff; 4])), None);
        assert!(radiotap(&header(2, &[0])[..8]).is_none(), "cut");
    }
}

//! Tests of segments inside of other headers: each is found, whatever is around it, and never by a panic.

use super::*;

const ETHERNET: u32 = 1;

/// Headers as bytes, and what is inside.
fn around(headers: &[&[u8]], inside: &[u8]) -> Vec<u8> {
    let mut bytes = headers.concat();
    bytes.extend(inside);
    bytes
}

fn ethernet(ether_type: u16, inside: &[u8]) -> Vec<u8> {
    let mac = [2, 0, 0, 0, 0, 0x22, 2, 0, 0, 0, 0, 0x11];
    around(&[&mac, &ether_type.to_be_bytes()], inside)
}

/// IEEE 802.3 with LLC and SNAP.
fn snap(inside: &[u8]) -> Vec<u8> {
    let body = around(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]], inside);
    ethernet(body.len() as u16, &body)
}

/// An IP header with other addresses than the segment's.
fn outer(protocol: u8, inside: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 9);
    let mut packet = Vec::new();
    builder.write(&mut packet, protocol.into(), inside).unwrap();
    ethernet(0x0800, &packet)
}

fn udp(port: u16, inside: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 9).udp(50_000, port);
    let mut packet = Vec::new();
    builder.write(&mut packet, inside).unwrap();
    ethernet(0x86dd, &packet)
}

fn gre(header: &[u8], inside: &[u8]) -> Vec<u8> {
    outer(47, &around(&[header], inside))
}

/// Each way to carry a segment that is read: its name, link type and frame.
fn cases(seq: u32) -> Vec<(&'static str, u32, Vec<u8>)> {
    let ip = ip(seq, b"hello");
    let frame = frame(seq, b"hello");
    let label = |number: u8, last: u8| [0, number, 0x10 | last, 64];
    let vxlan = [8, 0, 0, 0, 0, 0, 7, 0];
    let gpe = |next: u8| [0x0c, 0, 0, next, 0, 0, 7, 0];
    let nsh = |next: u8| [0, 0x02, 0x02, next, 0, 0, 5, 255];
    let wifi = |control: u8, flags: u8, quality: &[u8]| {
        let mut header = vec![control, flags, 0, 0];
        header.extend([2; 18]);
        header.extend([0, 0]);
        header.extend(quality);
        header.extend([0xaa, 0xaa, 3, 0, 0, 0, 8, 0]);
        around(&[&header], &ip)
    };
    let radiotap = |flags: u8, inside: &[u8]| around(&[&[0, 0, 9, 0, 2, 0, 0, 0, flags]], inside);
    let padded = {
        let mut frame = wifi(0x88, 1, &[0, 0]);
        frame.splice(26..26, [0, 0]);
        frame
    };
    vec![
        (
            "PPPoE",
            ETHERNET,
            ethernet(0x8864, &around(&[&[0x11, 0, 0, 9, 0, 0, 0, 0x21]], &ip)),
        ),
        (
            "PPPoE in a VLAN",
            ETHERNET,
            ethernet(
                0x8100,
                &around(&[&[0, 5, 0x88, 0x64, 0x11, 0, 0, 9, 0, 0, 0, 0x21]], &ip),
            ),
        ),
        (
            "MPLS",
            ETHERNET,
            ethernet(0x8847, &around(&[&label(1, 1)], &ip)),
        ),
        (
            "MPLS, four labels",
            ETHERNET,
            ethernet(
                0x8847,
                &around(
                    &[&label(1, 0), &label(2, 0), &label(3, 0), &label(4, 1)],
                    &ip,
                ),
            ),
        ),
        (
            "MPLS, pseudowire",
            ETHERNET,
            ethernet(0x8847, &around(&[&label(1, 1), &[0; 4]], &frame)),
        ),
        (
            "MPLS, pseudowire without control word",
            ETHERNET,
            ethernet(0x8847, &around(&[&label(1, 1)], &frame)),
        ),
        (
            "MPLS in UDP",
            ETHERNET,
            udp(6635, &around(&[&label(1, 1)], &ip)),
        ),
        (
            "MPLS in IP",
            ETHERNET,
            outer(137, &around(&[&label(1, 1)], &ip)),
        ),
        ("MPLS as link type", 219, around(&[&label(1, 1)], &ip)),
        ("ERSPAN I", ETHERNET, gre(&[0, 0, 0x88, 0xbe], &frame)),
        (
            "ERSPAN II",
            ETHERNET,
            gre(
                &[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 1, 0, 0, 0, 2],
                &frame,
            ),
        ),
        (
            "ERSPAN III",
            ETHERNET,
            gre(
                &[
                    0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 5, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0,
                ],
                &frame,
            ),
        ),
        (
            "ERSPAN III with subheader",
            ETHERNET,
            gre(
                &[
                    0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 5, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 9, 9,
                    9, 9, 9, 9, 9, 9,
                ],
                &frame,
            ),
        ),
        (
            "ERSPAN III of IP",
            ETHERNET,
            gre(
                &[
                    0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 5, 0, 1, 0, 0, 0, 2, 0, 0, 8, 0,
                ],
                &ip,
            ),
        ),
        (
            "PPTP",
            ETHERNET,
            gre(&[0x30, 1, 0x88, 0x0b, 0, 9, 0, 9, 0, 0, 0, 1, 0x21], &ip),
        ),
        (
            "L2TP",
            ETHERNET,
            udp(1701, &around(&[&[0, 2, 0, 1, 0, 2, 0xff, 3, 0, 0x21]], &ip)),
        ),
        (
            "L2TP with all fields",
            ETHERNET,
            udp(
                1701,
                &around(
                    &[&[0x4a, 2, 0, 90, 0, 1, 0, 2, 0, 3, 0, 4, 0, 1, 9, 0, 0x21]],
                    &ip,
                ),
            ),
        ),
        ("WCCP", ETHERNET, gre(&[0, 0, 0x88, 0x3e, 0, 0, 0, 0], &ip)),
        (
            "GTP-U",
            ETHERNET,
            udp(2152, &around(&[&[0x30, 0xff, 0, 9, 0, 0, 0, 1]], &ip)),
        ),
        (
            "GTP-U with number",
            ETHERNET,
            udp(
                2152,
                &around(&[&[0x32, 0xff, 0, 9, 0, 0, 0, 1, 0, 1, 0, 0]], &ip),
            ),
        ),
        (
            "GTP-U with extension",
            ETHERNET,
            udp(
                2152,
                &around(
                    &[&[0x34, 0xff, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0]],
                    &ip,
                ),
            ),
        ),
        (
            "GTP-U of Ethernet",
            ETHERNET,
            udp(2152, &around(&[&[0x30, 0xff, 0, 9, 0, 0, 0, 1]], &frame)),
        ),
        ("LLC and SNAP", ETHERNET, snap(&ip)),
        (
            "LLC and SNAP in ATM",
            11,
            around(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]], &ip),
        ),
        ("VXLAN", ETHERNET, udp(4789, &around(&[&vxlan], &frame))),
        (
            "VXLAN-GPE of IP",
            ETHERNET,
            udp(4790, &around(&[&gpe(1)], &ip)),
        ),
        (
            "VXLAN-GPE of Ethernet",
            ETHERNET,
            udp(4790, &around(&[&gpe(3)], &frame)),
        ),
        (
            "VXLAN-GPE of NSH",
            ETHERNET,
            udp(4790, &around(&[&gpe(4), &nsh(1)], &ip)),
        ),
        (
            "NSH",
            ETHERNET,
            ethernet(0x894f, &around(&[&nsh(3)], &frame)),
        ),
        (
            "NSH with context",
            ETHERNET,
            ethernet(
                0x894f,
                &around(&[&[0, 0x06, 1, 1, 0, 0, 5, 255], &[7; 16]], &ip),
            ),
        ),
        (
            "TZSP",
            ETHERNET,
            udp(37_008, &around(&[&[1, 0, 0, 1, 1]], &frame)),
        ),
        (
            "TZSP of IEEE 802.11",
            ETHERNET,
            udp(
                37_008,
                &around(&[&[1, 0, 0, 18, 10, 1, 9, 0, 1]], &wifi(8, 1, &[])),
            ),
        ),
        (
            "EtherIP",
            ETHERNET,
            outer(97, &around(&[&[0x30, 0]], &frame)),
        ),
        ("IP in IP", ETHERNET, outer(4, &ip)),
        (
            "provider backbone",
            ETHERNET,
            ethernet(0x88e7, &around(&[&[0, 0, 0, 9]], &frame)),
        ),
        (
            "VN-Tag",
            ETHERNET,
            ethernet(0x8926, &around(&[&[0, 1, 0, 2, 8, 0]], &ip)),
        ),
        ("PPP", 9, around(&[&[0, 0x21]], &ip)),
        ("PPP with address", 9, around(&[&[0xff, 3, 0, 0x21]], &ip)),
        (
            "PPP in HDLC framing",
            50,
            around(&[&[0xff, 3, 0, 0x21]], &ip),
        ),
        (
            "PPPoE as link type",
            51,
            around(&[&[0x11, 0, 0, 9, 0, 0, 0, 0x21]], &ip),
        ),
        ("PPP of pppd", 166, around(&[&[0, 3, 0, 0x21]], &ip)),
        (
            "PPP with direction",
            204,
            around(&[&[1, 0xff, 3, 0, 0x21]], &ip),
        ),
        ("Cisco HDLC", 104, around(&[&[0x0f, 0, 8, 0]], &ip)),
        (
            "netfilter log",
            239,
            around(&[&[2, 0, 0, 5, 8, 0, 1, 0, 8, 0, 1, 0, 44, 0, 9, 0]], &ip),
        ),
        ("IEEE 802.11", 105, wifi(0x08, 2, &[])),
        (
            "IEEE 802.11 with quality of service",
            105,
            wifi(0x88, 1, &[0, 0]),
        ),
        ("radiotap", 127, radiotap(0, &wifi(0x88, 1, &[0, 0]))),
        ("radiotap, padded", 127, radiotap(0x20, &padded)),
        (
            "Prism",
            119,
            around(
                &[&[0x44, 0, 0, 0, 16, 0, 0, 0], &[0; 8]],
                &wifi(0x08, 1, &[]),
            ),
        ),
        (
            "AVS",
            163,
            around(
                &[&[0x80, 0x21, 0x10, 1, 0, 0, 0, 16], &[0; 8]],
                &wifi(0x08, 1, &[]),
            ),
        ),
        (
            "per-packet information",
            192,
            around(&[&[0, 0, 8, 0, 105, 0, 0, 0]], &wifi(0x08, 1, &[])),
        ),
    ]
}

fn file(link_type: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let header = PcapHeader {
        datalink: DataLink::from(link_type),
        snaplen: 1 << 18,
        ..PcapHeader::default()
    };
    pcap_with(header, frames)
}

#[test]
fn a_segment_is_found_inside_of_each() {
    for (name, link_type, frame) in cases(77) {
        let (read, reader) = read(file(link_type, &[frame]));
        assert_eq!(read.len(), 1, "{name}: {:?}", reader.counts());
        let segment = &read[0];
        assert_eq!(
            (segment.seq, segment.payload_len, &segment.payload[..]),
            (77, 5, &b"hello"[..]),
            "{name}"
        );
    }
}

#[test]
fn what_is_cut_off_anywhere_is_counted_and_what_is_changed_is_no_panic() {
    for (name, link_type, frame) in cases(1) {
        for len in 0..frame.len() {
            let mut writer = PcapWriter::with_header(
                Vec::new(),
                PcapHeader {
                    datalink: DataLink::from(link_type),
                    ..PcapHeader::default()
                },
            )
            .unwrap();
            writer
                .write_packet(&PcapPacket::new(
                    Duration::from_nanos(NOW),
                    frame.len() as u32,
                    &frame[..len],
                ))
                .unwrap();
            let counts = read_all(writer.into_writer()).unwrap().counts();
            assert_eq!(sum(&counts), 1, "{name}");
            assert_eq!(
                counts.cut + counts.segments,
                1,
                "{name}, {len} bytes: {counts:?}"
            );
        }
        for at in 0..frame.len() {
            for value in [0, 1, 0x0f, 0x7f, 0x80, 0xff, frame[at] ^ 0x10] {
                let mut changed = frame.clone();
                changed[at] = value;
                let reader = read_all(file(link_type, &[changed])).unwrap();
                assert_eq!(sum(&reader.counts()), 1, "{name}");
            }
        }
    }
}

/// What tells networks apart is the same both ways: not a label, a tunnel endpoint or the address of the collector.
#[test]
fn both_directions_of_a_connection_are_in_one_network() {
    let ip = ip(1, b"");
    let frame = frame(1, b"");
    let label = |number: u8| ethernet(0x8847, &around(&[&[0, number, 0x11, 64]], &ip));
    let subscriber = |tunnel: u8| udp(2152, &around(&[&[0x30, 0xff, 0, 9, 0, 0, 0, tunnel]], &ip));
    let mirrored = |session: u8| {
        let vlan = ethernet(0x8100, &[0, session]);
        let header = [
            0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, session, 0, 0, 0, 2,
        ];
        let mut mirror = gre(&header, &frame);
        // The collector's own VLAN.
        mirror.splice(12..12, vlan[12..].iter().copied());
        mirror
    };
    for (one, other) in [
        (label(1), label(2)),
        (label(1), self::frame(1, b"")),
        (subscriber(1), subscriber(2)),
        (mirrored(1), mirrored(2)),
    ] {
        let (read, reader) = read(pcap(&[one, other]));
        assert_eq!(read.len(), 2, "{:?}", reader.counts());
        assert_eq!(read[0].overlay, read[1].overlay);
    }
    let session = |number: u8| {
        ethernet(
            0x8864,
            &around(&[&[0x11, 0, 0, number, 0, 0, 0, 0x21]], &ip),
        )
    };
    let (read, _) = read(pcap(&[session(1), session(2)]));
    assert_ne!(read[0].overlay, read[1].overlay);
}

/// The address of the switch that mirrors would make all senders look alike.
#[test]
fn a_mirrored_frame_has_its_own_address_and_no_direction() {
    let mut inside = frame(1, b"");
    inside[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0x77]);
    let mirror = gre(&[0, 0, 0x88, 0xbe], &inside);
    let cooked = around(
        &[&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 0x11, 0, 0, 8, 0]],
        &mirror[14..],
    );
    for (link_type, bytes) in [(ETHERNET, mirror), (113, cooked)] {
        let mut reader = Reader::new(Cursor::new(file(link_type, &[bytes]))).unwrap();
        let segment = reader.next().unwrap().unwrap();
        assert_eq!(segment.source_mac, Some([2, 0, 0, 0, 0, 0x77]));
        assert_eq!(segment.way, None);
    }
}

#[test]
fn what_may_carry_tcp_and_is_not_read_is_named_and_counted() {
    let ip = ip(1, b"");
    let protected = around(&[&[0x08, 0x42], &[0; 40]], &ip);
    let frames = [
        ethernet(0x88e5, &ip),
        ethernet(0x88e5, &ip),
        ethernet(0x1234, &ip),
        outer(50, &ip),
        udp(51_820, &ip),
        udp(53, &ip),
        ethernet(0x0806, &[0; 28]),
        ethernet(0x8864, &around(&[&[0x11, 0, 0, 1, 0, 9, 0, 0x3d]], &ip)),
        gre(&[0x40, 0, 8, 0], &ip),
        frame(1, b""),
    ];
    let (read, reader) = read(pcap(&frames));
    let counts = reader.counts();
    assert_eq!((read.len(), counts.not_tcp, counts.unread), (1, 2, 7));
    let unread = reader.not_analyzed();
    assert_eq!(unread[0], ("EtherType 0x88e5 (MACsec)".to_owned(), 2));
    let mut others: Vec<_> = unread
        .iter()
        .map(|(name, _)| name.as_str())
        .skip(1)
        .collect();
    others.sort_unstable();
    assert_eq!(
        others,
        [
            "EtherType 0x1234",
            "GRE with source routes",
            "IP protocol 50 (ESP)",
            "PPP protocol 0x003d (multilink)",
            "UDP port 51820 (WireGuard)",
        ]
    );
    let reader = read_all(file(105, &[protected])).unwrap();
    assert_eq!(
        reader.not_analyzed(),
        [("encrypted IEEE 802.11 frames".to_owned(), 1)]
    );
}

#[test]
fn kinds_that_are_not_read_are_bounded_and_their_frames_counted() {
    let frames: Vec<_> = (0..200).map(|n| ethernet(0xa000 + n, b"")).collect();
    let reader = read_all(pcap(&frames)).unwrap();
    assert_eq!(reader.counts().unread, 200);
    assert!(reader.not_analyzed().len() < 100);
}

proptest! {
    #[test]
    fn any_bytes_inside_of_each_never_panic_and_are_counted(
        which in any::<proptest::sample::Index>(),
        keep in any::<proptest::sample::Index>(),
        rest in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let cases = cases(1);
        let (_, link_type, frame) = which.get(&cases);
        let mut bytes = frame[..keep.index(frame.len())].to_vec();
        bytes.extend(rest);
        let reader = read_all(file(*link_type, &[bytes])).unwrap();
        prop_assert_eq!(sum(&reader.counts()), 1);
    }
}

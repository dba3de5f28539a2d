//! Tests of captures with all framings, compressions, truncation and damage.

use std::io::{self, Cursor, Read, Write};
use std::time::Duration;

use etherparse::PacketBuilder;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
use pcap_file::{DataLink, Endianness, TsResolution};
use proptest::prelude::*;

use super::*;

mod encapsulated;

/// 2023-11-14, in nanoseconds.
const NOW: u64 = 1_700_000_000_123_456_789;

#[test]
fn pcap_of_either_byte_order_and_resolution_is_read() {
    for endianness in [Endianness::Little, Endianness::Big] {
        for (ts_resolution, time) in [
            (TsResolution::MicroSecond, NOW / 1000 * 1000),
            (TsResolution::NanoSecond, NOW),
        ] {
            let header = PcapHeader {
                endianness,
                ts_resolution,
                snaplen: 65_535,
                ..PcapHeader::default()
            };
            let file = pcap_with(
                header,
                &[frame(1, b"abc"), b"no TCP".repeat(9), frame(2, b"")],
            );
            let (read, reader) = read(file);
            assert_eq!(read.len(), 2);
            assert_eq!(
                (read[0].frame, read[0].time.0, &read[0].payload[..]),
                (1, time, &b"abc"[..])
            );
            assert_eq!((read[1].frame, read[1].seq), (3, 2));
            assert_eq!(reader.info().format, Format::Pcap);
            assert_eq!(reader.info().interfaces[0].snaplen, Some(65_535));
            assert_eq!(reader.counts().unread, 1);
            assert_eq!(reader.ended_early(), None);
        }
    }
}

#[test]
fn pcapng_of_either_byte_order_with_several_interfaces_and_sections_is_read() {
    for endianness in [Endianness::Little, Endianness::Big] {
        let mut file = section(
            endianness,
            &[(DataLink::ETHERNET, "eth0"), (DataLink::RAW, "tun0")],
            |writer| {
                epb(
                    writer,
                    1,
                    ip(1, b"xy"),
                    vec![
                        EnhancedPacketOption::Comment("a remark".into()),
                        EnhancedPacketOption::Flags(2),
                    ],
                );
                epb(
                    writer,
                    0,
                    frame(2, b""),
                    vec![EnhancedPacketOption::Flags(1)],
                );
            },
        );
        let other = if endianness == Endianness::Little {
            Endianness::Big
        } else {
            Endianness::Little
        };
        file.extend(section(other, &[(DataLink::ETHERNET, "eth1")], |writer| {
            epb(writer, 0, frame(3, b"z"), vec![]);
        }));
        let (read, reader) = read(file);
        let told: Vec<_> = read
            .iter()
            .map(|read| (read.seq, read.interface, read.way, read.time.0))
            .collect();
        assert_eq!(
            told,
            [
                (1, 1, Some(Way::Out), NOW),
                (2, 0, Some(Way::In), NOW),
                (3, 2, None, NOW)
            ]
        );
        let names: Vec<_> = reader
            .info()
            .interfaces
            .iter()
            .filter_map(|interface| interface.name.as_deref())
            .collect();
        assert_eq!(names, ["eth0", "tun0", "eth1"]);
        assert_eq!(reader.info().format, Format::Pcapng);
    }
}

#[test]
fn an_offset_of_timestamps_counts_in_either_byte_order() {
    for endianness in [Endianness::Little, Endianness::Big] {
        let mut writer = PcapNgWriter::with_endianness(Vec::new(), endianness).unwrap();
        let mut interface = interface(DataLink::ETHERNET, "eth0");
        interface
            .options
            .push(InterfaceDescriptionOption::IfTsOffset((-3_i64) as u64));
        writer.write_pcapng_block(interface).unwrap();
        epb(&mut writer, 0, frame(1, b""), vec![]);
        let (read, _) = read(writer.into_inner());
        assert_eq!(read[0].time.0, NOW - 3_000_000_000);
    }
}

#[test]
fn simple_packets_have_no_time_and_are_cut_at_the_limit() {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let mut cutting = interface(DataLink::ETHERNET, "eth0");
    cutting.snaplen = 56;
    writer.write_pcapng_block(cutting).unwrap();
    let whole = frame(1, b"0123456789");
    writer
        .write_pcapng_block(SimplePacketBlock {
            original_len: whole.len() as u32,
            data: whole[..56].into(),
        })
        .unwrap();
    let (read, reader) = read(writer.into_inner());
    assert_eq!((read[0].time.0, read[0].payload_len), (0, 10));
    assert_eq!(read[0].payload, b"01");
    assert_eq!(reader.counts().untimed, 1);
}

#[test]
fn obsolete_packet_blocks_are_read_and_journal_entries_counted() {
    let mut file = section(Endianness::Little, &[(DataLink::ETHERNET, "eth0")], |_| {});
    let packet = frame(1, b"old");
    let mut body = vec![0, 0, 7, 0];
    for word in [0, 1_000_u32, packet.len() as u32, packet.len() as u32] {
        body.extend(word.to_le_bytes());
    }
    body.extend(&packet);
    file.extend(block(9, b"MESSAGE=x\n"));
    file.extend(block(2, &body));
    let (read, reader) = read(file);
    assert_eq!(
        (read[0].frame, read[0].time.0, &read[0].payload[..]),
        (2, 1_000, &b"old"[..])
    );
    assert_eq!(reader.counts().not_tcp, 1);
}

#[test]
fn blocks_that_are_not_needed_are_passed_over_however_long() {
    let mut file = section(Endianness::Little, &[(DataLink::ETHERNET, "eth0")], |_| {});
    let packet = section(Endianness::Little, &[], |writer| {
        epb(writer, 0, frame(1, b""), vec![])
    });
    file.extend(block(0x0bad, &vec![7; 5 << 20]));
    file.extend(&packet[section_len(&packet)..]);
    let (read, reader) = read(file);
    assert_eq!(read.len(), 1);
    assert_eq!(reader.ended_early(), None);
}

#[test]
fn frames_of_an_interface_that_is_not_read_or_not_described_are_counted() {
    let file = section(
        Endianness::Little,
        &[(DataLink::from(189), "usbmon0")],
        |writer| {
            epb(writer, 0, frame(1, b""), vec![]);
            // Its writer would not: number 5 is written into the block below.
            epb(writer, 0, frame(2, b""), vec![]);
        },
    );
    let mut file = file;
    let last = file.len() - (28 + frame(2, b"").len().next_multiple_of(4) + 4);
    file[last + 8] = 5;
    let (read, reader) = read(file);
    assert!(read.is_empty());
    let counts = reader.counts();
    assert_eq!(
        (counts.frames, counts.link_types, counts.malformed),
        (2, 1, 1)
    );
}

#[test]
fn compression_is_told_by_content_and_may_have_several_members() {
    let plain = pcap(&[frame(1, b"a"), frame(2, b"b")]);
    let (one, other) = plain.split_at(plain.len() / 2);
    let mut zipped = gzip(one);
    zipped.extend(gzip(other));
    let mut zst = zstd::encode_all(one, 3).unwrap();
    zst.extend(zstd::encode_all(other, 19).unwrap());
    for (packed, compression) in [(zipped, Compression::Gzip), (zst, Compression::Zstd)] {
        let len = packed.len() as u64;
        let (read, reader) = read(packed);
        assert_eq!(read.len(), 2, "{compression}");
        assert_eq!(reader.info().compression, Some(compression));
        assert_eq!(reader.counts().bytes, len);
        assert_eq!(reader.ended_early(), None);
    }
}

#[test]
fn damaged_compression_ends_the_capture_after_what_is_whole() {
    // Noise does not compress: what is damaged is far behind the first frames.
    let frames: Vec<_> = (0..10).map(|seq| frame(seq, &noise(60_000, seq))).collect();
    let plain = pcap(&frames);
    for (packed, name) in [
        (gzip(&plain), "gzip"),
        (zstd::encode_all(&plain[..], 1).unwrap(), "zstd"),
    ] {
        let (read, reader) = read(packed[..packed.len() * 9 / 10].to_vec());
        assert!(!read.is_empty(), "{name}");
        let why = reader.ended_early().unwrap();
        assert!(why.contains("after") && why.contains(';'), "{why}");
        assert!(matches!(
            Reader::new(Cursor::new(packed[..12].to_vec())),
            Err(CaptureError::Unpack { .. })
        ));
    }
}

#[test]
fn a_capture_that_is_cut_short_gives_what_is_whole_and_says_so() {
    let file = pcap(&[frame(1, b"a"), frame(2, b"b")]);
    let (read, reader) = read(file[..file.len() - 1].to_vec());
    assert_eq!(read.len(), 1);
    let why = reader.ended_early().unwrap();
    assert!(
        why.starts_with("capture is truncated after 1 complete"),
        "{why}"
    );
    assert!(why.contains("editcap"), "{why}");
}

#[test]
fn lengths_that_cannot_be_end_the_capture_without_memory_for_them() {
    let mut file = pcap(&[frame(1, b"a"), frame(2, b"b")]);
    let second = 24 + 16 + frame(1, b"a").len();
    file[second + 8..second + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let (read, reader) = read(file);
    assert_eq!(read.len(), 1);
    assert!(
        reader
            .ended_early()
            .unwrap()
            .contains("invalid packet length 4294967295")
    );

    for (length, says) in [
        (u32::MAX, "invalid packet length"),
        (8, "inconsistent"),
        (0, "inconsistent"),
    ] {
        let mut file = section(Endianness::Little, &[(DataLink::ETHERNET, "eth0")], |_| {});
        let at = file.len();
        file.extend(block(6, &[0; 64]));
        file[at + 4..at + 8].copy_from_slice(&length.to_le_bytes());
        let (_, reader) = self::read(file);
        assert!(reader.ended_early().unwrap().contains(says), "{length}");
    }
}

#[test]
fn no_more_interfaces_are_kept_than_memory_allows() {
    let mut file = section(Endianness::Little, &[], |_| {});
    for _ in 0..70_000 {
        file.extend(block(1, &[1, 0, 0, 0, 0, 0, 0, 0]));
    }
    let (_, reader) = read(file);
    assert!(
        reader
            .ended_early()
            .unwrap()
            .contains("too many interfaces")
    );
    assert_eq!(reader.info().interfaces.len(), 1 << 16);
}

#[test]
fn what_is_no_capture_is_named() {
    for (bytes, says) in [
        (&b""[..], "the file is empty"),
        (b"{\"schema\":\"rsttrace.reset.v1\"}", "looks like JSON"),
        (
            b"RSTTRACE\x02\0\x03\0 and what follows it",
            "rsttrace replay",
        ),
        (b"SQLite format 3\0 and what follows", "rsttrace history"),
        (
            b"12:00:00.1 IP 10.0.0.1.80 > 10.0.0.2.81: Flags [R]",
            "tcpdump -w",
        ),
        (b"snoop\0\0\0\0\0\0\x02", "editcap -F pcapng"),
        (&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0], "file header is truncated"),
        (&[9, 8, 7, 6, 5], "09 08 07 06"),
    ] {
        let error = Reader::new(Cursor::new(bytes)).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
        if bytes.len() > 20 {
            let error = Reader::new(Cursor::new(gzip(bytes)))
                .err()
                .unwrap()
                .to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}

#[test]
fn a_file_whose_frames_are_not_read_is_refused_by_name() {
    let header = PcapHeader {
        datalink: DataLink::from(189),
        ..PcapHeader::default()
    };
    let error = Reader::new(Cursor::new(pcap_with(header, &[])))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("189 (USB)"), "{error}");
    let mut file = pcap(&[]);
    file[4] = 3;
    let error = Reader::new(Cursor::new(file)).err().unwrap().to_string();
    assert!(error.contains("unsupported pcap version 3"), "{error}");
    let error = Reader::open("/nonexistent/x.pcap")
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("cannot open /nonexistent/x.pcap"), "{error}");
}

#[test]
fn a_live_pipe_gives_each_packet_as_soon_as_it_has_come() {
    let (end, mut tap) = io::pipe().unwrap();
    let file = pcap(&[frame(1, b"a")]);
    tap.write_all(&file).unwrap();
    // It would hang here if it waited for more.
    let mut reader = Reader::new(end).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().seq, 1);
    for seq in 2..5 {
        tap.write_all(&pcap(&[frame(seq, b"a")])[24..]).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().seq, seq);
    }
    drop(tap);
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.ended_early(), None);
}

#[test]
fn a_pipe_that_breaks_is_an_error_after_what_has_come() {
    struct Breaks(Cursor<Vec<u8>>);
    impl Read for Breaks {
        fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
            match self.0.read(space)? {
                0 => Err(io::Error::from_raw_os_error(5)),
                read => Ok(read),
            }
        }
    }
    let mut reader = Reader::new(Breaks(Cursor::new(pcap(&[frame(1, b"")])))).unwrap();
    assert!(reader.next().unwrap().is_some());
    assert!(matches!(reader.next(), Err(CaptureError::Read { .. })));
    assert_eq!(reader.next().unwrap(), None, "and then it is over");
}

#[test]
fn padding_is_no_payload_and_what_was_not_captured_is() {
    let mut padded = frame(1, b"");
    padded.resize(60, 0xff);
    let long = frame(2, &[7; 1000]);
    let mut writer = PcapWriter::new(Vec::new()).unwrap();
    for (packet, original) in [(&padded[..], 60), (&long[..100], long.len())] {
        writer
            .write_packet(&PcapPacket::new(
                Duration::from_nanos(NOW),
                original as u32,
                packet,
            ))
            .unwrap();
    }
    let (read, _) = read(writer.into_writer());
    assert_eq!((read[0].payload_len, read[0].payload.len()), (0, 0));
    assert_eq!(
        (read[1].payload_len, read[1].payload.len()),
        (1000, 100 - 14 - 20 - 20)
    );
}

#[test]
fn length_0_is_as_long_as_the_frame_was() {
    let mut packet = frame(1, &[7; 3000]);
    packet[16..18].fill(0);
    let mut writer = PcapWriter::new(Vec::new()).unwrap();
    let original = packet.len() as u32;
    writer
        .write_packet(&PcapPacket::new(Duration::ZERO, original, &packet[..200]))
        .unwrap();
    let (read, _) = read(writer.into_writer());
    assert_eq!(read[0].payload_len, 3000);
}

#[test]
fn nested_headers_end_somewhere() {
    let mut packet = frame(1, b"")[..12].to_vec();
    packet.extend([0x81, 0, 0, 1].repeat(10_000));
    let (read, reader) = read(pcap(&[packet]));
    assert!(read.is_empty());
    assert_eq!(reader.counts().unread, 1);
    assert_eq!(
        reader.not_analyzed(),
        [("too many headers before TCP".to_owned(), 1)]
    );
}

#[test]
fn a_vlan_is_the_same_both_ways_and_no_other() {
    let tagged = |id: u16, seq: u32| {
        let mut packet = frame(seq, b"");
        packet.splice(12..12, [0x81, 0].into_iter().chain(id.to_be_bytes()));
        packet
    };
    let (read, _) = read(pcap(&[
        tagged(5, 1),
        tagged(0xe005, 2),
        tagged(6, 3),
        frame(4, b""),
        tagged(0, 5),
    ]));
    let overlays: Vec<_> = read.iter().map(|read| read.overlay).collect();
    assert_eq!(overlays[0], overlays[1], "priority does not matter");
    assert_ne!(overlays[0], overlays[2]);
    assert_eq!((overlays[3], overlays[4]), (Overlay(0), Overlay(0)));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        read_all(bytes);
    }

    #[test]
    fn arbitrary_frames_never_panic_and_are_counted(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8),
        link in proptest::sample::select(LINK_TYPES),
    ) {
        let header = PcapHeader { datalink: DataLink::from(link), ..PcapHeader::default() };
        let reader = read_all(pcap_with(header, &frames)).unwrap();
        let counts = reader.counts();
        prop_assert_eq!(counts.frames, frames.len() as u64);
        prop_assert_eq!(sum(&counts), counts.frames);
    }

    #[test]
    fn what_is_written_is_read(
        packets in proptest::collection::vec((any::<u32>(), proptest::collection::vec(any::<u8>(), 0..3000), any::<u32>()), 1..20),
        piece in 1_usize..5000,
    ) {
        let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
        writer.write_pcapng_block(interface(DataLink::ETHERNET, "eth0")).unwrap();
        for (seq, payload, time) in &packets {
            let packet = frame(*seq, payload);
            writer.write_pcapng_block(EnhancedPacketBlock {
                interface_id: 0,
                timestamp: Duration::from_nanos(u64::from(*time)),
                original_len: packet.len() as u32,
                data: packet.into(),
                options: vec![],
            }).unwrap();
        }
        let mut reader = Reader::new(Pieces(Cursor::new(writer.into_inner()), piece)).unwrap();
        for (seq, payload, time) in &packets {
            let segment = reader.next().unwrap().unwrap();
            prop_assert_eq!(segment.seq, *seq);
            prop_assert_eq!(segment.payload, &payload[..]);
            prop_assert_eq!(segment.payload_len as usize, payload.len());
            prop_assert_eq!(segment.time.0, u64::from(*time));
        }
        prop_assert_eq!(reader.next().unwrap(), None);
    }
}

#[test]
fn valid_files_with_one_byte_changed_or_cut_anywhere_never_panic_and_end() {
    let mut tunnelled = frame(9, b"");
    tunnelled.splice(12..12, [0x81, 0, 0, 5]);
    let packets = [frame(1, b"abc"), tunnelled];
    let ng = section(
        Endianness::Little,
        &[(DataLink::ETHERNET, "eth0")],
        |writer| {
            epb(
                writer,
                0,
                packets[0].clone(),
                vec![EnhancedPacketOption::Flags(1)],
            );
            epb(writer, 0, packets[1].clone(), vec![]);
        },
    );
    for file in [
        pcap(&packets),
        ng.clone(),
        gzip(&ng),
        zstd::encode_all(&ng[..], 1).unwrap(),
    ] {
        for at in 0..file.len() {
            if let Some(reader) = read_all(file[..at].to_vec()) {
                assert_eq!(sum(&reader.counts()), reader.counts().frames);
            }
            for value in [0, 1, 0x7f, 0x80, 0xff, file[at] ^ 0x10] {
                let mut mutated = file.clone();
                mutated[at] = value;
                read_all(mutated);
            }
        }
    }
}

/// All that are read.
const LINK_TYPES: &[u32] = &[
    0, 1, 9, 11, 12, 14, 50, 51, 101, 104, 105, 108, 113, 119, 127, 163, 166, 192, 204, 219, 228,
    229, 239, 276,
];

/// A segment that may be kept.
struct Kept {
    frame: u64,
    time: CaptureTime,
    interface: u32,
    overlay: Overlay,
    seq: u32,
    payload_len: u32,
    payload: Vec<u8>,
    way: Option<Way>,
}

fn read(file: Vec<u8>) -> (Vec<Kept>, Reader) {
    let mut reader = Reader::new(Cursor::new(file)).unwrap();
    let mut kept = Vec::new();
    while let Some(segment) = reader.next().unwrap() {
        kept.push(Kept {
            frame: segment.frame,
            time: segment.time,
            interface: segment.interface,
            overlay: segment.overlay,
            seq: segment.seq,
            payload_len: segment.payload_len,
            payload: segment.payload.to_vec(),
            way: segment.way,
        });
    }
    (kept, reader)
}

/// Reads whatever it is to the end; each frame takes bytes, so there cannot be more of them.
fn read_all(file: Vec<u8>) -> Option<Reader> {
    let mut reader = Reader::new(Cursor::new(file)).ok()?;
    while let Ok(Some(segment)) = reader.next() {
        assert!(segment.payload.len() <= segment.payload_len as usize);
    }
    Some(reader)
}

fn sum(counts: &ReadCounts) -> u64 {
    counts.segments
        + counts.not_tcp
        + counts.unread
        + counts.link_types
        + counts.fragments
        + counts.cut
        + counts.malformed
}

/// Gives no more than so many bytes at once.
struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let most = space.len().min(self.1);
        self.0.read(&mut space[..most])
    }
}

fn ip(seq: u32, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(40_000, 443, seq, 501);
    let mut packet = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut packet, payload).unwrap();
    packet
}

fn frame(seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend(ip(seq, payload));
    frame
}

fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    pcap_with(
        PcapHeader {
            snaplen: 1 << 18,
            endianness: Endianness::Little,
            ..PcapHeader::default()
        },
        frames,
    )
}

fn pcap_with(header: PcapHeader, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for frame in frames {
        writer
            .write_packet(&PcapPacket::new(
                Duration::from_nanos(NOW),
                frame.len() as u32,
                frame,
            ))
            .unwrap();
    }
    writer.into_writer()
}

fn interface(linktype: DataLink, name: &'static str) -> InterfaceDescriptionBlock<'static> {
    InterfaceDescriptionBlock {
        linktype,
        snaplen: 0,
        options: vec![
            InterfaceDescriptionOption::IfName(name.into()),
            InterfaceDescriptionOption::IfTsResol(9),
        ],
    }
}

fn section(
    endianness: Endianness,
    interfaces: &[(DataLink, &'static str)],
    packets: impl FnOnce(&mut PcapNgWriter<Vec<u8>>),
) -> Vec<u8> {
    let mut writer = PcapNgWriter::with_endianness(Vec::new(), endianness).unwrap();
    for (linktype, name) in interfaces {
        writer
            .write_pcapng_block(interface(*linktype, name))
            .unwrap();
    }
    if interfaces.is_empty() {
        // Its writer wants one; the caller cuts it off.
        writer
            .write_pcapng_block(interface(DataLink::ETHERNET, "cut off"))
            .unwrap();
    }
    packets(&mut writer);
    writer.into_inner()
}

/// Bytes that do not compress.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_add(1);
    let step = || {
        // xorshift32
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(step).take(len).collect()
}

/// Bytes of the section header and its first interface.
fn section_len(file: &[u8]) -> usize {
    let len = |at: usize| u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
    len(0) + len(len(0))
}

fn epb(
    writer: &mut PcapNgWriter<Vec<u8>>,
    interface_id: u32,
    packet: Vec<u8>,
    options: Vec<EnhancedPacketOption<'static>>,
) {
    writer
        .write_pcapng_block(EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(NOW),
            original_len: packet.len() as u32,
            data: packet.into(),
            options,
        })
        .unwrap();
}

/// Any block, little endian.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let len = (12 + padded) as u32;
    let mut block = [kind.to_le_bytes(), len.to_le_bytes()].concat();
    block.extend(body);
    block.resize(8 + padded, 0);
    block.extend(len.to_le_bytes());
    block
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

//! The speed of reading captures: `cargo bench -p rsttrace --bench capture`
//!
//! Times are of a million packets: half of them carry a kilobyte, a twentieth is no TCP. The files stay below target/tmp, for
//! other readers to be measured on.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use pcap_file::DataLink;
use pcap_file::pcap::{PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use rsttrace::capture::Reader;

const PACKETS: u64 = 1_000_000;
const START: Duration = Duration::from_secs(1_700_000_000);
/// 50,000 packets a second.
const APART: Duration = Duration::from_micros(20);
/// Connections that the packets belong to.
const CONNECTIONS: u64 = 10_000;

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("capture");
    group
        .throughput(Throughput::Elements(PACKETS))
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1));
    for file in files() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        group.bench_function(BenchmarkId::new("read", name), |bencher| {
            bencher.iter(|| {
                let mut reader = Reader::open(&file).unwrap();
                let mut resets = 0;
                while let Some(segment) = reader.next().unwrap() {
                    resets += u64::from(segment.flags.0 & 4 != 0);
                }
                assert_eq!(reader.counts().frames, PACKETS);
                black_box(resets)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);

fn files() -> [PathBuf; 5] {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let files = [
        "whole.pcap",
        "headers.pcap",
        "headers.pcapng",
        "headers.pcap.gz",
        "headers.pcap.zst",
    ]
    .map(|name| folder.join(name));
    let [whole, headers, pcapng, gz, zst] = &files;
    if files.iter().all(|file| file.exists()) {
        return files;
    }
    write_pcap(whole, usize::MAX);
    write_pcap(headers, 96);
    write_pcapng(pcapng, 96);
    let mut encoder = flate2::write::GzEncoder::new(create(gz), flate2::Compression::fast());
    std::io::copy(
        &mut BufReader::new(File::open(headers).unwrap()),
        &mut encoder,
    )
    .unwrap();
    encoder.finish().unwrap().flush().unwrap();
    zstd::stream::copy_encode(File::open(headers).unwrap(), create(zst), 1).unwrap();
    files
}

fn write_pcap(path: &Path, limit: usize) {
    let mut writer = PcapWriter::new(create(path)).unwrap();
    each(|time, packet| {
        let kept = &packet[..packet.len().min(limit)];
        writer
            .write_packet(&PcapPacket::new(time, packet.len() as u32, kept))
            .unwrap();
    });
}

fn write_pcapng(path: &Path, limit: usize) {
    let mut writer = PcapNgWriter::new(create(path)).unwrap();
    let interface = InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: 0,
        options: vec![],
    };
    writer.write_pcapng_block(interface).unwrap();
    each(|time, packet| {
        writer
            .write_pcapng_block(EnhancedPacketBlock {
                interface_id: 0,
                timestamp: time / 1000,
                original_len: packet.len() as u32,
                data: packet[..packet.len().min(limit)].into(),
                options: vec![],
            })
            .unwrap();
    });
}

fn each(mut take: impl FnMut(Duration, &[u8])) {
    let payload = [7; 1024];
    let mut packet = Vec::new();
    for number in 0..PACKETS {
        packet.clear();
        let connection = number % CONNECTIONS;
        let client = [10, 0, (connection >> 8) as u8, connection as u8];
        let server = [192, 0, 2, 1];
        let answers = number / CONNECTIONS % 2 == 1;
        let (source, destination) = if answers {
            (server, client)
        } else {
            (client, server)
        };
        let ip = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4(
            source,
            destination,
            60,
        );
        let payload = if number % 2 == 0 { &payload[..] } else { &[] };
        if number % 20 == 0 {
            ip.udp(53, 40_000).write(&mut packet, payload).unwrap();
        } else {
            let ports = if answers {
                (443, 40_000)
            } else {
                (40_000, 443)
            };
            let tcp = ip
                .tcp(ports.0, ports.1, number as u32, 501)
                .ack(number as u32);
            let tcp = if number % 1000 == 1 {
                tcp.rst()
            } else {
                tcp.psh()
            };
            let timestamps = [
                1,
                1,
                8,
                10,
                0,
                0,
                (number >> 8) as u8,
                number as u8,
                0,
                0,
                0,
                1,
            ];
            let tcp = tcp.options_raw(&timestamps).unwrap();
            tcp.write(&mut packet, payload).unwrap();
        }
        take(START + APART * number as u32, &packet);
    }
}

fn create(path: &Path) -> BufWriter<File> {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    BufWriter::new(File::create(path).unwrap())
}

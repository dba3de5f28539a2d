//! The capture reader finds in real files what tshark finds. `tests/data/captures/make.py` wrote both.
//!
//! What once made the reader crash is in `tests/data/crashes/capture`; `cargo xtask fuzz` puts it there.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::Cursor;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use rsttrace::capture::{Reader, Segment};

/// What tshark says of a segment; empty where it says nothing.
struct Told<'a>(Vec<&'a str>);

const FRAME: usize = 0;
const TIME: usize = 1;
const PROTOCOLS: usize = 2;
const ADDRESSES: [[usize; 2]; 2] = [[3, 4], [5, 6]];
const PORTS: [usize; 2] = [7, 8];
const SEQ: usize = 9;
const ACK: usize = 10;
const FLAGS: usize = 11;
const WINDOW: usize = 12;
const LEN: usize = 13;
const TTL: [usize; 2] = [14, 15];
const IP_ID: usize = 16;
const TIMESTAMPS: [usize; 2] = [17, 18];
const SHIFT: usize = 19;
/// The last of the header's fixed part.
const URGENT: usize = 20;

impl Told<'_> {
    fn number(&self, field: usize) -> Option<u64> {
        let text = self.0[field];
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        }
    }

    /// 0 for IPv4, 1 for IPv6: the innermost.
    fn version(&self) -> usize {
        let parts: Vec<_> = self.0[PROTOCOLS].split(':').collect();
        let last = |name| parts.iter().rposition(|part| *part == name);
        usize::from(last("ipv6") > last("ip"))
    }

    fn end(&self, which: usize) -> SocketAddr {
        let ip: IpAddr = self.0[ADDRESSES[self.version()][which]].parse().unwrap();
        SocketAddr::new(ip, self.number(PORTS[which]).unwrap() as u16)
    }

    fn nanoseconds(&self) -> u64 {
        let (seconds, fraction) = self.0[TIME].split_once('.').unwrap();
        assert_eq!(fraction.len(), 9);
        seconds.parse::<u64>().unwrap() * 1_000_000_000 + fraction.parse::<u64>().unwrap()
    }

    fn compare(&self, segment: &Segment<'_>) {
        let frame = segment.frame;
        let same = |field: usize, read: u64| {
            assert_eq!(
                self.number(field),
                Some(read),
                "field {field} of frame {frame}"
            );
        };
        same(FRAME, frame);
        assert_eq!(self.nanoseconds(), segment.time.0, "frame {frame}");
        assert_eq!(self.end(0), segment.source, "frame {frame}");
        assert_eq!(self.end(1), segment.destination, "frame {frame}");
        same(SEQ, segment.seq.into());
        same(ACK, segment.ack.into());
        same(FLAGS, segment.flags.0.into());
        same(WINDOW, segment.window.into());
        same(TTL[self.version()], segment.ttl.into());
        match segment.ip_id {
            Some(id) => same(IP_ID, id.into()),
            None => assert_eq!(self.version(), 1),
        }
        // It does not say for fragments.
        if let Some(len) = self.number(LEN) {
            assert_eq!(len, u64::from(segment.payload_len), "frame {frame}");
        }
        let timestamps = segment.options.timestamps;
        let [value, echo] = TIMESTAMPS.map(|field| self.number(field));
        assert_eq!(
            value,
            timestamps.map(|(value, _)| value.into()),
            "frame {frame}"
        );
        assert_eq!(
            echo,
            timestamps.map(|(_, echo)| echo.into()),
            "frame {frame}"
        );
        assert_eq!(
            self.number(SHIFT),
            segment.options.window_scale.map(u64::from),
            "frame {frame}"
        );
    }
}

#[test]
fn tshark_finds_the_same_segments() {
    let mut files = 0;
    let mut segments = 0;
    for told in files_of("captures") {
        if told
            .extension()
            .is_none_or(|extension| extension != "tshark")
        {
            continue;
        }
        files += 1;
        let told_text = fs::read_to_string(&told).unwrap();
        let capture = told.with_extension("");
        println!("{}", capture.display());
        let mut reader = Reader::open(&capture).unwrap();
        for line in told_text.lines() {
            let told = Told(line.split('\t').collect());
            if told.number(URGENT).is_none() {
                // Cut off within the header.
                continue;
            }
            let segment = reader.next().unwrap().expect(line);
            told.compare(&segment);
            segments += 1;
        }
        assert_eq!(reader.next().unwrap(), None);
        assert_eq!(reader.ended_early(), None);
        let counts = reader.counts();
        let others = [
            counts.not_tcp,
            counts.unread,
            counts.link_types,
            counts.fragments,
            counts.cut,
            counts.malformed,
        ];
        assert_eq!(counts.segments + others.iter().sum::<u64>(), counts.frames);
        assert_eq!(counts.bytes, capture.metadata().unwrap().len());
    }
    assert!(
        files >= 10 && segments >= 60,
        "{files} files, {segments} segments"
    );
}

#[test]
fn what_is_not_tcp_is_counted_by_what_it_is() {
    let counts = |name: &str| {
        let mut reader = Reader::open(data("captures").join(name)).unwrap();
        while reader.next().unwrap().is_some() {}
        reader.counts()
    };
    let ethernet = counts("ethernet.pcap");
    assert_eq!((ethernet.frames, ethernet.segments), (16, 11));
    assert_eq!((ethernet.not_tcp, ethernet.fragments), (3, 2));
    assert_eq!(ethernet.malformed, 0);
    let cut = counts("cut.pcapng");
    assert_eq!((cut.frames, cut.cut), (16, 4));
    let tunnels = counts("tunnels.pcap");
    assert_eq!((tunnels.segments, tunnels.not_tcp), (9, 2));
}

#[test]
fn what_once_crashed_is_read_to_its_end() {
    let files = files_of("crashes/capture");
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        let Ok(mut reader) = Reader::new(Cursor::new(fs::read(&file).unwrap())) else {
            continue;
        };
        while let Ok(Some(_)) = reader.next() {}
    }
}

/// Files of a folder that may not be there, sorted.
fn files_of(folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(data(folder)) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(folder)
}

//! Captures, written byte by byte, and what the program says of them.

use std::net::SocketAddrV4;
use std::process::Command;

use serde_json::Value;

pub const ETHERNET: u32 = 1;
/// The client: TTL 64, on the link of the capture.
pub const C: &str = "10.9.0.1:40000";
/// The server: TTL 52, twelve routers away.
pub const S: &str = "10.9.0.2:443";

/// A capture as a file.
pub struct Capture {
    bytes: Vec<u8>,
}

/// What a run printed.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Capture {
    pub fn new(link_type: u32) -> Self {
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(65_535_u32.to_le_bytes());
        bytes.extend(link_type.to_le_bytes());
        Self { bytes }
    }

    /// A frame at so many microseconds.
    pub fn frame(&mut self, at: u64, frame: &[u8]) {
        self.cut(at, frame, frame.len());
    }

    /// A frame of which so many bytes were kept.
    pub fn cut(&mut self, at: u64, frame: &[u8], kept: usize) {
        let seconds = 1_700_000_000 + at / 1_000_000;
        for word in [seconds, at % 1_000_000, kept as u64, frame.len() as u64] {
            self.bytes.extend((word as u32).to_le_bytes());
        }
        self.bytes.extend(&frame[..kept]);
    }

    /// Runs `rsttrace pcap` on it.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Self::run_all(&[self], arguments)
    }

    /// Compares captures with `rsttrace pcap`.
    pub fn run_all(captures: &[&Self], arguments: &[&str]) -> Run {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..captures.len())
            .map(|number| folder.path().join(format!("{number}.pcap")))
            .collect();
        for (capture, path) in captures.iter().zip(&paths) {
            std::fs::write(path, &capture.bytes).unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_rsttrace"))
            .arg("pcap")
            .args(&paths)
            .args(arguments)
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    /// Records of resets.
    pub fn records(&self) -> Vec<Value> {
        let objects = self
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        objects
            .filter(|object| object["schema"] == "rsttrace.reset.v1")
            .collect()
    }
}

/// An IPv4 packet with a TCP header without options. Flags are letters as in tcpdump; resets have no window.
pub fn tcp(
    from: &str,
    to: &str,
    ttl: u8,
    flags: &str,
    (seq, ack): (u32, u32),
    payload: &[u8],
) -> Vec<u8> {
    let [from, to] = [from, to].map(|address| address.parse::<SocketAddrV4>().unwrap());
    let bits = flags.chars().fold(0_u8, |bits, flag| {
        bits | match flag {
            'F' => 1,
            'S' => 2,
            'R' => 4,
            'P' => 8,
            'A' => 16,
            other => panic!("no flag {other}"),
        }
    });
    let mut packet = vec![0x45, 0];
    packet.extend((40 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, ttl, 6, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(seq.to_be_bytes());
    packet.extend(ack.to_be_bytes());
    let window: u16 = if bits & 4 != 0 { 0 } else { 64_000 };
    packet.extend([0x50, bits]);
    packet.extend(window.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(payload);
    packet
}

/// A UDP packet over IPv4.
pub fn udp(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let [from, to] = [from, to].map(|address| address.parse::<SocketAddrV4>().unwrap());
    let mut packet = vec![0x45, 0];
    packet.extend((28 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend((8 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

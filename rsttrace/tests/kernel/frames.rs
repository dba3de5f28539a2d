//! Frames that no TCP stack of this machine would send.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{Started, eventually};

pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// A bare TCP header.
pub fn tcp(ports: (u16, u16), seq: u32, flags: u8) -> Vec<u8> {
    let mut header = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    header.extend(seq.to_be_bytes());
    header.extend([0; 4]);
    header.extend([0x50, flags]);
    header.extend([0; 6]);
    header
}

/// An IPv4 packet. `fragment`: the flags and the offset as in the header.
pub fn ipv4(
    ends: (Ipv4Addr, Ipv4Addr),
    ttl: u8,
    options: &[u8],
    fragment: u16,
    payload: &[u8],
) -> Vec<u8> {
    let length = 20 + options.len();
    let mut header = vec![0x40 | (length / 4) as u8, 0];
    header.extend(((length + payload.len()) as u16).to_be_bytes());
    header.extend([0x12, 0x34]);
    header.extend(fragment.to_be_bytes());
    header.extend([ttl, 6, 0, 0]);
    header.extend(ends.0.octets());
    header.extend(ends.1.octets());
    header.extend(options);
    let mut sum: u32 = header
        .chunks_exact(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    header.extend(payload);
    header
}

/// An IPv6 packet. `extensions`: header types with their bytes after the "next header" byte.
pub fn ipv6(
    ends: (Ipv6Addr, Ipv6Addr),
    hop_limit: u8,
    extensions: &[(u8, &[u8])],
    payload: &[u8],
) -> Vec<u8> {
    let types: Vec<u8> = extensions
        .iter()
        .map(|extension| extension.0)
        .chain([6])
        .collect();
    let mut body = Vec::new();
    for ((_, rest), next) in extensions.iter().zip(&types[1..]) {
        body.push(*next);
        body.extend(*rest);
    }
    body.extend(payload);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((body.len() as u16).to_be_bytes());
    packet.extend([types[0], hop_limit]);
    packet.extend(ends.0.octets());
    packet.extend(ends.1.octets());
    packet.extend(body);
    packet
}

/// An Ethernet frame around an IP packet, with VLAN tags (type, tag), the outer first.
pub fn ethernet(
    destination: [u8; 6],
    source: [u8; 6],
    tags: &[(u16, u16)],
    packet: &[u8],
) -> Vec<u8> {
    let mut frame = [destination, source].concat();
    for (kind, tag) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(tag.to_be_bytes());
    }
    let kind: u16 = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

/// Both addresses of the documentation's networks 1 and 2.
pub fn addresses(version: u8) -> (IpAddr, IpAddr) {
    if version == 4 {
        (
            Ipv4Addr::new(192, 0, 2, 9).into(),
            Ipv4Addr::new(198, 51, 100, 7).into(),
        )
    } else {
        let of = |network| Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, 7).into();
        (of(1), of(2))
    }
}

/// A process that writes and reads frames at interfaces of the namespace it was started in.
pub struct Wire {
    process: Started,
    orders: ChildStdin,
    came: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    /// At these interfaces; `fd:NAME` is the file end of a new tun device.
    pub fn start(ends: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", include_str!("wire.py")])
            .args(ends)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let came: Arc<Mutex<Vec<String>>> = Arc::default();
        let into = Arc::clone(&came);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                into.lock().unwrap().push(line);
            }
        });
        Self {
            process: Started(child),
            orders,
            came,
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub fn send(&mut self, end: &str, frame: &[u8]) {
        writeln!(self.orders, "{}", line(end, frame)).unwrap();
    }

    /// Waits until exactly this frame came in.
    pub fn await_frame(&self, end: &str, frame: &[u8]) {
        let line = line(end, frame);
        eventually(&format!("this frame: {line}"), || {
            self.came.lock().unwrap().contains(&line).then_some(())
        });
    }
}

fn line(end: &str, frame: &[u8]) -> String {
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{end} {hex}")
}

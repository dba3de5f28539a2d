//! Kernel state of a namespace: connections, counters, sysctls.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;

use crate::wait::poll;

/// A row of the kernel's connection table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The kernel's number of the state; a TIME_WAIT minisock that stands for FIN_WAIT2 shows that.
    pub state: u8,
    /// Whether the connection is a TIME_WAIT minisock, whatever its state is.
    pub minisock: bool,
}

/// The connection's row in /proc/net/tcp or tcp6, `None` if there is none.
pub fn entry(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Entry>> {
    let path = if local.is_ipv4() { "tcp" } else { "tcp6" };
    let table = fs::read_to_string(format!("/proc/thread-self/net/{path}"))?;
    Ok(table.lines().skip(1).find_map(|line| {
        let (from, to, entry) = parse_row(line)?;
        (from == local && to == remote).then_some(entry)
    }))
}

/// Waits until the connection is in the table in this form.
pub fn await_entry(local: SocketAddr, remote: SocketAddr, meant: Entry) -> io::Result<()> {
    poll(|| Ok((entry(local, remote)? == Some(meant)).then_some(())))
}

/// A counter of /proc/net/netstat or /proc/net/snmp by its name, in the calling thread's namespace.
pub fn counter(name: &str) -> io::Result<u64> {
    for file in ["netstat", "snmp"] {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
        if let Some(value) = find_counter(&text, name) {
            return Ok(value);
        }
    }
    Err(Errno::ENOENT.into())
}

/// Writes a sysctl below /proc/sys/net and returns what it was.
pub fn write_sysctl(name: &str, value: &str) -> io::Result<String> {
    let path = format!("/proc/sys/net/{name}");
    let before = fs::read_to_string(&path)?.trim().to_owned();
    fs::write(&path, value)?;
    Ok(before)
}

fn find_counter(text: &str, name: &str) -> Option<u64> {
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks_exact(2).find_map(|pair| {
        let column = pair[0].split_whitespace().position(|word| word == name)?;
        pair[1].split_whitespace().nth(column)?.parse().ok()
    })
}

fn parse_row(line: &str) -> Option<(SocketAddr, SocketAddr, Entry)> {
    let mut words = line.split_whitespace().skip(1);
    let local = parse_address(words.next()?)?;
    let remote = parse_address(words.next()?)?;
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    let timer = words.nth(1)?.split(':').next()?;
    Some((
        local,
        remote,
        Entry {
            state,
            minisock: timer == MINISOCK_TIMER,
        },
    ))
}

/// Addresses are written as the 32-bit words of memory, ports as numbers.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for start in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// get_timewait4_sock() writes timer 3.
const MINISOCK_TIMER: &str = "03";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::protocol::TcpState;

    const TIME_WAIT: u8 = 6;

    #[test]
    fn rows_of_sockets_and_minisocks_are_told_apart() {
        let socket = "   1: 017100CB:1F90 010200C0:C001 05 00000000:00000000 02:00000D2A 00000000     0        0 0 1 0";
        let minisock = "   2: 017100CB:1F90 010200C0:C001 06 00000000:00000000 03:000017A0 00000000     0        0 0 3 0";
        let (local, remote, entry) = parse_row(socket).unwrap();
        assert_eq!(local, "203.0.113.1:8080".parse().unwrap());
        assert_eq!(remote, "192.0.2.1:49153".parse().unwrap());
        assert_eq!(
            entry,
            Entry {
                state: TcpState::FinWait2 as u8,
                minisock: false
            }
        );
        let (_, _, entry) = parse_row(minisock).unwrap();
        assert_eq!(
            entry,
            Entry {
                state: TIME_WAIT,
                minisock: true
            }
        );
    }

    #[test]
    fn ipv6_addresses_are_words_of_memory() {
        let address = parse_address("000001FD000000000000000001000000:0050");
        assert_eq!(address, Some("[fd01::1]:80".parse().unwrap()));
    }

    #[test]
    fn a_counter_is_found_by_its_column() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: C\nIpExt: 3\n";
        assert_eq!(find_counter(text, "B"), Some(2));
        assert_eq!(find_counter(text, "C"), Some(3));
        assert_eq!(find_counter(text, "D"), None);
    }
}

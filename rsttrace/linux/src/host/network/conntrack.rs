//! The connection tracking entry of a segment, as `conntrack --get` has it. Needs CAP_NET_ADMIN.

use std::net::SocketAddr;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::request::{NESTED, address, ask, attribute, family, octets, value};
use crate::event::Tracked;

// include/uapi/linux/netfilter/nfnetlink_conntrack.h
const GET: u16 = 1 << 8 | 1;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const V4_SOURCE: u16 = 1;
const V4_DESTINATION: u16 = 2;
const V6_SOURCE: u16 = 3;
const V6_DESTINATION: u16 = 4;
const PROTOCOL: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// `struct nfgenmsg`.
const HEADER: usize = 4;

/// What the calling thread's namespace has for a segment with these addresses, in either direction of the entry; absent if it cannot
/// be asked.
pub fn entry(source: SocketAddr, destination: SocketAddr) -> Option<Tracked> {
    match ask(NETLINK_NETFILTER, GET, &request(source, destination)) {
        Ok(body) => tracked(&body),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Some(Tracked::Nothing),
        Err(error) => {
            log::debug!("connection tracking cannot be asked: {error}");
            None
        }
    }
}

fn request(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (from, to) = match source {
        SocketAddr::V4(_) => (V4_SOURCE, V4_DESTINATION),
        SocketAddr::V6(_) => (V6_SOURCE, V6_DESTINATION),
    };
    let mut addresses = Vec::new();
    attribute(&mut addresses, from, &octets(source.ip()));
    attribute(&mut addresses, to, &octets(destination.ip()));
    let mut protocol = Vec::new();
    attribute(&mut protocol, PROTOCOL, &[libc::IPPROTO_TCP as u8]);
    attribute(&mut protocol, SOURCE_PORT, &source.port().to_be_bytes());
    let port = destination.port().to_be_bytes();
    attribute(&mut protocol, DESTINATION_PORT, &port);
    let mut tuple = Vec::new();
    attribute(&mut tuple, TUPLE_IP | NESTED, &addresses);
    attribute(&mut tuple, TUPLE_PROTOCOL | NESTED, &protocol);
    let mut body = vec![family(source.ip()), 0, 0, 0];
    attribute(&mut body, TUPLE_ORIGINAL | NESTED, &tuple);
    body
}

/// Whether an entry translates: its reply is not the mirror of its original direction.
fn tracked(body: &[u8]) -> Option<Tracked> {
    let attributes = body.get(HEADER..)?;
    let (source, destination) = tuple(&value(attributes, TUPLE_ORIGINAL)?)?;
    let reply = tuple(&value(attributes, TUPLE_REPLY)?)?;
    Some(if reply == (destination, source) {
        Tracked::Untranslated
    } else {
        Tracked::Translated
    })
}

fn tuple(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let addresses = value(bytes, TUPLE_IP)?;
    let protocol = value(bytes, TUPLE_PROTOCOL)?;
    let end = |kinds: [u16; 2], port: u16| {
        let host = kinds.iter().find_map(|&kind| value(&addresses, kind))?;
        let port = value(&protocol, port)?.try_into().ok()?;
        Some(SocketAddr::new(address(&host)?, u16::from_be_bytes(port)))
    };
    Some((
        end([V4_SOURCE, V6_SOURCE], SOURCE_PORT)?,
        end([V4_DESTINATION, V6_DESTINATION], DESTINATION_PORT)?,
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// An answer with these tuples.
    fn answer(original: (&str, &str), reply: (&str, &str)) -> Vec<u8> {
        let tuple = |(source, destination): (&str, &str)| {
            value(&request(at(source), at(destination))[HEADER..], 1).unwrap()
        };
        let mut body = vec![2, 0, 0, 0];
        attribute(&mut body, TUPLE_ORIGINAL | NESTED, &tuple(original));
        attribute(&mut body, TUPLE_REPLY | NESTED, &tuple(reply));
        body
    }

    #[test]
    fn an_entry_translates_if_its_directions_differ() {
        for (source, front, back) in [
            ("192.0.2.1:4000", "198.51.100.2:80", "203.0.113.3:8080"),
            ("[fd01::1]:4000", "[fd02::2]:80", "[fd03::3]:8080"),
        ] {
            let plain = answer((source, front), (front, source));
            assert_eq!(tracked(&plain), Some(Tracked::Untranslated));
            let translated = answer((source, front), (back, source));
            assert_eq!(tracked(&translated), Some(Tracked::Translated));
        }
        let whole = answer(
            ("192.0.2.1:1", "192.0.2.2:2"),
            ("192.0.2.2:2", "192.0.2.1:1"),
        );
        for cut in 0..whole.len() {
            assert_eq!(tracked(&whole[..cut]), None, "{cut}");
        }
    }
}

//! Deletes entries of connection tracking, as `conntrack -D` does.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::netlink;
use super::nft::message::Attributes;

// include/uapi/linux/netfilter/nfnetlink_conntrack.h
const DELETE: u16 = 1 << 8 | 2;
/// `NLM_F_REQUEST | NLM_F_ACK`
const FLAGS: u16 = 5;

/// Deletes the entry that has this direction.
pub fn delete(source: SocketAddr, destination: SocketAddr) -> io::Result<()> {
    netlink::request(NETLINK_NETFILTER, &message(source, destination), 1)
}

fn message(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (family, kinds) = match source {
        SocketAddr::V4(_) => (libc::AF_INET, [1, 2]),
        SocketAddr::V6(_) => (libc::AF_INET6, [3, 4]),
    };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let addresses = Attributes::default()
        .bytes(kinds[0], &octets(source.ip()))
        .bytes(kinds[1], &octets(destination.ip()));
    let protocol = Attributes::default()
        .bytes(1, &[libc::IPPROTO_TCP as u8])
        .bytes(2, &source.port().to_be_bytes())
        .bytes(3, &destination.port().to_be_bytes());
    let tuple = Attributes::default()
        .nested(1, addresses)
        .nested(2, protocol);
    let body = Attributes::default().nested(1, tuple);
    let mut bytes = (20 + body.0.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(DELETE.to_ne_bytes());
    bytes.extend(FLAGS.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, 0, 0, 0]);
    bytes.extend(body.0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_own_length() {
        for end in ["192.0.2.1:80", "[fd01::1]:80"] {
            let end = end.parse().expect("an address");
            let bytes = message(end, end);
            assert_eq!(bytes[..4], (bytes.len() as u32).to_ne_bytes());
        }
    }
}

//! Destroying a connection of another process, as `ss -K` does.

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{SOCK_DESTROY, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::netlink;

/// Destroys the connection (SOCK_DESTROY); its owner sees ECONNABORTED.
pub fn destroy(local: SocketAddr, remote: SocketAddr) -> io::Result<()> {
    netlink::request(NETLINK_SOCK_DIAG, &message(local, remote), 1)
}

fn message(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let request = InetRequest {
        family: family as u8,
        protocol: libc::IPPROTO_TCP as u8,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: local.port(),
            destination_port: remote.port(),
            source_address: local.ip(),
            destination_address: remote.ip(),
            interface_id: 0,
            cookie: [0xff; 8],
        },
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let payload = NetlinkPayload::from(SockDiagMessage::InetRequest(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    // The library knows the request as a query only; destroying takes the same body.
    message.header.message_type = SOCK_DESTROY;
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_a_destroy_of_this_connection() {
        let bytes = message(
            "203.0.113.3:80".parse().unwrap(),
            "192.0.2.1:4".parse().unwrap(),
        );
        assert_eq!(u16::from_ne_bytes([bytes[4], bytes[5]]), 21);
        assert_eq!(bytes[16..18], [2, 6]);
        assert_eq!(bytes[24..28], [0, 80, 0, 4]);
        assert_eq!(bytes[28..32], [203, 0, 113, 3]);
        assert_eq!(bytes.len(), 16 + 56);
    }
}

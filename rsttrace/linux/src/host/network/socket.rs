//! The TCP socket of a connection, as `ss` finds it by both ends.

use std::net::SocketAddr;

use netlink_packet_core::Parseable as _;
use netlink_packet_sock_diag::SOCK_DIAG_BY_FAMILY;
use netlink_packet_sock_diag::inet::InetResponseHeader;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::request::{ask, family, octets};

/// Size of `struct inet_diag_msg`.
const FIXED: usize = 72;

/// Inode of the socket in the calling thread's namespace; absent if there is none, or it has no file.
pub fn inode(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let body = ask(
        NETLINK_SOCK_DIAG,
        SOCK_DIAG_BY_FAMILY,
        &request(local, remote),
    )
    .ok()?;
    let header = InetResponseHeader::parse(body.get(..FIXED)?).ok()?;
    (header.inode != 0).then_some(header.inode.into())
}

/// `struct inet_diag_req_v2` for one socket, whatever its cookie.
fn request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut body = vec![family(local.ip()), libc::IPPROTO_TCP as u8, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port().to_be_bytes());
    body.extend(remote.port().to_be_bytes());
    for end in [local, remote] {
        let mut address = octets(end.ip());
        address.resize(16, 0);
        body.extend(address);
    }
    body.extend(0_u32.to_ne_bytes());
    body.extend([0xff; 8]);
    body
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_socket_is_found_by_its_ends_only() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let file = std::fs::File::from(stream.as_fd().try_clone_to_owned().unwrap());
            let expected = file.metadata().unwrap().ino();
            assert_eq!(inode(local, remote), Some(expected));
            let other = SocketAddr::new(remote.ip(), remote.port() ^ 1);
            assert_eq!(inode(local, other), None);
        }
    }
}

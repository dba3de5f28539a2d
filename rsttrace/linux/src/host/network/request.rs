//! One netlink request and its answers, in the calling thread's namespace.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{
    ErrorBuffer, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NlasIterator,
};
use netlink_sys::Socket;

/// The kernel answers at once; where it does not, the fact is absent.
const PATIENCE: Duration = Duration::from_millis(200);

/// Sends a message of this type; the body of the first answer. An error if the kernel refuses.
pub fn ask(protocol: isize, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut socket = Socket::new(protocol)?;
    socket2::SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
    socket.bind_auto()?;
    socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
    socket.send(&message(kind, body), 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let answer = NetlinkBuffer::new_checked(&datagram[..]).map_err(io::Error::other)?;
        match answer.message_type() {
            NLMSG_ERROR => {
                let outcome =
                    ErrorBuffer::new_checked(answer.payload()).map_err(io::Error::other)?;
                if let Some(code) = outcome.code() {
                    return Err(io::Error::from_raw_os_error(code.get().saturating_neg()));
                }
            }
            NLMSG_DONE => return Err(io::Error::from(io::ErrorKind::NotFound)),
            _ => return Ok(answer.payload().to_vec()),
        }
    }
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = (16 + body.len()) as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// Adds an attribute, padded.
pub fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend(((4 + value.len()) as u16).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// The value of an attribute; absent if there is none, or it is damaged.
pub fn value(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() & !NESTED == kind)
        .map(|attribute| attribute.value().to_vec())
}

/// An address of 4 or 16 bytes, v4-mapped ones as IPv4.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::from(v6).to_canonical())
}

/// The bytes of an address.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Marks an attribute that is made of others.
pub const NESTED: u16 = libc::NLA_F_NESTED as u16;

/// The address family of both.
pub fn family(one: IpAddr) -> u8 {
    match one {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

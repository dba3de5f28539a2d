//! Netlink requests and their results.

use std::io;
use std::num::NonZeroI32;

use netlink_packet_core::{ErrorBuffer, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::{Socket, SocketAddr};

/// Sends a request (one message or a batch) and waits for `acks` acknowledgements; the first
/// refusal is the error.
pub fn request(protocol: isize, message: &[u8], acks: usize) -> io::Result<()> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(message, 0)?;
    let mut seen = 0;
    while seen < acks {
        let (answer, _) = socket.recv_from_full()?;
        for outcome in outcomes(&answer) {
            if outcome != 0 {
                return Err(io::Error::from_raw_os_error(-outcome));
            }
            seen += 1;
        }
    }
    Ok(())
}

/// The error numbers (negative, 0 for success) of the acknowledgements in a datagram.
fn outcomes(mut datagram: &[u8]) -> Vec<i32> {
    let mut found = Vec::new();
    while let Ok(message) = NetlinkBuffer::new_checked(datagram) {
        if message.message_type() == NLMSG_ERROR
            && let Ok(outcome) = ErrorBuffer::new_checked(message.payload())
        {
            found.push(outcome.code().map_or(0, NonZeroI32::get));
        }
        let length = message.length() as usize;
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_message(code: i32) -> Vec<u8> {
        let mut message = 36_u32.to_ne_bytes().to_vec();
        message.extend(NLMSG_ERROR.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(code.to_ne_bytes());
        message.extend([0; 16]);
        message
    }

    #[test]
    fn each_acknowledgement_in_a_datagram_counts() {
        let datagram = [error_message(0), error_message(-17)].concat();
        assert_eq!(outcomes(&datagram), [0, -17]);
    }

    #[test]
    fn a_cut_datagram_is_no_outcome() {
        assert!(outcomes(&error_message(0)[..18]).is_empty());
        assert!(outcomes(&[]).is_empty());
    }
}

//! Comparison of observations by sequence numbers: whether two could be of one reset.
//!
//! The tracepoints carry no outgoing segment, so its numbers are computed: an active reset has
//! `seq = snd_nxt` (or the edge of the peer's window, `tcp_acceptable_seq()`) and `ack = rcv_nxt`; an answer takes
//! `seq` from the ACK of the segment it answers or, without one, has `seq = 0` and acknowledges that segment.

use crate::event::{Packet, Received, Segment, Sent, Socket, TcpFlags, TcpState};

/// Sequence and acknowledgement number of a reset; no acknowledgement without the ACK flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Numbers {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: Option<u32>,
}

impl Numbers {
    /// Of a segment seen on the wire.
    pub fn of_packet(packet: &Packet) -> Self {
        Self::of_segment(&packet.segment)
    }

    /// Of a segment whose headers are known.
    pub fn of_segment(segment: &Segment) -> Self {
        Self {
            seq: segment.seq,
            ack: segment.flags.has(TcpFlags::ACK).then_some(segment.ack),
        }
    }

    /// Of the segment the kernel sent; `None` if the segment it answers could not be read.
    pub fn of_sent(sent: &Sent) -> Option<Self> {
        if sent.passive {
            return sent.cause.as_ref().map(Self::answering);
        }
        sent.socket.as_ref().map(|socket| Self {
            seq: socket.snd_nxt,
            ack: Some(socket.rcv_nxt),
        })
    }

    /// Of the answer to `cause` (RFC 9293 section 3.5.2).
    fn answering(cause: &Segment) -> Self {
        if cause.flags.has(TcpFlags::ACK) {
            return Self {
                seq: cause.ack,
                ack: None,
            };
        }
        let flags =
            u32::from(cause.flags.has(TcpFlags::SYN)) + u32::from(cause.flags.has(TcpFlags::FIN));
        let consumed = cause.payload_len.wrapping_add(flags);
        Self {
            seq: 0,
            ack: Some(cause.seq.wrapping_add(consumed)),
        }
    }

    /// What an accepted reset carried, or may have carried, for a search by numbers alone.
    pub fn of_received(received: &Received) -> [Self; 3] {
        if let Some(segment) = &received.segment {
            return [Self::of_segment(segment); 3];
        }
        let socket = &received.socket;
        if socket.state == TcpState::SynSent {
            // The SYN and its data (TCP Fast Open), or the SYN alone.
            let (all, syn) = (socket.snd_nxt, socket.snd_una.wrapping_add(1));
            return [all, syn, syn].map(|ack| Self {
                seq: 0,
                ack: Some(ack),
            });
        }
        [Some(socket.snd_nxt), Some(socket.snd_una), None].map(|ack| Self {
            seq: socket.rcv_nxt,
            ack,
        })
    }
}

/// The segment on the wire may be what this event tells of. `same_socket`: the segment names the event's socket.
pub fn packet_is_sent(packet: &Packet, sent: &Sent, same_socket: bool) -> bool {
    are_of_sent(Numbers::of_packet(packet), sent, same_socket)
        .unwrap_or_else(|| is_passive_form(packet))
}

/// A segment with these numbers may be what this event tells of; `None` if its numbers are not known.
fn are_of_sent(seen: Numbers, sent: &Sent, same_socket: bool) -> Option<bool> {
    let expected = Numbers::of_sent(sent)?;
    Some(match sent.socket.as_ref() {
        Some(socket) if !sent.passive => {
            seen.ack == expected.ack && (same_socket || could_send(socket, seen.seq))
        }
        _ => seen == expected,
    })
}

/// The segment on the wire may be the one this socket accepted. Address translation leaves its numbers as they are.
pub fn packet_is_received(packet: &Packet, received: &Received) -> bool {
    let seen = Numbers::of_packet(packet);
    match &received.segment {
        Some(segment) => segment.flags.has(TcpFlags::RST) && Numbers::of_segment(segment) == seen,
        None => could_accept(&received.socket, seen),
    }
}

/// What this host sent may be what this socket accepted.
pub fn sent_is_received(sent: &Sent, received: &Received) -> bool {
    if let Some(segment) = &received.segment {
        // An answer has no window; its options are not known here.
        return segment.flags.has(TcpFlags::RST)
            && are_of_sent(Numbers::of_segment(segment), sent, false)
                .unwrap_or(segment.window == 0);
    }
    match (Numbers::of_sent(sent), sent.socket.as_ref()) {
        (Some(expected), Some(socket)) if !sent.passive => {
            could_accept(&received.socket, expected) || could_send(socket, received.socket.rcv_nxt)
        }
        (Some(expected), _) => could_accept(&received.socket, expected),
        (None, _) => true,
    }
}

/// An active reset of this socket may carry `seq`: anything from the first unacknowledged byte to the next one to send.
fn could_send(socket: &Socket, seq: u32) -> bool {
    seq.wrapping_sub(socket.snd_una) <= socket.snd_nxt.wrapping_sub(socket.snd_una)
}

/// The kernel takes a reset with these numbers (`tcp_validate_incoming`, `tcp_reset_check`, `tcp_rcv_synsent_state_process`).
fn could_accept(socket: &Socket, numbers: Numbers) -> bool {
    if socket.state == TcpState::SynSent {
        return numbers
            .ack
            .is_some_and(|ack| acknowledges_syn(socket.snd_una, socket.snd_nxt, ack));
    }
    accepts(socket.state, socket.rcv_nxt, numbers.seq)
}

/// An answer to a SYN acknowledges it, and perhaps data that came with it (`tcp_rcv_synsent_state_process`). Over lo and veth it may
/// come in while the SYN is still being sent, before `tcp_connect` counts it in `snd_nxt`.
pub fn acknowledges_syn(snd_una: u32, snd_nxt: u32, ack: u32) -> bool {
    let sent = snd_nxt.wrapping_sub(snd_una).max(1);
    (1..=sent).contains(&ack.wrapping_sub(snd_una))
}

/// A synchronized socket takes exactly the next number or, once the peer has finished, that of its FIN.
pub fn accepts(state: TcpState, rcv_nxt: u32, seq: u32) -> bool {
    let fin = matches!(
        state,
        TcpState::CloseWait | TcpState::LastAck | TcpState::Closing
    ) && seq == rcv_nxt.wrapping_sub(1);
    seq == rcv_nxt || fin
}

/// `seq` lies within the window but is not the next number: RFC 5961 answers it with a challenge ACK.
pub fn is_in_window(rcv_nxt: u32, rcv_wnd: u32, seq: u32) -> bool {
    seq.wrapping_sub(rcv_nxt) < rcv_wnd
}

/// The shape of an answer: no window, no options.
pub fn is_passive_form(packet: &Packet) -> bool {
    packet.segment.window == 0 && !packet.has_options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::{Scene, segment};

    #[test]
    fn an_answer_takes_its_number_from_the_ack_or_acknowledges_everything() {
        let scene = Scene::new();
        for (flags, payload, expected) in [
            (TcpFlags::SYN, 0, (0, Some(1001))),
            (TcpFlags::FIN, 10, (0, Some(1011))),
            (TcpFlags::ACK, 10, (7, None)),
            (TcpFlags::SYN | TcpFlags::ACK, 0, (7, None)),
        ] {
            let sent = scene.answer(segment(flags, 1000, 7, payload));
            let numbers = Numbers::of_sent(&sent).expect("the cause is there");
            assert_eq!((numbers.seq, numbers.ack), expected, "{flags:#x}");
        }
    }

    #[test]
    fn a_finished_peer_may_reset_with_the_number_of_its_fin() {
        assert!(accepts(TcpState::CloseWait, 100, 99));
        assert!(!accepts(TcpState::Established, 100, 99));
        assert!(accepts(TcpState::Established, 100, 100));
    }

    #[test]
    fn windows_wrap() {
        assert!(is_in_window(u32::MAX - 1, 10, 3));
        assert!(!is_in_window(u32::MAX - 1, 10, 20));
    }
}

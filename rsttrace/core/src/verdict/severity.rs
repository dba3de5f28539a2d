//! What did this reset cost: an established connection, a connect, or nothing?

use crate::event::{OwnerSource, Received, Sent, Socket, TcpState};
use crate::record::{Cause, Severity};

/// Of a reset the kernel sent.
pub fn of_sent(sent: &Sent, cause: Cause) -> Severity {
    let if_connected = || {
        if lost_state(sent).is_none_or(TcpState::is_synchronized) {
            Severity::Fault
        } else {
            Severity::Refused
        }
    };
    match cause {
        Cause::PortClosed | Cause::AcceptQueueOverflow | Cause::BadHandshake => Severity::Refused,
        Cause::LateSynack | Cause::StrayAck | Cause::OrphanTimeout => Severity::Noise,
        Cause::HalfOpen | Cause::DataAfterClose => {
            let lost_data = sent.cause.is_some_and(|cause| cause.payload_len > 0);
            if lost_data {
                Severity::Fault
            } else {
                Severity::Noise
            }
        }
        Cause::CloseWithUnreadData | Cause::LingerZero if was_complete(sent) => Severity::Noise,
        Cause::SocketDestroyed | Cause::Mptcp | Cause::Disconnect | Cause::LingerZero => {
            if_connected()
        }
        Cause::Unknown if sent.socket.is_none() => Severity::Noise,
        Cause::Unknown => if_connected(),
        _ => Severity::Fault,
    }
}

/// Of a reset a socket accepted.
pub fn of_received(received: &Received) -> Severity {
    let socket = &received.socket;
    match socket.state {
        TcpState::SynSent => Severity::Refused,
        TcpState::SynRecv | TcpState::NewSynRecv | TcpState::Listen => Severity::Noise,
        _ if is_finished(socket) => Severity::Noise,
        _ => Severity::Fault,
    }
}

/// The state the application lost: the kernel enters CLOSE before it sends the reset of a close.
pub fn lost_state(sent: &Sent) -> Option<TcpState> {
    let socket = sent.socket.as_ref()?;
    if socket.state != TcpState::Close {
        return Some(socket.state);
    }
    sent.ownership
        .as_ref()
        .and_then(|ownership| ownership.state_before_close)
}

/// Nobody waits for this connection any more, and everything that was written has arrived.
fn is_finished(socket: &Socket) -> bool {
    let closed = socket.orphaned || (socket.send_shutdown && socket.receive_shutdown);
    closed && socket.unacknowledged == 0
}

/// Bytes that a farewell may have, a TLS close_notify with its record header and tag or a protocol's "bye".
const FAREWELL: u32 = 100;

/// A client that had got the server's FIN and had nothing outstanding: the exchange was over. What it left unread
/// is at most a farewell (TLS close_notify). A server in the same place may still owe an answer.
fn was_complete(sent: &Sent) -> bool {
    let connected = sent.ownership.as_ref().is_some_and(|ownership| {
        !ownership.inherited && ownership.source == Some(OwnerSource::Connect)
    });
    let done = sent.socket.as_ref().is_some_and(|socket| {
        socket.peer_finished
            && socket.unacknowledged == 0
            && socket.bytes_received > 0
            && socket.unread <= FAREWELL
    });
    connected && done
}

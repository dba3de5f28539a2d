//! Which cause do the facts of a sent reset name? One table, read from the top; the first row that fits decides.
//!
//! The kernel's reason (6.12 and later for active resets, 6.10 for answers) is often broader than a cause: the
//! socket's state splits it. Names are those of `enum sk_rst_reason` without its prefix.

use super::at_most;
use crate::event::{Sent, Socket, TcpFlags, TcpState};
use crate::record::{Cause, Confidence};

/// A cause and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Why.
    pub cause: Cause,
    /// How sure.
    pub confidence: Confidence,
}

/// One row: where the kernel says `reason` and `when` holds, it was `cause`.
struct Rule {
    reason: &'static str,
    when: fn(&Sent) -> bool,
    cause: Cause,
    /// No surer than this, whoever gave the reason.
    limit: Confidence,
}

const fn row(reason: &'static str, when: fn(&Sent) -> bool, cause: Cause) -> Rule {
    limited(reason, when, cause, Confidence::Certain)
}

const fn limited(
    reason: &'static str,
    when: fn(&Sent) -> bool,
    cause: Cause,
    limit: Confidence,
) -> Rule {
    Rule {
        reason,
        when,
        cause,
        limit,
    }
}

/// The kernel gave a reason.
#[rustfmt::skip]
const REASONED: &[Rule] = &[
    row("NO_SOCKET",                   abandoned_connect,  Cause::LateSynack),
    // Perhaps given up before the tool was there, perhaps never made: backscatter of a spoofed SYN.
    limited("NO_SOCKET",               answers_synack,     Cause::LateSynack, Confidence::Possible),
    row("NO_SOCKET",                   answers_syn,        Cause::PortClosed),
    row("NO_SOCKET",                   is_remembered,      Cause::HalfOpen),
    // Nothing shows that there ever was one.
    limited("NO_SOCKET",               has_cause,          Cause::HalfOpen, Confidence::Likely),
    row("TCP_TIMEWAIT_SOCKET",         always,             Cause::DataAfterClose),
    row("TCP_ABORT_ON_DATA",           always,             Cause::DataAfterClose),
    row("TCP_ABORT_ON_CLOSE",          closer_was_killed,  Cause::KilledWithUnreadData),
    row("TCP_ABORT_ON_CLOSE",          always,             Cause::CloseWithUnreadData),
    // The name misleads: SO_LINGER {1, 0} shows as TCP_STATE.
    row("TCP_ABORT_ON_LINGER",         always,             Cause::Linger2),
    row("TCP_ABORT_ON_MEMORY",         always,             Cause::OutOfMemory),
    row("TCP_KEEPALIVE_TIMEOUT",       always,             Cause::KeepaliveTimeout),
    row("TCP_DISCONNECT_WITH_DATA",    always,             Cause::Disconnect),
    row("TCP_STATE",                   child_of_listener,  Cause::ListenerClosed),
    row("TCP_STATE",                   lingers_from_open,  Cause::LingerZero),
    // After shutdown(SHUT_RDWR) a connect(AF_UNSPEC) looks the same.
    limited("TCP_STATE",               lingers_for_zero,   Cause::LingerZero, Confidence::Likely),
    row("TCP_STATE",                   disconnects,        Cause::Disconnect),
    row("TCP_STATE",                   orphan_timed_out,   Cause::OrphanTimeout),
    row("TCP_STATE",                   still_connected,    Cause::SocketDestroyed),
    row("TCP_FLAGS",                   listener_is_back,   Cause::HalfOpen),
    row("TCP_FLAGS",                   at_listener,        Cause::StrayAck),
    // The name misleads: without SYN it is tcp_abort_on_overflow (tcp_check_req).
    row("INVALID_SYN",                 answers_any_syn,    Cause::BadHandshake),
    row("INVALID_SYN",                 has_cause,          Cause::AcceptQueueOverflow),
    row("TCP_INVALID_ACK_SEQUENCE",    always,             Cause::BadHandshake),
    row("TCP_RFC7323_PAWS",            always,             Cause::BadHandshake),
    row("TCP_TOO_OLD_ACK",             always,             Cause::BadHandshake),
    row("TCP_ACK_UNSENT_DATA",         always,             Cause::BadHandshake),
    row("TCP_OLD_ACK",                 always,             Cause::BadHandshake),
    row("MPTCP_RST_EUNSPEC",           always,             Cause::Mptcp),
    row("MPTCP_RST_EMPTCP",            always,             Cause::Mptcp),
    row("MPTCP_RST_ERESOURCE",         always,             Cause::Mptcp),
    row("MPTCP_RST_EPROHIBIT",         always,             Cause::Mptcp),
    row("MPTCP_RST_EWQ2BIG",           always,             Cause::Mptcp),
    row("MPTCP_RST_EBADPERF",          always,             Cause::Mptcp),
    row("MPTCP_RST_EMIDDLEBOX",        always,             Cause::Mptcp),
];

/// The kernel gave none (`NOT_SPECIFIED` is none): inferred from the socket, at best likely.
#[rustfmt::skip]
const INFERRED: &[Rule] = &[
    row("", child_of_listener,      Cause::ListenerClosed),
    row("", killed_with_unread,     Cause::KilledWithUnreadData),
    row("", closed_with_unread,     Cause::CloseWithUnreadData),
    row("", lingers_for_zero,       Cause::LingerZero),
    row("", lingers_below_zero,     Cause::Linger2),
    row("", disconnects,            Cause::Disconnect),
    row("", probes_unanswered,      Cause::KeepaliveTimeout),
    row("", orphan_timed_out,       Cause::OrphanTimeout),
    row("", orphan_given_up,        Cause::OutOfMemory),
    row("", is_mptcp,               Cause::Mptcp),
    row("", held_and_connected,     Cause::SocketDestroyed),
    row("", time_wait,              Cause::DataAfterClose),
    row("", queue_full_at_listener, Cause::AcceptQueueOverflow),
    row("", syn_at_listener,        Cause::BadHandshake),
    row("", listener_is_back,       Cause::HalfOpen),
    row("", answer_at_listener,     Cause::StrayAck),
    row("", connecting,             Cause::BadHandshake),
    row("", data_at_closed,         Cause::DataAfterClose),
    limited("", no_socket_synack,   Cause::LateSynack, Confidence::Possible),
    row("", no_socket_syn,          Cause::PortClosed),
    row("", no_socket,              Cause::HalfOpen),
];

/// Why the kernel sent this reset.
pub fn rule(sent: &Sent) -> Ruling {
    let (table, reason, confidence) = match sent.reason.as_deref() {
        None | Some("NOT_SPECIFIED") => (INFERRED, "", Confidence::Likely),
        Some(reason) => (REASONED, reason, Confidence::Certain),
    };
    let found = table
        .iter()
        .find(|rule| rule.reason == reason && (rule.when)(sent));
    match found {
        Some(rule) => Ruling {
            cause: rule.cause,
            confidence: at_most(confidence, rule.limit),
        },
        // A subflow's reason that came after this table.
        None if reason.starts_with("MPTCP_") => Ruling {
            cause: Cause::Mptcp,
            confidence,
        },
        None => Ruling {
            cause: Cause::Unknown,
            confidence: Confidence::Possible,
        },
    }
}

fn always(_: &Sent) -> bool {
    true
}

fn socket(sent: &Sent, holds: impl Fn(&Socket) -> bool) -> bool {
    sent.socket.as_ref().is_some_and(holds)
}

/// An active reset of a socket for which `holds`.
fn active(sent: &Sent, holds: impl Fn(&Socket) -> bool) -> bool {
    !sent.passive && socket(sent, holds)
}

fn cause_has(sent: &Sent, with: u8, without: u8) -> bool {
    sent.cause
        .is_some_and(|cause| cause.flags.has(with) && cause.flags.0 & without == 0)
}

fn has_cause(sent: &Sent) -> bool {
    sent.cause.is_some()
}

fn answers_any_syn(sent: &Sent) -> bool {
    cause_has(sent, TcpFlags::SYN, 0)
}

fn answers_syn(sent: &Sent) -> bool {
    cause_has(sent, TcpFlags::SYN, TcpFlags::ACK)
}

fn answers_synack(sent: &Sent) -> bool {
    cause_has(sent, TcpFlags::SYN | TcpFlags::ACK, 0)
}

/// The connection that this SYN-ACK answers was given up while it was being made.
fn abandoned_connect(sent: &Sent) -> bool {
    answers_synack(sent)
        && sent
            .former_connection
            .as_ref()
            .is_some_and(|former| former.last_state == TcpState::SynSent)
}

fn is_remembered(sent: &Sent) -> bool {
    has_cause(sent) && sent.former_connection.is_some()
}

fn at_listener(sent: &Sent) -> bool {
    socket(sent, |socket| socket.state == TcpState::Listen)
}

/// The connection is remembered, so it was of the service before its restart.
fn listener_is_back(sent: &Sent) -> bool {
    answer_at_listener(sent) && sent.former_connection.is_some()
}

/// Both directions shut and no file yet gone: the application called close() or died.
fn is_closing(socket: &Socket) -> bool {
    socket.state == TcpState::Close && socket.receive_shutdown && socket.send_shutdown
}

/// The task that closed was being killed by a signal; exiting by itself is a close.
fn closer_was_killed(sent: &Sent) -> bool {
    match sent.actor().filter(|current| !current.kernel_thread) {
        Some(current) => current.exiting && current.signal.is_some(),
        None => sent
            .ownership
            .as_ref()
            .and_then(|ownership| ownership.closer.as_ref())
            .is_some_and(|closer| closer.exiting && closer.signal.is_some()),
    }
}

fn child_of_listener(sent: &Sent) -> bool {
    active(sent, |socket| {
        socket.state == TcpState::Close && !socket.has_file && !socket.orphaned
    })
}

fn lingers_for_zero(sent: &Sent) -> bool {
    active(sent, |socket| {
        is_closing(socket) && socket.linger.is_some_and(|time| time.is_zero())
    })
}

/// The socket had not been shut down before it closed.
fn lingers_from_open(sent: &Sent) -> bool {
    let before = sent
        .ownership
        .as_ref()
        .and_then(|ownership| ownership.state_before_close);
    lingers_for_zero(sent)
        && !matches!(
            before,
            Some(TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck)
        )
}

fn disconnects(sent: &Sent) -> bool {
    active(sent, |socket| {
        socket.state == TcpState::Close && socket.has_file
    })
}

/// Nobody holds it and its timer ran (`tcp_keepalive_timer`); `ss -K` on an orphan holds the lock.
fn orphan_timed_out(sent: &Sent) -> bool {
    active(sent, |socket| {
        socket.state == TcpState::FinWait2 && socket.orphaned && !socket.owned
    })
}

fn still_connected(sent: &Sent) -> bool {
    active(sent, |socket| {
        !matches!(socket.state, TcpState::Close | TcpState::Listen)
    })
}

fn is_mptcp(sent: &Sent) -> bool {
    socket(sent, |socket| socket.mptcp)
}

fn closed_with_unread(sent: &Sent) -> bool {
    active(sent, |socket| is_closing(socket) && socket.unread > 0)
}

fn killed_with_unread(sent: &Sent) -> bool {
    closed_with_unread(sent) && closer_was_killed(sent)
}

fn lingers_below_zero(sent: &Sent) -> bool {
    active(sent, |socket| is_closing(socket) && socket.linger2_off)
}

fn probes_unanswered(sent: &Sent) -> bool {
    active(sent, |socket| {
        socket.state != TcpState::Close
            && socket.keepalive
            && socket.probes_out > 0
            && !socket.owned
    })
}

fn orphan_given_up(sent: &Sent) -> bool {
    active(sent, |socket| socket.orphaned && !socket.owned)
}

fn held_and_connected(sent: &Sent) -> bool {
    still_connected(sent) && socket(sent, |socket| socket.owned)
}

fn time_wait(sent: &Sent) -> bool {
    sent.passive && sent.minisock == Some(TcpState::TimeWait)
}

fn answer_at_listener(sent: &Sent) -> bool {
    sent.passive && at_listener(sent) && has_cause(sent)
}

fn syn_at_listener(sent: &Sent) -> bool {
    answer_at_listener(sent) && answers_any_syn(sent)
}

fn queue_full_at_listener(sent: &Sent) -> bool {
    answer_at_listener(sent)
        && !answers_any_syn(sent)
        && socket(sent, |socket| {
            socket
                .accept_queue
                .is_some_and(|(waiting, limit)| waiting > limit)
        })
}

fn connecting(sent: &Sent) -> bool {
    let handshake = |state| {
        matches!(
            state,
            TcpState::SynSent | TcpState::SynRecv | TcpState::NewSynRecv
        )
    };
    sent.passive
        && (socket(sent, |socket| handshake(socket.state)) || sent.minisock.is_some_and(handshake))
}

fn data_at_closed(sent: &Sent) -> bool {
    let has_data = sent.cause.is_some_and(|cause| cause.payload_len > 0);
    sent.passive
        && has_data
        && socket(sent, |socket| {
            socket.state != TcpState::Listen && (socket.orphaned || socket.receive_shutdown)
        })
}

fn no_socket(sent: &Sent) -> bool {
    sent.passive && sent.socket.is_none() && sent.minisock.is_none() && has_cause(sent)
}

fn no_socket_syn(sent: &Sent) -> bool {
    no_socket(sent) && answers_syn(sent)
}

fn no_socket_synack(sent: &Sent) -> bool {
    no_socket(sent) && answers_synack(sent)
}

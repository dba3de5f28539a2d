//! Classes: frequent ends of connections that harm nobody, one ordered table for each end.
//!
//! A client that resets its own connection lost nothing by it. The server lost nothing either if it had not been asked for anything, or
//! if its answer was acknowledged. Only what the opener of a connection does counts: a server that resets may still owe an answer.

use std::time::Duration;

use crate::event::{
    BootTime, Ownership, Packet, Received, Segment, Sent, Socket, Target, TcpFlags, TcpState,
};
use crate::record::{Cause, Class};
use crate::silence::clocks;
use crate::thresholds::{CHECK, IDLE, LATE_BANNER, LONGEST_FAREWELL};
use crate::words::{self, span};

/// What is known of a source beyond the connection in question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recurrence {
    /// It opens such connections at even intervals of this length.
    pub period: Option<Duration>,
    /// It tried many ports of this host.
    pub scan: Option<Scan>,
}

/// Attempts of one source on many ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// How many attempts.
    pub attempts: u32,
    /// From the first to the last.
    pub within: Duration,
}

/// A reset sent by the TCP stack, and its cause.
struct SentEnd<'a> {
    sent: &'a Sent,
    cause: Cause,
    at: BootTime,
}

/// An accepted reset.
struct AcceptedEnd<'a> {
    received: &'a Received,
    /// The segment, where it is known.
    segment: Option<Segment>,
    /// A segment of this end provoked it: the client did not close, it does not know the connection.
    is_answer: bool,
    at: BootTime,
}

type SentRow = (fn(&SentEnd<'_>) -> bool, Class);

const SENT: &[SentRow] = &[
    (closed_without_a_word, Class::EmptyConnection),
    (closed_after_the_answer, Class::CompleteExchange),
    (closed_after_the_peer, Class::CompleteExchange),
    (closed_after_a_goodbye, Class::TlsClose),
    (left_goodbye_unread, Class::TlsClose),
    (left_tickets_unread, Class::TlsTickets),
    (answers_farewell, Class::TlsClose),
];

type AcceptedRow = (fn(&AcceptedEnd<'_>) -> bool, Class);

const ACCEPTED: &[AcceptedRow] = &[
    (was_told_nothing, Class::EmptyConnection),
    (had_answered, Class::CompleteExchange),
    (was_told_goodbye, Class::TlsClose),
    (said_farewell_only, Class::TlsClose),
    (had_all_but_farewell, Class::TlsClose),
];

/// The class of a reset sent by the TCP stack; absent for all that are not frequent and harmless.
pub fn of_sent(sent: &Sent, cause: Cause, at: BootTime, recurrence: Recurrence) -> Option<Class> {
    if cause == Cause::PortClosed {
        return recurrence.scan.map(|_| Class::PortScan);
    }
    let end = SentEnd { sent, cause, at };
    let (_, class) = SENT.iter().find(|(when, _)| when(&end))?;
    Some(recurrence.refine(*class))
}

/// The class of an accepted reset that looks like the peer's and has no better explanation.
pub fn of_accepted(
    received: &Received,
    segment: Option<Segment>,
    is_answer: bool,
    at: BootTime,
    recurrence: Recurrence,
) -> Option<Class> {
    let end = AcceptedEnd {
        received,
        segment,
        is_answer,
        at,
    };
    let (_, class) = ACCEPTED.iter().find(|(when, _)| when(&end))?;
    Some(recurrence.refine(*class))
}

/// The class of a reset by which a peer took its connection attempt back: it had seen the SYN-ACK, and wanted no more.
pub fn of_aborted_attempt(recurrence: Recurrence) -> Class {
    recurrence.refine(Class::EmptyConnection)
}

/// The same, by the segment.
pub fn aborts_attempt(packet: &Packet) -> bool {
    matches!(
        packet.target,
        Target::Stateless(TcpState::SynRecv | TcpState::NewSynRecv)
    )
}

impl Recurrence {
    fn refine(self, class: Class) -> Class {
        match class {
            Class::EmptyConnection if self.scan.is_some() => Class::PortScan,
            Class::EmptyConnection if self.period.is_some() => Class::HealthCheck,
            Class::EmptyConnection
            | Class::HealthCheck
            | Class::PortScan
            | Class::CompleteExchange
            | Class::TlsClose
            | Class::TlsTickets => class,
        }
    }
}

/// When the end that opened a connection and never sent a byte left it, soon; absent for others. It wanted to know whether there is an
/// answer. A banner that it did not read changes nothing, nor does one that comes later.
pub fn opener_left_empty(sent: &Sent, at: BootTime) -> Option<BootTime> {
    if sent.active(|socket| socket.bytes_sent == 0) {
        let ownership = sent.ownership.as_ref();
        return (is_opener(ownership) && is_short(ownership, at)).then_some(at);
    }
    let ownership = sent.remembered()?;
    let left = ownership.closer.as_ref()?.time?;
    let wrote_nothing = match (&sent.socket, sent.cause, ownership.isn) {
        (Some(socket), _, _) => socket.bytes_sent == 0,
        // SYN and FIN count as one each.
        (None, Some(segment), Some((local, _))) => segment.ack.wrapping_sub(local) <= 2,
        (None, _, _) => false,
    };
    (sent.passive
        && wrote_nothing
        && is_opener(Some(ownership))
        && is_within(LATE_BANNER, Some(ownership), left))
    .then_some(left)
}

/// The same at the end that listens.
pub fn listener_left_empty(received: &Received, at: BootTime) -> Option<BootTime> {
    let (socket, ownership) = (&received.socket, received.ownership.as_ref());
    let (left, limit) = if socket.state == TcpState::Established && socket.bytes_received == 0 {
        (at, CHECK)
    } else if socket.state == TcpState::CloseWait
        // A FIN counts as one. A client that only reads may have finished, too: it gets more than a banner.
        && socket.bytes_received == 1
        && socket.bytes_sent <= BANNER
    {
        (ownership?.peer_finish?.time, LATE_BANNER)
    } else {
        return None;
    };
    (is_listener(ownership) && is_within(limit, ownership, left)).then_some(left)
}

fn closed_without_a_word(end: &SentEnd<'_>) -> bool {
    (is_close(end.cause) || end.cause == Cause::DataAfterClose)
        && opener_left_empty(end.sent, end.at).is_some()
}

/// The server spoke last, and all of it was read. After a silence it may be the timer of a proxy, whose client loses its connection.
fn closed_after_the_answer(end: &SentEnd<'_>) -> bool {
    is_pooled(end.sent, end.cause)
        && end
            .sent
            .active(|socket| socket.since_received.is_some_and(|since| since < IDLE))
}

/// The same after any silence.
pub fn is_pooled(sent: &Sent, cause: Cause) -> bool {
    cause == Cause::LingerZero
        && is_opener(sent.ownership.as_ref())
        && sent.active(|socket| {
            is_acknowledged(socket)
                && socket.unread == 0
                && socket.bytes_sent > 0
                && socket.bytes_received > 0
                && is_before(socket.since_received, socket.since_sent)
        })
}

/// The server had closed, and what is unread is a farewell at most.
fn closed_after_the_peer(end: &SentEnd<'_>) -> bool {
    is_close(end.cause)
        && is_opener(end.sent.ownership.as_ref())
        && end.sent.active(|socket| {
            socket.peer_finished
                && is_acknowledged(socket)
                && socket.bytes_received > 0
                && socket.unread <= MESSAGE
        })
}

/// The client has just sent its close_notify. No request over TLS is as short.
fn closed_after_a_goodbye(end: &SentEnd<'_>) -> bool {
    end.cause == Cause::LingerZero
        && is_opener(end.sent.ownership.as_ref())
        && is_tls(end.sent.flow.remote.port())
        && end.sent.active(|socket| {
            (SHORTEST_ALERT..=LONGEST_FAREWELL).contains(&socket.unacknowledged)
                && socket.unread == 0
                && socket.bytes_received > 0
                && socket.since_received.is_some_and(|since| since < IDLE)
        })
}

/// The peer's close_notify had come: the server's, with its FIN on the way, or a client's answer to that of this server. No request
/// over TLS is as short.
fn left_goodbye_unread(end: &SentEnd<'_>) -> bool {
    let (ownership, flow) = (end.sent.ownership.as_ref(), end.sent.flow);
    end.cause == Cause::CloseWithUnreadData
        && (is_opener(ownership) && is_tls(flow.remote.port())
            || is_listener(ownership) && is_tls(flow.local.port()))
        && end.sent.active(|socket| {
            // Its own may not be acknowledged yet. A handshake has come before.
            socket.unacknowledged <= LONGEST_FAREWELL
                && (1..=LONGEST_FAREWELL).contains(&socket.unread)
                && socket.bytes_received > u64::from(socket.unread)
        })
}

/// A server sends tickets after the handshake, before anything else. A client that sent no more than its part of the handshake asked
/// for nothing.
fn left_tickets_unread(end: &SentEnd<'_>) -> bool {
    end.cause == Cause::CloseWithUnreadData
        && is_opener(end.sent.ownership.as_ref())
        && is_tls(end.sent.flow.remote.port())
        && end.sent.active(|socket| {
            is_acknowledged(socket)
                && (1..=TICKETS).contains(&socket.unread)
                && (1..=HANDSHAKE).contains(&socket.bytes_sent)
                && socket.bytes_received > u64::from(socket.unread)
        })
}

/// What came was a farewell: this end had closed before, and so did the other one.
fn answers_farewell(end: &SentEnd<'_>) -> bool {
    let flow = end.sent.flow;
    let former = end.sent.former_connection.as_ref();
    // A process here had just reset the connection, and the farewell crossed with that reset.
    let was_aborted = former.is_some_and(|former| {
        former.ownership.closer.is_some() && end.at.since(former.died) <= CROSSING
    });
    (end.cause == Cause::DataAfterClose || end.cause == Cause::HalfOpen && was_aborted)
        && end.sent.cause.is_some_and(|segment| {
            (1..=LONGEST_FAREWELL).contains(&segment.payload_len)
                && (segment.flags.has(TcpFlags::FIN)
                    || is_tls(flow.remote.port())
                    || is_tls(flow.local.port()))
        })
}

fn was_told_nothing(end: &AcceptedEnd<'_>) -> bool {
    let has_closed = end.received.socket.state == TcpState::CloseWait;
    (!end.is_answer || has_closed) && listener_left_empty(end.received, end.at).is_some()
}

/// All was answered, the answer has arrived, and the client did not wait for more. What it said last over TLS may be its
/// close_notify.
fn had_answered(end: &AcceptedEnd<'_>) -> bool {
    let is_there = is_acknowledged(&end.received.socket) || reset_acknowledges_all(end);
    is_there && has_answered(end)
}

/// The same, and the server's close_notify is on its way.
fn had_all_but_farewell(end: &AcceptedEnd<'_>) -> bool {
    let farewell = SHORTEST_ALERT..=LONGEST_FAREWELL;
    is_tls(end.received.flow.local.port())
        && farewell.contains(&end.received.socket.unacknowledged)
        && has_answered(end)
}

fn has_answered(end: &AcceptedEnd<'_>) -> bool {
    let socket = &end.received.socket;
    let farewell = if is_tls(end.received.flow.local.port()) {
        LONGEST_FAREWELL
    } else {
        0
    };
    !end.is_answer
        && is_listener(end.received.ownership.as_ref())
        && matches!(
            socket.state,
            TcpState::Established | TcpState::CloseWait | TcpState::FinWait1
        )
        && socket.unread <= farewell
        && socket.bytes_sent > 0
        && socket.bytes_received > 0
        // What is unread came last.
        && (socket.unread > 0 || is_before(socket.since_sent, socket.since_received))
        && socket.since_sent.is_some_and(|since| since < IDLE)
}

/// The server's close_notify is unread, and what is not acknowledged is the client's at most.
fn was_told_goodbye(end: &AcceptedEnd<'_>) -> bool {
    let socket = &end.received.socket;
    let farewell = SHORTEST_ALERT..=LONGEST_FAREWELL;
    is_opener(end.received.ownership.as_ref())
        && is_https(end.received.flow.remote.port())
        && farewell.contains(&socket.unread)
        && socket.bytes_received > u64::from(socket.unread)
        && (socket.unacknowledged == 0 || farewell.contains(&socket.unacknowledged))
}

/// Whether an answer was on its way that the end that reset the connection cannot have seen whole. What fits in the first flight is
/// there at once; a checker waits for its first line only.
pub fn is_owed(socket: &Socket) -> bool {
    socket.unacknowledged > 0 && socket.bytes_sent > FIRST_FLIGHT
}

/// The peer had received everything when it sent the reset. Of a long answer more may have been to come.
fn reset_acknowledges_all(end: &AcceptedEnd<'_>) -> bool {
    let socket = &end.received.socket;
    let sent = socket.snd_nxt.wrapping_sub(socket.snd_una);
    let is_short = socket.bytes_sent <= FIRST_FLIGHT;
    end.segment.filter(|_| is_short).is_some_and(|segment| {
        // A FIN may follow the data.
        let acknowledged = segment.ack.wrapping_sub(socket.snd_una);
        segment.flags.has(TcpFlags::RST | TcpFlags::ACK)
            && (socket.unacknowledged..=sent).contains(&acknowledged)
    })
}

/// Both ends had closed, and what is not acknowledged is a farewell at most. With TLS it is enough that this end had, or
/// that a client had: a server answers its goodbye. What a client says after the server's may be a request, but not over HTTPS,
/// whose requests are longer.
fn said_farewell_only(end: &AcceptedEnd<'_>) -> bool {
    let (socket, flow) = (&end.received.socket, end.received.flow);
    let has_closed = socket.orphaned || socket.send_shutdown;
    let is_tls = is_tls(flow.local.port()) || is_tls(flow.remote.port());
    let answers_goodbye = socket.peer_finished
        && (is_listener(end.received.ownership.as_ref()) || is_https(flow.remote.port()));
    let says_farewell =
        has_closed && socket.peer_finished || is_tls && (has_closed || answers_goodbye);
    // A FIN takes a sequence number.
    says_farewell && socket.unacknowledged <= LONGEST_FAREWELL + u32::from(has_closed)
}

fn is_close(cause: Cause) -> bool {
    matches!(cause, Cause::LingerZero | Cause::CloseWithUnreadData)
}

fn is_opener(ownership: Option<&Ownership>) -> bool {
    clocks::is_outgoing(ownership) == Some(true)
}

fn is_listener(ownership: Option<&Ownership>) -> bool {
    clocks::is_outgoing(ownership) == Some(false)
}

fn is_short(ownership: Option<&Ownership>, at: BootTime) -> bool {
    is_within(CHECK, ownership, at)
}

fn is_within(limit: Duration, ownership: Option<&Ownership>, at: BootTime) -> bool {
    ownership
        .and_then(|ownership| ownership.established)
        .is_some_and(|established| at.since(established) <= limit)
}

fn is_acknowledged(socket: &Socket) -> bool {
    socket.unacknowledged == 0
}

/// The first happened after the second: both count back from now, with the resolution of a tick.
fn is_before(later: Option<Duration>, earlier: Option<Duration>) -> bool {
    matches!((later, earlier), (Some(later), Some(earlier)) if later <= earlier)
}

/// Most bytes that are sent before the first acknowledgment (RFC 6928).
const FIRST_FLIGHT: u64 = 14_600;
/// A TLS alert that is not encrypted, in bytes.
const SHORTEST_ALERT: u32 = 7;
/// A segment that was on its way when a reset left arrives within this time.
const CROSSING: Duration = Duration::from_secs(1);
/// Most bytes of a protocol's last message.
const MESSAGE: u32 = 100;
/// Most bytes that a server greets a client with.
const BANNER: u64 = 512;
/// Most bytes of the session tickets that servers send after a handshake: OpenSSL sends two, 534 bytes in all.
const TICKETS: u32 = 1_100;
/// Most bytes that a client sends in a TLS 1.3 handshake: ClientHello, change_cipher_spec, Finished.
const HANDSHAKE: u64 = 800;

/// Ports of HTTPS, whose requests are longer than a close_notify.
fn is_https(port: u16) -> bool {
    matches!(port, 443 | 8443)
}

/// Ports of protocols that begin with TLS (IANA), and the usual alternatives of https.
fn is_tls(port: u16) -> bool {
    matches!(
        port,
        443 | 465 | 563 | 636 | 853 | 989 | 990 | 992
            ..=995 | 2376 | 2379 | 3269 | 5061 | 5671 | 5986 | 6443 | 8443 | 8883 | 9443
    )
}

/// `a health check every 2.0 s`, to end a sentence about a connection without a byte.
pub(crate) fn empty(class: Class, recurrence: Recurrence) -> String {
    match (class, recurrence) {
        (
            Class::HealthCheck,
            Recurrence {
                period: Some(period),
                ..
            },
        ) => {
            format!("a health check every {}", span(period))
        }
        (
            Class::PortScan,
            Recurrence {
                scan: Some(scan), ..
            },
        ) => scan.sentence(),
        (
            Class::EmptyConnection
            | Class::HealthCheck
            | Class::PortScan
            | Class::CompleteExchange
            | Class::TlsClose
            | Class::TlsTickets,
            _,
        ) => "a health check or a scan".to_owned(),
    }
}

impl Scan {
    /// `a port scan, 812 attempts within 1.2 s so far`.
    pub(crate) fn sentence(self) -> String {
        format!(
            "a port scan, {} within {} so far",
            words::things(self.attempts, "attempt"),
            span(self.within)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::*;
    use crate::event::{Closer, OwnerSource, PeerFinish};

    const AT: BootTime = BootTime(NOW);

    /// curl[5] closed its connection to port 443, which it had opened a second before: asked, answered, all read.
    fn client(change: impl FnOnce(&mut Socket)) -> Sent {
        let scene = Scene::new().reversed();
        let mut socket = Socket {
            linger: Some(Duration::ZERO),
            since_sent: Some(Duration::from_millis(300)),
            since_received: Some(Duration::from_millis(200)),
            ..closing(1)
        };
        change(&mut socket);
        let mut sent = scene.active(Some("TCP_STATE"), socket);
        sent.flow.remote.set_port(443);
        let mut opened = ownership(5, "curl", OwnerSource::Connect);
        opened.established = Some(BootTime(NOW - SECOND));
        opened.state_before_close = Some(TcpState::Established);
        sent.ownership = Some(opened);
        sent
    }

    /// The same at the end that listens.
    fn server(change: impl FnOnce(&mut Socket)) -> Received {
        let mut socket = Socket {
            since_sent: Some(Duration::from_millis(200)),
            since_received: Some(Duration::from_millis(300)),
            ..socket(1)
        };
        change(&mut socket);
        let mut received = Scene::new().received(socket);
        let mut accepted = ownership(87, "nginx", OwnerSource::Accept);
        accepted.established = Some(BootTime(NOW - SECOND));
        received.ownership = Some(accepted);
        received
    }

    fn sent(sent: &Sent, cause: Cause) -> Option<Class> {
        of_sent(sent, cause, AT, Recurrence::default())
    }

    fn accepted(received: &Received) -> Option<Class> {
        of_accepted(received, received.segment, false, AT, Recurrence::default())
    }

    #[test]
    fn a_client_that_resets_has_lost_nothing_if_it_wanted_nothing_more() {
        let (zero, unread) = (Cause::LingerZero, Cause::CloseWithUnreadData);
        let silent = |socket: &mut Socket| (socket.bytes_sent, socket.bytes_received) = (0, 0);
        assert_eq!(sent(&client(silent), zero), Some(Class::EmptyConnection));
        let banner = |socket: &mut Socket| (socket.bytes_sent, socket.unread) = (0, 200);
        assert_eq!(sent(&client(banner), unread), Some(Class::EmptyConnection));
        assert_eq!(sent(&client(|_| ()), zero), Some(Class::CompleteExchange));
        let goodbye = |socket: &mut Socket| {
            (socket.peer_finished, socket.unread) = (true, 31);
        };
        assert_eq!(
            sent(&client(goodbye), unread),
            Some(Class::CompleteExchange)
        );
        let early = |socket: &mut Socket| socket.unread = 24;
        assert_eq!(sent(&client(early), unread), Some(Class::TlsClose));
        let tickets = |socket: &mut Socket| {
            (socket.bytes_sent, socket.bytes_received, socket.unread) = (600, 3_400, 534);
        };
        assert_eq!(sent(&client(tickets), unread), Some(Class::TlsTickets));
    }

    #[test]
    fn look_alikes_of_a_client_are_not_harmless() {
        let (zero, unread) = (Cause::LingerZero, Cause::CloseWithUnreadData);
        // Its request is not answered, or not acknowledged, or the answer was not read.
        let waits = |socket: &mut Socket| socket.since_sent = Some(Duration::from_millis(100));
        assert_eq!(sent(&client(waits), zero), None);
        let pending = |socket: &mut Socket| socket.unacknowledged = 1;
        assert_eq!(sent(&client(pending), zero), None);
        let idle = |socket: &mut Socket| {
            socket.since_sent = Some(Duration::from_secs(4));
            socket.since_received = Some(Duration::from_secs(4));
        };
        assert_eq!(sent(&client(idle), zero), None);
        let answer = |socket: &mut Socket| socket.unread = 1_448;
        assert_eq!(sent(&client(answer), unread), None);
        // Nothing came before: it is no goodbye.
        let first = |socket: &mut Socket| (socket.bytes_received, socket.unread) = (24, 24);
        assert_eq!(sent(&client(first), unread), None);
        // It has asked for something behind the handshake; what is unread may be the answer.
        let asked = |socket: &mut Socket| {
            (socket.bytes_sent, socket.bytes_received, socket.unread) = (1_200, 3_400, 534);
        };
        assert_eq!(sent(&client(asked), unread), None);
        // A request is under way.
        let request = |socket: &mut Socket| socket.unacknowledged = 60;
        assert_eq!(sent(&client(request), zero), None);
        // Plain text has no close_notify, and no tickets.
        let mut plain = client(|socket| socket.unacknowledged = 24);
        assert_eq!(sent(&plain, zero), Some(Class::TlsClose));
        plain.flow.remote.set_port(8080);
        assert_eq!(sent(&plain, zero), None);
        let tickets = |socket: &mut Socket| {
            (socket.bytes_sent, socket.bytes_received, socket.unread) = (600, 3_400, 534);
        };
        let mut plain = client(tickets);
        plain.flow.remote.set_port(8080);
        assert_eq!(sent(&plain, unread), None);
        // It was open for long: a pool that was filled in advance.
        let silent = |socket: &mut Socket| (socket.bytes_sent, socket.bytes_received) = (0, 0);
        let mut old = client(silent);
        if let Some(ownership) = &mut old.ownership {
            ownership.established = Some(BootTime(NOW - 60 * SECOND));
        }
        assert_eq!(sent(&old, zero), None);
        // Who opened it is not known, or it was the other end.
        let mut older = client(silent);
        older.ownership = None;
        assert_eq!(sent(&older, zero), None);
        let serves = Scene::new().active(Some("TCP_STATE"), closing(1));
        assert_eq!(sent(&serves, zero), None);
        // It did not close, it was killed.
        assert_eq!(sent(&client(silent), Cause::KilledWithUnreadData), None);
    }

    #[test]
    fn a_server_that_leaves_a_close_notify_unread_has_lost_no_request() {
        let server = |port, unread| {
            let mut end = Scene::new().active(Some("TCP_ABORT_ON_CLOSE"), closing(1));
            end.flow.local.set_port(port);
            if let Some(socket) = &mut end.socket {
                (socket.unacknowledged, socket.unread) = (0, unread);
            }
            sent(&end, Cause::CloseWithUnreadData)
        };
        assert_eq!(server(443, 24), Some(Class::TlsClose));
        assert_eq!(server(443, 31), Some(Class::TlsClose));
        // A request, or plain text.
        assert_eq!(server(443, 53), None);
        assert_eq!(server(80, 24), None);
    }

    #[test]
    fn a_server_has_lost_nothing_if_it_owes_nothing() {
        let silent = |socket: &mut Socket| (socket.bytes_sent, socket.bytes_received) = (0, 0);
        assert_eq!(accepted(&server(silent)), Some(Class::EmptyConnection));
        let banner = |socket: &mut Socket| socket.bytes_received = 0;
        assert_eq!(accepted(&server(banner)), Some(Class::EmptyConnection));
        assert_eq!(accepted(&server(|_| ())), Some(Class::CompleteExchange));
        let farewell = |socket: &mut Socket| {
            socket.state = TcpState::LastAck;
            (socket.peer_finished, socket.send_shutdown) = (true, true);
            socket.unacknowledged = 31;
        };
        assert_eq!(accepted(&server(farewell)), Some(Class::TlsClose));
        // The other end did not answer with a FIN.
        let alone = |socket: &mut Socket| {
            (socket.state, socket.orphaned) = (TcpState::FinWait1, true);
            socket.unacknowledged = 24;
        };
        let mut tls = server(alone);
        assert_eq!(accepted(&tls), None);
        tls.flow.local.set_port(443);
        assert_eq!(accepted(&tls), Some(Class::TlsClose));
        // It has not closed yet, but the client has.
        let mut tls = server(|socket| {
            (socket.state, socket.peer_finished) = (TcpState::CloseWait, true);
            socket.unacknowledged = 24;
        });
        assert_eq!(accepted(&tls), None);
        tls.flow.local.set_port(443);
        assert_eq!(accepted(&tls), Some(Class::TlsClose));
        tls.ownership = client(|_| ()).ownership;
        assert_eq!(accepted(&tls), None);
        // A client answers the goodbye of an HTTPS server.
        tls.flow.remote.set_port(443);
        assert_eq!(accepted(&tls), Some(Class::TlsClose));
        tls.socket.unacknowledged = 60;
        assert_eq!(accepted(&tls), None);
        // A client has the server's close_notify unread, or a part of an answer.
        let mut told = server(|socket| (socket.unacknowledged, socket.unread) = (31, 31));
        told.ownership = client(|_| ()).ownership;
        told.flow.remote.set_port(443);
        assert_eq!(accepted(&told), Some(Class::TlsClose));
        told.socket.unread = 400;
        assert_eq!(accepted(&told), None);
        // The client's close_notify is still unread.
        let goodbye = |socket: &mut Socket| {
            (socket.unread, socket.since_received) = (24, Some(Duration::from_millis(100)));
        };
        assert_eq!(accepted(&server(goodbye)), None);
        let mut tls = server(goodbye);
        tls.flow.local.set_port(443);
        assert_eq!(accepted(&tls), Some(Class::CompleteExchange));
        tls.socket.unread = 60;
        assert_eq!(accepted(&tls), None);
        // The reset itself acknowledges the answer, or only a part of it.
        let mut check = server(|socket| {
            (socket.unacknowledged, socket.snd_una, socket.snd_nxt) = (148, 5_001, 5_150);
            socket.state = TcpState::FinWait1;
        });
        let flags = TcpFlags::RST | TcpFlags::ACK;
        check.segment = Some(segment(flags, 9000, 5_149, 0));
        assert_eq!(accepted(&check), Some(Class::CompleteExchange));
        check.socket.bytes_sent = 2_000_000;
        assert_eq!(accepted(&check), None);
        // The server answered the client's close_notify and has not closed yet.
        let mut told = server(|socket| {
            (socket.unacknowledged, socket.snd_una, socket.snd_nxt) = (24, 5_001, 5_025);
            socket.bytes_sent = 2_000_000;
        });
        told.segment = Some(segment(flags, 9000, 5_025, 0));
        assert_eq!(accepted(&told), None);
        told.flow.local.set_port(443);
        assert_eq!(accepted(&told), Some(Class::TlsClose));
        // The two crossed.
        told.segment = Some(segment(flags, 9000, 5_001, 0));
        assert_eq!(accepted(&told), Some(Class::TlsClose));
        told.socket.unacknowledged = 60;
        assert_eq!(accepted(&told), None);
        check.socket.bytes_sent = 148;
        check.segment = Some(segment(flags, 9000, 5_100, 0));
        assert_eq!(accepted(&check), None);

        let owes = |socket: &mut Socket| socket.since_received = Some(Duration::from_millis(100));
        assert_eq!(accepted(&server(owes)), None);
        let under_way = |socket: &mut Socket| socket.unacknowledged = 4_000;
        assert_eq!(accepted(&server(under_way)), None);
        // An idle connection that may be used again.
        let idle = |socket: &mut Socket| {
            socket.since_sent = Some(Duration::from_secs(300));
            socket.since_received = Some(Duration::from_secs(301));
        };
        assert_eq!(accepted(&server(idle)), None);
        let page = |socket: &mut Socket| {
            socket.state = TcpState::LastAck;
            (socket.peer_finished, socket.send_shutdown) = (true, true);
            socket.unacknowledged = 1_448;
        };
        assert_eq!(accepted(&server(page)), None);
        // The client does not know the connection any more.
        let (none, crashed) = (Recurrence::default(), server(|_| ()));
        assert_eq!(of_accepted(&crashed, None, true, AT, none), None);
        // A client whose connection dies before its first request.
        let mut opener = server(silent);
        opener.ownership = client(|_| ()).ownership;
        assert_eq!(accepted(&opener), None);
    }

    #[test]
    fn a_farewell_for_an_end_that_has_closed_is_no_data() {
        let answer = |payload, fin: bool, port: u16| {
            let flags = TcpFlags::ACK | if fin { TcpFlags::FIN } else { 0 };
            let mut scene = Scene::new();
            scene.flow.remote.set_port(port);
            let segment: Segment = segment(flags, 5000, 9000, payload);
            sent(&scene.answer(segment), Cause::DataAfterClose)
        };
        for payload in [7, 24, 31] {
            assert_eq!(answer(payload, false, 443), Some(Class::TlsClose));
            assert_eq!(answer(payload, true, 6379), Some(Class::TlsClose));
        }
        assert_eq!(answer(32, true, 443), None);
        assert_eq!(answer(24, false, 6379), None);
        assert_eq!(answer(0, true, 443), None);
    }

    #[test]
    fn a_farewell_that_crosses_a_reset_is_no_data() {
        let answer = |payload, ms: u64, by_process: bool| {
            let mut scene = Scene::new();
            scene.flow.remote.set_port(443);
            let mut late = scene.answer(segment(TcpFlags::ACK, 5000, 9000, payload));
            let mut former = tombstone(5, "haproxy", TcpState::Established);
            former.died = BootTime(NOW - ms * MS);
            former.ownership.closer = by_process.then(|| closer(5, "haproxy"));
            late.former_connection = Some(Box::new(former));
            sent(&late, Cause::HalfOpen)
        };
        assert_eq!(answer(31, 1, true), Some(Class::TlsClose));
        assert_eq!(answer(32, 1, true), None);
        assert_eq!(answer(31, 1_500, true), None);
        assert_eq!(answer(31, 1, false), None);
    }

    fn moments(resets: Vec<(u64, Sent)>) -> Vec<crate::record::Record> {
        let events = resets
            .into_iter()
            .map(|(ms, sent)| {
                let mut event = event(0, sent);
                event.time = BootTime(NOW + ms * MS);
                event
            })
            .collect();
        run(events)
    }

    /// haproxy checks a server that long after the start of the test.
    fn check(ms: u64) -> (u64, Sent) {
        let mut sent = client(|socket| (socket.bytes_sent, socket.bytes_received) = (0, 0));
        sent.flow
            .local
            .set_port(40_000 + u16::try_from(ms / 100).expect("a port"));
        if let Some(ownership) = &mut sent.ownership {
            ownership.established = Some(BootTime(NOW + ms * MS - MS));
        }
        (ms, sent)
    }

    /// curl[5] connected so long ago, closed so long ago, and a banner comes now.
    fn late_banner(opened: u64, left: u64, acknowledges: u32) -> Sent {
        let (isn, mut former) = (100, tombstone(5, "curl", TcpState::FinWait2));
        let who = &mut former.ownership;
        who.established = Some(BootTime(NOW - opened * MS));
        who.isn = Some((isn, 7));
        who.closer = Some(Closer {
            time: Some(BootTime(NOW - left * MS)),
            ..closer(5, "curl")
        });
        let banner = segment(TcpFlags::ACK, 8, isn + acknowledges, 41);
        let mut answer = Scene::new().reversed().answer(banner);
        answer.former_connection = Some(Box::new(former));
        answer
    }

    #[test]
    fn a_banner_after_the_close_of_a_check_costs_nothing() {
        let late = |sent: &Sent| {
            (
                of_sent(sent, Cause::DataAfterClose, AT, Recurrence::default()),
                opener_left_empty(sent, AT),
            )
        };
        let left = BootTime(NOW - 700 * MS);
        let (nothing, empty) = ((None, None), Some(Class::EmptyConnection));
        assert_eq!(late(&late_banner(1_000, 700, 2)), (empty, Some(left)));
        assert_eq!(late(&late_banner(1_000, 700, 80)), nothing, "it had asked");
        assert_eq!(late(&late_banner(4_000, 700, 2)), nothing, "it had waited");
        let mut accepted_one = late_banner(1_000, 700, 2);
        if let Some(former) = &mut accepted_one.former_connection {
            former.ownership.source = Some(OwnerSource::Accept);
        }
        assert_eq!(late(&accepted_one), nothing, "a server");
        // With its socket still there.
        let mut orphan = late_banner(1_000, 700, 1);
        orphan.ownership = orphan.former_connection.take().map(|it| it.ownership);
        for (bytes, expected) in [(0, (empty, Some(left))), (9, nothing)] {
            orphan.socket = Some(Socket {
                bytes_sent: bytes,
                ..socket(1)
            });
            assert_eq!(late(&orphan), expected);
        }
    }

    #[test]
    fn a_server_that_speaks_after_the_close_of_a_check_loses_nothing() {
        // Bytes from the client, its FIN counts as one; from the server; milliseconds from the handshake to that FIN.
        let greets = |received_bytes: u64, sent_bytes: u64, left_after: u64| {
            let mut received = server(|socket| {
                socket.state = TcpState::CloseWait;
                (socket.bytes_sent, socket.bytes_received) = (sent_bytes, received_bytes);
                socket.unacknowledged = 41;
            });
            if let Some(who) = &mut received.ownership {
                let left = BootTime(NOW - 700 * MS);
                who.established = Some(left.before(Duration::from_millis(left_after)));
                who.peer_finish = Some(PeerFinish {
                    time: left,
                    quiet: Duration::ZERO,
                });
            }
            of_accepted(&received, None, true, AT, Recurrence::default())
        };
        assert_eq!(greets(1, 41, 300), Some(Class::EmptyConnection));
        assert_eq!(greets(20, 41, 300), None, "it had been asked");
        assert_eq!(greets(1, 90_000, 300), None, "a client that only reads");
        assert_eq!(greets(1, 41, 5_000), None, "it had waited");
    }

    #[test]
    fn only_an_answer_that_takes_more_than_a_flight_is_owed() {
        let answer = |bytes_sent: u64, unacknowledged: u32| Socket {
            bytes_sent,
            unacknowledged,
            ..socket(1)
        };
        assert!(!is_owed(&answer(180, 180)));
        assert!(!is_owed(&answer(100_000, 0)));
        assert!(is_owed(&answer(100_000, 1_448)));
    }

    #[test]
    fn even_intervals_are_a_health_check_and_others_are_not() {
        let classes = |times: &[u64]| -> Vec<_> {
            let records = moments(times.iter().copied().map(check).collect());
            records.iter().map(|record| record.verdict.class).collect()
        };
        let (check, once) = (Some(Class::HealthCheck), Some(Class::EmptyConnection));
        let even = classes(&[0, 2_000, 4_010, 6_005, 8_000]);
        assert_eq!((&even[..2], &even[3..]), (&[once; 2][..], &[check; 2][..]));
        assert_eq!(classes(&[0, 2_000, 2_700, 9_000]), [once; 4]);
    }

    #[test]
    fn a_health_check_says_its_period() {
        let records = moments((0..4).map(|n| check(n * 2_000)).collect());
        let verdict = &records[3].verdict;
        assert_eq!(verdict.severity, crate::record::Severity::Noise);
        assert!(
            verdict.summary().ends_with("a health check every 2.0 s"),
            "{}",
            verdict.summary()
        );
    }

    #[test]
    fn many_ports_in_a_short_time_are_a_scan() {
        let refused = |ports: u16, ms: u64| -> Vec<_> {
            let attempt = |n: u16| {
                let mut scene = Scene::new();
                scene.flow.local.set_port(1_000 + n);
                let syn = segment(TcpFlags::SYN, u32::from(n) * 7 + 1, 0, 0);
                (u64::from(n) * ms, scene.answer(syn))
            };
            let records = moments((0..ports).map(attempt).collect());
            records.iter().map(|record| record.verdict.class).collect()
        };
        // All are known before the window of the first is over.
        assert_eq!(refused(100, 1), [Some(Class::PortScan); 100]);
        assert_eq!(refused(19, 1), [None; 19]);
        // A client that looks for a service once a minute.
        assert_eq!(refused(30, 60_000), [None; 30]);
    }
}

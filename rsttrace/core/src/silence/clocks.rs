//! The silence before a reset, from a socket's clocks.
//!
//! Three shapes are told apart. Nothing was outstanding: the reset came by itself, perhaps at a timer's expiry. This end had
//! spoken (data, a keepalive probe, a FIN): the silence ended with that. The peer had closed its side: the silence ended
//! with its FIN, and the reset is what came of it.
//!
//! `lsndtime` moves with every retransmission, so while data is unacknowledged the first send of it counts instead
//! (`chrono_start`). Keepalive probes move neither clock of data; their answers move `rcv_tstamp`, so the silence of the
//! application and that of the wire are two numbers.

use std::time::Duration;

use crate::event::{
    BootTime, HostContext, Ownership, Received, Sent, Socket, Task, TcpState, Tombstone,
};
use crate::record::{Idle, IdleMode};
use crate::thresholds::{IDLE, LAST_WORDS};

/// The silence before a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// The kind of timeout it would be, if it was one.
    pub mode: IdleMode,
    /// What ended the silence.
    pub trigger: Trigger,
    /// Nothing went over the wire, probes included, as far as this end's clocks tell; a peer's own keepalive probes show only
    /// while nothing is outstanding.
    pub wire: Duration,
    /// No data went either way. Not shorter than `wire`.
    pub application: Duration,
    /// From the trigger to the reset; absent without one.
    pub after: Option<Duration>,
    /// This end was asked last and had not answered: the other end's patience may have been at its end.
    pub owed: bool,
}

impl Quiet {
    /// The silence that a timeout of this mode would have measured.
    pub fn silence(&self) -> Duration {
        match self.mode {
            IdleMode::LateRst => self.wire,
            IdleMode::RstAtExpiry | IdleMode::FinAtExpiry => self.application,
        }
    }
}

/// What ended a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The reset itself.
    Nothing,
    /// Data of this end.
    Write,
    /// A keepalive probe of this end.
    Probe,
    /// The FIN of this end.
    Close,
    /// The peer's FIN.
    PeerFinish,
    /// The FIN of the process that had closed here.
    Closed,
}

impl Trigger {
    /// What this end sent, for a sentence.
    pub const fn sent(self) -> &'static str {
        match self {
            Self::Probe => "keepalive probe",
            Self::Close => "FIN",
            Self::Nothing | Self::Write | Self::PeerFinish | Self::Closed => "write",
        }
    }
}

/// The clocks as the record shows them, for a socket whose connection was in `state`; `None` where there was none yet.
pub fn idle(socket: &Socket, state: TcpState, quiet: Option<&Quiet>) -> Option<Idle> {
    if !state.is_synchronized() {
        return None;
    }
    let heard = heard(socket);
    let data = data(socket);
    if quiet.is_none() && data.is_none() && heard.is_none() {
        return None;
    }
    let sent = quiet.filter(|quiet| matches!(quiet.trigger, Trigger::Probe | Trigger::Write));
    Some(Idle {
        quiet_before: quiet.map(|quiet| quiet.wire.as_secs_f64()),
        since_data: seconds(data),
        since_heard: seconds(heard),
        reset_after_send: seconds(
            write_age(socket)
                // Of a queue that is never empty the first send tells nothing.
                .filter(|age| heard.is_none_or(|heard| heard >= *age))
                .or(sent.and_then(|quiet| quiet.after)),
        ),
        ..Idle::default()
    })
}

/// The silence before an accepted reset; `None` without an established connection, or where its clocks tell nothing.
pub fn before_received(received: &Received, at: BootTime) -> Option<Quiet> {
    let socket = &received.socket;
    if !socket.state.is_synchronized() {
        return None;
    }
    let ownership = received.ownership.as_ref();
    let owed = is_outgoing(ownership) == Some(false) && socket.since_received < socket.since_sent;
    if let Some(finish) = ownership.and_then(|ownership| ownership.peer_finish) {
        // The peer went on acknowledging: it had only said all it had to say.
        if heard(socket).is_some_and(|heard| heard + LINGERS < at.since(finish.time)) {
            return None;
        }
        return Some(Quiet {
            mode: IdleMode::FinAtExpiry,
            trigger: Trigger::PeerFinish,
            wire: finish.quiet,
            application: finish.quiet,
            after: Some(at.since(finish.time)),
            owed,
        });
    }
    // The peer had closed before the tool was there.
    if matches!(socket.state, TcpState::CloseWait | TcpState::LastAck) {
        return None;
    }
    // Written, but not on its way: the peer's window is shut. That is no silence, its probes are answered.
    if socket.unacknowledged > 0 && socket.since_first_unacknowledged.is_none() {
        return None;
    }
    let late = |trigger, after: Duration, application: Option<Duration>| {
        let wire = heard(socket)?.saturating_sub(after);
        Some(Quiet {
            mode: IdleMode::LateRst,
            trigger,
            wire,
            application: application.unwrap_or(wire).max(wire),
            after: Some(after),
            owed: false,
        })
    };
    if let Some(age) = write_age(socket) {
        return late(Trigger::Write, age, None);
    }
    if let Some(age) = probe_age(socket) {
        let application = data(socket).map(|data| data.saturating_sub(age));
        return late(Trigger::Probe, age, application);
    }
    if let Some((after, silence)) = acknowledged_write(socket) {
        return Some(Quiet {
            mode: IdleMode::LateRst,
            trigger: Trigger::Write,
            wire: silence,
            application: silence,
            after: Some(after),
            owed: false,
        });
    }
    let closed = ownership.and_then(|ownership| ownership.closer.as_ref());
    if socket.state == TcpState::FinWait1
        && let Some(closer) = closed
        && let Some(time) = closer.time
    {
        return late(Trigger::Close, at.since(time), Some(closer.quiet));
    }
    let application = data(socket)?;
    let wire = [Some(application), heard(socket), socket.since_transmit]
        .into_iter()
        .flatten()
        .min()?;
    Some(Quiet {
        mode: IdleMode::RstAtExpiry,
        trigger: Trigger::Nothing,
        wire,
        application,
        after: None,
        owed,
    })
}

/// The silence after which a process of this host closed, where the reset is the work of that close; `None` if the peer had
/// closed first, or nobody is known to have closed.
pub fn before_sent(sent: &Sent, at: BootTime) -> Option<Quiet> {
    let ownership = sent.ownership.as_ref().or(sent
        .former_connection
        .as_ref()
        .filter(|former| ended_by_close(former))
        .map(|former| &former.ownership))?;
    let closer = ownership.closer.as_ref()?;
    let lived_in = match (&sent.socket, &sent.former_connection) {
        (Some(_), _) => ownership.state_before_close,
        (None, former) => former.as_ref().map(|former| former.last_state),
    };
    // A connect that was given up has no silence.
    if lived_in.is_some_and(|state| !state.is_synchronized()) {
        return None;
    }
    let finished_first =
        |finish: crate::event::PeerFinish| closer.time.is_none_or(|closed| finish.time <= closed);
    if ownership.peer_finish.is_some_and(finished_first) {
        return None;
    }
    let half_closed = matches!(
        ownership.state_before_close,
        Some(TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing)
    );
    let (mode, trigger) = if sent.passive || half_closed {
        (IdleMode::FinAtExpiry, Trigger::Closed)
    } else {
        (IdleMode::RstAtExpiry, Trigger::Nothing)
    };
    Some(Quiet {
        mode,
        trigger,
        wire: closer.quiet,
        application: closer.quiet,
        after: closer
            .time
            .filter(|_| sent.passive)
            .map(|closed| at.since(closed)),
        owed: false,
    })
}

/// It ended because its process closed, not by an error.
fn ended_by_close(former: &Tombstone) -> bool {
    former.error == 0
}

/// Whether this end opened the connection; `None` for a socket older than the tool, of which only the holder is known.
pub fn is_outgoing(ownership: Option<&Ownership>) -> Option<bool> {
    use crate::event::OwnerSource;
    let ownership = ownership?;
    if ownership.inherited {
        return Some(false);
    }
    match ownership.source? {
        OwnerSource::Connect => Some(true),
        OwnerSource::Listen | OwnerSource::Accept => Some(false),
        OwnerSource::Seeded => None,
    }
}

/// The process that closed the connection that this end reset.
pub fn closer(sent: &Sent) -> Option<&Task> {
    let closer = sent.remembered()?.closer.as_ref();
    closer.map(|closer| &closer.task)
}

/// The process that closed is another one than the process that accepted the connection and lives: one for each connection,
/// which ends by itself.
pub fn serves_one(sent: &Sent, facts: &HostContext) -> bool {
    let accepted = sent
        .remembered()
        .filter(|it| is_outgoing(Some(it)) == Some(false));
    let acceptor = accepted.and_then(|it| it.owner.as_ref());
    let (Some(acceptor), Some(closer)) = (acceptor, closer(sent)) else {
        return false;
    };
    closer.id() != acceptor.id()
        && sent.ended_by() == (true, None)
        && facts
            .processes
            .iter()
            .any(|process| process.is_of(acceptor))
}

/// Whether this end had opened the connection that it reset.
pub fn opened_here(sent: &Sent) -> Option<bool> {
    is_outgoing(sent.remembered())
}

/// Since the peer was last heard of: data, or an acceptable ACK.
pub fn heard(socket: &Socket) -> Option<Duration> {
    earliest(socket.since_ack, socket.since_received)
}

/// Since data last moved either way.
fn data(socket: &Socket) -> Option<Duration> {
    let sent = match socket.since_first_unacknowledged {
        Some(first) if socket.retransmits > 0 => Some(first),
        _ => socket.since_sent,
    };
    earliest(sent, socket.since_received)
}

/// Since the first send of what is unacknowledged. The kernel keeps it in ticks; where it was the last segment sent at all,
/// the clock of segments is exact.
fn write_age(socket: &Socket) -> Option<Duration> {
    let first = socket.since_first_unacknowledged?;
    Some(
        socket
            .since_transmit
            .filter(|last| socket.retransmits == 0 && first.abs_diff(*last) <= TICK)
            .unwrap_or(first),
    )
}

/// Since a write that was acknowledged right before the reset, and the silence before it; absent if this was no such write. The clock of
/// writes does not say when this end had written before, so the silence is that of a peer that answers what it gets.
fn acknowledged_write(socket: &Socket) -> Option<(Duration, Duration)> {
    let (sent, received) = (socket.since_sent?, socket.since_received?);
    let at_once = socket.rtt.unwrap_or_default() * 2 + LAST_WORDS;
    let silence = received.checked_sub(sent)?;
    let answers = socket.bytes_received.saturating_mul(ONE_SIDED) >= socket.bytes_sent;
    let is_meant = socket.state == TcpState::Established
        && socket.unacknowledged == 0
        && socket.since_ack? <= sent
        && sent <= at_once
        && silence >= IDLE
        && answers;
    is_meant.then_some((sent, silence))
}

/// An end that sends so many times more than it gets may have written all the time.
const ONE_SIDED: u64 = 16;

/// Since the first of the unanswered keepalive probes.
fn probe_age(socket: &Socket) -> Option<Duration> {
    if !socket.keepalive || socket.probes_out == 0 || socket.unacknowledged > 0 {
        return None;
    }
    let earlier = u32::from(socket.probes_out - 1);
    let interval = socket.keepalive_interval.unwrap_or_default();
    Some(
        socket
            .since_transmit?
            .saturating_add(interval.saturating_mul(earlier)),
    )
}

/// An acknowledgement so long after the peer's FIN is not part of it.
const LINGERS: Duration = Duration::from_millis(200);

/// Two ticks of the slowest kernel clock in use, 100 Hz.
const TICK: Duration = Duration::from_millis(20);

/// The shorter of two spans, where known.
fn earliest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn seconds(span: Option<Duration>) -> Option<f64> {
    span.map(|span| span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::{NOW, SECOND, Scene, closer, closing, segment, socket};
    use crate::event::{OwnerSource, PeerFinish};

    const AT: BootTime = BootTime(NOW);

    fn ms(value: u64) -> Option<Duration> {
        Some(Duration::from_millis(value))
    }

    fn quiet(socket: Socket) -> Quiet {
        before_received(&Scene::new().received(socket), AT).expect("established")
    }

    fn shape(quiet: Quiet) -> (IdleMode, Trigger, u128, u128) {
        (
            quiet.mode,
            quiet.trigger,
            quiet.wire.as_millis(),
            quiet.application.as_millis(),
        )
    }

    #[test]
    fn silence_ends_with_the_first_unacknowledged_send_not_with_its_retransmission() {
        let mut socket = socket(1);
        socket.since_ack = ms(2016);
        socket.since_received = ms(5000);
        socket.since_sent = ms(240);
        socket.since_transmit = ms(240);
        socket.since_first_unacknowledged = ms(1016);
        socket.retransmits = 3;
        let quiet = quiet(socket.clone());
        assert_eq!(
            shape(quiet),
            (IdleMode::LateRst, Trigger::Write, 1000, 1000)
        );
        let idle = idle(&socket, TcpState::Established, Some(&quiet)).expect("established");
        assert_eq!(idle.quiet_before, Some(1.0));
        assert_eq!(idle.reset_after_send, Some(1.016));
        assert_eq!(idle.since_data, Some(1.016));
        assert_eq!(idle.since_heard, Some(2.016));
    }

    #[test]
    fn the_exact_clock_of_segments_tells_how_soon_the_answer_came() {
        let mut socket = socket(1);
        socket.since_ack = ms(300_004);
        socket.since_first_unacknowledged = ms(4);
        socket.since_transmit = Some(Duration::from_micros(400));
        let quiet = quiet(socket.clone());
        assert_eq!(quiet.after, Some(Duration::from_micros(400)));
        let idle = idle(&socket, TcpState::Established, Some(&quiet)).expect("established");
        assert_eq!(idle.reset_after_send, Some(0.0004));
    }

    #[test]
    fn with_nothing_outstanding_the_reset_itself_ended_the_silence() {
        let mut socket = socket(1);
        socket.since_ack = ms(300_000);
        socket.since_received = ms(301_000);
        socket.since_sent = ms(300_040);
        let found = quiet(socket);
        assert_eq!(
            shape(found),
            (IdleMode::RstAtExpiry, Trigger::Nothing, 300_000, 300_040)
        );
    }

    #[test]
    fn a_bare_acknowledgment_between_write_and_reset_does_not_end_the_silence() {
        let acknowledged = |bytes_sent, sent| {
            let mut socket = socket(1);
            (socket.bytes_received, socket.bytes_sent) = (1_000, bytes_sent);
            socket.since_received = ms(58_004);
            socket.since_sent = ms(sent);
            socket.since_ack = Some(Duration::ZERO);
            socket.since_transmit = ms(sent);
            shape(quiet(socket))
        };
        assert_eq!(
            acknowledged(2_000, 4),
            (IdleMode::LateRst, Trigger::Write, 58_000, 58_000)
        );
        // The peer took its time after the write, and this end writes all the time.
        assert_eq!(acknowledged(2_000, 3_000).0, IdleMode::RstAtExpiry);
        assert_eq!(acknowledged(50_000, 4).0, IdleMode::RstAtExpiry);
    }

    #[test]
    fn answered_probes_keep_the_wire_busy_and_the_application_silent() {
        let mut socket = socket(1);
        socket.keepalive = true;
        socket.since_ack = ms(12_000);
        socket.since_received = ms(300_000);
        socket.since_sent = ms(300_000);
        assert_eq!(
            shape(quiet(socket.clone())),
            (IdleMode::RstAtExpiry, Trigger::Nothing, 12_000, 300_000)
        );
        // The peer's own probes move no clock but that of our answers.
        socket.since_ack = ms(300_000);
        socket.since_transmit = ms(7_000);
        assert_eq!(
            shape(quiet(socket)),
            (IdleMode::RstAtExpiry, Trigger::Nothing, 7_000, 300_000)
        );
    }

    #[test]
    fn a_reset_that_answers_a_probe_is_late() {
        let mut socket = socket(1);
        socket.keepalive = true;
        socket.probes_out = 1;
        socket.since_transmit = ms(1);
        socket.since_ack = ms(7_200_001);
        socket.since_received = ms(7_200_001);
        socket.since_sent = ms(7_200_041);
        assert_eq!(
            shape(quiet(socket)),
            (IdleMode::LateRst, Trigger::Probe, 7_200_000, 7_200_000)
        );
    }

    #[test]
    fn after_the_peers_fin_the_gap_ends_at_it() {
        let mut received = Scene::new().received(Socket {
            state: TcpState::CloseWait,
            peer_finished: true,
            since_first_unacknowledged: ms(4),
            ..socket(1)
        });
        if let Some(ownership) = &mut received.ownership {
            ownership.peer_finish = Some(PeerFinish {
                time: BootTime(NOW - SECOND),
                quiet: Duration::from_secs(60),
            });
        }
        let quiet = before_received(&received, AT).expect("known");
        assert_eq!(
            shape(quiet),
            (IdleMode::FinAtExpiry, Trigger::PeerFinish, 60_000, 60_000)
        );
        // A FIN before the tool was there tells nothing of the silence before it.
        received.ownership = None;
        assert_eq!(before_received(&received, AT), None);
    }

    #[test]
    fn a_reply_heard_after_the_send_leaves_no_silence_before_it() {
        let mut socket = socket(1);
        socket.since_ack = ms(10);
        socket.since_first_unacknowledged = ms(500);
        assert_eq!(quiet(socket).wire, Duration::ZERO);
    }

    #[test]
    fn a_process_that_closes_ended_its_own_silence() {
        let scene = Scene::new();
        let mut sent = scene.active(Some("TCP_STATE"), closing(1));
        let closed = |quiet: u64| {
            Some(crate::event::Closer {
                quiet: Duration::from_secs(quiet),
                ..closer(87, "haproxy")
            })
        };
        assert_eq!(before_sent(&sent, AT), None, "nobody closed");
        if let Some(ownership) = &mut sent.ownership {
            ownership.closer = closed(3);
        }
        let found = before_sent(&sent, AT).expect("closed");
        assert_eq!(
            shape(found),
            (IdleMode::RstAtExpiry, Trigger::Nothing, 3000, 3000)
        );
        // The peer had closed before: the process only answered.
        if let Some(ownership) = &mut sent.ownership {
            ownership.peer_finish = Some(PeerFinish {
                time: BootTime(1),
                quiet: Duration::from_secs(3),
            });
        }
        assert_eq!(before_sent(&sent, AT), None);
        // Late data: the tombstone knows the close.
        let mut answer = scene.answer(segment(0x10, 1, 2, 5));
        let mut former = crate::engine::fixtures::tombstone(87, "haproxy", TcpState::FinWait2);
        former.ownership.closer = closed(4);
        answer.former_connection = Some(Box::new(former));
        let found = before_sent(&answer, AT).expect("closed");
        assert_eq!(
            (found.mode, found.trigger, found.after),
            (
                IdleMode::FinAtExpiry,
                Trigger::Closed,
                Some(Duration::from_secs(2))
            )
        );
    }

    #[test]
    fn a_connect_that_was_refused_has_no_idle_clocks() {
        let refused = Socket {
            state: TcpState::SynSent,
            ..socket(1)
        };
        assert_eq!(idle(&refused, TcpState::SynSent, None), None);
        assert_eq!(before_received(&Scene::new().received(refused), AT), None);
    }

    #[test]
    fn who_opened_a_connection_is_known_unless_it_is_older_than_the_tool() {
        let owned = |source, inherited| Ownership {
            inherited,
            ..crate::engine::fixtures::ownership(1, "x", source)
        };
        for (source, inherited, expected) in [
            (OwnerSource::Connect, false, Some(true)),
            (OwnerSource::Listen, true, Some(false)),
            (OwnerSource::Accept, false, Some(false)),
            (OwnerSource::Seeded, false, None),
        ] {
            assert_eq!(is_outgoing(Some(&owned(source, inherited))), expected);
        }
    }
}

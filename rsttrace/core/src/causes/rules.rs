//! Rules that map the facts of a reset to its cause: one table per way of observation, first matching row wins.
//!
//! A row consists of a condition, the cause, and its maximum confidence. The condition is in the file of the cause. The last table
//! names the sender instead of the cause; its conditions are in `verdict/located.rs`.
//!
//! The kernel's reason (since 6.12 for active resets, 6.10 for answers) is often broader than a cause: the socket's state decides.
//! Only the first two tables need the kernel of the end that sent the reset. The table of accepted resets applies to live resets and
//! to captures, with the same weights.

use super::{
    Why, accept_queue_overflow::*, answers_any, answers_any_syn, answers_synack, bad_handshake::*,
    blind_attempt::*, close_with_unread_data::*, connection_refused::*, data_after_close::*,
    disconnect::*, firewall_reject::*, half_open::*, idle_timeout::*, keepalive_timeout::*,
    killed_with_unread_data::*, late_synack::*, linger_zero::*, linger2::*, listener_closed::*,
    mptcp::*, not_from_peer::*, orphan_timeout::*, out_of_memory::*, port_closed::*, raw_socket::*,
    reset_by_peer::*, socket_destroyed::*, unknown::*, untranslated_answer::*,
};
use crate::event::ResetReason as Reason;
use crate::event::Sent;
use crate::record::Cause;
use crate::record::Confidence::{self, Certain, Likely, Possible};
use crate::verdict::located::Sender::{self, Alleged, Between, CaptureHost};
use crate::verdict::located::{Gap, Location};
use crate::verdict::{AcceptedCase, ArrivedCase, CapturedCase, LeftCase, LocatedCase};

/// A cause, and the confidence that it does not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Why the reset was sent.
    pub cause: Cause,
    /// How sure at most.
    pub confidence: Confidence,
    /// What is missing; absent where the cause is known.
    pub why: Option<Why>,
}

/// Where `when` holds, it was this.
struct Rule<C: 'static, R = Ruling> {
    when: fn(&C) -> bool,
    ruling: R,
}

/// The TCP stack of this host sent the reset and gives a reason.
#[rustfmt::skip]
const STACK: &[(Reason, Rule<Sent>)] = &[
    (Reason::NoSocket,            rule(abandoned_connect, Cause::LateSynack, Certain)),
    // Perhaps abandoned before the trace started, perhaps never made: backscatter of a spoofed SYN.
    (Reason::NoSocket,            rule(answers_synack,    Cause::LateSynack, Possible)),
    (Reason::NoSocket,            rule(answers_syn,       Cause::PortClosed, Certain)),
    (Reason::NoSocket,            rule(is_remembered,     Cause::HalfOpen, Certain)),
    // Nothing shows that there ever was one.
    (Reason::NoSocket,            rule(answers_any,       Cause::HalfOpen, Likely)),
    (Reason::TimewaitSocket,      rule(always,            Cause::DataAfterClose, Certain)),
    (Reason::AbortOnData,         rule(always,            Cause::DataAfterClose, Certain)),
    (Reason::AbortOnClose,        rule(closer_was_killed, Cause::KilledWithUnreadData, Certain)),
    (Reason::AbortOnClose,        rule(always,            Cause::CloseWithUnreadData, Certain)),
    // The name misleads: SO_LINGER {1, 0} shows as TCP_STATE.
    (Reason::AbortOnLinger,       rule(always,            Cause::Linger2, Certain)),
    (Reason::AbortOnMemory,       rule(always,            Cause::OutOfMemory, Certain)),
    (Reason::KeepaliveTimeout,    rule(always,            Cause::KeepaliveTimeout, Certain)),
    (Reason::DisconnectWithData,  rule(always,            Cause::Disconnect, Certain)),
    (Reason::State,               rule(child_of_listener, Cause::ListenerClosed, Certain)),
    (Reason::State,               rule(lingers_from_open, Cause::LingerZero, Certain)),
    // After shutdown(SHUT_RDWR) a connect(AF_UNSPEC) looks the same.
    (Reason::State,               rule(lingers_for_zero,  Cause::LingerZero, Likely)),
    (Reason::State,               rule(disconnects,       Cause::Disconnect, Certain)),
    (Reason::State,               rule(orphan_timed_out,  Cause::OrphanTimeout, Certain)),
    (Reason::State,               rule(still_connected,   Cause::SocketDestroyed, Certain)),
    (Reason::Flags,               rule(listener_is_back,  Cause::HalfOpen, Certain)),
    (Reason::Flags,               rule(at_listener,       Cause::StrayAck, Certain)),
    // The name misleads: without SYN it is tcp_abort_on_overflow (tcp_check_req).
    (Reason::InvalidSyn,          rule(answers_any_syn,   Cause::BadHandshake, Certain)),
    (Reason::InvalidSyn,          rule(answers_any,       Cause::AcceptQueueOverflow, Certain)),
    (Reason::InvalidAckSequence,  rule(always,            Cause::BadHandshake, Certain)),
    (Reason::Paws,                rule(always,            Cause::BadHandshake, Certain)),
    (Reason::TooOldAck,           rule(always,            Cause::BadHandshake, Certain)),
    (Reason::AckUnsentData,       rule(always,            Cause::BadHandshake, Certain)),
    (Reason::OldAck,              rule(always,            Cause::BadHandshake, Certain)),
];

/// The same, and the kernel gives no reason: inferred from the socket, at best likely.
const INFERRED: &[Rule<Sent>] = &[
    rule(child_of_listener, Cause::ListenerClosed, Likely),
    rule(killed_with_unread, Cause::KilledWithUnreadData, Likely),
    rule(closed_with_unread, Cause::CloseWithUnreadData, Likely),
    rule(lingers_for_zero, Cause::LingerZero, Likely),
    rule(lingers_below_zero, Cause::Linger2, Likely),
    rule(disconnects, Cause::Disconnect, Likely),
    rule(probes_unanswered, Cause::KeepaliveTimeout, Likely),
    rule(orphan_timed_out, Cause::OrphanTimeout, Likely),
    rule(orphan_given_up, Cause::OutOfMemory, Likely),
    rule(is_mptcp, Cause::Mptcp, Likely),
    rule(held_and_connected, Cause::SocketDestroyed, Likely),
    rule(time_wait, Cause::DataAfterClose, Likely),
    rule(queue_full_at_listener, Cause::AcceptQueueOverflow, Likely),
    rule(syn_at_listener, Cause::BadHandshake, Likely),
    rule(listener_is_back, Cause::HalfOpen, Likely),
    rule(answer_at_listener, Cause::StrayAck, Likely),
    rule(connecting, Cause::BadHandshake, Likely),
    rule(data_at_closed, Cause::DataAfterClose, Likely),
    rule(no_socket_synack, Cause::LateSynack, Possible),
    rule(no_socket_syn, Cause::PortClosed, Likely),
    rule(no_socket, Cause::HalfOpen, Likely),
];

/// It left this host without an event of the TCP stack.
const LEFT: &[Rule<LeftCase>] = &[
    rule(belongs_to_raw_socket, Cause::RawSocket, Certain),
    rule(answers_without_socket, Cause::FirewallReject, Certain),
    rule(LeftCase::is_unseen_refusal, Cause::PortClosed, Likely),
    rule(LeftCase::is_unseen_answer, Cause::HalfOpen, Possible),
    unknown(always, Why::NoSender),
];

/// A socket accepted it, as its kernel says or as the numbers in a capture do.
const ACCEPTED: &[Rule<AcceptedCase>] = &[
    // By the record of the end on this host that sent it with the peer's address.
    rule(filter_wrote, Cause::FirewallReject, Certain),
    rule(raw_socket_wrote, Cause::RawSocket, Certain),
    rule(was_connecting, Cause::ConnectionRefused, Certain),
    // [`super::judge_timeout`] says whose it is and how sure.
    rule(has_timed_out, Cause::IdleTimeout, Certain),
    // By the record of the host between the ends, which had translated the connection.
    rule(translator_answered, Cause::NotFromPeer, Certain),
    rule(does_not_look_like_the_peer, Cause::NotFromPeer, Certain),
    rule(always, Cause::ResetByPeer, Certain),
];

/// It arrived, and no socket is known to have accepted it.
const ARRIVED: &[Rule<ArrivedCase>] = &[
    rule(is_once_more, Cause::ResetByPeer, Likely),
    unknown(fits, Why::Fits),
    unknown(may_have_been_accepted, Why::CameClose),
    rule(overtook_its_data, Cause::ResetByPeer, Possible),
    rule(missed, Cause::BlindAttempt, Certain),
    rule(is_in_time_wait, Cause::ResetByPeer, Likely),
    rule(took_back, Cause::ResetByPeer, Likely),
    unknown(is_ignored, Why::Ignored),
    unknown(has_no_connection, Why::NoConnection),
    unknown(always, Why::NotLookedUp),
];

/// A capture holds it, and none of its ends is known to have accepted it, or the capturing host sent it. Where no row fits, it is
/// judged from the receiving end, as [`ACCEPTED`].
const CAPTURED: &[Rule<CapturedCase>] = &[
    unknown(CapturedCase::is_alone, Why::Alone),
    unknown(CapturedCase::is_given_up, Why::GaveUp),
    // Whatever came before: a SYN for a new connection, or a FIN, and the numbers of an answer.
    rule(captured_reconnect, Cause::BadHandshake, Likely),
    rule(captured_after_fin, Cause::DataAfterClose, Likely),
    rule(captured_crossing_fin, Cause::DataAfterClose, Likely),
    rule(
        CapturedCase::is_refused_again_here,
        Cause::PortClosed,
        Possible,
    ),
    rule(
        CapturedCase::is_refused_again,
        Cause::ConnectionRefused,
        Certain,
    ),
    unknown(CapturedCase::is_once_more_unlike_an_answer, Why::OneMore),
    rule(captured_once_more_here, Cause::HalfOpen, Possible),
    rule(captured_once_more_as_usual, Cause::ResetByPeer, Likely),
    rule(captured_once_more, Cause::ResetByPeer, Possible),
    rule(
        CapturedCase::is_answer_to_an_earlier_one,
        Cause::ResetByPeer,
        Likely,
    ),
    rule(captured_miss_of_another, Cause::BlindAttempt, Likely),
    rule(captured_miss, Cause::BlindAttempt, Possible),
    rule(
        CapturedCase::is_of_accepting_peer,
        Cause::ResetByPeer,
        Possible,
    ),
    unknown(CapturedCase::is_beyond, Why::Beyond),
    unknown(CapturedCase::is_missed, Why::Unexpected),
    // The capturing host forwards the connection.
    unknown(CapturedCase::is_put_in_unprompted, Why::PutInHere),
    rule(captured_put_in, Cause::FirewallReject, Possible),
    rule(CapturedCase::is_put_in_here, Cause::HalfOpen, Possible),
    unknown(CapturedCase::is_seen_once_only, Why::SeenOnce),
    unknown(CapturedCase::is_unlike_this_host, Why::UnlikeThisHost),
    rule(CapturedCase::is_refused_here, Cause::PortClosed, Possible),
    rule(CapturedCase::is_refused, Cause::ConnectionRefused, Certain),
    rule(
        CapturedCase::acknowledges_data_after_fin,
        Cause::DataAfterClose,
        Likely,
    ),
    unknown(CapturedCase::is_one_of_a_pair, Why::Pair),
    // The capturing host sent it, as an answer.
    unknown(CapturedCase::answers_nothing, Why::AnswersNothing),
    rule(captured_untranslated, Cause::UntranslatedAnswer, Likely),
    rule(captured_synack, Cause::LateSynack, Possible),
    unknown(CapturedCase::is_first_of_its_source, Why::NothingElse),
    rule(captured_after_silence, Cause::HalfOpen, Possible),
    unknown(CapturedCase::has_shaken_hands_only, Why::NeverAccepted),
    unknown(CapturedCase::is_answer_of_this_host, Why::SpokeJustBefore),
    // The capturing host sent it, as an end that has the connection.
    rule(captured_probes, Cause::KeepaliveTimeout, Likely),
    rule(captured_probe, Cause::KeepaliveTimeout, Possible),
    unknown(CapturedCase::is_active_after_fin, Why::ClosedBefore),
    unknown(CapturedCase::is_active_of_this_host, Why::Application),
];

/// Captures of the same connection: who sent it. Why is judged in each capture alone, as above.
#[rustfmt::skip]
const LOCATED: &[Rule<LocatedCase, Location>] = &[
    unlocated(LocatedCase::is_unordered,                       Gap::Order),
    // An alleged sender that continues the connection did not send it.
    located(LocatedCase::starts_at_host_but_sender_continues,  CaptureHost, Certain),
    located(LocatedCase::sender_continues,                     Between, Certain),
    // It left a host at which it did not arrive, unless the capture missed its arrival.
    unlocated(LocatedCase::is_not_arrived_but_lowered,         Gap::Lowered),
    unlocated(LocatedCase::is_not_arrived_but_like_forwarded,  Gap::LikeForwarded),
    located(LocatedCase::is_not_arrived_with_initial_ttl,      CaptureHost, Certain),
    located(LocatedCase::is_not_arrived,                       CaptureHost, Likely),
    unlocated(LocatedCase::is_alone,                           Gap::OnlyCapture),
    located(LocatedCase::has_initial_ttl_at_host,              CaptureHost, Likely),
    unlocated(LocatedCase::is_unlike_stack,                    Gap::UnlikeStack),
    // A detour around the captures that lack it explains such a TTL, too.
    located(LocatedCase::has_foreign_ttl,                      Between, Likely),
    located(LocatedCase::is_not_seen,                          Between, Possible),
    // A refused connect, for instance.
    located(LocatedCase::starts_at_the_closest,                Alleged, Possible),
    unlocated(LocatedCase::has_nothing_to_compare,             Gap::NothingToCompare),
    unlocated(LocatedCase::has_explained_ttl,                  Gap::TtlExplained),
    located(LocatedCase::has_odd_ttl,                          Between, Possible),
    // It has the usual TTL of its alleged sender.
    unlocated(LocatedCase::may_be_missed,                      Gap::MayBeMissed),
    located(LocatedCase::leaves_alleged_sender,                Alleged, Certain),
    // All devices on the link of that host send with the same TTL.
    located(always,                                            Alleged, Likely),
];

const fn rule<C>(when: fn(&C) -> bool, cause: Cause, confidence: Confidence) -> Rule<C> {
    let ruling = Ruling {
        cause,
        confidence,
        why: None,
    };
    Rule { when, ruling }
}

const fn unknown<C>(when: fn(&C) -> bool, why: Why) -> Rule<C> {
    let ruling = Ruling {
        cause: Cause::Unknown,
        // How sure its origin is, [`Why`] says.
        confidence: Certain,
        why: Some(why),
    };
    Rule { when, ruling }
}

const fn located(
    when: fn(&LocatedCase) -> bool,
    sender: Sender,
    confidence: Confidence,
) -> Rule<LocatedCase, Location> {
    let ruling = Location { sender, confidence };
    Rule { when, ruling }
}

const fn unlocated(when: fn(&LocatedCase) -> bool, gap: Gap) -> Rule<LocatedCase, Location> {
    located(when, Sender::Unknown(gap), Possible)
}

/// Why the TCP stack sent this reset.
pub fn of_sent(sent: &Sent) -> Ruling {
    let found = match sent.given_reason() {
        None => first(INFERRED, sent),
        Some(reason) if reason.is_mptcp() => Some(Ruling {
            cause: Cause::Mptcp,
            confidence: Certain,
            why: None,
        }),
        Some(reason) => STACK
            .iter()
            .find(|(given, rule)| given == reason && (rule.when)(sent))
            .map(|(_, rule)| rule.ruling),
    };
    found.unwrap_or(NOTHING_FITS)
}

/// Why a reset left that the TCP stack did not send.
pub(crate) fn of_left(case: &LeftCase) -> Ruling {
    first(LEFT, case).unwrap_or(NOTHING_FITS)
}

/// Why a socket got a reset.
pub(crate) fn of_accepted(case: &AcceptedCase) -> Ruling {
    first(ACCEPTED, case).unwrap_or(NOTHING_FITS)
}

/// Why a reset came that no socket accepted.
pub(crate) fn of_arrived(case: &ArrivedCase) -> Ruling {
    first(ARRIVED, case).unwrap_or(NOTHING_FITS)
}

/// Why a capture holds a reset; `None`: as the receiving end would judge.
pub(crate) fn of_captured(case: &CapturedCase) -> Option<Ruling> {
    first(CAPTURED, case)
}

/// Who sent a reset that several captures show.
pub(crate) fn of_located(case: &LocatedCase) -> Location {
    first(LOCATED, case).unwrap_or(Location {
        sender: Sender::Unknown(Gap::NothingToCompare),
        confidence: Possible,
    })
}

/// No row fits.
pub(crate) const NOTHING_FITS: Ruling = Ruling {
    cause: Cause::Unknown,
    confidence: Possible,
    why: Some(Why::NoRule),
};

fn first<C, R: Copy>(rules: &[Rule<C, R>], case: &C) -> Option<R> {
    rules
        .iter()
        .find(|rule| (rule.when)(case))
        .map(|rule| rule.ruling)
}

fn always<C>(_: &C) -> bool {
    true
}

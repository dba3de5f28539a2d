//! Not known; the evidence says what was missing.

use super::blind_attempt::{Aim, aim, explain_miss};
use super::{Definition, Doc, Many, cost_of_state};
use crate::event::{SenderSocket, Sent, Target};
use crate::record::{Confidence, EvidenceKind, Explanation, Origin, Severity};
use crate::verdict::{ArrivedCase, CapturedCase, LeftCase, SentCase};
use crate::words::{self, span};

pub struct Unknown;

/// Why a cause is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No rule fits what the kernel says of a reset that it sent.
    NoRule,
    /// It left, and no event identifies its sender.
    NoSender,
    /// It fits the socket, and no event says whether that accepted it.
    Fits,
    /// It is in the window of the socket, and whether that accepted it is not known.
    CameClose,
    /// Its target socket ignores resets.
    Ignored,
    /// Its target is no connection of this host.
    NoConnection,
    /// Its target socket could not be looked up.
    NotLookedUp,
    /// The capture holds nothing else of the connection.
    Alone,
    /// One more reset of a connection that one had ended, unlike an answer of its source.
    OneMore,
    /// Its source had sent SYNs only, and nothing had answered them.
    GaveUp,
    /// Beyond what the capture holds; nothing followed.
    Beyond,
    /// Its number was not expected.
    Unexpected,
    /// The capturing host, which forwards the connection, sent it.
    PutInHere,
    /// The capture shows both sides of a router, and the reset on one only.
    SeenOnce,
    /// The capturing host sent it, unlike its other segments.
    UnlikeThisHost,
    /// Both ends were reset at the same moment.
    Pair,
    /// It has the form of an answer, and there is nothing that it answers.
    AnswersNothing,
    /// Nothing else of its source was captured on this connection.
    NothingElse,
    /// Its source had sent nothing but its part of the handshake.
    NeverAccepted,
    /// Its source had sent something just before.
    SpokeJustBefore,
    /// Its source had closed its side before.
    ClosedBefore,
    /// The application at its source, in a way that a capture does not show.
    Application,
}

impl Definition for Unknown {
    fn doc(&self) -> Doc {
        Doc {
            happened: "no rule identifies the cause",
            known: "the evidence says what was missing",
            remedy: "follow the first advice, or report it with a recording",
            look_alikes: "",
            captured: ["any reset that fits no other row", "any reset that fits no other row"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::Unknown
    }

    fn many(&self, many: &Many) -> String {
        format!("{} {} reset; cause unknown", many.connections, many.was())
    }

    fn cost(&self, sent: &Sent) -> Severity {
        match sent.socket {
            None => Severity::Noise,
            Some(_) => cost_of_state(sent),
        }
    }

    fn sentence(&self, case: &SentCase) -> String {
        match &case.sent.reason {
            Some(reason) => format!("cause unknown: the kernel's reason {reason} does not identify it"),
            None => "cause unknown: the kernel gave no reason and the socket shows none".to_owned(),
        }
    }

    fn left_confidence(&self, _case: &LeftCase) -> Confidence {
        Confidence::Possible
    }

    fn left(&self, case: &LeftCase, explanation: &mut Explanation) {
        let context = &case.context;
        let why = if !context.coverage.sent {
            "the hook on sent resets is not attached"
        } else if !context.nothing_lost() {
            "events were lost"
        } else if !context.no_sender_missed() {
            "there were too many resets to describe each one"
        } else {
            match case.packet.sender_socket {
                SenderSocket::Some(_) => "a TCP socket sent it but its event is missing",
                SenderSocket::None | SenderSocket::Raw { .. } => {
                    "it belongs to no socket and does not have the form of a packet filter's reset"
                }
            }
        };
        explanation.add(EvidenceKind::NoEvent, why);
        explanation.summary = format!(
            "a reset was sent to {}; cause unknown: {why}",
            case.packet.destination
        );
    }

    fn arrived_from(&self, _case: &ArrivedCase) -> (Origin, Confidence) {
        (Origin::Unknown, Confidence::Possible)
    }

    fn arrived(&self, case: &ArrivedCase, explanation: &mut Explanation) {
        let source = case.packet.source;
        explanation.summary = match case.packet.target {
            Target::Socket { .. } => {
                explain_miss(case, explanation);
                if matches!(aim(case), Some(Aim::Fits)) {
                    let why = why_not_accepted(case);
                    explanation.add(
                        EvidenceKind::NoEvent,
                        format!("it fits the socket, but {why}"),
                    );
                    format!(
                        "a reset from {source} fits a socket; unknown whether it was accepted: {why}"
                    )
                } else {
                    let why = "events were lost or the hook on accepted resets is not attached";
                    format!(
                        "a reset from {source} is in the window; unknown whether it was accepted: {why}"
                    )
                }
            }
            Target::Stateless(state) => {
                explanation.add(
                    EvidenceKind::Socket,
                    format!("target socket in {state}, which ignores resets"),
                );
                format!("{source} sent a reset for an unknown connection")
            }
            Target::None => {
                explanation.add(
                    EvidenceKind::NoSocket,
                    "no socket here has these addresses and ports",
                );
                format!("{source} sent a reset for an unknown connection")
            }
            Target::NotLookedUp => {
                explanation.add(
                    EvidenceKind::NoSocket,
                    "the target socket could not be looked up",
                );
                format!("{source} sent a reset; unknown whether a socket accepted it")
            }
        };
    }

    fn captured_cost(&self, case: &CapturedCase) -> Severity {
        match case.why() {
            Why::Alone if case.has_form_of_refusal() => Severity::Refused,
            Why::Alone | Why::Beyond | Why::PutInHere | Why::SeenOnce | Why::Pair => {
                Severity::Fault
            }
            Why::OneMore | Why::Unexpected => Severity::Noise,
            Why::UnlikeThisHost if case.captured.talks_on.is_some() => Severity::Noise,
            Why::UnlikeThisHost => Severity::Fault,
            Why::AnswersNothing | Why::ClosedBefore | Why::Application => case.cost_of_exchange(),
            Why::NothingElse | Why::SpokeJustBefore => case.cost_of_answered(),
            Why::NeverAccepted | Why::GaveUp => Severity::Refused,
            Why::NoRule
            | Why::NoSender
            | Why::Fits
            | Why::CameClose
            | Why::Ignored
            | Why::NoConnection
            | Why::NotLookedUp => Severity::Fault,
        }
    }

    fn captured_from(&self, case: &CapturedCase) -> (Origin, Confidence) {
        match case.why() {
            Why::Application => (Origin::LocalProcess, Confidence::Likely),
            Why::GaveUp if case.is_made_here() => (Origin::LocalKernel, Confidence::Likely),
            Why::GaveUp => (Origin::Peer, Confidence::Likely),
            Why::Alone
            | Why::OneMore
            | Why::Beyond
            | Why::Unexpected
            | Why::PutInHere
            | Why::SeenOnce
            | Why::UnlikeThisHost
            | Why::Pair
            | Why::AnswersNothing
            | Why::NothingElse
            | Why::NeverAccepted
            | Why::SpokeJustBefore
            | Why::ClosedBefore
            | Why::NoRule
            | Why::NoSender
            | Why::Fits
            | Why::CameClose
            | Why::Ignored
            | Why::NoConnection
            | Why::NotLookedUp => (Origin::Unknown, Confidence::Possible),
        }
    }

    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        let source = case.captured.packet.source;
        match case.why() {
            Why::Alone => alone(case, explanation),
            Why::OneMore => case.once_more(explanation),
            Why::GaveUp => gave_up(case, explanation),
            Why::Beyond => {
                case.missed(explanation);
                explanation.summary = format!(
                    "a reset from {source} with a sequence number beyond the captured data; nothing followed, so it may have ended the connection"
                );
            }
            Why::Unexpected => {
                case.missed(explanation);
                explanation.summary = format!(
                    "a reset from {source} with an unexpected sequence or acknowledgment number; unknown whether it ended the connection"
                );
            }
            Why::PutInHere => {
                case.put_in_evidence(explanation);
                explanation.summary = format!(
                    "the capturing host itself reset the connection with source {source}: a process with a raw socket, or a packet filter; a capture does not show which"
                );
                explanation
                    .advice
                    .push("run rsttrace on the capturing host".into());
            }
            Why::SeenOnce => {
                case.shape(explanation);
                explanation.add(
                    EvidenceKind::SeenOnce,
                    "other segments from its source were seen twice, before and after a router; this one was not",
                );
                case.ttl(explanation);
                sent_a_reset(case, "seen on one side of a router only: that router may have sent it, or not forwarded it", explanation);
            }
            Why::UnlikeThisHost => {
                case.look(explanation);
                if let Some(talks) = case.captured.talks_on {
                    explanation.add(
                        EvidenceKind::TalksOn,
                        format!(
                            "{source} kept sending on this connection {} later",
                            span(talks.after)
                        ),
                    );
                }
                sent_a_reset(case, "unlike segments of its own TCP stack: a process with a raw socket, or its packet filter", explanation);
            }
            Why::Pair => {
                case.shape(explanation);
                let apart = case.captured.other_way.unwrap_or_default();
                explanation.add(
                    EvidenceKind::BothWays,
                    format!(
                        "a reset went the other way within {}, and TCP does not answer a reset with a reset",
                        span(apart)
                    ),
                );
                case.ttl(explanation);
                sent_a_reset(case, "both ends were reset at the same moment: a device on the link may have sent both", explanation);
            }
            Why::AnswersNothing => {
                case.look(explanation);
                explanation.add(
                    EvidenceKind::NothingToAnswer,
                    "it has the form of an answer, but no segment just before it has matching numbers",
                );
                sent_a_reset(case, "no segment just before it matches its numbers: for example a process with a raw socket, or a segment that was not captured", explanation);
            }
            Why::NothingElse => answered(case, "nothing else from it was captured on this connection: its kernel does not have the connection, or its packet filter rejects", explanation),
            Why::NeverAccepted => answered(case, "it had sent nothing but its part of the handshake: the connection may not have been accepted (a full accept queue, tcp_abort_on_overflow), or its packet filter rejects", explanation),
            Why::SpokeJustBefore => answered(case, "it had sent on the connection just before: its socket may have been closed since, or its packet filter may have started to reject", explanation),
            Why::ClosedBefore => {
                case.look(explanation);
                active_look_alikes(explanation);
                sent_a_reset(case, "its side was already closed; a capture does not show what happened to the socket since", explanation);
            }
            Why::Application => application(case, explanation),
            Why::NoRule
            | Why::NoSender
            | Why::Fits
            | Why::CameClose
            | Why::Ignored
            | Why::NoConnection
            | Why::NotLookedUp => {}
        }
    }
}

/// Nothing else of the connection was captured.
fn alone(case: &CapturedCase, explanation: &mut Explanation) {
    let source = case.captured.packet.source;
    let what = if case.has_form_of_refusal() {
        format!("a connection to {source} was refused")
    } else {
        format!("a reset with source {source}")
    };
    case.shape(explanation);
    explanation.summary =
        format!("{what}; cause unknown: the capture contains nothing else of this connection");
    explanation.advice.push(
        "capture whole connections (`tcpdump -s 128 tcp and host ADDRESS`), starting before the idle period"
            .into(),
    );
}

/// A connect that nothing answered.
fn gave_up(case: &CapturedCase, explanation: &mut Explanation) {
    let (me, peer) = case.ends();
    let (syns, since) = case.captured.sender.gave_up.unwrap_or_default();
    case.look(explanation);
    explanation.summary = format!(
        "{} gave up a connection attempt to {peer} after {}: {} unanswered",
        me.ip(),
        span(since),
        words::things(syns, "SYN")
    );
    explanation.advice.push(
        format!(
            "check whether {} is up and reachable, and whether a packet filter drops connections to port {}",
            peer.ip(),
            peer.port()
        )
        .into(),
    );
}

/// The host it came from answered a segment, and why is not known.
fn answered(case: &CapturedCase, why: &str, explanation: &mut Explanation) {
    case.look(explanation);
    case.answered(explanation);
    case.kernel_or_filter(explanation);
    sent_a_reset(case, why, explanation);
}

fn sent_a_reset(case: &CapturedCase, why: &str, explanation: &mut Explanation) {
    explanation.summary = format!(
        "{} sent a reset; cause unknown: {why}",
        case.captured.packet.source
    );
    explanation
        .advice
        .push("run rsttrace on that host to see its kernel's reason".into());
}

fn active_look_alikes(explanation: &mut Explanation) {
    explanation.add(
        EvidenceKind::LookAlikes,
        "an active reset: close() with unread data, SO_LINGER {1, 0}, a kill and `ss -K` look the same in a capture",
    );
}

/// An end that has the connection ended it by a reset.
fn application(case: &CapturedCase, explanation: &mut Explanation) {
    let (me, peer) = case.ends();
    let bytes = case.captured.sender.unanswered;
    case.look(explanation);
    active_look_alikes(explanation);
    let mut unanswered = String::new();
    if bytes > 0 {
        let bytes = words::bytes(bytes);
        explanation.add(
            EvidenceKind::Unanswered,
            format!("{bytes} from the other end unanswered: unread data is plausible"),
        );
        unanswered = format!(", {bytes} from {peer} unanswered");
    }
    explanation.summary = format!(
        "the application at {me} ended the connection with a reset{}{unanswered}; a capture does not show how",
        case.after_silence()
    );
    explanation
        .advice
        .push("run rsttrace on that host: it names the process and how it closed".into());
}

/// Why nothing says that a reset that fits was accepted.
fn why_not_accepted(case: &ArrivedCase) -> &'static str {
    let context = &case.context;
    if !context.coverage.received {
        "the hook on accepted resets is not attached"
    } else if !context.nothing_lost() {
        "events were lost"
    } else if !context.no_receiver_missed() {
        "there were too many resets to describe each one"
    } else {
        "no event reports it: a packet filter may have dropped the segment"
    }
}

/// It fits the socket.
pub(super) fn fits(case: &ArrivedCase) -> bool {
    matches!(aim(case), Some(Aim::Fits))
}

/// It is in the window, and an acceptance may have been missed.
pub(super) fn may_have_been_accepted(case: &ArrivedCase) -> bool {
    let sure = case.context.coverage.received && case.context.no_receiver_missed();
    matches!(aim(case), Some(Aim::InWindow(_))) && !sure
}

pub(super) fn is_ignored(case: &ArrivedCase) -> bool {
    matches!(case.packet.target, Target::Stateless(_))
}

pub(super) fn has_no_connection(case: &ArrivedCase) -> bool {
    case.packet.target == Target::None
}

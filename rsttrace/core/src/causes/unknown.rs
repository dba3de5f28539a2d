//! Not known; the evidence says what was missing.

use super::blind_attempt::{Aim, aim, explain_miss};
use super::{Definition, Doc, Many, cost_of_state};
use crate::event::{SenderSocket, Sent, Target};
use crate::record::{Confidence, EvidenceKind, Explanation, Origin, Severity};
use crate::verdict::{ArrivedCase, CapturedCase, LeftCase, SentCase};
use crate::words;

pub struct Unknown;

/// Why a cause is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No rule fits what the kernel says of a reset that it sent.
    NoRule,
    /// It left, and no event says who sent it.
    NoSender,
    /// It fits the socket, and no event says whether that accepted it.
    Fits,
    /// It is in the window of the socket, and whether that accepted it is not known.
    CameClose,
    /// It was aimed at a socket that ignores resets.
    Ignored,
    /// It was aimed at no connection of this host.
    NoConnection,
    /// The socket that it was aimed at could not be looked up.
    NotLookedUp,
    /// The capture holds nothing else of the connection.
    Alone,
    /// One more reset of a connection that one had ended, unlike an answer of its source.
    OneMore,
    /// Beyond what the capture holds; nothing followed.
    Beyond,
    /// Its number was not expected.
    Unexpected,
    /// The capturing host, which passes the connection on, made it by itself.
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
    /// Its source had said nothing but its part of the handshake.
    NeverAccepted,
    /// Its source had spoken just before.
    SpokeJustBefore,
    /// Its source had closed its side before.
    ClosedBefore,
    /// The application at its source, in a way that a capture does not show.
    Application,
}

impl Definition for Unknown {
    fn doc(&self) -> Doc {
        Doc {
            brief: "Not known; the evidence says what was missing.",
            happened: "not known",
            known: "the evidence says what was missing",
            remedy: "what the first advice says, or a report with the recording",
            look_alikes: "",
            captured: ["see above", "see above"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::Unknown
    }

    fn many(&self, many: &Many) -> String {
        format!("who reset {} is not known", many.connections)
    }

    fn cost(&self, sent: &Sent) -> Severity {
        match sent.socket {
            None => Severity::Noise,
            Some(_) => cost_of_state(sent),
        }
    }

    fn sentence(&self, case: &SentCase) -> String {
        match &case.sent.reason {
            Some(reason) => format!("the kernel's reason {reason} does not tell why"),
            None => "the kernel gave no reason and the socket shows none".to_owned(),
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
            "there were too many resets to describe each"
        } else {
            match case.packet.sender_socket {
                SenderSocket::Some(_) => "a TCP socket sent it but its event is missing",
                SenderSocket::None | SenderSocket::Raw { .. } => {
                    "it belongs to no socket and is no firewall's form"
                }
            }
        };
        explanation.add(EvidenceKind::NoEvent, why);
        explanation.summary = format!(
            "a reset left for {}, unknown why, because {why}",
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
                        "a reset from {source} fits a socket, unknown whether it was accepted, because {why}"
                    )
                } else {
                    let why = "events were lost or the hook on accepted resets is not attached";
                    format!(
                        "a reset from {source} came close, unknown whether it was accepted, because {why}"
                    )
                }
            }
            Target::Stateless(state) => {
                explanation.add(
                    EvidenceKind::Socket,
                    format!("aimed at a socket in {state}, which ignores resets"),
                );
                format!("{source} sent a reset for no connection known here")
            }
            Target::None => {
                explanation.add(
                    EvidenceKind::NoSocket,
                    "no socket here has these addresses and ports",
                );
                format!("{source} sent a reset for no connection known here")
            }
            Target::NotLookedUp => {
                explanation.add(
                    EvidenceKind::NoSocket,
                    "the socket it was aimed at could not be looked up",
                );
                format!("{source} sent a reset; whether a socket took it is not known")
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
            Why::NeverAccepted => Severity::Refused,
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
            Why::Beyond => {
                case.missed(explanation);
                explanation.summary = format!(
                    "a reset from {source} beyond what the capture holds; nothing followed, so it may have ended the connection"
                );
            }
            Why::Unexpected => {
                case.missed(explanation);
                explanation.summary = format!(
                    "a reset from {source} with a number that was not expected; whether it ended the connection is not known"
                );
            }
            Why::PutInHere => {
                case.put_in_evidence(explanation);
                explanation.summary = format!(
                    "the capturing host itself reset the connection in the name of {source}: a process with a raw socket or a packet filter; which, a capture does not show"
                );
                explanation
                    .advice
                    .push("run rsttrace on the capturing host".into());
            }
            Why::SeenOnce => {
                case.shape(explanation);
                explanation.add(
                    EvidenceKind::SeenOnce,
                    "its source's other segments were seen twice, before and after a router, but this one was not",
                );
                case.ttl(explanation);
                sent_a_reset(case, "it was seen on one side of a router only: that router may have made it, or not have passed it on", explanation);
            }
            Why::UnlikeThisHost => {
                case.look(explanation);
                if let Some(talks) = case.captured.talks_on {
                    explanation.add(
                        EvidenceKind::TalksOn,
                        format!(
                            "{} later {source} spoke on this connection as if nothing had happened",
                            words::span(talks.after)
                        ),
                    );
                }
                sent_a_reset(case, "its own stack does not look like that: a process with a raw socket, or its packet filter", explanation);
            }
            Why::Pair => {
                case.shape(explanation);
                let apart = case.captured.other_way.unwrap_or_default();
                explanation.add(
                    EvidenceKind::BothWays,
                    format!(
                        "a reset went the other way within {}, and no end answers a reset with one",
                        words::span(apart)
                    ),
                );
                case.ttl(explanation);
                sent_a_reset(case, "both ends were reset at the same moment: something on the link may have made both", explanation);
            }
            Why::AnswersNothing => {
                case.look(explanation);
                explanation.add(
                    EvidenceKind::NothingToAnswer,
                    "it has the form of an answer, but no segment with the numbers of one to it came just before it",
                );
                sent_a_reset(case, "no segment just before it fits its numbers: a process with a raw socket, for instance, or a segment that was not captured", explanation);
            }
            Why::NothingElse => answered(case, "nothing else of it was captured on this connection: its kernel does not know the connection, or its packet filter rejects", explanation),
            Why::NeverAccepted => answered(case, "it had said nothing on the connection but its part of the handshake: nobody may have accepted it (a full accept queue, tcp_abort_on_overflow), or its packet filter rejects", explanation),
            Why::SpokeJustBefore => answered(case, "it had spoken on the connection just before: its socket may be gone since, or its packet filter may have begun to reject", explanation),
            Why::ClosedBefore => {
                case.look(explanation);
                active_look_alikes(explanation);
                sent_a_reset(case, "it had closed its side before, and what became of the socket since a capture does not show", explanation);
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
        format!("a connect to {source} was turned away")
    } else {
        format!("a reset in the name of {source}")
    };
    case.shape(explanation);
    explanation.summary =
        format!("{what}, unknown why, because the capture holds nothing else of this connection");
    explanation.advice.push(
        "capture whole connections (`tcpdump -s 128 tcp and host ADDRESS`), from before the silence on"
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
        "{} sent a reset, unknown why, because {why}",
        case.captured.packet.source
    );
    explanation
        .advice
        .push("run rsttrace on that host: its kernel tells the reason".into());
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
            format!("{bytes} of the other end's had not been answered: unread data is plausible"),
        );
        unanswered = format!(", {bytes} from {peer} unanswered");
    }
    explanation.summary = format!(
        "the application at {me} ended the connection with a reset{}{unanswered}; how, a capture does not show",
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
        "there were too many resets to describe each"
    } else {
        "no event says that it was: it may have been dropped by a packet filter"
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

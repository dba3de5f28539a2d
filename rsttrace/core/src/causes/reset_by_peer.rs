//! Reset from the peer without a more specific cause.

use std::time::Duration;

use super::{Definition, Doc, Many};
use crate::classes;
use crate::event::{Target, TcpState};
use crate::silence::clocks::Trigger;
use crate::thresholds::{IDLE, WORTH_PROBING};
use crate::record::{Confidence, EvidenceKind, Explanation, Origin, Severity};
use crate::verdict::peer_signs::weigh_ttl;
use crate::verdict::{
    AcceptedCase, ArrivedCase, CapturedCase, OtherReset, advice::{self, Situation}, is_finished,
};
use crate::words::{self, span};

pub struct ResetByPeer;

impl Definition for ResetByPeer {
    fn doc(&self) -> Doc {
        Doc {
            happened: "a reset from the peer without a more specific cause",
            known: "accepted by a socket",
            remedy: "run rsttrace on the host that sent it: it names process and cause",
            look_alikes: "two or more signs against the peer: `not_from_peer`; an idle time that matches a known timeout: `idle_timeout`",
            captured: ["", "the same signs and idle times as in a live trace"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::Peer
    }

    fn many(&self, many: &Many) -> String {
        format!(
            "{} {} reset by the peer{}",
            many.connections,
            many.was(),
            many.after_silence
        )
    }

    fn accepted_from(&self, case: &AcceptedCase) -> (Origin, Confidence) {
        let confidence = if case.is_sent_here() {
            Confidence::Certain
        } else if case.bearing.is_doubtful() || case.bearing.stands_in.is_some() {
            Confidence::Possible
        } else {
            Confidence::Likely
        };
        (Origin::Peer, confidence)
    }

    fn accepted(&self, case: &AcceptedCase, explanation: &mut Explanation) {
        let remote = case.received.flow.remote;
        let around = &case.around;
        let is_inferred = case.is_inferred();
        explanation.summary = summary(case);
        if let Some(gateway) = case.bearing.stands_in {
            explanation.summary.push_str(&format!(
                "; a device on this link sent it or answers for {}, which is behind {gateway}",
                remote.ip()
            ));
        }
        if let Some(burst) = around.burst.as_ref().filter(|_| is_inferred) {
            explanation.summary.push_str(&format!(
                "; {} on this path were reset with it within {}: a single event (a failover, a restart, a sweep) rather than per-connection timers",
                words::things(burst.connections.saturating_sub(1), "connection"),
                span(burst.within)
            ));
            explanation.advice = advice::for_burst(case.context.environment);
            Situation::Restart.refer(&mut explanation.advice);
        }
        let is_silent = around
            .quiet
            .as_ref()
            .is_some_and(|quiet| quiet.silence() >= WORTH_PROBING);
        let opened_here = case.opened_here() == Some(true);
        if explanation.advice.is_empty() {
            explanation.advice.extend(case.race());
        }
        if explanation.advice.is_empty() && is_inferred && is_silent && opened_here {
            explanation.advice.push(format!(
                "if this recurs after a similar idle time, `rsttrace probe {remote}` measures the idle timeout of the path"
            ).into());
            explanation.advice.push(advice::capture_there(&case.received.flow, Some(true)));
            Situation::IdleTimeout.refer(&mut explanation.advice);
        }
    }

    fn arrived_from(&self, case: &ArrivedCase) -> (Origin, Confidence) {
        let confidence = if overtook_its_data(case) {
            Confidence::Possible
        } else {
            Confidence::Likely
        };
        (Origin::Peer, confidence)
    }

    fn arrived(&self, case: &ArrivedCase, explanation: &mut Explanation) {
        let source = case.packet.source;
        let (detail, summary) = if is_once_more(case) {
            (
                "another reset ended this connection at the same moment",
                format!("{source} sent another reset for the connection"),
            )
        } else if case.packet.target == Target::Stateless(TcpState::TimeWait) {
            (
                "the connection was in TIME_WAIT",
                format!("{source} reset a connection after both sides had closed"),
            )
        } else if took_back(case) {
            (
                "the handshake was incomplete",
                format!(
                    "{source} opened and reset a connection without sending anything: {}",
                    classes::empty(classes::of_aborted_attempt(case.recurrence), case.recurrence)
                ),
            )
        } else {
            // It missed.
            super::blind_attempt::explain_miss(case, explanation);
            explanation.summary = format!(
                "{source} reset the connection; this RST overtook data sent before it"
            );
            return;
        };
        explanation.add(EvidenceKind::Socket, detail);
        explanation.summary = summary;
    }

    fn captured_cost(&self, case: &CapturedCase) -> Severity {
        if case.is_of_accepting_peer() {
            Severity::Fault
        } else {
            Severity::Noise
        }
    }

    /// Only its own kernel has a reason to answer segments still in flight.
    fn captured_from(&self, _case: &CapturedCase) -> (Origin, Confidence) {
        (Origin::Peer, Confidence::Certain)
    }

    fn captured(&self, case: &CapturedCase, explanation: &mut Explanation) {
        if case.is_of_accepting_peer() {
            case.shape(explanation);
            explanation.summary = format!(
                "{} reset the connection soon after its handshake, which is missing from the capture in part",
                case.captured.packet.source
            );
            return;
        }
        case.answered(explanation);
        if case.captured.was_ended_by_it() {
            return case.once_more(explanation);
        }
        case.missed(explanation);
        explanation.summary = format!(
            "{} answered an earlier segment with a reset: it no longer has the connection; not accepted",
            case.captured.packet.source
        );
    }
}

/// A span that a sentence leaves out.
const SOON: Duration = Duration::from_millis(5);

/// One sentence about an accepted reset without a more specific cause.
pub(super) fn summary(case: &AcceptedCase) -> String {
    let received = &case.received;
    let our = case.around.side.our();
    let remote = words::address(received.flow.remote);
    let Some(clocks) = &case.clocks else {
        let then = match received.socket.bytes_received {
            0 => "",
            _ => ", after the application could read the data of its SYN (TCP Fast Open)",
        };
        return format!("{remote} reset the connection during the handshake{then}");
    };
    let age = words::after_age(received.ownership.as_ref(), case.at);
    if is_finished(&received.socket) {
        return format!("{remote} reset a connection{age} that this side had already closed");
    }
    let finish = case.around.quiet.as_ref();
    if let Some(quiet) = finish.filter(|quiet| quiet.trigger == Trigger::PeerFinish) {
        let silence = if quiet.application >= IDLE {
            format!(" after {} of idle time", words::silence(quiet.application))
        } else {
            String::new()
        };
        let then = after_the_fin(case, quiet.after);
        return format!("{remote} had closed the connection{silence}, and {then}");
    }
    let is_probe = finish.is_some_and(|quiet| quiet.trigger == Trigger::Probe);
    let quiet = clocks.quiet_before.filter(|&quiet| quiet >= IDLE.as_secs_f64());
    match (quiet, clocks.reset_after_send) {
        (Some(quiet), Some(after)) => format!(
            "{remote} reset the connection{age}: idle for {}; RST arrived {} {our} {}",
            words::seconds(quiet),
            answer_time(after),
            if is_probe { "keepalive probe" } else { "next write" },
        ),
        (Some(quiet), None) => {
            format!(
                "{remote} reset the connection{age}, idle for {}",
                words::seconds(quiet)
            )
        }
        (None, Some(after)) if is_probe => format!(
            "{remote} reset the connection{age}, {} after {our} unanswered keepalive probe",
            words::seconds(after)
        ),
        (None, Some(after)) => format!(
            "{remote} reset the connection{age}, {} after {our} unacknowledged write",
            words::seconds(after)
        ),
        (None, None) => format!("{remote} reset the connection{age}"),
    }
}

/// `0.4 ms after`; the kernel's clock of writes has ticks, within which everything is immediate.
pub(super) fn answer_time(seconds: f64) -> String {
    if seconds <= 0.0 {
        "immediately after".to_owned()
    } else {
        format!("{} after", words::seconds(seconds))
    }
}

/// What followed a FIN: `reset our write 1.2 s later`.
pub(super) fn after_the_fin(case: &AcceptedCase, after: Option<Duration>) -> String {
    let what = match case.received.socket.since_first_unacknowledged {
        Some(_) => format!("reset {} write", case.around.side.our()),
        None => "reset it".to_owned(),
    };
    match after {
        Some(after) if after >= SOON => format!("{what} {} later", span(after)),
        Some(_) | None => format!("{what} immediately"),
    }
}

/// A reset had ended the connection just before.
pub(super) fn is_once_more(case: &ArrivedCase) -> bool {
    matches!(case.packet.target, Target::Socket { .. })
        && match case.other {
            Some(OtherReset::JustBefore) => true,
            Some(OtherReset::SameBurst) => super::unknown::fits(case),
            Some(OtherReset::SoonAfter) | None => false,
        }
}

/// The connection was in TIME_WAIT.
pub(super) fn is_in_time_wait(case: &ArrivedCase) -> bool {
    case.packet.target == Target::Stateless(TcpState::TimeWait)
}

/// The handshake was incomplete.
pub(super) fn took_back(case: &ArrivedCase) -> bool {
    classes::aborts_attempt(&case.packet)
}

/// A miss is no proof against the peer: data before its reset may have been lost. Its TTL would be the usual one.
pub(super) fn overtook_its_data(case: &ArrivedCase) -> bool {
    super::blind_attempt::missed(case)
        && case.may_be_peers()
        && case.other == Some(OtherReset::SoonAfter)
}

/// It answers, with the usual TTL, what was on its way when the connection was reset.
pub(super) fn captured_once_more_as_usual(case: &CapturedCase) -> bool {
    let seen = case.captured.packet.segment.ttl;
    let usual = case.captured.usual_ttl;
    case.captured.was_ended_by_it() && usual.is_some_and(|usual| weigh_ttl(seen, usual) < 0)
}

/// The same, whatever its TTL.
pub(super) fn captured_once_more(case: &CapturedCase) -> bool {
    case.captured.was_ended_by_it()
}

//! Idle timeout: the idle time before the reset matches a known or learned timeout.
//!
//! A silence that fits a number is a hint and no more: people write every 300 s, and applications think for 60. So an idle timeout is
//! *possible* at most, and only for a precise match with a known one of 30 s or more, unless something else says so as well: the path
//! has shown this timeout before, the configuration names the device, or the reset does not come from the peer.

use std::time::Duration;

use super::reset_by_peer::{self, after_the_fin, answer_time};
use super::{Definition, Doc, Many};
use crate::silence::candidates::{Kind, Match};
use crate::silence::clocks::{Quiet, Trigger};
use crate::thresholds::{IDLE, LEAST_FORGETFUL, LEAST_KNOWN_TIMEOUT};
use crate::silence::learned::Lesson;
use crate::record::{
    Basis, Bound, Confidence, EvidenceKind, Explanation, IdleMode, Learned, Origin, Sentence,
};
use crate::verdict::peer_signs::Bearing;
use crate::verdict::advice::{self, Situation};
use crate::verdict::{AcceptedCase, Around, Side};
use crate::words;

pub struct IdleTimeout;

impl Definition for IdleTimeout {
    fn doc(&self) -> Doc {
        Doc {
            happened: "the connection was idle for as long as a known or learned timeout",
            known: "see [Idle timeouts](#idle-timeouts)",
            remedy: "send data or keepalive probes more often, raise the timeout, or close the connection here first",
            look_alikes: "an idle time that roughly matches a number, or a short one: `reset_by_peer`; five connections reset at once after different idle times are a single event",
            captured: ["", "the same signs and idle times as in a live trace"],
        }
    }

    fn origin(&self) -> Origin {
        Origin::Peer
    }

    fn many(&self, many: &Many) -> String {
        let sure = format!("{} an idle timeout", many.sure);
        let whose = match many.origin {
            Origin::Middlebox => " of a device on the path",
            Origin::Peer => " of the peer, or of a proxy there",
            Origin::LocalProcess
            | Origin::LocalKernel
            | Origin::LocalFirewall
            | Origin::Forwarded
            | Origin::Unknown => "",
        };
        let after = match &many.silence {
            Some(length) => format!(" after {length} of idle time"),
            None => " after an idle period".to_owned(),
        };
        let mut text = format!(
            "{} {} reset{after}: {}{whose}{}",
            many.connections,
            many.was(),
            sure.trim_start(),
            many.sure_in_parts
        );
        let names: Vec<&str> = many.devices.iter().map(|it| &**it).collect();
        if !names.is_empty() {
            let more = match many.more_devices {
                0 => String::new(),
                more => format!(", or {more} others"),
            };
            text.push_str(&format!("; it matches {}{more}", words::one_of(&names)));
        }
        if let Some((timeout, samples, of)) = many.learned {
            text.push_str(&format!(
                "; {} of {} idle resets on this path came at {}",
                words::count(samples),
                words::count(of),
                words::silence(timeout)
            ));
        }
        text
    }

    fn accepted_from(&self, case: &AcceptedCase) -> (Origin, Confidence) {
        match &case.timeout {
            _ if case.expired_on_this_host() => (Origin::Middlebox, Confidence::Likely),
            Some(found) => (found.origin, found.confidence),
            None => (Origin::Peer, Confidence::Possible),
        }
    }

    fn accepted(&self, case: &AcceptedCase, explanation: &mut Explanation) {
        explanation.summary = match &case.timeout {
            Some(found) => timed_out(case, found),
            // The sending end on this host, whose entry had expired, explains it.
            None => reset_by_peer::summary(case),
        };
        explanation.advice = advice_on(case);
        if case.race().is_none() {
            page(case).refer(&mut explanation.advice);
        }
    }
}

/// The page that fits.
fn page(case: &AcceptedCase) -> Situation {
    let seconds = |found: &Match| found.candidate.timeout.to_bits() == 350.0_f64.to_bits();
    let is_aws = |found: &Match| found.candidate.device.starts_with("AWS");
    let late = case.timeout.as_ref().is_some_and(|found| found.quiet.mode == IdleMode::LateRst);
    if late && case.around.matches.iter().any(|found| seconds(found) && is_aws(found)) {
        Situation::Nlb350
    } else {
        Situation::IdleTimeout
    }
}

/// Settings that keep the connection, or end it with a FIN; empty where it was no timeout.
pub(super) fn advice_on(case: &AcceptedCase) -> Vec<Sentence> {
    let Some(found) = &case.timeout else {
        return Vec::new();
    };
    let silence = found.quiet.silence();
    if found.quiet.owed && found.origin == Origin::Peer {
        return advice::for_late_answer(silence);
    }
    advice::for_idle(&advice::IdleSituation {
        mode: found.quiet.mode,
        timeout: found.timeout,
        silence,
        matches: &case.around.matches,
        transparent: found.origin == Origin::Middlebox,
        keepalive: case.keepalive,
        process: case.process.as_ref(),
        opened_here: case.opened_here(),
        race: case.race(),
    })
}

fn timed_out(case: &AcceptedCase, found: &Timeout) -> String {
    let side = case.around.side;
    let our = side.our();
    let remote = case.received.flow.remote;
    let age = words::after_age(case.received.ownership.as_ref(), case.at);
    let quiet = &found.quiet;
    let silence = words::silence(quiet.silence());
    let foreign = found.origin == Origin::Middlebox;
    let mut text = match (quiet.mode, foreign) {
        (IdleMode::RstAtExpiry, true) => format!(
            "a device on the path to {remote} reset the connection{age} when it had been idle for {silence}"
        ),
        (IdleMode::RstAtExpiry, false) => {
            format!("{remote} reset the connection{age} when it had been idle for {silence}")
        }
        (IdleMode::FinAtExpiry, _) => {
            let then = after_the_fin(case, quiet.after);
            format!("{remote} closed the connection when it had been idle for {silence}, and {then}")
        }
        (IdleMode::LateRst, _) => {
            let who = if foreign {
                format!("a stateful device on the path to {remote} had expired the connection")
            } else {
                format!("the connection to {remote} had expired on the path or at the peer")
            };
            let next = if quiet.trigger == Trigger::Write { "next " } else { "" };
            let what = quiet.trigger.sent();
            let when = quiet.after.map_or_else(|| "after".to_owned(), |after| {
                answer_time(after.as_secs_f64())
            });
            format!("idle for {silence}; RST arrived {when} {our} {next}{what}: {who}")
        }
    };
    if let Some(fits) = fits(found, &case.around.matches) {
        text = format!("{text}; {fits}");
    }
    if quiet.owed && !foreign {
        text.push_str(match side {
            Side::Ours => "; the peer was still waiting for a response",
            Side::Theirs => "; the peer was still waiting for the receiver's response",
        });
    }
    if quiet.application > quiet.wire + IDLE && quiet.mode != IdleMode::LateRst {
        text.push_str("; only segments without data, such as keepalive probes, passed during that time");
    }
    text
}

/// An idle timeout as the cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeout {
    /// Who reset.
    pub origin: Origin,
    /// How sure.
    pub confidence: Confidence,
    /// What the silence before it was.
    pub quiet: Quiet,
    /// The configured device that matches.
    pub configured: Option<Match>,
    /// The learned timeout of the path, where it matches.
    pub learned: Option<Learned>,
    /// How long the timeout is, where that is known: learned, configured, or the silence at expiry.
    pub timeout: Option<Duration>,
}

/// Whether a reset is the work of an idle timeout, whose, and how sure that is; `None`: nothing speaks for one, or a number that many
/// silences match.
/// `AcceptedCase::weighed` asks it once; the rule reads the result.
pub fn judge_timeout(around: &Around, bearing: &Bearing) -> Option<Timeout> {
    let quiet = around.quiet?;
    if quiet.silence() < IDLE || around.burst.is_some() {
        return None;
    }
    let configured = around
        .matches
        .iter()
        .find(|found| found.candidate.basis == Basis::Configured);
    let foreign = bearing.is_foreign() && quiet.mode != IdleMode::FinAtExpiry;
    // A bound was learned from resets like this one: it proves nothing beside it.
    let learned = around
        .learned
        .as_ref()
        .filter(|learned| learned.bound == Bound::Exact);
    let known = around
        .matches
        .iter()
        .any(|found| found.precise && found.candidate.timeout >= LEAST_KNOWN_TIMEOUT);
    let forgotten = foreign && bearing.forgot && quiet.wire >= LEAST_FORGETFUL;
    let facts =
        usize::from(configured.is_some()) + usize::from(learned.is_some()) + usize::from(foreign);
    let confidence = if configured.is_some() || learned.is_some() {
        if facts >= 2 {
            Confidence::Certain
        } else {
            Confidence::Likely
        }
    } else if forgotten || (known && foreign) {
        Confidence::Likely
    } else if known {
        Confidence::Possible
    } else {
        return None;
    };
    let origin = match configured {
        _ if foreign => Origin::Middlebox,
        // By configuration this device resets with the peer's address. After its entry expired, the peer may have answered
        // itself: then the TTL is the usual one.
        Some(found) if found.kind == Kind::Transparent => {
            if quiet.mode == IdleMode::RstAtExpiry || bearing.weight > 0 {
                Origin::Middlebox
            } else {
                Origin::Peer
            }
        }
        Some(_) | None => Origin::Peer,
    };
    let timeout = learned
        .map(|learned| learned.timeout)
        .or(configured.map(|found| found.candidate.timeout))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .or((quiet.mode != IdleMode::LateRst).then_some(quiet.application));
    Some(Timeout {
        origin,
        confidence,
        quiet,
        configured: configured.cloned(),
        learned: learned.cloned(),
        timeout,
    })
}

/// The timeout that the idle time matches, for a sentence.
fn fits(timeout: &Timeout, matches: &[Match]) -> Option<String> {
    if let Some(found) = &timeout.configured {
        return Some(format!(
            "this matches the idle timeout of \"{}\" ({}, from the configuration)",
            found.candidate.device,
            words::seconds(found.candidate.timeout)
        ));
    }
    if let Some(learned) = &timeout.learned {
        return Some(format!(
            "this matches earlier resets on this path: {}",
            lesson(learned)
        ));
    }
    let names: Vec<&str> = matches
        .iter()
        .filter(|found| found.precise)
        .map(|found| found.candidate.device.as_str())
        .collect();
    match names[..] {
        [] => None,
        [name] => Some(format!("this matches the idle timeout of {name}")),
        _ => Some(advice::several(&names)),
    }
}

/// `37 of 40 idle resets came at 300.0 ± 0.4 s`.
pub fn lesson(learned: &Learned) -> String {
    match learned.bound {
        Bound::Exact => format!(
            "{} of {} idle resets came at {:.1} ± {:.1} s",
            words::count(learned.samples),
            words::count(learned.of),
            learned.timeout,
            learned.spread.unwrap_or_default()
        ),
        Bound::AtMost => format!(
            "{} resets after {:.1} s or more of idle time, so the timeout does not exceed that",
            words::count(learned.samples),
            learned.timeout
        ),
    }
}

/// The same with its path: `toward 10.0.0.0/24 port 443: …`.
pub fn path_lesson(lesson: &Lesson) -> String {
    let path = &lesson.path;
    let towards = if path.outgoing {
        format!("toward {} port {}", path.network, path.service)
    } else {
        format!("from {} to port {} here", path.network, path.service)
    };
    format!(
        "{towards}, {}: {}",
        lesson.mode,
        self::lesson(&lesson.learned)
    )
}

/// Evidence from the idle time, the path's history and the known devices.
pub fn silence_evidence(around: &Around, explanation: &mut Explanation) {
    if let Some(quiet) = &around.quiet
        && quiet.silence() >= IDLE
    {
        explanation.add(EvidenceKind::Silence, describe(quiet));
    }
    if let Some(burst) = &around.burst {
        explanation.add(
            EvidenceKind::Burst,
            format!(
                "{} on this path were reset within {}, after idle times from {} to {}: a single event rather than per-connection timers",
                words::things(burst.connections, "connection"),
                words::span(burst.within),
                words::span(burst.shortest),
                words::span(burst.longest)
            ),
        );
    }
    if let Some(learned) = &around.learned {
        explanation.add(EvidenceKind::Learned, lesson(learned));
    }
    if !around.matches.is_empty() {
        let names: Vec<String> = around
            .matches
            .iter()
            .map(|found| {
                format!(
                    "{} ({})",
                    found.candidate.device,
                    words::seconds(found.candidate.timeout)
                )
            })
            .collect();
        explanation.add(
            EvidenceKind::Candidates,
            format!("the idle time matches {}", names.join(", ")),
        );
    }
}

fn describe(quiet: &Quiet) -> String {
    let probes = if quiet.application > quiet.wire + IDLE {
        format!(
            "; no data for {}, only segments such as keepalive probes",
            words::silence(quiet.application)
        )
    } else {
        String::new()
    };
    let how = match quiet.mode {
        IdleMode::RstAtExpiry => "the reset itself ended it",
        IdleMode::LateRst => "this end sent first",
        IdleMode::FinAtExpiry => "a FIN ended it",
    };
    format!("idle for {}, {how}{probes}", words::silence(quiet.wire))
}

/// It was idle for as long as a timeout with evidence, or an entry of this host for it had expired.
pub(super) fn has_timed_out(case: &AcceptedCase) -> bool {
    case.timeout.is_some() || case.expired_on_this_host()
}

//! Is this reset the work of an idle timeout?
//!
//! A silence that fits a number is a hint and no more: people write every 300 s, and applications think for 60. So the cause
//! is an idle timeout only where something else says so as well: the path has shown this timeout before, the configuration
//! names the device, or the reset does not come from the peer.

use std::time::Duration;

use super::nearer::Bearing;
use super::{Around, item, words};
use crate::idle::candidates::{Kind, Match};
use crate::idle::clocks::{LEAST, Quiet};
use crate::idle::memory::Lesson;
use crate::record::{Basis, Bound, Confidence, Evidence, IdleMode, Learned, Origin};

/// An idle timeout as the cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeout {
    /// Who reset.
    pub origin: Origin,
    /// How sure.
    pub confidence: Confidence,
    /// What the silence before it was.
    pub quiet: Quiet,
    /// What it fits, for a sentence: `the idle timeout of "edge balancer" (300 s)`; absent if only the device's answer shows it.
    pub fits: Option<String>,
    /// How long the timeout is, where that is known: learned, configured, or the silence at expiry.
    pub timeout: Option<Duration>,
}

/// A device in the table may be meant only from this timeout on: shorter ones are think times of applications.
const LEAST_KNOWN: f64 = 30.0;

/// A device that is not known is believed to have forgotten a connection from this silence on; before, it may have had any
/// reason to reset it.
pub const LEAST_FORGETFUL: Duration = Duration::from_secs(60);

/// The silence that a timeout of this mode would have measured.
pub fn silence(quiet: &Quiet) -> Duration {
    match quiet.mode {
        IdleMode::LateRst => quiet.wire,
        IdleMode::RstAtExpiry | IdleMode::FinAtExpiry => quiet.application,
    }
}

/// Judges; `None`: no idle timeout, or nothing but the number speaks for one.
pub fn judge(around: &Around, bearing: &Bearing) -> Option<Timeout> {
    let quiet = around.quiet?;
    if silence(&quiet) < LEAST || around.burst.is_some() {
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
        .any(|found| found.precise && found.candidate.timeout >= LEAST_KNOWN);
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
        // The user says that this device resets in the other end's name. After it forgot, the other end may have answered
        // itself: then the TTL is the usual one.
        Some(found) if found.kind == Kind::Transparent => {
            if quiet.mode == IdleMode::RstAtExpiry || bearing.weight > 0 {
                Origin::Middlebox
            } else {
                Origin::Peer
            }
        }
        _ => Origin::Peer,
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
        fits: fits(configured, learned, &around.matches),
        timeout,
    })
}

/// What a silence fits, for a sentence.
fn fits(
    configured: Option<&Match>,
    learned: Option<&Learned>,
    matches: &[Match],
) -> Option<String> {
    if let Some(found) = configured {
        return Some(format!(
            "this is the idle timeout of \"{}\" ({}, from the configuration)",
            found.candidate.device,
            words::seconds(found.candidate.timeout)
        ));
    }
    if let Some(learned) = learned {
        return Some(format!(
            "this is what this path has shown before: {}",
            lesson(learned)
        ));
    }
    let names: Vec<&str> = matches
        .iter()
        .filter(|found| found.precise)
        .take(3)
        .map(|found| found.candidate.device.as_str())
        .collect();
    (!names.is_empty()).then(|| format!("which fits the idle timeout of {}", words::one_of(&names)))
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
            "{} resets after {:.1} s of silence or more, so the timeout is not longer",
            words::count(learned.samples),
            learned.timeout
        ),
    }
}

/// The same with its path: `towards 10.0.0.0/24 port 443: …`.
pub fn path_lesson(lesson: &Lesson) -> String {
    let path = &lesson.path;
    let towards = if path.outgoing {
        format!("towards {} port {}", path.network, path.service)
    } else {
        format!("from {} to port {} here", path.network, path.service)
    };
    format!(
        "{towards}, {}: {}",
        lesson.mode,
        self::lesson(&lesson.learned)
    )
}

/// What the silence, the path's history and the known devices say.
pub fn evidence(around: &Around) -> Vec<Evidence> {
    let mut list = Vec::new();
    if let Some(quiet) = &around.quiet
        && silence(quiet) >= LEAST
    {
        list.push(item("silence", describe(quiet)));
    }
    if let Some(burst) = &around.burst {
        list.push(item(
            "burst",
            format!(
                "{} of this path were reset within {}, after silences from {} to {}: one event, not each one's own timer",
                words::things(burst.connections, "connection"),
                words::span(burst.within),
                words::span(burst.shortest),
                words::span(burst.longest)
            ),
        ));
    }
    if let Some(learned) = &around.learned {
        list.push(item("learned", lesson(learned)));
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
        list.push(item(
            "candidates",
            format!("the silence fits {}", names.join(", ")),
        ));
    }
    list
}

fn describe(quiet: &Quiet) -> String {
    let probes = if quiet.application > quiet.wire + LEAST {
        format!(
            "; without data for {}, but not without segments such as keepalive probes",
            words::silence(quiet.application)
        )
    } else {
        String::new()
    };
    let how = match quiet.mode {
        IdleMode::RstAtExpiry => "the reset itself ended it",
        IdleMode::LateRst => "this end spoke first",
        IdleMode::FinAtExpiry => "a FIN ended it",
    };
    format!("silent for {}, {how}{probes}", words::silence(quiet.wire))
}

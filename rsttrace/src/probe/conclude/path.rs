//! Conclusion about the path as a whole from those about its directions.

use std::time::Duration;

use super::super::render::seconds;
use super::super::trial::Direction;
use super::{Conclusion, Mode};
use crate::record::Confidence;

/// One conclusion about the path. `to_client` is absent if that direction was not tested; that there is no timeout is then
/// likely at most.
pub fn path(to_server: &Conclusion, to_client: Option<&Conclusion>) -> Conclusion {
    let Some(to_client) = to_client else {
        let mut whole = to_server.clone();
        if whole.mode == Some(Mode::None) {
            whole.confidence = whole.confidence.max(Confidence::Likely);
        }
        return whole;
    };
    match (verdict(to_server), verdict(to_client)) {
        (Verdict::NoTimeout, Verdict::NoTimeout) => neither(to_server, to_client),
        (Verdict::Timeout(one), Verdict::Timeout(two)) => {
            if one == two && close(to_server, to_client) {
                both(to_server, to_client)
            } else if upper(to_client) < upper(to_server) {
                one_of(Direction::ToClient, to_client, to_server)
            } else {
                one_of(Direction::ToServer, to_server, to_client)
            }
        }
        (Verdict::Timeout(_), Verdict::NoTimeout | Verdict::Unclear) => {
            one_of(Direction::ToServer, to_server, to_client)
        }
        (Verdict::NoTimeout | Verdict::Unclear, Verdict::Timeout(_)) => {
            one_of(Direction::ToClient, to_client, to_server)
        }
        (Verdict::NoTimeout, Verdict::Unclear) => {
            weakened(one_of(Direction::ToServer, to_server, to_client))
        }
        (Verdict::Unclear, Verdict::NoTimeout) => {
            weakened(one_of(Direction::ToClient, to_client, to_server))
        }
        (Verdict::Unclear, Verdict::Unclear) => one_of(Direction::ToServer, to_server, to_client),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Timeout(Mode),
    NoTimeout,
    Unclear,
}

fn verdict(conclusion: &Conclusion) -> Verdict {
    match conclusion.mode {
        Some(Mode::None) => Verdict::NoTimeout,
        Some(mode @ (Mode::RstAtExpiry | Mode::LateRst | Mode::FinAtExpiry | Mode::Silent)) => {
            Verdict::Timeout(mode)
        }
        None => Verdict::Unclear,
    }
}

/// The value to compare timeouts by: the timeout or, if only bounded, its upper bound.
fn upper(conclusion: &Conclusion) -> f64 {
    conclusion
        .timeout
        .or(conclusion.at_most)
        .unwrap_or(f64::INFINITY)
}

/// Both may be the same timer: within 5 %, or their bounds overlap.
fn close(one: &Conclusion, two: &Conclusion) -> bool {
    let (a, b) = (upper(one), upper(two));
    let below = |x: &Conclusion, y: &Conclusion| {
        x.at_least.unwrap_or(0.0) <= y.at_most.unwrap_or(f64::INFINITY)
    };
    (a - b).abs() <= 0.05 * a.max(b) || (below(one, two) && below(two, one))
}

fn neither(to_server: &Conclusion, to_client: &Conclusion) -> Conclusion {
    let at_least = [to_server.at_least, to_client.at_least]
        .into_iter()
        .flatten()
        .min_by(f64::total_cmp);
    let of = to_server.of + to_client.of;
    Conclusion {
        at_least,
        samples: of,
        of,
        confidence: to_server.confidence.max(to_client.confidence),
        summary: format!(
            "{of} of {of} connections survived, whichever end wrote first; the longest idle time that survived in both \
             directions was {}",
            seconds(Duration::try_from_secs_f64(at_least.unwrap_or_default()).unwrap_or_default())
        ),
        ..joined(to_server, to_client)
    }
}

fn both(to_server: &Conclusion, to_client: &Conclusion) -> Conclusion {
    Conclusion {
        samples: to_server.samples + to_client.samples,
        of: to_server.of + to_client.of,
        // Each of them shows it by itself.
        confidence: to_server.confidence.min(to_client.confidence),
        summary: format!("the same whichever end writes first: {}", to_server.summary),
        ..joined(to_server, to_client)
    }
}

/// `to_server`, with the notes and the advice of both.
fn joined(to_server: &Conclusion, to_client: &Conclusion) -> Conclusion {
    let mut joined = to_server.clone();
    let further = |have: &mut Vec<String>, more: &[String]| {
        for text in more {
            if !have.contains(text) {
                have.push(text.clone());
            }
        }
    };
    further(&mut joined.notes, &to_client.notes);
    further(&mut joined.advice, &to_client.advice);
    if to_server.reached != to_client.reached {
        joined.reached = None;
    }
    joined
}

/// The conclusion about one direction, which decides; the other one is a note.
fn one_of(direction: Direction, deciding: &Conclusion, other: &Conclusion) -> Conclusion {
    let opposite = match direction {
        Direction::ToServer => Direction::ToClient,
        Direction::ToClient => Direction::ToServer,
    };
    let mut whole = deciding.clone();
    whole.summary = format!("{}: {}", direction.when(), deciding.summary);
    whole
        .notes
        .insert(0, format!("{}: {}", opposite.when(), other.summary));
    whole
}

fn weakened(mut conclusion: Conclusion) -> Conclusion {
    conclusion.confidence = conclusion.confidence.max(Confidence::Likely);
    conclusion
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Of five connections; the timeout is exact.
    fn about(mode: Option<Mode>, timeout: f64, confidence: Confidence) -> Conclusion {
        let is_found = !matches!(mode, None | Some(Mode::None));
        Conclusion {
            mode,
            timeout: is_found.then_some(timeout),
            at_least: mode.map(|_| timeout * 0.99),
            at_most: is_found.then_some(timeout * 1.01),
            samples: 5,
            of: 5,
            confidence,
            reached: None,
            summary: format!("summary {timeout}"),
            notes: Vec::new(),
            advice: vec![format!("advice {timeout}")],
        }
    }

    #[test]
    fn the_path_is_judged_from_both_directions() {
        use Confidence::{Certain, Likely, Possible};
        let nothing = || about(Some(Mode::None), 20.0, Certain);
        let late = |timeout| about(Some(Mode::LateRst), timeout, Certain);
        let silent = |timeout| about(Some(Mode::Silent), timeout, Likely);
        let fin = |timeout| about(Some(Mode::FinAtExpiry), timeout, Certain);
        let unclear = || about(None, 0.0, Possible);
        // (to the server, to the client) and what the path does.
        for (to_server, to_client, mode, timeout, confidence) in [
            (nothing(), None, Some(Mode::None), None, Likely),
            (late(5.0), None, Some(Mode::LateRst), Some(5.0), Certain),
            (unclear(), None, None, None, Possible),
            (nothing(), Some(nothing()), Some(Mode::None), None, Certain),
            (nothing(), Some(unclear()), Some(Mode::None), None, Likely),
            (unclear(), Some(nothing()), Some(Mode::None), None, Likely),
            (unclear(), Some(unclear()), None, None, Possible),
            (
                nothing(),
                Some(late(5.0)),
                Some(Mode::LateRst),
                Some(5.0),
                Certain,
            ),
            (
                silent(5.0),
                Some(nothing()),
                Some(Mode::Silent),
                Some(5.0),
                Likely,
            ),
            (
                unclear(),
                Some(silent(5.0)),
                Some(Mode::Silent),
                Some(5.0),
                Likely,
            ),
            (
                fin(5.0),
                Some(fin(5.01)),
                Some(Mode::FinAtExpiry),
                Some(5.0),
                Certain,
            ),
            (
                silent(5.0),
                Some(silent(5.1)),
                Some(Mode::Silent),
                Some(5.0),
                Likely,
            ),
            // Two timers: the shorter one counts.
            (
                late(5.0),
                Some(late(9.0)),
                Some(Mode::LateRst),
                Some(5.0),
                Certain,
            ),
            (
                late(9.0),
                Some(silent(5.0)),
                Some(Mode::Silent),
                Some(5.0),
                Likely,
            ),
        ] {
            let found = path(&to_server, to_client.as_ref());
            let case = format!("{to_server:#?} {to_client:#?} {found:#?}");
            assert_eq!(
                (found.mode, found.timeout, found.confidence),
                (mode, timeout, confidence),
                "{case}"
            );
            // Nothing is dropped: both summaries, or both directions' connections, are in it.
            let text = format!("{} {:?}", found.summary, found.notes);
            let whole = found.of == 10 || to_client.is_none();
            for part in [Some(to_server), to_client].into_iter().flatten() {
                assert!(whole || text.contains(&part.summary), "{case}");
            }
        }
    }

    #[test]
    fn one_direction_alone_is_named() {
        let nothing = about(Some(Mode::None), 20.0, Confidence::Certain);
        let late = about(Some(Mode::LateRst), 5.0, Confidence::Certain);
        let found = path(&nothing, Some(&late));
        assert_eq!(found.summary, "when the server writes first: summary 5");
        assert_eq!(found.notes, ["when this host writes first: summary 20"]);
        assert_eq!(found.advice, ["advice 5"]);
        let found = path(&late, Some(&nothing));
        assert_eq!(found.summary, "when this host writes first: summary 5");
        assert_eq!(found.notes, ["when the server writes first: summary 20"]);
    }
}

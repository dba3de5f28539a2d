//! Schedule of a probe: connections, start times and idle times.

use std::time::Duration;

use super::trial::{Speech, Trial};

/// Most connections of a probe: more would look like an attack and gain nothing.
pub const MOST_CONNECTIONS: usize = 500;

/// A connection to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The trial it is for.
    pub trial: Trial,
    /// How long after the beginning of the round it is opened.
    ///
    /// Not all at once: a timer ends connections after equal silences, a restart ends them at one instant, and only
    /// connections of different age can distinguish the two.
    pub delay: Duration,
}

/// Silences from `min` to `max`, each the same factor longer than the one before, and three times `max`, so that a timeout
/// just below it does not rest on a single connection. `connections` in all; with bytes to say, a control that says
/// them without a silence comes on top.
///
/// The first one is opened at once.
pub fn first_round(
    min: Duration,
    max: Duration,
    connections: usize,
    speech: Speech,
) -> Vec<Planned> {
    let connections = connections.clamp(1, MOST_CONNECTIONS);
    let extra = if connections >= 8 { 2 } else { 0 };
    let steps = connections - extra;
    let mut silences: Vec<Duration> = (0..steps)
        .map(|step| between(min, max, step, steps - 1))
        .collect();
    silences.extend(std::iter::repeat_n(max, extra));
    let window = (max / 4).min(Duration::from_secs(1));
    let control = match speech {
        // The responder has answered already when the silence begins.
        Speech::Keepalive | Speech::Message => None,
        Speech::Bytes => Some(Trial::new(0, Duration::ZERO)),
    };
    let first = silences.into_iter().map(|silence| Trial::new(1, silence));
    staggered(control.into_iter().chain(first), window)
}

/// Silences between the longest that was survived and the shortest that was lost, about a hundredth apart, that one
/// itself, and a longer one: if they survive, whatever was lost before was not lost to a timer.
pub fn second_round(survived: Duration, lost: Duration, connections: usize) -> Vec<Planned> {
    let ratio = lost.as_secs_f64() / survived.as_secs_f64().max(1e-3);
    // Small: at most 18 for the grid of the first round.
    let wanted = (ratio.max(1.0).ln() / FINEST.ln()).ceil().min(1e3) as usize;
    let most = connections.clamp(2, MOST_CONNECTIONS) - 1;
    let steps = wanted.clamp(2.min(most), most).min(24);
    let silences = (1..=steps)
        .map(|step| between(survived, lost, step, steps))
        .chain([lost * 103 / 100]);
    let window = (survived / 20).min(Duration::from_millis(500));
    staggered(silences.map(|silence| Trial::new(2, silence)), window)
}

/// Equal silences, somewhat longer than what may be a timeout: a timer ends them all before they are over.
pub fn confirming_round(timeout: Duration, connections: usize) -> Vec<Planned> {
    let silence = timeout * 5 / 4 + Duration::from_millis(500);
    let number = connections.clamp(2, 12);
    let window = (timeout / 4).min(Duration::from_secs(1));
    staggered(std::iter::repeat_n(Trial::new(2, silence), number), window)
}

/// How far apart the silences of a second round are.
const FINEST: f64 = 1.01;

/// The `step`th of `last` equal factors from `min` to `max`; both ends exact.
fn between(min: Duration, max: Duration, step: usize, last: usize) -> Duration {
    if step >= last {
        return max;
    }
    let (from, to) = (min.as_secs_f64().max(1e-3), max.as_secs_f64().max(1e-3));
    let part = step as f64 / last as f64;
    let silence = from * (to / from).powf(part);
    Duration::try_from_secs_f64(silence).map_or(min, |silence| silence.clamp(min, max))
}

/// Spreads the openings over a window so that any run of neighbouring silences covers most of it.
fn staggered(trials: impl Iterator<Item = Trial>, window: Duration) -> Vec<Planned> {
    /// The golden ratio's fraction: its multiples, modulo 1, are as evenly spread as can be.
    const STEP: f64 = 0.618_033_988_749_894_9;
    trials
        .enumerate()
        .map(|(index, trial)| Planned {
            trial,
            delay: window.mul_f64((index as f64 * STEP).fract()),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn silences_are_a_geometric_row_with_the_longest_thrice() {
        let plan = first_round(secs(1.0), secs(1024.0), 13, Speech::Keepalive);
        let silences: Vec<_> = plan
            .iter()
            .map(|planned| planned.trial.silence.as_secs_f64().round() as u64)
            .collect();
        assert_eq!(
            silences,
            [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024]
        );
    }

    #[test]
    fn with_bytes_to_say_a_control_says_them_at_once() {
        let plan = first_round(secs(1.0), secs(60.0), 10, Speech::Bytes);
        assert_eq!(plan.len(), 11);
        assert_eq!(plan[0].trial, Trial::new(0, Duration::ZERO));
        assert_eq!(plan[0].delay, Duration::ZERO);
    }

    #[test]
    fn neighbours_are_opened_at_different_times() {
        let plan = first_round(secs(1.0), secs(960.0), 40, Speech::Keepalive);
        for run in plan.windows(5) {
            let delays = || run.iter().map(|planned| planned.delay);
            let spread = delays().max().unwrap() - delays().min().unwrap();
            assert!(spread >= secs(0.6), "{spread:?}");
        }
    }

    #[test]
    fn the_second_round_tries_the_lost_silence_again_and_a_longer_one() {
        let plan = second_round(secs(4.4), secs(5.2), 40);
        let silences: Vec<_> = plan.iter().map(|planned| planned.trial.silence).collect();
        assert!(silences.contains(&secs(5.2)));
        assert!(silences.iter().any(|&silence| silence > secs(5.3)));
        assert!(silences.len() <= 25, "{}", silences.len());
    }

    proptest! {
        #[test]
        fn any_bounds_give_silences_within_them(
            min in 1_u64..1_000_000, longer in 0_u64..10_000_000, connections in 0_usize..1000,
        ) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + longer));
            let plan = first_round(min, max, connections, Speech::Keepalive);
            prop_assert_eq!(plan.len(), connections.clamp(1, MOST_CONNECTIONS));
            prop_assert!(plan.iter().all(|planned| (min..=max).contains(&planned.trial.silence)));
            prop_assert!(plan.iter().all(|planned| planned.delay <= secs(1.0)));
            prop_assert!(plan.windows(2).all(|two| two[0].trial.silence <= two[1].trial.silence));
            prop_assert_eq!(plan[0].delay, Duration::ZERO);
            let second = second_round(min, max, connections);
            prop_assert!(!second.is_empty() && second.len() <= 25);
        }
    }
}

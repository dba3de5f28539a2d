//! Distinguishes per-connection timers from an event that hit all connections.

use std::time::Duration;

/// A connection that was ended, or found dead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    pub how: How,
    /// Which round it belonged to.
    pub round: u8,
    /// How long it had been silent.
    pub quiet: Duration,
    /// When, since the probe began.
    pub at: Duration,
}

/// How the end of a connection showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Fin,
    Rst,
    /// Nothing came any more.
    Silence,
}

/// What the ends of silent connections have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// They had only just been opened.
    TurnedAway,
    /// Their silences were equal.
    Timer {
        /// Equal, and they ended at different instants, as only a timer makes them.
        steady: bool,
    },
    /// The instant was the same, their silences differed. Connections opened later were not ended.
    OneInstant,
    Scattered,
}

/// Looks for it in the ends of connections; a [`Pattern::OneInstant`] among those of the first round alone is to be confirmed
/// by a second.
pub(super) fn pattern(deaths: &[Death]) -> Pattern {
    let Some(timeout) = timer_of(deaths) else {
        return Pattern::Scattered;
    };
    if timeout < AT_ONCE {
        return Pattern::TurnedAway;
    }
    let coarse = (timeout / 7).max(Duration::from_millis(300));
    let fine = (timeout / 20).max(Duration::from_millis(250));
    let of = |round: u8| deaths.iter().filter(move |death| death.round == round);
    let first: Vec<Death> = of(1).copied().collect();
    if first.len() >= 3
        && spread(&first, |death| death.at) * 2 < spread(&first, |death| death.quiet)
    {
        // One that looks at its connections only now and then ends many at once, but the next ones after the same silence.
        let again = of(2)
            .filter(|death| death.quiet.abs_diff(timeout) <= coarse)
            .count();
        return if again >= 2 {
            Pattern::Timer { steady: false }
        } else {
            Pattern::OneInstant
        };
    }
    let quiet = spread(deaths, |death| death.quiet);
    if quiet > coarse {
        return Pattern::Scattered;
    }
    let steady = deaths.len() >= 3 && quiet <= fine && quiet * 2 < spread(deaths, |death| death.at);
    Pattern::Timer { steady }
}

/// What a timer that ended these would have been set to: they fire late, by an eighth with the kernel's coarse ones, and
/// never early. Absent if there are none.
pub(super) fn timer_of(deaths: &[Death]) -> Option<Duration> {
    let mut quiet: Vec<_> = deaths.iter().map(|death| death.quiet).collect();
    quiet.sort_unstable();
    quiet.get(quiet.len() / 10).copied()
}

/// How far the values are apart, without the outer tenths: one connection that differs is no other timer.
fn spread(deaths: &[Death], value: impl Fn(&Death) -> Duration) -> Duration {
    let mut sorted: Vec<_> = deaths.iter().map(value).collect();
    sorted.sort_unstable();
    let trim = sorted.len() / 10;
    match sorted.get(trim..sorted.len() - trim) {
        Some([first, .., last]) => *last - *first,
        _ => Duration::ZERO,
    }
}

/// An end that comes sooner is none of a timer's.
const AT_ONCE: Duration = Duration::from_millis(200);

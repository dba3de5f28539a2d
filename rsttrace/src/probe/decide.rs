//! Decides whether a probe has seen enough.

use std::time::Duration;

use super::pattern::{Death, Pattern, pattern, timer_of};
use super::trial::{Fate, Trial, control, fate, median};
use crate::thresholds::probed_tolerance;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Wait,
    /// Open a second round between these silences.
    Refine {
        /// The longest silence that was survived, below `lost`.
        survived: Duration,
        /// The shortest silence after which the connection was lost.
        lost: Duration,
    },
    /// Open a second round: a coarse timer may have ended those that ended at one instant.
    Confirm {
        /// What it would be set to.
        timeout: Duration,
    },
    Enough,
}

/// Looks at all trials so far; `now` is since the probe began.
pub fn next(trials: &[Trial], now: Duration) -> Next {
    let over = trials.iter().all(|trial| trial.outcome().is_some());
    if let Some(next) = after_expiry(trials, now) {
        return next;
    }
    match after_losses(trials) {
        Some(next) => next,
        None if over => Next::Enough,
        None => Next::Wait,
    }
}

/// Connections were ended while silent, and there is none left whose turn is still to come. Else absent.
///
/// If many were silent for longer and live, the ended ones were none of a timer's, and the others are waited for.
fn after_expiry(trials: &[Trial], now: Duration) -> Option<Next> {
    let deaths: Vec<Death> = trials
        .iter()
        .filter_map(|trial| {
            let outcome = trial.outcome()?;
            let Fate::Expired(how) = fate(&outcome.end, None) else {
                return None;
            };
            Some(Death {
                how,
                round: trial.round,
                quiet: outcome.quiet,
                at: outcome.at,
            })
        })
        .collect();
    let timeout = median(deaths.iter().map(|death| death.quiet))?;
    let overdue = timeout + probed_tolerance(timeout);
    let mut outlived = 0;
    for trial in trials {
        match trial.silent_for(now) {
            Some(quiet) if quiet > overdue => outlived += 1,
            // Its own silence ends first.
            Some(_) if trial.silence < timeout => {}
            Some(_) => return None,
            None if trial.opened.is_none() && trial.outcome().is_none() => return None,
            None => {}
        }
    }
    if outlived * 4 > deaths.len() {
        return None;
    }
    let first_round = trials.iter().all(|trial| trial.round < 2);
    Some(match timer_of(&deaths) {
        Some(timeout) if first_round && pattern(&deaths) == Pattern::OneInstant => {
            Next::Confirm { timeout }
        }
        _ => Next::Enough,
    })
}

/// Connections were found dead after a silence. Absent if there is none, or if the end is not in sight.
fn after_losses(trials: &[Trial]) -> Option<Next> {
    let control = control(trials);
    if control.is_none() && trials.iter().any(|trial| trial.round == 0) {
        return None;
    }
    // (planned silence, alive) of what is settled, without the control.
    let settled: Vec<(&Trial, bool)> = trials
        .iter()
        .filter(|trial| trial.round > 0)
        .filter_map(|trial| match fate(&trial.outcome()?.end, control) {
            Fate::Alive => Some((trial, true)),
            Fate::Lost(_) => Some((trial, false)),
            Fate::Expired(_) | Fate::Nothing => None,
        })
        .collect();
    let lost_in = |round: u8| {
        let lost = settled
            .iter()
            .filter(move |(trial, alive)| !alive && trial.round == round);
        lost.map(|(trial, _)| trial.silence)
    };
    let pending_below = |silence: Duration| {
        trials
            .iter()
            .any(|trial| trial.round > 0 && trial.silence < silence && trial.outcome().is_none())
    };
    let refined = trials.iter().any(|trial| trial.round == 2);
    if !refined {
        let lost = lost_in(1).min()?;
        if pending_below(lost) {
            return None;
        }
        let survived = settled
            .iter()
            .filter(|(trial, alive)| *alive && trial.silence < lost)
            .map(|(trial, _)| trial.silence)
            .max();
        return match survived {
            // Also if they are close already: a second round distinguishes a timer from a restart.
            Some(survived) => Some(Next::Refine { survived, lost }),
            // The shortest silence was too long already; one lost packet is not enough to say so.
            None if lost_in(1).count() >= 3 => Some(Next::Enough),
            None => None,
        };
    }
    match lost_in(2).min() {
        Some(lost) if !pending_below(lost) => Some(Next::Enough),
        Some(_) => None,
        // Nothing is lost this time: a restart, or a lost packet. Either way the first round continues until it loses all.
        None => {
            let second_is_over = trials
                .iter()
                .all(|trial| trial.round != 2 || trial.outcome().is_some());
            let survivors = settled
                .iter()
                .filter(|(trial, alive)| *alive && trial.round == 1);
            let longest = survivors.map(|(trial, _)| trial.silence).max();
            let beyond = || lost_in(1).filter(|&silence| Some(silence) > longest);
            let clear = second_is_over && beyond().count() >= 3 && !pending_below(beyond().min()?);
            clear.then_some(Next::Enough)
        }
    }
}

//! When must namespaces be looked for, when is it enough to be told?
//!
//! While little happens the kernel tells who moves, and without movements nothing is done at all. Being told costs each
//! fork a little, so where there are many, or where the kernel does not tell, it looks by itself, about once a second.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::movements::{Movements, Seen};
use super::netns::Inode;

/// How often namespaces are looked for while the kernel does not tell.
const SOON: Duration = Duration::from_millis(900);
/// How long after a movement the next is asked for: a process is made, and enters its namespace a moment later. While
/// there are more, twice as long each time.
const REST: Duration = Duration::from_millis(100);
/// At most this.
const LONGEST_REST: Duration = Duration::from_millis(800);
/// As often while it does, for what a record does not show: a CPU that came, a name without a process.
const LATE: Duration = Duration::from_secs(60);
/// How often it looks after a new namespace was told of, one rest after another: its name may come a moment later.
const LOOKS: u32 = 4;
/// More movements than this in less than a second, and looking is cheaper than being told.
const MANY: usize = 16;

/// Where movements come from; in tests, not from the kernel.
trait Source {
    fn read(&mut self, is_known: &dyn Fn(Inode) -> bool) -> Seen;
}

impl Source for Movements {
    fn read(&mut self, is_known: &dyn Fn(Inode) -> bool) -> Seen {
        Movements::read(self, is_known)
    }
}

/// What is waited for.
pub(super) struct Vigil {
    plan: Plan<Movements>,
    can_be_told: bool,
    is_refused: bool,
}

impl Vigil {
    /// Begins by looking. `can_be_told`: movements of threads tell of all that matters.
    pub(super) fn new(can_be_told: bool) -> Self {
        Self {
            plan: Plan::Look {
                next: Instant::now(),
                forks: None,
            },
            can_be_told,
            is_refused: false,
        }
    }

    /// Readable when it is time for [`Self::is_due`], beside [`Self::next`].
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let armed = match &self.plan {
            Plan::Told {
                source, rest: None, ..
            } => Some(source),
            _ => None,
        };
        armed.into_iter().flat_map(Movements::descriptors)
    }

    /// When it is time for [`Self::is_due`] at the latest.
    pub(super) fn next(&self) -> Instant {
        self.plan.next()
    }

    /// Whether namespaces are to be looked for now.
    pub(super) fn is_due(&mut self, now: Instant, is_known: impl Fn(Inode) -> bool) -> bool {
        let is_due = self.plan.is_due(now, &is_known);
        if let Plan::Look { forks, .. } = &mut self.plan
            && is_due
            && self.can_be_told
            && !self.is_refused
        {
            let (before, after) = (*forks, last_process());
            *forks = after;
            if is_calm(before, after) {
                match Movements::open() {
                    Ok(source) => self.plan = Plan::told(now, source),
                    Err(error) => {
                        log::info!(
                            "new network namespaces are looked for once a second, as the kernel does not tell of \
                             them (CAP_PERFMON?): {error}"
                        );
                        self.is_refused = true;
                    }
                }
            }
        }
        is_due
    }

    /// News came by another way: what goes with them may not be there yet.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.plan.look_again(now);
    }

    /// From now on movements tell, or do not tell, of all that matters.
    pub(super) fn set_can_be_told(&mut self, can_be_told: bool) {
        if !can_be_told && matches!(self.plan, Plan::Told { .. }) {
            self.plan = Plan::look(Instant::now());
        }
        self.can_be_told = can_be_told;
    }
}

enum Plan<S> {
    /// The kernel tells.
    Told {
        source: S,
        /// There was a movement: no more is heard for so long, until `next`.
        rest: Option<Duration>,
        /// So often they are still to be looked for after a rest.
        looks: u32,
        next: Instant,
    },
    /// It does not.
    Look { next: Instant, forks: Option<u64> },
}

impl<S: Source> Plan<S> {
    fn told(now: Instant, source: S) -> Self {
        Self::Told {
            source,
            rest: None,
            looks: 0,
            next: now + LATE,
        }
    }

    fn look(now: Instant) -> Self {
        Self::Look {
            next: now + SOON,
            forks: last_process(),
        }
    }

    fn next(&self) -> Instant {
        match self {
            Self::Told { next, .. } | Self::Look { next, .. } => *next,
        }
    }

    fn is_due(&mut self, now: Instant, is_known: &dyn Fn(Inode) -> bool) -> bool {
        match self {
            Self::Look { next, .. } if now < *next => false,
            Self::Look { next, .. } => {
                *next = now + SOON;
                true
            }
            Self::Told {
                rest: Some(_),
                next,
                ..
            } if now < *next => false,
            Self::Told {
                source,
                rest,
                looks,
                next,
            } => {
                let seen = source.read(is_known);
                if seen.is_cut || seen.movements > MANY {
                    *self = Self::look(now);
                    return true;
                }
                let is_time = now >= *next && (rest.is_none() || *looks > 0);
                let is_due = seen.is_new || is_time;
                *looks = if seen.is_new {
                    LOOKS
                } else {
                    looks.saturating_sub(1)
                };
                let longer = rest.map_or(REST, |rest| (rest * 2).min(LONGEST_REST));
                *rest = (seen.movements > 0 || *looks > 0).then_some(longer);
                *next = now + rest.unwrap_or(LATE);
                is_due
            }
        }
    }

    fn look_again(&mut self, now: Instant) {
        if let Self::Told {
            rest, looks, next, ..
        } = self
        {
            if rest.is_none() {
                (*rest, *next) = (Some(REST), now + REST);
            }
            *looks = LOOKS;
        }
    }
}

/// The id that was given to a process or thread last: what is made from one time to another shows in it.
fn last_process() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().last()?.parse().ok()
}

/// Whether few processes were made between two looks. Ids begin anew now and then: then it is not known.
fn is_calm(before: Option<u64>, after: Option<u64>) -> bool {
    before
        .zip(after)
        .and_then(|(before, after)| after.checked_sub(before))
        .is_some_and(|made| made <= MANY as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Script(Vec<Seen>);

    impl Source for Script {
        fn read(&mut self, _: &dyn Fn(Inode) -> bool) -> Seen {
            self.0.pop().unwrap_or_default()
        }
    }

    const OLD: Seen = Seen {
        movements: 1,
        is_new: false,
        is_cut: false,
    };
    const NEW: Seen = Seen {
        is_new: true,
        ..OLD
    };
    const NONE: Seen = Seen {
        movements: 0,
        ..OLD
    };

    fn told(now: Instant, mut script: Vec<Seen>) -> Plan<Script> {
        script.reverse();
        Plan::told(now, Script(script))
    }

    fn is_due(plan: &mut Plan<Script>, now: Instant) -> bool {
        plan.is_due(now, &|_| true)
    }

    #[test]
    fn without_movements_it_looks_once_a_minute() {
        let now = Instant::now();
        let mut plan = told(now, vec![]);
        for minute in 1..4 {
            assert_eq!(plan.next(), now + LATE * minute);
            assert!(is_due(&mut plan, now + LATE * minute));
        }
    }

    /// Milliseconds after `begin` of the looks that follow, until it is quiet.
    fn looks(plan: &mut Plan<Script>, begin: Instant) -> Vec<u128> {
        let mut looks = Vec::new();
        while plan.next() < begin + LATE {
            let now = plan.next();
            if is_due(plan, now) {
                looks.push((now - begin).as_millis());
            }
        }
        looks
    }

    #[test]
    fn a_new_namespace_is_looked_for_at_once_and_a_few_times_more() {
        let now = Instant::now();
        let mut plan = told(now, vec![NEW]);
        assert!(is_due(&mut plan, now));
        assert!(!is_due(&mut plan, now + REST / 2));
        assert_eq!(looks(&mut plan, now), [100, 300, 700, 1500]);
    }

    #[test]
    fn movements_in_known_namespaces_cost_few_wake_ups_and_no_look() {
        let mut now = Instant::now();
        let mut plan = told(now, vec![OLD; 8]);
        let mut rests = Vec::new();
        for _ in 0..8 {
            assert!(!is_due(&mut plan, now));
            rests.push((plan.next() - now).as_millis());
            now = plan.next();
        }
        assert_eq!(rests, [100, 200, 400, 800, 800, 800, 800, 800]);
        assert!(!is_due(&mut plan, now));
        assert_eq!(plan.next(), now + LATE);
    }

    #[test]
    fn what_is_new_while_it_rests_is_seen_when_it_has_rested() {
        let now = Instant::now();
        let mut plan = told(now, vec![OLD, NEW]);
        assert!(!is_due(&mut plan, now));
        assert!(!is_due(&mut plan, now + REST / 2));
        assert!(is_due(&mut plan, now + REST));
    }

    #[test]
    fn many_movements_or_lost_ones_end_the_telling() {
        let many = Seen {
            movements: MANY + 1,
            ..OLD
        };
        let cut = Seen {
            is_cut: true,
            ..NONE
        };
        for seen in [many, cut] {
            let now = Instant::now();
            let mut plan = told(now, vec![seen]);
            assert!(is_due(&mut plan, now));
            assert!(matches!(plan, Plan::Look { .. }));
            assert_eq!(plan.next(), now + SOON);
        }
    }

    #[test]
    fn news_from_elsewhere_are_followed_up_even_in_a_storm_of_them() {
        let now = Instant::now();
        let mut plan = told(now, vec![]);
        plan.look_again(now);
        plan.look_again(now + REST / 2);
        assert_eq!(looks(&mut plan, now), [100, 300, 700, 1500]);
    }

    #[test]
    fn it_is_calm_only_if_that_is_known() {
        assert!(is_calm(Some(100), Some(103)));
        assert!(!is_calm(Some(100), Some(200)));
        assert!(!is_calm(Some(32_000), Some(301)));
        assert!(!is_calm(None, Some(301)));
        assert!(!is_calm(Some(301), None));
        assert!(last_process().is_some());
    }
}

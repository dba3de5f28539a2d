//! Decides between notifications and polling for new network namespaces.
//!
//! With few forks the kernel notifies of new threads and namespaces, and nothing is done otherwise. A notification costs each fork a
//! little, so with many forks, or without notifications, namespaces are polled about once a second.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use procfs::{CurrentSI as _, KernelStats};

use super::netns::Inode;
use super::perf_namespaces::{Movements, Seen};

/// Poll interval without notifications.
const SOON: Duration = Duration::from_millis(800);
/// Pause after a notification: a process is created, and enters its namespace a moment later. Doubled while there are more.
const REST: Duration = Duration::from_millis(100);
/// Maximum of the doubled pause.
const LONGEST_REST: Duration = Duration::from_millis(800);
/// Poll interval with notifications, for changes without one: a new CPU, a name without a process.
const LATE: Duration = Duration::from_secs(60);
/// Polls after a notification of a new namespace, because its name may appear later.
const LOOKS: u32 = 4;
/// With more notifications than this in less than a second, polling is cheaper.
const MANY: usize = 16;

/// The source of notifications; a script in tests.
trait Source {
    fn read(&mut self, is_known: &dyn Fn(Inode) -> bool) -> Seen;
    /// Whether there are CPUs without notifications.
    fn is_outdated(&self) -> bool;
}

impl Source for Movements {
    fn read(&mut self, is_known: &dyn Fn(Inode) -> bool) -> Seen {
        Movements::read(self, is_known)
    }

    fn is_outdated(&self) -> bool {
        Movements::is_outdated(self)
    }
}

pub(super) struct Vigil {
    plan: Plan<Movements>,
    pause: Pause,
    is_notified: bool,
    is_refused: bool,
}

impl Vigil {
    /// Begins with a poll. `is_notified`: notifications cover everything that matters.
    pub(super) fn new(is_notified: bool) -> Self {
        Self {
            plan: Plan::Look {
                next: Instant::now(),
                forks: None,
            },
            pause: Pause::default(),
            is_notified,
            is_refused: false,
        }
    }

    /// Readable when [`Self::is_due`] may be true, apart from [`Self::next`].
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let armed = match &self.plan {
            Plan::Notified {
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

    /// Whether to poll namespaces now.
    pub(super) fn is_due(&mut self, now: Instant, is_known: impl Fn(Inode) -> bool) -> bool {
        let was_notified = matches!(self.plan, Plan::Notified { .. });
        let is_due = self.plan.is_due(now, &is_known);
        if let Plan::Look { forks, .. } = &mut self.plan
            && was_notified
        {
            *forks = made();
            self.pause.begin(now);
        } else if let Plan::Look { forks, .. } = &mut self.plan
            && is_due
            && self.is_notified
            && !self.is_refused
            && self.pause.is_over(now)
        {
            let (before, after) = (*forks, made());
            *forks = after;
            if is_calm(before, after) {
                match Movements::open() {
                    Ok(source) => {
                        self.plan = Plan::notified(now, source);
                        self.pause.end(now);
                    }
                    // A CPU went away just now.
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                    Err(error) => {
                        log::info!(
                            "polling for new network namespaces, because perf events are not available \
                             (CAP_PERFMON missing?): {error}"
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

    /// A descriptor is of no use any more, as its CPU went away: it would be ready all the time.
    pub(super) fn stop_listening(&mut self, now: Instant) {
        if matches!(self.plan, Plan::Notified { .. }) {
            self.plan = Plan::look(now);
            self.pause.begin(now);
        }
    }

    /// From now on notifications cover everything that matters, or do not.
    pub(super) fn set_is_notified(&mut self, is_notified: bool) {
        if !is_notified && matches!(self.plan, Plan::Notified { .. }) {
            self.plan = Plan::look(Instant::now());
        }
        self.is_notified = is_notified;
    }
}

/// Time of polling before notifications are tried again; doubled each time that they ended soon.
#[derive(Default)]
struct Pause {
    length: Duration,
    /// The end of the last pause.
    end: Option<Instant>,
}

impl Pause {
    /// Notifications ended.
    fn begin(&mut self, now: Instant) {
        let listened = self
            .end
            .map_or(LATE, |end| now.saturating_duration_since(end));
        self.length = if listened < LATE {
            (self.length * 2).clamp(SOON, LATE)
        } else {
            SOON
        };
        self.end = Some(now + self.length);
    }

    fn is_over(&self, now: Instant) -> bool {
        self.end.is_none_or(|end| now >= end)
    }

    /// Notifications began.
    fn end(&mut self, now: Instant) {
        self.end = Some(now);
    }
}

enum Plan<S> {
    Notified {
        source: S,
        /// After a notification: the pause, which ends at `next`.
        rest: Option<Duration>,
        /// Remaining polls after a pause.
        looks: u32,
        next: Instant,
        /// The next poll in any case.
        late: Instant,
    },
    /// Polling. `forks`: the count of forks at the last poll that used it.
    Look { next: Instant, forks: Option<u64> },
}

impl<S: Source> Plan<S> {
    fn notified(now: Instant, source: S) -> Self {
        Self::Notified {
            source,
            rest: None,
            looks: 0,
            next: now + LATE,
            late: now + LATE,
        }
    }

    fn look(now: Instant) -> Self {
        Self::Look {
            next: now + SOON,
            forks: None,
        }
    }

    fn next(&self) -> Instant {
        match self {
            Self::Notified { next, .. } | Self::Look { next, .. } => *next,
        }
    }

    fn is_due(&mut self, now: Instant, is_known: &dyn Fn(Inode) -> bool) -> bool {
        match self {
            Self::Look { next, .. } if now < *next => false,
            Self::Look { next, .. } => {
                *next = now + SOON;
                true
            }
            Self::Notified {
                rest: Some(_),
                next,
                ..
            } if now < *next => false,
            Self::Notified {
                source,
                rest,
                looks,
                next,
                late,
            } => {
                let seen = source.read(is_known);
                let is_late = now >= *late;
                if seen.is_cut || seen.movements > MANY || (is_late && source.is_outdated()) {
                    *self = Self::look(now);
                    return true;
                }
                let is_due = seen.is_new || is_late || (now >= *next && *looks > 0);
                if is_due {
                    *late = now + LATE;
                }
                *looks = if seen.is_new {
                    LOOKS
                } else {
                    looks.saturating_sub(1)
                };
                let longer = rest.map_or(REST, |rest| (rest * 2).min(LONGEST_REST));
                *rest = (seen.movements > 0 || *looks > 0).then_some(longer);
                *next = rest.map_or(*late, |rest| now + rest);
                is_due
            }
        }
    }

    fn look_again(&mut self, now: Instant) {
        if let Self::Notified {
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

/// How many processes and threads were made since the boot, in all PID namespaces.
fn made() -> Option<u64> {
    KernelStats::current().ok().map(|stats| stats.processes)
}

/// Whether few processes were made between two looks.
fn is_calm(before: Option<u64>, after: Option<u64>) -> bool {
    before
        .zip(after)
        .and_then(|(before, after)| after.checked_sub(before))
        .is_some_and(|made| made <= MANY as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Script {
        seen: Vec<Seen>,
        is_outdated: bool,
    }

    impl Source for Script {
        fn read(&mut self, _: &dyn Fn(Inode) -> bool) -> Seen {
            self.seen.pop().unwrap_or_default()
        }

        fn is_outdated(&self) -> bool {
            self.is_outdated
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

    fn notified(now: Instant, mut seen: Vec<Seen>) -> Plan<Script> {
        seen.reverse();
        let script = Script {
            seen,
            is_outdated: false,
        };
        Plan::notified(now, script)
    }

    fn is_due(plan: &mut Plan<Script>, now: Instant) -> bool {
        plan.is_due(now, &|_| true)
    }

    #[test]
    fn without_movements_it_looks_once_a_minute() {
        let now = Instant::now();
        let mut plan = notified(now, vec![]);
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
        let mut plan = notified(now, vec![NEW]);
        assert!(is_due(&mut plan, now));
        assert!(!is_due(&mut plan, now + REST / 2));
        assert_eq!(looks(&mut plan, now), [100, 300, 700, 1500]);
    }

    #[test]
    fn movements_in_known_namespaces_cost_few_wake_ups_and_no_look() {
        let begin = Instant::now();
        let mut now = begin;
        let mut plan = notified(now, vec![OLD; 8]);
        let mut rests = Vec::new();
        for _ in 0..8 {
            assert!(!is_due(&mut plan, now));
            rests.push((plan.next() - now).as_millis());
            now = plan.next();
        }
        assert_eq!(rests, [100, 200, 400, 800, 800, 800, 800, 800]);
        assert!(!is_due(&mut plan, now));
        assert_eq!(plan.next(), begin + LATE);
    }

    #[test]
    fn movements_without_end_do_not_put_off_the_minutes_look() {
        let begin = Instant::now();
        let mut now = begin;
        let mut plan = notified(now, vec![OLD; 1000]);
        while !is_due(&mut plan, now) {
            now = plan.next();
        }
        assert!((LATE..LATE + LONGEST_REST).contains(&(now - begin)));
    }

    #[test]
    fn a_cpu_that_came_or_went_ends_the_telling_at_the_minutes_look() {
        let now = Instant::now();
        let script = Script {
            seen: vec![NEW],
            is_outdated: true,
        };
        let mut plan = Plan::notified(now, script);
        assert!(is_due(&mut plan, now));
        assert_eq!(looks(&mut plan, now), [100, 300, 700, 1500]);
        let now = plan.next();
        assert!(is_due(&mut plan, now));
        assert!(matches!(plan, Plan::Look { .. }));
        assert_eq!(plan.next(), now + SOON);
    }

    #[test]
    fn pauses_double_up_to_a_minute_until_listening_lasts() {
        let mut now = Instant::now();
        let mut pause = Pause::default();
        assert!(pause.is_over(now));
        let mut lengths = Vec::new();
        for _ in 0..9 {
            pause.end(now);
            now += Duration::from_secs(1);
            pause.begin(now);
            assert!(!pause.is_over(now));
            now += pause.length;
            assert!(pause.is_over(now));
            lengths.push(pause.length.as_millis());
        }
        assert_eq!(
            lengths,
            [
                800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000
            ]
        );
        pause.end(now);
        pause.begin(now + LATE);
        assert_eq!(pause.length, SOON);
    }

    #[test]
    fn a_descriptor_of_no_use_ends_the_telling() {
        let now = Instant::now();
        let mut vigil = Vigil::new(true);
        vigil.stop_listening(now);
        assert!(vigil.pause.is_over(now));
        // Without permission for notifications there is nothing to stop.
        if let Ok(source) = Movements::open() {
            vigil.plan = Plan::notified(now, source);
            vigil.stop_listening(now);
            assert_eq!(vigil.descriptors().count(), 0);
            assert_eq!(vigil.next(), now + SOON);
            assert!(!vigil.pause.is_over(now));
        }
    }

    #[test]
    fn what_is_new_while_it_rests_is_seen_when_it_has_rested() {
        let now = Instant::now();
        let mut plan = notified(now, vec![OLD, NEW]);
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
            let mut plan = notified(now, vec![seen]);
            assert!(is_due(&mut plan, now));
            assert!(matches!(plan, Plan::Look { .. }));
            assert_eq!(plan.next(), now + SOON);
        }
    }

    #[test]
    fn news_from_elsewhere_are_followed_up_even_in_a_storm_of_them() {
        let now = Instant::now();
        let mut plan = notified(now, vec![]);
        plan.look_again(now);
        plan.look_again(now + REST / 2);
        assert_eq!(looks(&mut plan, now), [100, 300, 700, 1500]);
    }

    #[test]
    fn it_is_calm_only_if_that_is_known() {
        assert!(is_calm(Some(100), Some(103)));
        assert!(!is_calm(Some(100), Some(200)));
        assert!(!is_calm(None, Some(301)));
        assert!(!is_calm(Some(301), None));
        assert!(made().is_some_and(|made| made > 0));
    }
}

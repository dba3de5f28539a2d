//! Clock for the age of records that tolerates a wrong system time.
//!
//! Without a clock that runs while the machine is off, or with a wrong one, the time after a boot is anything until it is set. A
//! history must not be erased by that: a leap ahead counts only once the clock has kept its time for a day.

use std::time::Duration;

use jiff::Timestamp;

use crate::event::BootTime;

/// Small adjustments are accepted at once.
const TOLERANCE: Duration = Duration::from_secs(3_600);
/// A jump that lasted this long is accepted.
const PROBATION: Duration = Duration::from_secs(24 * 3_600);

/// An accepted time, and when it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    believed: Timestamp,
    at: BootTime,
    /// A jump that is not accepted yet: the time, and when it was first seen.
    leap: Option<(Timestamp, BootTime)>,
}

impl Clock {
    pub fn new(believed: Timestamp, at: BootTime) -> Self {
        Self {
            believed,
            at,
            leap: None,
        }
    }

    /// The accepted time for `now`, which is `at` after boot.
    pub fn believe(&mut self, now: Timestamp, at: BootTime) -> Timestamp {
        let expected = later(self.believed, at.since(self.at));
        if now <= later(expected, TOLERANCE) {
            *self = Self::new(now, at);
            return now;
        }
        match self.leap {
            Some((then, since))
                if now <= later(then, at.since(since) + TOLERANCE)
                    && at.since(since) >= PROBATION =>
            {
                *self = Self::new(now, at);
                now
            }
            Some((then, since)) if now <= later(then, at.since(since) + TOLERANCE) => expected,
            _ => {
                self.leap = Some((now, at));
                expected
            }
        }
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    fn after(hours: u64) -> BootTime {
        BootTime(hours * HOUR * 1_000_000_000)
    }

    fn clock(hours: u64) -> Timestamp {
        Timestamp::from_second(i64::try_from(hours * HOUR).unwrap()).unwrap()
    }

    #[test]
    fn a_clock_that_goes_on_is_believed_and_one_that_is_set_back_too() {
        let mut it = Clock::new(clock(1_000), after(0));
        assert_eq!(it.believe(clock(1_500), after(500)), clock(1_500));
        assert_eq!(it.believe(clock(900), after(501)), clock(900));
        assert_eq!(it.believe(clock(910), after(511)), clock(910));
    }

    #[test]
    fn a_leap_is_believed_after_a_day_and_never_if_it_is_taken_back() {
        let mut it = Clock::new(clock(1_000), after(0));
        assert_eq!(it.believe(clock(90_000), after(1)), clock(1_001));
        assert_eq!(it.believe(clock(90_005), after(6)), clock(1_006));
        // It is set right.
        assert_eq!(it.believe(clock(1_007), after(7)), clock(1_007));
        // Another leap, and another beyond that.
        assert_eq!(it.believe(clock(2_000), after(8)), clock(1_008));
        assert_eq!(it.believe(clock(9_000), after(20)), clock(1_020));
        assert_eq!(it.believe(clock(9_020), after(40)), clock(1_040));
        assert_eq!(it.believe(clock(9_025), after(45)), clock(9_025));
    }
}

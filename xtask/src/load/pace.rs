//! Pacing: how many by now.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Lets so many pass a second, or as many as come, for a time.
pub struct Pace {
    begin: Instant,
    lasts: Duration,
    /// Nanoseconds each; 0: no limit.
    each: u64,
    done: u64,
}

/// Those due within it go in a row, so that the clock is not asked for each.
const STEP: Duration = Duration::from_millis(1);

impl Pace {
    /// `rate` 0: as fast as it goes.
    pub fn start(rate: u64, seconds: f64) -> Self {
        Self {
            begin: Instant::now(),
            lasts: Duration::from_secs_f64(seconds),
            each: 1_000_000_000_u64.checked_div(rate).unwrap_or(0),
            done: 0,
        }
    }

    /// How many may go now, of at most `most`; waits for the next that is due. `None`: the time is over.
    pub fn next(&mut self, most: u64) -> Option<u64> {
        let now = self.begin.elapsed();
        if now >= self.lasts {
            return None;
        }
        if self.each == 0 {
            return Some(most);
        }
        let due = |now: Duration| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) / self.each;
        let behind = due(now).saturating_sub(self.done);
        if behind == 0 {
            thread::sleep(STEP);
        }
        Some(behind.min(most))
    }

    /// So many went.
    pub fn count(&mut self, number: u64) {
        self.done += number;
    }

    /// What to tell at the end.
    pub fn report(&self) -> String {
        let seconds = self.begin.elapsed().as_secs_f64();
        format!(r#"{{"done":{},"seconds":{seconds}}}"#, self.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept() {
        let mut pace = Pace::start(10_000, 0.05);
        while let Some(number) = pace.next(7) {
            pace.count(number);
        }
        // A machine under load may be late, but nothing is early.
        assert!(pace.done > 0 && pace.done <= 500, "{}", pace.done);
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let mut pace = Pace::start(0, 10.0);
        assert_eq!((pace.next(64), pace.next(64)), (Some(64), Some(64)));
    }
}

//! Clock for playing back captures and recordings; the table groups by it.

use std::time::{Duration, Instant};

/// The time of what is played back, on the clock of this process.
pub struct Playback {
    begun: Instant,
    elapsed: Duration,
}

/// Nothing that is played back takes longer.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Default for Playback {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            elapsed: Duration::ZERO,
        }
    }
}

impl Playback {
    /// Time since its beginning; never goes back.
    pub fn reach(&mut self, elapsed: Duration) {
        self.elapsed = self.elapsed.max(elapsed).min(LONGEST);
    }

    pub fn now(&self) -> Instant {
        self.begun + self.elapsed
    }

    /// How long it has been played.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

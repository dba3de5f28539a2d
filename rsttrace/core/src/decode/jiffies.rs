//! Durations from a 32-bit clock that ticks `hz` times a second.

use std::time::Duration;

/// The kernel's clock at the moment of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jiffies {
    /// Low 32 bits of `jiffies`.
    pub now: u32,
    /// Ticks a second, not 0.
    pub hz: u32,
}

/// The clock is read before or after a socket's stamp, maybe on another CPU: so much may a stamp be ahead.
const TICKS_AHEAD: u32 = 2;

impl Jiffies {
    /// Since `stamp`; absent for 0, which the kernel uses for "never", and for what is not within half the clock's
    /// range (at 1000 Hz 24 days), where wrap-around makes the number meaningless.
    pub fn since(self, stamp: u32) -> Option<Duration> {
        if stamp == 0 {
            return None;
        }
        let ticks = self.now.wrapping_sub(stamp);
        if stamp.wrapping_sub(self.now) <= TICKS_AHEAD {
            return Some(Duration::ZERO);
        }
        (ticks < 1 << 31).then(|| self.duration(ticks))
    }

    /// How long so many ticks take.
    pub fn duration(self, ticks: u32) -> Duration {
        // At most 2^32 * 10^9 < 2^64.
        Duration::from_nanos(u64::from(ticks) * 1_000_000_000 / u64::from(self.hz))
    }

    /// A span that the kernel side subtracted: one below zero, where a stamp was ahead of the clock, is none.
    pub fn elapsed(self, ticks: u32) -> Duration {
        self.duration(if ticks < 1 << 31 { ticks } else { 0 })
    }

    /// A setting in ticks where 0 stands for "not set on this socket".
    pub fn setting(self, ticks: u32) -> Option<Duration> {
        (ticks != 0).then(|| self.duration(ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_counted_back_through_the_wrap() {
        let cases: &[(u32, u32, u32, Option<u64>)] = &[
            // hz, now, stamp, milliseconds
            (250, 1000, 750, Some(1000)),
            (1000, 1000, 999, Some(1)),
            (100, 5, u32::MAX - 4, Some(100)),
            (250, 1000, 1000, Some(0)),
            (250, 1000, 1001, Some(0)),
            (250, u32::MAX, 1, Some(0)),
            (250, 1000, 1003, None),
            (250, 1000, 0, None),
            (1000, 0, 1 << 31, None),
            (1000, 0, (1 << 31) + 1, Some((1 << 31) - 1)),
        ];
        for &(hz, now, stamp, millis) in cases {
            assert_eq!(
                Jiffies { now, hz }.since(stamp),
                millis.map(Duration::from_millis),
                "now {now} stamp {stamp}"
            );
        }
    }

    #[test]
    fn a_tick_is_a_fraction_of_a_second_and_the_longest_setting_does_not_overflow() {
        let clock = Jiffies { now: 0, hz: 300 };
        assert_eq!(clock.duration(1), Duration::from_nanos(3_333_333));
        assert_eq!(
            Jiffies { now: 0, hz: 1 }.duration(u32::MAX),
            Duration::from_secs(u64::from(u32::MAX))
        );
        assert_eq!(clock.setting(0), None);
    }
}

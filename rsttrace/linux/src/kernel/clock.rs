//! Measurement of the kernel tick (HZ).
//!
//! Sockets keep their clocks in jiffies, and no file says how long one is. The program `clock` reports the kernel's
//! jiffies beside the monotonic clock; both stand still while the machine sleeps. Jiffies begin at `INITIAL_JIFFIES`,
//! 300 s before 2^32 (include/linux/jiffies.h).

use std::time::Duration;

/// Rates that kernels are built with (kernel/Kconfig.hz).
const RATES: [u32; 4] = [100, 250, 300, 1000];
/// Two samples further apart than this give the rate, whatever the initial value of jiffies.
pub const SECOND_SAMPLE_AFTER: Duration = Duration::from_millis(120);
/// Closer to 300 s of uptime than this, one sample does not give the rate.
const AMBIGUOUS_S: f64 = 20.0;
/// A guess further than this from every rate is none.
const TOLERANCE: f64 = 0.08;

/// What the program `clock` wrote: jiffies (64 bits) and nanoseconds of `CLOCK_MONOTONIC` at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// `jiffies64`.
    pub jiffies: u64,
    /// `bpf_ktime_get_ns`.
    pub monotonic_ns: u64,
}

/// The rate by one sample; `None` if it fits no known rate, or fits all as it does 300 s after boot.
pub fn rate(sample: Sample) -> Option<u32> {
    let jiffies = sample.jiffies as i128 - (1i128 << 32);
    let seconds = sample.monotonic_ns as f64 / 1e9 - 300.0;
    if seconds.abs() < AMBIGUOUS_S {
        return None;
    }
    nearest(jiffies as f64 / seconds)
}

/// The rate by two samples, `None` if they are too near to each other or fit no known rate.
pub fn rate_between(first: Sample, second: Sample) -> Option<u32> {
    let jiffies = second.jiffies.checked_sub(first.jiffies)?;
    let elapsed = second.monotonic_ns.checked_sub(first.monotonic_ns)?;
    if elapsed < 100_000_000 {
        return None;
    }
    // A jiffy more or less at either end: 20 % of the rate at 100 Hz over 100 ms, so only the nearest rate is asked for.
    let rate = jiffies as f64 * 1e9 / elapsed as f64;
    RATES
        .into_iter()
        .min_by(|a, b| distance(rate, *a).total_cmp(&distance(rate, *b)))
}

fn nearest(rate: f64) -> Option<u32> {
    RATES
        .into_iter()
        .find(|known| distance(rate, *known) < TOLERANCE)
}

fn distance(rate: f64, known: u32) -> f64 {
    (rate / f64::from(known) - 1.0).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hz: u64, uptime_ms: u64) -> Sample {
        Sample {
            jiffies: (1 << 32) - 300 * hz + hz * uptime_ms / 1000,
            monotonic_ns: uptime_ms * 1_000_000,
        }
    }

    #[test]
    fn each_rate_is_found_before_and_after_the_wrap() {
        for hz in RATES {
            for uptime_s in [1, 60, 279, 321, 3600, 86_400 * 400] {
                assert_eq!(
                    rate(at(hz.into(), uptime_s * 1000)),
                    Some(hz),
                    "{hz} at {uptime_s}"
                );
            }
        }
    }

    #[test]
    fn near_the_wrap_two_samples_tell_it() {
        for hz in RATES {
            let (first, second) = (at(hz.into(), 299_950), at(hz.into(), 300_070));
            assert_eq!(rate(first), None);
            assert_eq!(rate_between(first, second), Some(hz), "{hz}");
        }
        assert_eq!(rate_between(at(250, 1000), at(250, 1000)), None);
        assert_eq!(rate_between(at(250, 2000), at(250, 1000)), None);
    }

    #[test]
    fn a_rate_no_kernel_has_is_none() {
        assert_eq!(
            rate(Sample {
                jiffies: 0,
                monotonic_ns: 5_000_000_000_000
            }),
            None
        );
        assert_eq!(rate(at(700, 5_000_000)), None);
    }
}

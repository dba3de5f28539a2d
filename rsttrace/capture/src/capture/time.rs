//! Timestamps of frames in the units of their file.

use std::fmt;

use super::CaptureTime;

/// Of the timestamps of an interface: one unit is this part of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeResolution {
    /// 10 to the power of minus this: 6 for microseconds, 9 for nanoseconds.
    Decimal(u8),
    /// 2 to the power of minus this.
    Binary(u8),
}

impl TimeResolution {
    /// Of pcapng without `if_tsresol`, and of most pcap files.
    pub const MICROSECONDS: Self = Self::Decimal(6);
    /// As precise as [`CaptureTime`].
    pub const NANOSECONDS: Self = Self::Decimal(9);

    /// By pcapng's `if_tsresol`: its highest bit says that it is a power of 2.
    pub(super) fn of_option(byte: u8) -> Self {
        if byte & BINARY == 0 {
            Self::Decimal(byte)
        } else {
            Self::Binary(byte & !BINARY)
        }
    }

    /// `ticks` of this resolution as nanoseconds, rounded down; beyond 64 bits the largest.
    pub(super) fn nanoseconds(self, ticks: u64) -> u64 {
        let wide = u128::from(ticks);
        let ns = match self {
            Self::Decimal(power @ 0..=9) => wide * u128::from(10_u64.pow(u32::from(9 - power))),
            // 64 bits of anything finer than this are less than a nanosecond.
            Self::Decimal(power @ 10..=28) => wide / 10_u128.pow(u32::from(power - 9)),
            Self::Decimal(_) => 0,
            Self::Binary(power) => (wide * 1_000_000_000) >> power,
        };
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// "µs", "ns", else the fraction of a second.
impl fmt::Display for TimeResolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal(0) | Self::Binary(0) => f.write_str("s"),
            Self::Decimal(3) => f.write_str("ms"),
            Self::Decimal(6) => f.write_str("µs"),
            Self::Decimal(9) => f.write_str("ns"),
            Self::Decimal(power) => write!(f, "10^-{power} s"),
            Self::Binary(power) => write!(f, "2^-{power} s"),
        }
    }
}

/// The instant `ticks` after the epoch, moved by `offset` seconds (`if_tsoffset`). What would lie before the epoch is the epoch.
pub(super) fn instant(ticks: u64, resolution: TimeResolution, offset: i64) -> CaptureTime {
    let ns = resolution.nanoseconds(ticks);
    if offset == 0 {
        return CaptureTime(ns);
    }
    let moved = i128::from(ns) + i128::from(offset) * 1_000_000_000;
    CaptureTime(u64::try_from(moved.max(0)).unwrap_or(u64::MAX))
}

const BINARY: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resolution_that_a_file_may_claim_gives_an_instant() {
        for byte in 0..=u8::MAX {
            for ticks in [0, 1, 1 << 40, u64::MAX] {
                for offset in [0, -1, i64::MIN, i64::MAX] {
                    let _ = instant(ticks, TimeResolution::of_option(byte), offset);
                }
            }
        }
    }

    #[test]
    fn ticks_become_nanoseconds() {
        let second = |byte, ticks| instant(ticks, TimeResolution::of_option(byte), 0).0;
        assert_eq!(second(0, 3), 3_000_000_000);
        assert_eq!(second(6, 1_700_000_000_123_456), 1_700_000_000_123_456_000);
        assert_eq!(
            second(9, 1_700_000_000_123_456_789),
            1_700_000_000_123_456_789
        );
        assert_eq!(second(12, 1_234_999), 1_234);
        assert_eq!(second(0x80 | 10, 512), 500_000_000);
        assert_eq!(second(0x80 | 63, 1 << 62), 500_000_000);
        assert_eq!(second(28, u64::MAX), 1);
        assert_eq!(second(29, u64::MAX), 0);
    }

    #[test]
    fn an_offset_moves_by_seconds_and_not_before_the_epoch() {
        let at = |offset| instant(5_000_000, TimeResolution::MICROSECONDS, offset).0;
        assert_eq!(at(2), 7_000_000_000);
        assert_eq!(at(-2), 3_000_000_000);
        assert_eq!(at(-6), 0);
        assert_eq!(at(i64::MAX), u64::MAX);
    }
}

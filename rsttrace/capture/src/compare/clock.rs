//! Clock offset between two captures.
//!
//! A segment cannot be seen downstream before it was seen upstream. So each segment that went from A to B says "B's clock
//! is ahead by at most so much", each one back "by at least so much"; what is between is the offset. It holds for two captures of one
//! connection and for the two connections of a proxy, with the proxied bytes in place of segments.

/// Differences below this are ties: captures in microseconds, and time stamps taken before and after a queue.
const TIE: i64 = 2_000;
/// Clocks that differ by more than this in rate were stepped, not drifting (NTP slews by 500 ppm at most).
const MOST_DRIFT: f64 = 600e-6;
/// Shorter overlaps tell nothing of drift; longer ones are examined for it.
const DRIFT_SPAN: i64 = 20_000_000_000;
/// Rate by which two clocks may differ unnoticed.
const UNSEEN_DRIFT: f64 = 100e-6;

/// What segments say of the clock of B against that of A: nanoseconds of A's clock, and B minus A.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    /// Went from A to B: the offset is at most this.
    pub upper: Vec<(i64, i64)>,
    /// Went from B to A: the offset is at least this.
    pub lower: Vec<(i64, i64)>,
}

/// When there were segments to compare, nanoseconds of A's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// First of them.
    from: i64,
    /// Last of them.
    until: i64,
    /// Longest time without any between the first and the last.
    gap: (i64, i64),
}

impl Known {
    /// Ever.
    const ALWAYS: Self = Self {
        from: i64::MIN,
        until: i64::MAX,
        gap: (0, 0),
    };

    fn of(mut times: Vec<i64>) -> Option<Self> {
        times.sort_unstable();
        let (&from, &until) = (times.first()?, times.last()?);
        let pairs = times.windows(2).map(|pair| (pair[0], pair[1]));
        let gap = pairs.max_by_key(|(a, b)| b.saturating_sub(*a));
        Some(Self {
            from,
            until,
            gap: gap.unwrap_or((from, from)),
        })
    }

    /// How far the nearest of them is.
    fn distance(self, at: i64) -> i64 {
        let (begin, end) = self.gap;
        if at < self.from {
            self.from.saturating_sub(at)
        } else if at > self.until {
            at.saturating_sub(self.until)
        } else if begin < at && at < end {
            at.saturating_sub(begin).min(end.saturating_sub(at))
        } else {
            0
        }
    }

    fn shifted(self, by: impl Fn(i64) -> i64) -> Self {
        let shift = |at: i64| match at {
            i64::MIN | i64::MAX => at,
            at => by(at),
        };
        Self {
            from: shift(self.from),
            until: shift(self.until),
            gap: (shift(self.gap.0), shift(self.gap.1)),
        }
    }

    /// When both are known.
    fn and(self, other: Self) -> Self {
        let span = |(begin, end): (i64, i64)| end.saturating_sub(begin);
        Self {
            from: self.from.max(other.from),
            until: self.until.min(other.until),
            gap: if span(self.gap) < span(other.gap) {
                other.gap
            } else {
                self.gap
            },
        }
    }
}

/// B's clock against A's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offset {
    /// B minus A at `at`, nanoseconds.
    pub nanos: i64,
    /// Nanoseconds of A's clock.
    pub at: i64,
    /// By how much B is faster, as a ratio.
    pub drift: f64,
    /// The offset is within this of the truth where there were segments, nanoseconds.
    pub half: i64,
    /// By how much the rate may be another, where there were none.
    pub drift_half: f64,
    /// Whether the clocks surely differ in rate.
    pub drifts: bool,
    /// When there were segments.
    pub known: Known,
    /// Segments (or marks) it rests on.
    pub samples: usize,
    /// No offset satisfies all bounds: a clock was stepped, or captures are disordered. The figures are the least wrong.
    pub contradictory: bool,
}

impl Offset {
    /// Of a capture against itself.
    pub const SAME: Self = Self {
        nanos: 0,
        at: 0,
        drift: 0.0,
        half: 0,
        drift_half: 0.0,
        drifts: false,
        known: Known::ALWAYS,
        samples: 0,
        contradictory: false,
    };

    /// The offset at this time of A's clock is within this of the truth: what drifts unseen is farther off after a silence.
    pub fn half_at(self, a: i64) -> i64 {
        let unseen = self.known.distance(a) as f64 * self.drift_half;
        self.half.saturating_add(unseen as i64)
    }

    /// B minus A at this time of A's clock.
    pub fn at_a(self, a: i64) -> i64 {
        let since = a.saturating_sub(self.at) as f64;
        self.nanos.saturating_add((since * self.drift) as i64)
    }

    /// A time of B's clock by A's.
    pub fn to_a(self, b: i64) -> i64 {
        let a = b.saturating_sub(self.nanos);
        b.saturating_sub(self.at_a(a))
    }

    /// A's clock against B's.
    pub fn reversed(self) -> Self {
        Self {
            nanos: self.nanos.saturating_neg(),
            at: self.at.saturating_add(self.nanos),
            drift: -self.drift,
            known: self.known.shifted(|at| at.saturating_add(self.at_a(at))),
            ..self
        }
    }

    /// C against A, from B against A (`self`) and C against B.
    pub fn then(&self, next: &Self) -> Self {
        let at_b = self.at.saturating_add(self.nanos);
        Self {
            nanos: self.nanos.saturating_add(next.at_a(at_b)),
            at: self.at,
            drift: self.drift + next.drift,
            half: self.half.saturating_add(next.half),
            drift_half: self.drift_half + next.drift_half,
            drifts: self.drifts || next.drifts,
            known: self.known.and(next.known.shifted(|at| self.to_a(at))),
            samples: self.samples.min(next.samples),
            contradictory: self.contradictory || next.contradictory,
        }
    }
}

impl Bounds {
    /// Takes all of another's.
    pub fn add(&mut self, other: Self) {
        self.upper.extend(other.upper);
        self.lower.extend(other.lower);
    }

    /// With A and B exchanged.
    pub fn reversed(&self) -> Self {
        let turn = |all: &[(i64, i64)]| {
            all.iter()
                .map(|&(at, d)| (at.saturating_add(d), d.saturating_neg()))
                .collect()
        };
        Self {
            upper: turn(&self.lower),
            lower: turn(&self.upper),
        }
    }

    /// Whether some constant offset satisfies all.
    pub fn is_consistent(&self) -> bool {
        self.is_consistent_within(0)
    }

    /// The same if the clocks may have drifted apart by so much meanwhile.
    pub fn is_consistent_within(&self, drifted: i64) -> bool {
        match (least(&self.upper), greatest(&self.lower)) {
            (Some(upper), Some(lower)) => {
                lower <= upper.saturating_add(TIE).saturating_add(drifted)
            }
            _ => true,
        }
    }

    /// By how much two clocks of which nothing is known may drift apart between the first and the last of these.
    pub fn unseen_drift(&self) -> i64 {
        let times = || self.upper.iter().chain(&self.lower).map(|&(at, _)| at);
        let span = times().max().zip(times().min());
        let span = span.map_or(0, |(last, first)| last.saturating_sub(first));
        (span as f64 * UNSEEN_DRIFT) as i64
    }

    /// The constant offsets that satisfy all; as far as they are bounded. The wrong way round if none does.
    pub fn range(&self) -> (i64, i64) {
        (
            greatest(&self.lower).unwrap_or(i64::MIN),
            least(&self.upper).unwrap_or(i64::MAX),
        )
    }

    /// What is left beyond an offset that is known.
    pub fn against(&self, offset: &Offset) -> Self {
        let rest = |all: &[(i64, i64)]| {
            all.iter()
                .map(|&(at, d)| (at, d.saturating_sub(offset.at_a(at))))
                .collect()
        };
        Self {
            upper: rest(&self.upper),
            lower: rest(&self.lower),
        }
    }

    /// The offset, if it is bounded from both sides.
    pub fn offset(&self) -> Option<Offset> {
        let (upper, lower) = (least(&self.upper)?, greatest(&self.lower)?);
        let all = || self.upper.iter().chain(&self.lower);
        let known = Known::of(all().map(|&(at, _)| at).collect())?;
        let (begin, end) = (known.from, known.until);
        let span = end.saturating_sub(begin);
        let samples = self.upper.len() + self.lower.len();
        let consistent = lower <= upper.saturating_add(TIE);
        if consistent && span < DRIFT_SPAN {
            let unseen = (span as f64 * UNSEEN_DRIFT / 2.0) as i64;
            return Some(Offset {
                nanos: middle(lower, upper),
                at: middle(begin, end),
                drift: 0.0,
                half: (upper.saturating_sub(lower) / 2)
                    .max(TIE / 2)
                    .saturating_add(unseen.min(1_000_000)),
                drift_half: UNSEEN_DRIFT,
                drifts: false,
                known,
                samples,
                contradictory: false,
            });
        }
        let line = self.line(middle(begin, end), middle(lower, upper));
        Some(Offset {
            samples,
            known,
            ..line
        })
    }

    /// The line with the most room between the bounds. Room is a concave function of the slope.
    fn line(&self, at: i64, about: i64) -> Offset {
        let room = |slope: f64| {
            let level = |&(time, d): &(i64, i64)| {
                d.saturating_sub(about) as f64 - time.saturating_sub(at) as f64 * slope
            };
            let upper = self.upper.iter().map(level).fold(f64::INFINITY, f64::min);
            let lower = self
                .lower
                .iter()
                .map(level)
                .fold(f64::NEG_INFINITY, f64::max);
            (upper - lower, (upper + lower) / 2.0)
        };
        let (mut low, mut high) = (-MOST_DRIFT, MOST_DRIFT);
        for _ in 0..60 {
            let third = (high - low) / 3.0;
            if room(low + third).0 < room(high - third).0 {
                low += third;
            } else {
                high -= third;
            }
        }
        let slope = (low + high) / 2.0;
        let (width, level) = room(slope);
        // The slopes for which there is room.
        let bound = |mut outside: f64| {
            let mut inside = slope;
            for _ in 0..40 {
                let middle = (inside + outside) / 2.0;
                if room(middle).0 < -(TIE as f64) {
                    outside = middle;
                } else {
                    inside = middle;
                }
            }
            inside
        };
        let (least, most) = (bound(-MOST_DRIFT), bound(MOST_DRIFT));
        let drifts = least > 0.0 || most < 0.0;
        let unsure = if drifts {
            (slope - least).max(most - slope)
        } else {
            slope.abs()
        };
        Offset {
            nanos: about.saturating_add(level as i64),
            at,
            drift: slope,
            half: ((width.abs() / 2.0) as i64).max(TIE / 2),
            drift_half: UNSEEN_DRIFT + unsure,
            drifts,
            known: Known::ALWAYS,
            samples: 0,
            contradictory: width < -(TIE as f64),
        }
    }
}

fn least(all: &[(i64, i64)]) -> Option<i64> {
    all.iter().map(|&(_, d)| d).min()
}

fn greatest(all: &[(i64, i64)]) -> Option<i64> {
    all.iter().map(|&(_, d)| d).max()
}

fn middle(a: i64, b: i64) -> i64 {
    a.saturating_add(b.saturating_sub(a) / 2)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: i64 = 1_000_000;
    const SECOND: i64 = 1_000 * MS;

    /// Segments each way, every `step`, 10 ms each way and up to 5 ms more.
    fn bounds(step: i64, number: i64, offset: impl Fn(i64) -> i64) -> Bounds {
        let mut bounds = Bounds::default();
        for index in 0..number {
            let at = index * step;
            let queue = index * 7 % 6 * MS;
            bounds.upper.push((at, offset(at) + 10 * MS + queue));
            bounds.lower.push((at, offset(at) - 10 * MS - queue));
        }
        bounds
    }

    #[test]
    fn hours_of_offset_are_found_to_half_a_round_trip() {
        let offset = bounds(10 * MS, 100, |_| 3 * 3_600 * SECOND)
            .offset()
            .unwrap();
        assert!((offset.nanos - 3 * 3_600 * SECOND).abs() <= offset.half);
        assert!(
            offset.half <= 11 * MS && !offset.contradictory,
            "{offset:?}"
        );
    }

    #[test]
    fn fifty_ppm_of_drift_over_an_hour_is_followed() {
        let truth = |at: i64| 5 * SECOND + at / 20_000;
        let offset = bounds(SECOND, 3_600, truth).offset().unwrap();
        assert!(!offset.contradictory, "{offset:?}");
        assert!((offset.drift - 50e-6).abs() < 8e-6, "{offset:?}");
        for at in [0, 1_800 * SECOND, 3_600 * SECOND] {
            let off = (offset.at_a(at) - truth(at)).abs();
            assert!(off <= 11 * MS, "{off} {offset:?}");
            assert!((offset.to_a(at + truth(at)) - at).abs() <= 11 * MS);
        }
    }

    #[test]
    fn a_clock_that_was_stepped_contradicts_itself() {
        for number in [100, 6_000] {
            let step = |at: i64| if at > SECOND / 2 { 3 * SECOND } else { 0 };
            let offset = bounds(10 * MS, number, step).offset().unwrap();
            assert!(offset.contradictory, "{offset:?}");
        }
    }

    #[test]
    fn one_way_alone_bounds_nothing() {
        let mut bounds = bounds(MS, 10, |_| 0);
        bounds.lower.clear();
        assert_eq!(bounds.offset(), None);
        assert!(bounds.is_consistent());
    }

    #[test]
    fn offsets_compose_and_turn_round() {
        let ab = bounds(10 * MS, 100, |_| SECOND).offset().unwrap();
        let bc = bounds(10 * MS, 100, |_| -3 * SECOND).offset().unwrap();
        assert_eq!(ab.then(&bc).nanos, -2 * SECOND);
        assert_eq!(ab.reversed().nanos, -SECOND);
        assert_eq!(ab.then(&ab.reversed()).at_a(0), 0);
    }

    proptest! {
        #[test]
        fn whatever_the_bounds_nothing_panics(
            upper in prop::collection::vec((any::<i64>(), any::<i64>()), 0..9),
            lower in prop::collection::vec((any::<i64>(), any::<i64>()), 0..9),
        ) {
            let bounds = Bounds { upper, lower };
            if let Some(offset) = bounds.offset() {
                let _ = (offset.to_a(i64::MAX), offset.then(&offset.reversed()).at_a(i64::MIN));
            }
            let _ = bounds.reversed().is_consistent();
        }
    }
}

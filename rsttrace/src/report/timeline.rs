//! When did resets come: how many in each step of time?

/// Widths of a step, seconds: what people count time in.
const STEPS: &[f64] = &[
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    900.0,
    1_800.0,
    3_600.0,
    7_200.0,
    10_800.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    604_800.0,
    2_419_200.0,
    7_776_000.0,
    31_536_000.0,
];
/// Most steps.
const MOST: i64 = 80;
const NANOS: f64 = 1e9;

/// Counts in equal steps of time; `N` kinds side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline<const N: usize> {
    /// Beginning of the first step: nanoseconds since 1970, a multiple of `step`.
    pub start: i64,
    /// Nanoseconds.
    pub step: i64,
    /// A step each, none left out.
    pub counts: Vec<[u64; N]>,
}

/// Lengths of time that people count in, shortest first: nanoseconds.
pub fn widths() -> impl Iterator<Item = i64> {
    STEPS.iter().map(|seconds| (seconds * NANOS) as i64)
}

/// Puts instants (nanoseconds since 1970) into at most 81 steps of one width. `None` without instants.
pub fn steps<const N: usize>(marks: &[(i64, usize)]) -> Option<Timeline<N>> {
    let first = marks.iter().map(|mark| mark.0).min()?;
    let last = marks.iter().map(|mark| mark.0).max()?;
    let span = last.saturating_sub(first);
    let step = widths()
        .find(|step| span / step < MOST)
        .unwrap_or_else(|| (span / MOST).saturating_add(1));
    let start = first - first.rem_euclid(step);
    let length = usize::try_from((last - start) / step + 1).unwrap_or(1);
    let mut counts = vec![[0; N]; length];
    for (at, kind) in marks {
        let slot = usize::try_from((at - start) / step).unwrap_or_default();
        if let Some(count) = counts.get_mut(slot).and_then(|slot| slot.get_mut(*kind)) {
            *count += 1;
        }
    }
    Some(Timeline {
        start,
        step,
        counts,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_step_begins_where_a_clock_would() {
        let marks = [(61 * SECOND, 0), (3_600 * SECOND, 1)];
        let found = steps::<2>(&marks).unwrap();
        assert_eq!((found.step / SECOND, found.start / SECOND), (60, 60));
        assert_eq!(found.counts.len(), 60);
        assert_eq!((found.counts[0], found.counts[59]), ([1, 0], [0, 1]));
    }

    #[test]
    fn one_instant_is_one_step() {
        assert_eq!(steps::<1>(&[(7, 0)]).unwrap().counts, [[1]]);
        assert_eq!(steps::<1>(&[]), None);
    }

    proptest! {
        #[test]
        fn every_instant_is_counted_once(
            marks in proptest::collection::vec((-2_000_000_000_000_000_000..4_000_000_000_000_000_000_i64, 0..3_usize), 1..50)
        ) {
            let found = steps::<3>(&marks).unwrap();
            let sum: u64 = found.counts.iter().flatten().sum();
            prop_assert_eq!(sum, marks.len() as u64);
            prop_assert!(found.counts.len() <= 82);
        }
    }
}

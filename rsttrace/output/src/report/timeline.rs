//! Counts of resets per time step.

use std::collections::{BTreeMap, BTreeSet};

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

/// Widths that instants are counted in before their steps are known, nanoseconds: each divides all [`STEPS`] that are not shorter.
const UNITS: &[i64] = &[
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    5_000_000_000,
    60_000_000_000,
    300_000_000_000,
    3_600_000_000_000,
    86_400_000_000_000,
];

/// Instants as they come, of `N` kinds. Memory is for their steps, not for each of them.
#[derive(Clone, Debug)]
pub struct Marks<const N: usize> {
    /// Of [`UNITS`].
    unit: usize,
    /// By number of the unit since 1970.
    slots: BTreeMap<i64, [u64; N]>,
}

impl<const N: usize> Default for Marks<N> {
    fn default() -> Self {
        Self {
            unit: 0,
            slots: BTreeMap::new(),
        }
    }
}

impl<const N: usize> Marks<N> {
    /// One more instant, nanoseconds since 1970; a kind from `N` on is none.
    pub fn add(&mut self, at: i64, kind: usize) {
        let slot = self.slots.entry(at.div_euclid(UNITS[self.unit]));
        if let Some(count) = slot.or_insert([0; N]).get_mut(kind) {
            *count += 1;
        }
        if let Some(next) = UNITS.get(self.unit + 1)
            && self.span() / MOST >= *next
        {
            self.widen(next / UNITS[self.unit]);
        }
    }

    fn widen(&mut self, factor: i64) {
        self.unit += 1;
        for (slot, counts) in std::mem::take(&mut self.slots) {
            let wide = self.slots.entry(slot.div_euclid(factor));
            for (sum, more) in wide.or_insert([0; N]).iter_mut().zip(counts) {
                *sum += more;
            }
        }
    }

    fn span(&self) -> i64 {
        let ends = (self.slots.first_key_value(), self.slots.last_key_value());
        let (Some((first, _)), Some((last, _))) = ends else {
            return 0;
        };
        last.saturating_sub(*first).saturating_mul(UNITS[self.unit])
    }

    /// At most 81 steps of one width. `None` without instants.
    pub fn steps(&self) -> Option<Timeline<N>> {
        let unit = UNITS[self.unit];
        let first = self.slots.first_key_value()?.0.saturating_mul(unit);
        let last = self.slots.last_key_value()?.0.saturating_mul(unit);
        let span = last.saturating_sub(first);
        let step = widths()
            .find(|step| *step >= unit && span / step < MOST)
            .unwrap_or_else(|| (span / MOST).saturating_add(1));
        let start = first.saturating_sub(first.rem_euclid(step));
        let length = usize::try_from(last.saturating_sub(start) / step + 1).unwrap_or(1);
        let mut counts = vec![[0; N]; length];
        for (slot, more) in &self.slots {
            let at = slot.saturating_mul(unit).saturating_sub(start) / step;
            let at = usize::try_from(at).unwrap_or_default();
            for (sum, more) in counts.get_mut(at).into_iter().flatten().zip(more) {
                *sum += more;
            }
        }
        Some(Timeline {
            start,
            step,
            counts,
        })
    }
}

/// Spans that are distinguished, at most twice as many for a moment.
const MOST_SPANS: usize = 512;

/// Spans of time, merged where they touch; with too many spans, over the shortest gaps.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    /// Beginning and end of each, none touching another.
    spans: BTreeMap<i64, i64>,
}

impl Spans {
    /// One more; one that ends before it begins is none.
    pub fn add(&mut self, mut from: i64, mut to: i64) {
        if from > to {
            return;
        }
        while let Some((begin, end)) = self.spans.range(..=to).next_back()
            && *end >= from
        {
            let begin = *begin;
            from = from.min(begin);
            to = to.max(*end);
            self.spans.remove(&begin);
        }
        self.spans.insert(from, to);
        if self.spans.len() > 2 * MOST_SPANS {
            self.join();
        }
    }

    fn join(&mut self) {
        let all: Vec<_> = std::mem::take(&mut self.spans).into_iter().collect();
        let mut gaps: Vec<(i64, usize)> = all
            .windows(2)
            .enumerate()
            .map(|(index, pair)| (pair[1].0.saturating_sub(pair[0].1), index + 1))
            .collect();
        gaps.sort_unstable_by(|a, b| b.cmp(a));
        let kept: BTreeSet<usize> = gaps.iter().take(MOST_SPANS - 1).map(|it| it.1).collect();
        let mut last: Option<(i64, i64)> = None;
        for (index, (from, to)) in all.into_iter().enumerate() {
            match &mut last {
                Some(joined) if !kept.contains(&index) => joined.1 = to,
                _ => {
                    self.spans.extend(last);
                    last = Some((from, to));
                }
            }
        }
        self.spans.extend(last);
    }

    /// In their order, none touching another.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> {
        self.spans.iter().map(|(from, to)| (*from, *to))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn steps<const N: usize>(marks: &[(i64, usize)]) -> Option<Timeline<N>> {
        let mut all = Marks::<N>::default();
        marks.iter().for_each(|(at, kind)| all.add(*at, *kind));
        all.steps()
    }

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

    #[test]
    fn memory_does_not_grow_with_the_number_of_instants() {
        let mut marks = Marks::<1>::default();
        for number in 0..1_000_000 {
            marks.add(number * SECOND / 7, 0);
        }
        assert!(marks.slots.len() < 3_000, "{}", marks.slots.len());
        let sum: u64 = marks.steps().unwrap().counts.iter().flatten().sum();
        assert_eq!(sum, 1_000_000);
    }

    #[test]
    fn every_unit_divides_the_steps_that_are_not_shorter() {
        for unit in UNITS {
            assert!(
                widths().filter(|it| it >= unit).all(|it| it % unit == 0),
                "{unit}"
            );
        }
    }

    #[test]
    fn spans_that_touch_are_one_and_the_widest_gaps_stay() {
        let mut spans = Spans::default();
        for (from, to) in [(10, 20), (30, 40), (19, 31), (5, 4), (50, 50)] {
            spans.add(from, to);
        }
        assert_eq!(spans.iter().collect::<Vec<_>>(), [(10, 40), (50, 50)]);
        for number in 0..100_000_i64 {
            let at = number * 10 + if number >= 50_000 { SECOND } else { 0 };
            spans.add(at, at + 3);
        }
        let all: Vec<_> = spans.iter().collect();
        assert!(all.len() <= 2 * MOST_SPANS);
        assert_eq!(all.last().unwrap().1, SECOND + 999_993);
        assert!(all.iter().all(|(from, to)| to - from < SECOND / 2));
    }

    proptest! {
        #[test]
        fn spans_never_touch(parts in proptest::collection::vec((0..1_000_i64, 0..50_i64), 0..100)) {
            let mut spans = Spans::default();
            for (from, length) in &parts {
                spans.add(*from, from + length);
            }
            let all: Vec<_> = spans.iter().collect();
            prop_assert!(all.windows(2).all(|pair| pair[0].1 < pair[1].0));
            for (from, length) in parts {
                prop_assert!(all.iter().any(|it| it.0 <= from && from + length <= it.1));
            }
        }

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

//! How long had connections been quiet: how many silences in each step of a logarithmic scale?

/// Steps of one tenfold.
const STEPS: i32 = 12;
/// Seconds; shorter silences are think time, and counted in the first step.
const SHORTEST: f64 = 0.001;
/// Seconds; longer ones are counted in the last step.
const LONGEST: f64 = 1e7;

/// Counts in steps, each wider than the one before by the same factor; `N` kinds side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram<const N: usize> {
    /// Number of the first step: it begins at [`Histogram::edge`] of it.
    first: i32,
    /// A step each, from the shortest silence to the longest, none left out.
    pub counts: Vec<[u64; N]>,
}

impl<const N: usize> Histogram<N> {
    /// Of silences in seconds, each of a kind below `N`. `None` without one that is a length of time.
    pub fn of(silences: &[(f64, usize)]) -> Option<Self> {
        let steps = || {
            let lengths = silences
                .iter()
                .filter(|(seconds, _)| seconds.is_finite() && *seconds > 0.0);
            lengths.map(|(seconds, kind)| (step(*seconds), *kind))
        };
        let first = steps().map(|it| it.0).min()?;
        let last = steps().map(|it| it.0).max()?;
        let mut counts = vec![[0; N]; usize::try_from(last - first + 1).unwrap_or(1)];
        for (step, kind) in steps() {
            let slot = usize::try_from(step - first).unwrap_or_default();
            if let Some(count) = counts.get_mut(slot).and_then(|slot| slot.get_mut(kind)) {
                *count += 1;
            }
        }
        Some(Self { first, counts })
    }

    /// Where step `index` begins and the one before it ends: seconds.
    pub fn edge(&self, index: usize) -> f64 {
        let step = self.first + i32::try_from(index).unwrap_or(i32::MAX / 2);
        10_f64.powf(f64::from(step) / f64::from(STEPS))
    }

    /// The place of a silence on the scale: 0 at its beginning, 1 at its end; `None` beside it.
    pub fn place(&self, seconds: f64) -> Option<f64> {
        if seconds.is_nan() || seconds <= 0.0 {
            return None;
        }
        let exact = seconds.log10() * f64::from(STEPS) - f64::from(self.first);
        let place = exact / self.counts.len() as f64;
        (0.0..=1.0).contains(&place).then_some(place)
    }
}

fn step(seconds: f64) -> i32 {
    // A silence that should be on an edge is not put before it by a rounding error.
    (seconds.clamp(SHORTEST, LONGEST).log10() * f64::from(STEPS) + 1e-9).floor() as i32
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_widen_by_one_factor() {
        let found = Histogram::<1>::of(&[(1.0, 0), (10.0, 0)]).unwrap();
        assert_eq!(found.counts.len(), 13);
        assert!((found.edge(0) - 1.0).abs() < 1e-9 && (found.edge(12) - 10.0).abs() < 1e-9);
        assert_eq!(found.counts[12], [1]);
    }

    #[test]
    fn a_timeout_is_marked_in_the_step_that_counts_it() {
        let found = Histogram::<1>::of(&[(5.0, 0), (300.0, 0), (900.0, 0)]).unwrap();
        let place = found.place(300.0).unwrap() * found.counts.len() as f64;
        assert_eq!(found.counts[place as usize], [1]);
        assert_eq!(found.place(1e6), None);
    }

    #[test]
    fn what_is_no_length_of_time_is_left_out() {
        assert_eq!(
            Histogram::<1>::of(&[(0.0, 0), (f64::NAN, 0), (-1.0, 0)]),
            None
        );
    }

    proptest! {
        #[test]
        fn every_silence_is_counted_once(
            silences in proptest::collection::vec((1e-6..1e9_f64, 0..2_usize), 1..50)
        ) {
            let found = Histogram::<2>::of(&silences).unwrap();
            let sum: u64 = found.counts.iter().flatten().sum();
            prop_assert_eq!(sum, silences.len() as u64);
            prop_assert!(found.counts.len() <= 121);
        }
    }
}

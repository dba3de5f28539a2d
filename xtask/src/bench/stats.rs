//! What do repeated measurements say together?

use serde::{Deserialize, Serialize};
use statrs::statistics::{Data, Max as _, Min as _, OrderStatistics as _};

/// Median, quartiles and extremes of what was measured several times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    /// A quarter is less.
    pub lower: f64,
    /// A quarter is more.
    pub upper: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// All, in the order of the rounds.
    pub values: Vec<f64>,
}

/// From so many on extremes say little.
const MANY: usize = 10;

impl Spread {
    /// `None` of nothing, or of what is no number.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut data = Data::new(values.clone());
        Some(Self {
            median: data.percentile(50),
            lower: data.lower_quartile(),
            upper: data.upper_quartile(),
            min: data.min(),
            max: data.max(),
            values,
        })
    }

    /// Of pairs measured in the same round: `a / b`.
    pub fn ratio(a: &[f64], b: &[f64]) -> Option<Self> {
        Self::of(a.iter().zip(b).map(|(a, b)| a / b))
    }

    /// The same in another unit.
    pub fn scaled(&self, factor: f64) -> Self {
        Self {
            median: self.median * factor,
            lower: self.lower * factor,
            upper: self.upper * factor,
            min: self.min * factor,
            max: self.max * factor,
            values: self.values.iter().map(|value| value * factor).collect(),
        }
    }

    /// `12.3 (11.9–12.8)`: the extremes, or of many the quartiles, as one of many is often disturbed. A single one has no spread.
    pub fn show(&self, digits: usize) -> String {
        let (low, high) = match self.values.len() {
            0 | 1 => return number(self.median, digits),
            2..MANY => (self.min, self.max),
            _ => (self.lower, self.upper),
        };
        format!(
            "{} ({}–{})",
            number(self.median, digits),
            number(low, digits),
            number(high, digits)
        )
    }
}

/// With commas between thousands.
pub fn number(value: f64, digits: usize) -> String {
    let plain = format!("{:.digits$}", value.abs());
    let (whole, rest) = match plain.split_once('.') {
        Some((whole, rest)) => (whole, Some(rest)),
        None => (plain.as_str(), None),
    };
    let mut shown = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    let sign = if value < 0.0 && plain.chars().any(|c| ('1'..='9').contains(&c)) {
        "−"
    } else {
        ""
    };
    match rest {
        Some(rest) => format!("{sign}{shown}.{rest}"),
        None => format!("{sign}{shown}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_order_is_kept() {
        let odd = Spread::of([3.0, 1.0, 2.0]).expect("numbers");
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(odd.values, [3.0, 1.0, 2.0]);
        let even = Spread::of([4.0, 1.0, 2.0, 3.0]).expect("numbers");
        assert!((even.median - 2.5).abs() < 1e-9, "{even:?}");
    }

    #[test]
    fn pairs_of_a_round_are_compared_with_each_other() {
        // Both got slower, their ratio did not.
        let ratio = Spread::ratio(&[2.0, 4.0, 8.0], &[1.0, 2.0, 4.0]).expect("numbers");
        assert_eq!((ratio.min, ratio.max), (2.0, 2.0));
    }

    #[test]
    fn nothing_and_a_division_by_zero_have_no_spread() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::ratio(&[1.0], &[0.0]), None);
    }

    #[test]
    fn numbers_are_shown_for_people() {
        assert_eq!(number(1_234_567.89, 1), "1,234,567.9");
        assert_eq!(number(999.0, 0), "999");
        assert_eq!(number(-1234.0, 0), "−1,234");
        assert_eq!(number(-0.001, 1), "0.0");
        let spread = Spread::of([1.0, 2.0, 4.0]).expect("numbers");
        assert_eq!(spread.show(1), "2.0 (1.0–4.0)");
        assert_eq!(spread.scaled(10.0).show(0), "20 (10–40)");
        let many = Spread::of((1..=19).map(f64::from).chain([1e6])).expect("numbers");
        assert!(!many.show(0).contains("1,000,000"), "{}", many.show(0));
    }
}

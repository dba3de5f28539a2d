//! Repeated measurements.

use serde::Serialize;
use statrs::statistics::{Data, Max as _, Min as _, OrderStatistics as _};

/// Median and extremes of what was measured several times.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// All, in the order of the rounds.
    pub values: Vec<f64>,
}

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
            min: data.min(),
            max: data.max(),
            values,
        })
    }

    /// `12.3 (11.9–12.8)`. A single one has no spread.
    pub fn show(&self, digits: usize) -> String {
        let median = number(self.median, digits);
        if self.values.len() < 2 {
            return median;
        }
        let (low, high) = (number(self.min, digits), number(self.max, digits));
        format!("{median} ({low}–{high})")
    }
}

/// With commas between thousands.
pub fn number(value: f64, digits: usize) -> String {
    let plain = format!("{value:.digits$}");
    let (sign, plain) = match plain.strip_prefix('-') {
        Some(rest) => ("−", rest),
        None => ("", plain.as_str()),
    };
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut shown = sign.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_order_is_kept() {
        let spread = Spread::of([3.0, 1.0, 2.0]).expect("numbers");
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(spread.values, [3.0, 1.0, 2.0]);
        assert_eq!(spread.show(1), "2.0 (1.0–3.0)");
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([1.0 / 0.0]), None);
    }

    #[test]
    fn numbers_are_shown_for_people() {
        assert_eq!(number(1_234_567.89, 1), "1,234,567.9");
        assert_eq!(number(999.0, 0), "999");
        assert_eq!(number(-1234.0, 0), "−1,234");
    }
}

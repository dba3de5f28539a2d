//! Accuracy of verdicts from captures of the demo's resets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How often each result came out, by its word.
type Counts = BTreeMap<String, usize>;

/// The sums over all staged resets, places and variants of captures.
#[derive(Debug, Default)]
pub struct CaptureTally {
    /// By variant, then by staged cause.
    variants: BTreeMap<String, BTreeMap<String, Counts>>,
    /// Cases that are not right, by result.
    lists: BTreeMap<String, BTreeSet<String>>,
}

/// Results, by the words of the example `captures`. [`COST`] is counted in addition.
const RESULTS: [(&str, &str); 6] = [
    ("right", "Right"),
    ("unknown", "Unknown"),
    ("doubtful", "Wrong sender, as a possibility"),
    ("wrong", "Wrong blame"),
    ("missing", "No record"),
    (COST, "Wrong cost"),
];
const COST: &str = "cost";

impl CaptureTally {
    /// Counts what the example `captures` printed.
    pub fn of(text: &str) -> Result<Self> {
        let mut tally = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let added = serde_json::from_str(line)
                .map_err(anyhow::Error::new)
                .and_then(|case| tally.add(&case));
            added.with_context(|| format!("read the case `{line:.60}`"))?;
        }
        Ok(tally)
    }

    fn add(&mut self, case: &Value) -> Result<()> {
        let word = |value: &Value| value.as_str().unwrap_or("–").to_owned();
        let variant = case["sight"].as_str().context("a case has no sight")?;
        let grade = case["grade"].as_str().context("a case has no grade")?;
        let staged = format!("{} {}", word(&case["origin"]), word(&case["cause"]));
        let verdict = &case["record"]["verdict"];
        let line = format!(
            "{} ({variant}, {} {}): {staged}, reported: {} {}, {}, {}",
            word(&case["scenario"]),
            word(&case["place"]),
            word(&case["direction"]),
            word(&verdict["origin"]),
            word(&verdict["cause"]),
            word(&verdict["confidence"]),
            word(&verdict["severity"]),
        );
        let rows = self.variants.entry(variant.to_owned()).or_default();
        let counts = rows.entry(staged).or_default();
        let cost = (case["is_cost_wrong"] == true).then_some(COST);
        for result in cost.into_iter().chain([grade]) {
            *counts.entry(result.to_owned()).or_default() += 1;
            let lines = self.lists.entry(result.to_owned()).or_default();
            lines.insert(line.clone());
        }
        Ok(())
    }

    /// The criteria that are not met.
    pub fn failures(&self) -> Vec<String> {
        if self.variants.is_empty() {
            return vec!["no captures were judged".to_owned()];
        }
        let failing = [("wrong", "wrong blame"), ("missing", "no record")];
        let counts = failing.into_iter().filter_map(|(result, what)| {
            let count = self.lists.get(result)?.len();
            Some(format!("{count} kinds of {what} from captures"))
        });
        counts.collect()
    }
}

impl Display for CaptureTally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (variant, rows) in &self.variants {
            let width = rows.keys().map(String::len).max().unwrap_or(0);
            writeln!(f, "\nCaptures, {variant}:")?;
            for (staged, counts) in rows {
                let counts = RESULTS.iter().filter_map(|(result, _)| {
                    let count = counts.get(*result)?;
                    Some(format!("{count} {result}"))
                });
                let counts = counts.collect::<Vec<_>>().join(", ");
                writeln!(f, "  {staged:width$}  {counts}")?;
            }
        }
        for (result, title) in RESULTS.into_iter().skip(1) {
            if let Some(lines) = self.lists.get(result) {
                writeln!(f, "\n{title}:")?;
                lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"
{"scenario":"a","place":"server","direction":"sent","sight":"any","origin":"local_process","cause":"linger_zero","grade":"right","is_cost_wrong":false,"record":{"verdict":{"origin":"local_process","cause":"unknown","confidence":"likely","severity":"fault"}}}
{"scenario":"a","place":"server","direction":"sent","sight":"wire","origin":"local_process","cause":"linger_zero","grade":"wrong","is_cost_wrong":true,"record":{"verdict":{"origin":"peer","cause":"reset_by_peer","confidence":"likely","severity":"noise"}}}
{"scenario":"b","place":"client","direction":"received","sight":"wire","origin":"peer","cause":"reset_by_peer","grade":"missing","is_cost_wrong":false,"record":null}
"#;

    #[test]
    fn wrong_blames_and_missing_records_are_failures_and_are_named() -> Result<()> {
        let tally = CaptureTally::of(LINES)?;
        assert_eq!(
            tally.failures(),
            [
                "1 kinds of wrong blame from captures",
                "1 kinds of no record from captures",
            ]
        );
        let text = tally.to_string();
        assert!(
            text.contains("a (wire, server sent): local_process linger_zero, reported: peer reset_by_peer, likely, noise"),
            "{text}"
        );
        assert!(text.contains("Wrong cost:\n"), "{text}");
        Ok(())
    }

    #[test]
    fn what_cannot_be_read_or_is_nothing_does_not_pass() {
        assert!(CaptureTally::of("no JSON").is_err());
        let nothing = CaptureTally::of("").map(|tally| tally.failures());
        assert_eq!(
            nothing.ok(),
            Some(vec!["no captures were judged".to_owned()])
        );
    }
}

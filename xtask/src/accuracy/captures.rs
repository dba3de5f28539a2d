//! Accuracy of verdicts from captures of the demo's resets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How often what came out, by the word for it.
type Counts = BTreeMap<String, usize>;

/// The sums over all staged resets, places and sights.
#[derive(Debug, Default)]
pub struct CaptureTally {
    /// By sight; then by what was staged.
    sights: BTreeMap<String, BTreeMap<String, Counts>>,
    /// Another one is blamed.
    wrong: BTreeSet<String>,
    missing: BTreeSet<String>,
    doubtful: BTreeSet<String>,
    unknown: BTreeSet<String>,
    cost: BTreeSet<String>,
}

/// The results, as the judge words them.
const GRADES: [&str; 5] = ["right", "unknown", "doubtful", "wrong", "missing"];
/// The cost is another than it was; counted beside the results.
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
        let sight = case["sight"].as_str().context("a case has no sight")?;
        let grade = case["grade"].as_str().context("a case has no grade")?;
        let staged = format!("{} {}", word(&case["origin"]), word(&case["cause"]));
        let verdict = &case["record"]["verdict"];
        let line = format!(
            "{} ({}, {} {}): {staged}, told: {} {}, {}, {}",
            word(&case["scenario"]),
            sight,
            word(&case["place"]),
            word(&case["direction"]),
            word(&verdict["origin"]),
            word(&verdict["cause"]),
            word(&verdict["confidence"]),
            word(&verdict["severity"]),
        );
        let counts = self.sights.entry(sight.to_owned()).or_default();
        let counts = counts.entry(staged).or_default();
        *counts.entry(grade.to_owned()).or_default() += 1;
        if case["is_cost_wrong"] == true {
            *counts.entry(COST.to_owned()).or_default() += 1;
            self.cost.insert(line.clone());
        }
        match grade {
            "wrong" => self.wrong.insert(line),
            "missing" => self.missing.insert(line),
            "doubtful" => self.doubtful.insert(line),
            "unknown" => self.unknown.insert(line),
            _ => true,
        };
        Ok(())
    }

    /// What is not good enough; nothing if all is.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (count, what) in [
            (self.wrong.len(), "kinds of wrong blames from captures"),
            (self.missing.len(), "kinds without a record from captures"),
        ] {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        }
        if self.sights.is_empty() {
            failures.push("no captures were judged".to_owned());
        }
        failures
    }
}

impl Display for CaptureTally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (sight, rows) in &self.sights {
            let width = rows.keys().map(|row| row.len()).max().unwrap_or(0);
            write!(f, "\n{:width$}", format!("captures: {sight}"))?;
            for column in GRADES.into_iter().chain([COST]) {
                write!(f, "{column:>10}")?;
            }
            writeln!(f)?;
            let mut sums = Counts::new();
            for (row, counts) in rows {
                for (what, count) in counts {
                    *sums.entry(what.clone()).or_default() += count;
                }
                write_row(f, row, width, counts)?;
            }
            write_row(f, "all", width, &sums)?;
        }
        for (title, lines) in [
            ("Wrong blames", &self.wrong),
            ("Without a record", &self.missing),
            ("Another one named as a possibility", &self.doubtful),
            ("Unknown", &self.unknown),
            ("Cost told otherwise", &self.cost),
        ] {
            if !lines.is_empty() {
                writeln!(f, "\n{title}:")?;
            }
            for line in lines {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

fn write_row(f: &mut Formatter<'_>, row: &str, width: usize, counts: &Counts) -> fmt::Result {
    write!(f, "{row:width$}")?;
    for column in GRADES.into_iter().chain([COST]) {
        match counts.get(column) {
            Some(count) => write!(f, "{count:>10}")?,
            None => write!(f, "{:>10}", "·")?,
        }
    }
    writeln!(f)
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
                "1 kinds of wrong blames from captures",
                "1 kinds without a record from captures",
            ]
        );
        let text = tally.to_string();
        assert!(
            text.contains("a (wire, server sent): local_process linger_zero, told: peer reset_by_peer, likely, noise"),
            "{text}"
        );
        assert!(text.contains("Cost told otherwise"), "{text}");
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

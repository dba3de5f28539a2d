//! Sums over the cases of a demo, and whether they are good enough.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use super::cases::{Case, Mistake, Outcome};

/// How often which staged cause was told as which.
type Matrix = BTreeMap<(String, String), usize>;

/// The sums over all cases. Those of both ways to judge, but for `matrices` and `right_in`.
#[derive(Debug, Default)]
pub struct Tally {
    matrices: [Matrix; 2],
    right_in: [usize; 2],
    kinds: BTreeSet<String>,
    cases: usize,
    right: usize,
    unknown: Vec<String>,
    missing: Vec<String>,
    blames: Vec<String>,
    others: Vec<String>,
    not_staged: Vec<String>,
    failed: Vec<String>,
    again: BTreeSet<String>,
    lost_predates: BTreeSet<String>,
    exceptions: BTreeSet<String>,
}

impl Tally {
    /// Counts the cases.
    pub fn of(cases: &[Case]) -> Self {
        let mut tally = Self::default();
        for case in cases {
            tally.add(case);
        }
        tally
    }

    fn add(&mut self, case: &Case) {
        let name = format!("{} ({})", case.kind, case.view);
        if !case.failed.is_empty() {
            let (times, why) = (case.failed.len() + 1, case.failed.join("; "));
            self.again
                .insert(format!("{}: staged {times} times: {why}", case.kind));
        }
        if case.lost_predates {
            self.lost_predates.insert(case.kind.clone());
        }
        let Some(explained) = &case.explained else {
            match &case.result {
                Outcome::NotStaged(why) => self.not_staged.push(format!("{}: {why}", case.kind)),
                Outcome::Wrong(why) => self.failed.push(format!("{}: {}", case.kind, details(why))),
                Outcome::Right | Outcome::Unknown => {}
            }
            return;
        };
        self.cases += 1;
        self.kinds.insert(case.kind.clone());
        for ((matrix, right), explained) in self
            .matrices
            .iter_mut()
            .zip(&mut self.right_in)
            .zip(explained)
        {
            let told = explained.told.as_deref().unwrap_or(NO_RECORD).to_owned();
            *matrix.entry((explained.staged.clone(), told)).or_default() += 1;
            *right += usize::from(explained.is_right);
        }
        if let Some(exception) = &case.exception {
            self.exceptions.insert(format!("{name}: {exception}"));
        }
        match &case.result {
            Outcome::Right => self.right += 1,
            Outcome::Unknown => self.unknown.push(name),
            Outcome::NotStaged(_) => {}
            Outcome::Wrong(why) => {
                let about = |what: &[&str]| why.iter().any(|it| what.contains(&it.about.as_str()));
                let list = if about(&BLAME) {
                    &mut self.blames
                } else if about(&["missing"]) {
                    &mut self.missing
                } else {
                    &mut self.others
                };
                list.push(format!("{name}: {}", details(why)));
            }
        }
    }

    /// Cases with a record that says something.
    fn answered(&self) -> usize {
        self.cases - self.unknown.len() - self.missing.len()
    }

    /// What is not good enough; nothing if all is.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if !self.blames.is_empty() {
            failures.push(format!("{} wrong blames", self.blames.len()));
        }
        let otherwise = self.missing.len() + self.others.len();
        if otherwise > 0 {
            failures.push(format!(
                "{otherwise} without a record or wrong in another way"
            ));
        }
        if !self.failed.is_empty() {
            failures.push(format!("{} stagings failed", self.failed.len()));
        }
        failures.extend(self.shortfalls());
        if !self.lost_predates.is_empty() {
            failures.push(format!(
                "{} kinds without the socket older than the tracer that was planned",
                self.lost_predates.len()
            ));
        }
        failures
    }

    /// What is too little for a whole demo.
    pub fn shortfalls(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.kinds.len() < KINDS {
            let found = self.kinds.len();
            failures.push(format!(
                "{found} kinds of reset were staged instead of {KINDS}"
            ));
        }
        if self.answered() * 100 < self.cases * ANSWERED_PERCENT {
            let answered = percent(self.answered(), self.cases);
            failures.push(format!(
                "{answered} answered instead of {ANSWERED_PERCENT} %"
            ));
        }
        failures
    }

    /// In a few words: what there is none of is left out.
    pub fn in_short(&self) -> String {
        let counts = [
            (self.right, "right"),
            (self.unknown.len(), "unknown"),
            (self.blames.len(), "wrong blames"),
            (self.missing.len(), "without a record"),
            (self.others.len(), "wrong in another way"),
            (self.failed.len(), "not staged for an error"),
            (self.not_staged.len(), "not staged"),
            (self.again.len(), "staged again after an error"),
            (self.lost_predates.len(), "not older than the tracer"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let counts: Vec<_> = counts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        counts.join(", ")
    }

    /// What was told wrongly or not at all, a line each.
    pub fn mistakes(&self) -> impl Iterator<Item = &str> {
        let lists = [&self.blames, &self.missing, &self.others];
        lists.into_iter().flatten().map(String::as_str)
    }

    /// Stagings that failed, a line each.
    pub fn failed(&self) -> &[String] {
        &self.failed
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (title, matrix) in TITLES.into_iter().zip(&self.matrices) {
            writeln!(f, "{title}")?;
            write_matrix(f, matrix)?;
            writeln!(f)?;
        }
        for (title, lines) in [
            ("Wrong blames", &self.blames),
            ("Without a record", &self.missing),
            ("Wrong in another way", &self.others),
            ("Unknown", &self.unknown),
            ("Staging failed", &self.failed),
            ("Not staged", &self.not_staged),
        ] {
            write_list(f, title, lines)?;
        }
        write_list(f, "Staged again, because the staging failed", &self.again)?;
        let title = "Not older than the tracer, though planned";
        write_list(f, title, &self.lost_predates)?;
        let title = "Exceptions: nobody on one host can know, judged by what it looks like";
        write_list(f, title, &self.exceptions)?;
        let [namespace, host] = self.right_in;
        writeln!(
            f,
            "\n{} cases of {} kinds: {} right in both ({namespace} in one namespace, {host} on the whole host), {} unknown, {} wrong blames, {} without a record, {} wrong in another way; {} answered",
            self.cases,
            self.kinds.len(),
            self.right,
            self.unknown.len(),
            self.blames.len(),
            self.missing.len(),
            self.others.len(),
            percent(self.answered(), self.cases),
        )
    }
}

/// Rows: what was staged. Columns: what was told, a letter each.
fn write_matrix(f: &mut Formatter<'_>, matrix: &Matrix) -> fmt::Result {
    let rows: BTreeSet<_> = matrix.keys().map(|(staged, _)| staged).collect();
    let columns: BTreeSet<_> = matrix.keys().map(|(_, told)| told).collect();
    let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let width = width.max(HEADER.len());
    write!(f, "{HEADER:width$}")?;
    for letter in letters().take(columns.len()) {
        write!(f, "{letter:>4}")?;
    }
    writeln!(f)?;
    for row in &rows {
        write!(f, "{row:width$}")?;
        for column in &columns {
            let cell = ((*row).clone(), (*column).clone());
            match matrix.get(&cell) {
                Some(count) => write!(f, "{count:>4}")?,
                None => write!(f, "{:>4}", "·")?,
            }
        }
        writeln!(f)?;
    }
    writeln!(f)?;
    for (letter, column) in letters().zip(&columns) {
        writeln!(f, "{letter:>4} = {column}")?;
    }
    Ok(())
}

fn write_list<'a>(
    f: &mut Formatter<'_>,
    title: &str,
    lines: impl IntoIterator<Item = &'a String>,
) -> fmt::Result {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        writeln!(f, "\n{title}:")?;
    }
    lines.try_for_each(|line| writeln!(f, "  {line}"))
}

fn details(mistakes: &[Mistake]) -> String {
    let details: Vec<_> = mistakes.iter().map(|wrong| wrong.detail.as_str()).collect();
    details.join("; ")
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}

/// More than there are causes.
fn letters() -> impl Iterator<Item = char> {
    ('a'..='z').chain('A'..='Z')
}

const HEADER: &str = "staged \\ told";
const TITLES: [&str; 2] = [
    "Judged with the events of one namespace, as a host of its own:",
    "Judged with the events of the whole host, as `rsttrace watch` does:",
];
/// Mistakes that put the blame on the wrong one, or for the wrong reason.
const BLAME: [&str; 5] = ["origin", "cause", "process", "idle", "confidence"];
const NO_RECORD: &str = "(no record)";
/// How many kinds of reset have to be staged.
const KINDS: usize = 40;
/// How many of the cases have to be answered by more than "unknown".
const ANSWERED_PERCENT: usize = 90;

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::super::cases::read;
    use super::super::cases::tests::{RIGHT, line, lines};
    use super::*;

    #[test]
    fn each_case_counts_once_and_is_right_only_if_both_ways_are() -> Result<()> {
        let tally = Tally::of(&read(&lines())?);
        assert_eq!((tally.cases, tally.right, tally.right_in), (4, 1, [2, 1]));
        let wanted = "1 right, 1 unknown, 1 wrong blames, 1 without a record, 1 not staged for an error, \
            1 not staged, 1 staged again after an error, 1 not older than the tracer";
        assert_eq!(tally.in_short(), wanted);
        assert_eq!((tally.mistakes().count(), tally.failed().len()), (2, 1));
        Ok(())
    }

    #[test]
    fn what_was_taken_for_what_is_shown() -> Result<()> {
        let text = Tally::of(&read(&lines())?).to_string();
        let host = "\
Judged with the events of the whole host, as `rsttrace watch` does:
staged \\ told   a   b   c   d
linger_zero     ·   1   1   ·
stray_ack       1   ·   ·   1

   a = (no record)
   b = linger_zero
   c = stray_ack
   d = unknown
";
        assert!(text.contains(host), "{text}");
        assert!(text.contains("f: staged 3 times: x; y"), "{text}");
        let sums = "4 cases of 4 kinds: 1 right in both (2 in one namespace, 1 on the whole host), \
            1 unknown, 1 wrong blames, 1 without a record, 0 wrong in another way; 50.0 % answered\n";
        assert!(text.ends_with(sums), "{text}");
        Ok(())
    }

    #[test]
    fn what_is_wrong_missing_or_too_little_is_a_failure() -> Result<()> {
        let failures = Tally::of(&read(&lines())?).failures();
        assert_eq!(
            failures,
            [
                "1 wrong blames",
                "1 without a record or wrong in another way",
                "1 stagings failed",
                "4 kinds of reset were staged instead of 40",
                "50.0 % answered instead of 90 %",
                "1 kinds without the socket older than the tracer that was planned",
            ]
        );
        Ok(())
    }

    #[test]
    fn forty_kinds_all_right_are_good_enough() -> Result<()> {
        let right = [("stray_ack", "right"); 2];
        let lines: Vec<_> = (0..KINDS)
            .map(|number| line(&number.to_string(), "stray_ack", right, RIGHT))
            .collect();
        let tally = Tally::of(&read(&lines.join("\n"))?);
        assert!(tally.failures().is_empty(), "{:?}", tally.failures());
        Ok(())
    }
}

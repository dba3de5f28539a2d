//! How many cases came out how, and is that good enough?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use super::cases::{Case, Mistake, Outcome};

/// The sums over all cases.
#[derive(Debug, Default)]
pub struct Tally {
    /// How often which staged cause was told as which.
    matrix: BTreeMap<(String, String), usize>,
    kinds: BTreeSet<String>,
    cases: usize,
    right: usize,
    unknown: usize,
    missing: Vec<String>,
    blames: Vec<String>,
    others: Vec<String>,
    not_staged: Vec<String>,
    failed: Vec<String>,
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
        let Some(staged) = &case.staged else {
            match &case.result {
                Outcome::NotStaged(why) => self.not_staged.push(format!("{}: {why}", case.kind)),
                Outcome::Wrong(why) => self.failed.push(format!("{}: {}", case.kind, details(why))),
                Outcome::Right | Outcome::Unknown => {}
            }
            return;
        };
        self.cases += 1;
        self.kinds.insert(case.kind.clone());
        let told = case.told.as_deref().unwrap_or(NO_RECORD).to_owned();
        *self.matrix.entry((staged.clone(), told)).or_default() += 1;
        if let Some(exception) = &case.exception {
            let exception = format!("{} ({}): {exception}", case.kind, case.view);
            self.exceptions.insert(exception);
        }
        match &case.result {
            Outcome::Right => self.right += 1,
            Outcome::Unknown => self.unknown += 1,
            Outcome::NotStaged(_) => {}
            Outcome::Wrong(why) => {
                let line = format!("{} ({}): {}", case.kind, case.view, details(why));
                if why
                    .iter()
                    .any(|wrong| BLAME.contains(&wrong.about.as_str()))
                {
                    self.blames.push(line);
                } else if why.iter().any(|wrong| wrong.about == "missing") {
                    self.missing.push(line);
                } else {
                    self.others.push(line);
                }
            }
        }
    }

    /// Cases with a record that says something.
    fn answered(&self) -> usize {
        self.cases - self.unknown - self.missing.len()
    }

    /// What is not good enough; nothing if all is.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = self.defects();
        failures.extend(self.shortfalls());
        failures
    }

    /// What is wrong, however much was staged.
    fn defects(&self) -> Vec<String> {
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
            (self.unknown, "unknown"),
            (self.blames.len(), "wrong blames"),
            (self.missing.len(), "without a record"),
            (self.others.len(), "wrong in another way"),
            (self.failed.len(), "not staged for an error"),
            (self.not_staged.len(), "not staged"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let counts: Vec<_> = counts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        counts.join(", ")
    }

    /// Cases told as staged.
    pub fn right(&self) -> usize {
        self.right
    }

    /// Cases that were owned up to.
    pub fn unknown(&self) -> usize {
        self.unknown
    }

    /// Kinds that this machine cannot stage.
    pub fn not_staged(&self) -> usize {
        self.not_staged.len()
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
        self.write_matrix(f)?;
        for (title, lines) in [
            ("Wrong blames", &self.blames),
            ("Without a record", &self.missing),
            ("Wrong in another way", &self.others),
            ("Staging failed", &self.failed),
            ("Not staged", &self.not_staged),
        ] {
            write_list(f, title, lines)?;
        }
        let title = "Exceptions: nobody on one host can know, judged by what it looks like";
        write_list(f, title, &self.exceptions)?;
        writeln!(
            f,
            "\n{} cases of {} kinds: {} right, {} unknown, {} wrong blames, {} without a record, {} wrong in another way; {} answered",
            self.cases,
            self.kinds.len(),
            self.right,
            self.unknown,
            self.blames.len(),
            self.missing.len(),
            self.others.len(),
            percent(self.answered(), self.cases),
        )
    }
}

impl Tally {
    /// Rows: what was staged. Columns: what was told, a letter each.
    fn write_matrix(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rows: BTreeSet<_> = self.matrix.keys().map(|(staged, _)| staged).collect();
        let columns: BTreeSet<_> = self.matrix.keys().map(|(_, told)| told).collect();
        let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        write!(f, "{:width$}", "staged \\ told")?;
        for letter in letters().take(columns.len()) {
            write!(f, "{letter:>4}")?;
        }
        writeln!(f)?;
        for row in &rows {
            write!(f, "{row:width$}")?;
            for column in &columns {
                let cell = ((*row).clone(), (*column).clone());
                match self.matrix.get(&cell) {
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

    use super::super::cases::{read, tests::LINES};
    use super::*;

    #[test]
    fn each_case_counts_once() -> Result<()> {
        let tally = Tally::of(&read(LINES)?);
        assert_eq!((tally.cases, tally.right, tally.unknown), (5, 1, 1));
        assert_eq!(tally.blames.len(), 1);
        assert_eq!(tally.missing.len(), 1);
        assert_eq!(tally.others.len(), 1);
        assert_eq!((tally.not_staged.len(), tally.failed.len()), (1, 1));
        assert_eq!(tally.answered(), 3);
        Ok(())
    }

    #[test]
    fn in_short_only_what_there_is_is_counted() -> Result<()> {
        let tally = Tally::of(&read(LINES)?);
        let wanted = "1 right, 1 unknown, 1 wrong blames, 1 without a record, \
            1 wrong in another way, 1 not staged for an error, 1 not staged";
        assert_eq!(tally.in_short(), wanted);
        assert_eq!((tally.mistakes().count(), tally.failed().len()), (3, 1));
        assert_eq!(Tally::of(&[]).in_short(), "");
        Ok(())
    }

    #[test]
    fn what_was_taken_for_what_is_shown() -> Result<()> {
        let text = Tally::of(&read(LINES)?).to_string();
        let wanted = "\
staged \\ told             a   b   c   d   e
idle_timeout (late_rst)   ·   ·   1   ·   ·
linger_zero               ·   1   ·   ·   ·
reset_by_peer             ·   ·   ·   ·   1
stray_ack                 1   ·   ·   1   ·

   a = (no record)
   b = linger_zero
   c = reset_by_peer
   d = stray_ack
   e = unknown
";
        assert!(text.starts_with(wanted), "{text}");
        assert!(
            text.contains("b (client received): a box wrote it"),
            "{text}"
        );
        let sums = "5 cases of 4 kinds: 1 right, 1 unknown, 1 wrong blames, 1 without a record, 1 wrong in another way; 60.0 % answered\n";
        assert!(text.ends_with(sums), "{text}");
        Ok(())
    }

    #[test]
    fn blames_failed_stagings_few_kinds_and_few_answers_are_failures() -> Result<()> {
        let failures = Tally::of(&read(LINES)?).failures();
        assert_eq!(
            failures,
            [
                "1 wrong blames",
                "2 without a record or wrong in another way",
                "1 stagings failed",
                "4 kinds of reset were staged instead of 40",
                "60.0 % answered instead of 90 %",
            ]
        );
        Ok(())
    }

    #[test]
    fn forty_kinds_all_right_are_good_enough() -> Result<()> {
        let right = LINES.lines().nth(1).unwrap_or_default();
        let lines: Vec<_> = (0..KINDS)
            .map(|number| right.replace("\"a\"", &format!("\"kind-{number}\"")))
            .collect();
        let tally = Tally::of(&read(&lines.join("\n"))?);
        assert!(tally.failures().is_empty(), "{:?}", tally.failures());
        Ok(())
    }
}

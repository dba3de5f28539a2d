//! Sums over the cases of a demo, and the criteria of `cargo xtask accuracy`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use super::cases::{Case, Mistake, Outcome};

/// Lists of cases, in the order of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum List {
    WrongBlame,
    Missing,
    OtherMistake,
    Unknown,
    StagingFailed,
    NotStaged,
    Restaged,
    LostPredates,
    Exception,
}

impl List {
    fn title(self) -> &'static str {
        match self {
            Self::WrongBlame => "Wrong blame",
            Self::Missing => "No record",
            Self::OtherMistake => "Wrong in another way",
            Self::Unknown => "Unknown",
            Self::StagingFailed => "Staging failed",
            Self::NotStaged => "Not staged",
            Self::Restaged => "Staged again after a failed staging",
            Self::LostPredates => "Socket not older than the tracer as planned",
            Self::Exception => {
                "Exceptions: unknowable on a single host, judged by what the host can know"
            }
        }
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    kinds: BTreeSet<String>,
    cases: usize,
    right: usize,
    lists: BTreeMap<List, Vec<String>>,
}

impl Tally {
    pub fn of(cases: &[Case]) -> Self {
        let mut tally = Self::default();
        for case in cases {
            tally.add(case);
        }
        tally
    }

    fn add(&mut self, case: &Case) {
        let kind = case.kind();
        let name = format!("{kind} ({})", case.view());
        // Once per kind, which may have several cases.
        if !case.failed.is_empty() {
            let (times, why) = (case.failed.len() + 1, case.failed.join("; "));
            let line = format!("{kind}: staged {times} times: {why}");
            self.list_once(List::Restaged, line);
        }
        if case.lost_predates {
            self.list_once(List::LostPredates, kind.to_owned());
        }
        if !case.is_staged() {
            match &case.outcome {
                Outcome::NotStaged(why) => self.list(List::NotStaged, format!("{kind}: {why}")),
                Outcome::Wrong(why) => {
                    self.list(List::StagingFailed, format!("{kind}: {}", details(why)));
                }
                Outcome::Right | Outcome::Unknown => {}
            }
            return;
        }
        self.cases += 1;
        self.kinds.insert(kind.to_owned());
        if let Some(exception) = case.exception() {
            self.list_once(List::Exception, format!("{name}: {exception}"));
        }
        match &case.outcome {
            Outcome::Right => self.right += 1,
            Outcome::Unknown => self.list(List::Unknown, name),
            Outcome::NotStaged(_) => {}
            Outcome::Wrong(why) => {
                let about = |what: &[&str]| why.iter().any(|it| what.contains(&it.about.as_str()));
                let list = if about(&BLAME) {
                    List::WrongBlame
                } else if about(&["missing"]) {
                    List::Missing
                } else {
                    List::OtherMistake
                };
                self.list(list, format!("{name}: {}", details(why)));
            }
        }
    }

    fn list(&mut self, list: List, line: String) {
        self.lists.entry(list).or_default().push(line);
    }

    fn list_once(&mut self, list: List, line: String) {
        if !self.lines(list).contains(&line) {
            self.list(list, line);
        }
    }

    fn lines(&self, list: List) -> &[String] {
        self.lists.get(&list).map_or(&[], Vec::as_slice)
    }

    fn count(&self, list: List) -> usize {
        self.lines(list).len()
    }

    /// Cases with a record whose cause is known.
    fn answered(&self) -> usize {
        self.cases - self.count(List::Unknown) - self.count(List::Missing)
    }

    /// The criteria that are not met.
    pub fn failures(&self) -> Vec<String> {
        let failing = MISTAKES.into_iter().chain([List::LostPredates]);
        let counts = failing.filter_map(|list| self.in_words(list));
        counts.chain(self.shortfalls()).collect()
    }

    /// The criteria of a whole demo that are not met.
    pub fn shortfalls(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let kinds = self.kinds.len();
        if kinds < KINDS {
            failures.push(format!(
                "{kinds} kinds of resets were staged instead of {KINDS}"
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

    /// `2 not staged`; `None` for an empty list.
    fn in_words(&self, list: List) -> Option<String> {
        let title = list.title().to_lowercase();
        let count = self.count(list);
        (count > 0).then(|| format!("{count} {title}"))
    }

    /// The counts that are not zero.
    pub fn in_short(&self) -> String {
        let right = (self.right > 0).then(|| format!("{} right", self.right));
        let lists = self.lists.keys().filter(|list| **list != List::Exception);
        let lists = lists.filter_map(|list| self.in_words(*list));
        right
            .into_iter()
            .chain(lists)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Wrong explanations and failed stagings, a line each.
    pub fn mistakes(&self) -> impl Iterator<Item = &str> {
        let lines = MISTAKES.into_iter().flat_map(|list| self.lines(list));
        lines.map(String::as_str)
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (list, lines) in &self.lists {
            writeln!(f, "\n{}:", list.title())?;
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        writeln!(
            f,
            "\n{} cases of {} kinds: {}; {} answered",
            self.cases,
            self.kinds.len(),
            self.in_short(),
            percent(self.answered(), self.cases),
        )
    }
}

fn details(mistakes: &[Mistake]) -> String {
    let details: Vec<_> = mistakes.iter().map(|wrong| wrong.detail.as_str()).collect();
    details.join("; ")
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}

/// Wrong explanations and failed stagings.
const MISTAKES: [List; 4] = [
    List::WrongBlame,
    List::Missing,
    List::OtherMistake,
    List::StagingFailed,
];
/// Mistakes that put the blame on the wrong party, or on the right one for a wrong reason.
const BLAME: [&str; 5] = ["origin", "cause", "process", "idle", "confidence"];
/// Kinds of resets that have to be staged.
const KINDS: usize = 40;
/// The part of the cases that needs an answer other than "unknown".
const ANSWERED_PERCENT: usize = 90;

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::super::cases::read;
    use super::super::cases::tests::{RIGHT, line, lines};
    use super::*;

    #[test]
    fn each_case_counts_once_and_is_listed() -> Result<()> {
        let tally = Tally::of(&read(&lines())?);
        assert_eq!(tally.mistakes().count(), 3);
        let text = tally.to_string();
        assert!(text.contains("f: staged 3 times: x; y"), "{text}");
        let wrong = "Wrong blame:\n  b (client received v4 older than the tracer): whole host: cause b instead of a\n";
        assert!(text.contains(wrong), "{text}");
        let sums = "4 cases of 4 kinds: 1 right, 1 wrong blame, 1 no record, 1 unknown, 1 staging failed, 1 not staged, \
            1 staged again after a failed staging, 1 socket not older than the tracer as planned; 50.0 % answered\n";
        assert!(text.ends_with(sums), "{text}");
        Ok(())
    }

    #[test]
    fn what_is_wrong_missing_or_too_little_is_a_failure() -> Result<()> {
        let failures = Tally::of(&read(&lines())?).failures();
        assert_eq!(
            failures,
            [
                "1 wrong blame",
                "1 no record",
                "1 staging failed",
                "1 socket not older than the tracer as planned",
                "4 kinds of resets were staged instead of 40",
                "50.0 % answered instead of 90 %",
            ]
        );
        Ok(())
    }

    #[test]
    fn forty_kinds_all_right_are_good_enough() -> Result<()> {
        let lines: Vec<_> = (0..KINDS)
            .map(|number| line(&number.to_string(), RIGHT))
            .collect();
        let tally = Tally::of(&read(&lines.join("\n"))?);
        assert!(tally.failures().is_empty(), "{:?}", tally.failures());
        Ok(())
    }
}

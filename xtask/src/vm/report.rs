//! What is shown when all guests have ended?

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use super::judge::Judgement;
use crate::tally::Tally;

/// A kernel and what came of its steps.
pub struct Row {
    /// As `uname -r` tells it.
    pub release: String,
    /// Until the first step began; absent if none did.
    pub boot: Option<Duration>,
    /// What is wrong with the guest itself.
    pub failure: Option<String>,
    /// Name, time and judgement of each step.
    pub steps: Vec<(String, Duration, Judgement)>,
}

impl Row {
    /// Of a kernel that could not be had, or did not boot.
    pub fn failed(release: &str, error: &anyhow::Error) -> Self {
        Self {
            release: release.to_owned(),
            boot: None,
            failure: Some(format!("{error:#}")),
            steps: Vec::new(),
        }
    }

    /// From the start to the end of the last step.
    pub fn took(&self) -> Duration {
        let steps = self.steps.iter().map(|(_, took, _)| *took);
        self.boot.into_iter().chain(steps).sum()
    }

    /// Each step counts as a test.
    pub fn tally(&self) -> Tally {
        let is_good = |(_, _, judgement): &&(_, _, Judgement)| judgement.failures.is_empty();
        let passed = self.steps.iter().filter(is_good).count() as u64;
        Tally {
            passed,
            failed: self.steps.len() as u64 - passed + u64::from(self.failure.is_some()),
            ignored: 0,
        }
    }

    /// What is not good enough, with the step's name.
    pub fn failures(&self) -> Vec<String> {
        let steps = self.steps.iter().flat_map(|(name, _, judgement)| {
            let failures = judgement.failures.iter();
            failures.map(move |failure| format!("{name}: {failure}"))
        });
        self.failure.iter().cloned().chain(steps).collect()
    }
}

/// All of it.
pub struct Report(pub Vec<Row>);

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for row in &self.0 {
            match row.boot {
                Some(boot) => writeln!(f, "{}, booted in {}", row.release, seconds(boot))?,
                None => writeln!(f, "{}, not booted", row.release)?,
            }
            for (name, took, judgement) in &row.steps {
                let verdict = if judgement.failures.is_empty() {
                    "ok"
                } else {
                    "FAILED"
                };
                writeln!(
                    f,
                    "  {name:<15} {verdict:<7} {:>8}  {}",
                    seconds(*took),
                    judgement.cell
                )?;
            }
        }
        if self.0.iter().any(|row| !row.failures().is_empty()) {
            writeln!(f, "\nNot good enough:")?;
        }
        for row in &self.0 {
            for failure in row.failures() {
                writeln!(f, "  {} {failure}", row.release)?;
            }
        }
        Ok(())
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_shown_below_with_kernel_and_step() {
        let judgement = |cell: &str, failures: &[&str]| Judgement {
            cell: cell.into(),
            failures: failures.iter().copied().map(str::to_owned).collect(),
        };
        let took = Duration::from_millis(86_200);
        let steps = vec![
            ("demo".into(), took, judgement("345 right", &[])),
            ("kernel_wire".into(), took, judgement("3/4", &["a"])),
        ];
        let row = Row {
            release: "6.12".into(),
            boot: Some(Duration::from_secs(9)),
            failure: None,
            steps,
        };
        let wanted = "\
6.12, booted in 9.0 s
  demo            ok        86.2 s  345 right
  kernel_wire     FAILED    86.2 s  3/4

Not good enough:
  6.12 kernel_wire: a
";
        let tally = row.tally();
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(Report(vec![row]).to_string(), wanted);
    }

    #[test]
    fn a_guest_that_does_not_come_up_is_a_failure() {
        let row = Row::failed("6.12", &anyhow::anyhow!("it panicked"));
        assert_eq!(row.tally().failed, 1);
        let text = Report(vec![row]).to_string();
        assert!(
            text.contains("6.12, not booted") && text.contains("6.12 it panicked"),
            "{text}"
        );
    }
}

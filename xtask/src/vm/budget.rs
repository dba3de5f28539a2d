//! How much of the verifier's patience does each program take, and is it more than it was?
//!
//! The verifier stops at a million instructions, over all paths through a program. How many paths it goes depends on the
//! kernel, so a change of a program that costs nothing on one may be refused on another.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    fs,
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::expect::Version;
use crate::workspace;

/// Instructions by program; `None` where the kernel does not tell them.
pub type Programs = BTreeMap<String, Option<u64>>;

/// What each program took when that was last written down, by the kernel's version.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Budget(BTreeMap<Version, Programs>);

/// A rise by more than this is looked at by somebody.
const TOLERATED_PERCENT: u64 = 10;
/// In the table, of a kernel that does not tell.
const NOT_TOLD: &str = "-";
const HEADER: &str = "\
# Instructions that the verifier went through, by kernel and program. `cargo xtask vm` compares, and with --update-data
# writes this file. Kernels before 5.16 do not tell.
# kernel\tprogram\tinstructions
";

impl Budget {
    /// As committed.
    pub fn committed() -> Result<Self> {
        let file = file();
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Self::read(&text).with_context(|| format!("{} is not understood", file.display()))
    }

    /// Replaces the committed one.
    pub fn write(&self) -> Result<()> {
        let file = file();
        fs::write(&file, self.to_string()).with_context(|| format!("write {}", file.display()))
    }

    /// Takes over what was measured.
    pub fn note(&mut self, version: Version, programs: Programs) {
        self.0.insert(version, programs);
    }

    /// What is too much, or is not as written down; nothing of a kernel that is not in the table.
    pub fn exceeded(&self, version: Version, now: &Programs) -> Vec<String> {
        let Some(before) = self.0.get(&version) else {
            return Vec::new();
        };
        let kernel = format!("{}.{}", version.0, version.1);
        let mut failures = Vec::new();
        for (program, instructions) in now {
            match (before.get(program), instructions) {
                (None, _) => failures.push(format!(
                    "{program} is not in xtask/data/verifier.tsv for {kernel}: `cargo xtask vm --update-data` writes it anew"
                )),
                (Some(Some(before)), Some(now))
                    if now * 100 > before * (100 + TOLERATED_PERCENT) =>
                {
                    failures.push(format!(
                        "the verifier goes through {now} instructions of {program} on {kernel}, {before} before: more than {TOLERATED_PERCENT} % up. \
                         Make it simpler, or accept it with `cargo xtask vm --update-data`"
                    ));
                }
                _ => {}
            }
        }
        for program in before.keys().filter(|program| !now.contains_key(*program)) {
            failures.push(format!(
                "{program} is not loaded on {kernel} any more, see xtask/data/verifier.tsv"
            ));
        }
        failures
    }

    fn read(text: &str) -> Result<Self> {
        let mut budget = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let [kernel, program, instructions] = line.split('\t').collect::<Vec<_>>()[..] else {
                bail!("not three columns: `{line}`");
            };
            let version =
                super::expect::version(kernel).with_context(|| format!("no version: `{line}`"))?;
            let instructions = match instructions {
                NOT_TOLD => None,
                number => Some(
                    number
                        .parse()
                        .with_context(|| format!("no number: `{line}`"))?,
                ),
            };
            let programs = budget.0.entry(version).or_default();
            programs.insert(program.to_owned(), instructions);
        }
        Ok(budget)
    }
}

impl Display for Budget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        for ((major, minor), programs) in &self.0 {
            for (program, instructions) in programs {
                write!(f, "{major}.{minor}\t{program}\t")?;
                match instructions {
                    Some(instructions) => writeln!(f, "{instructions}")?,
                    None => writeln!(f, "{NOT_TOLD}")?,
                }
            }
        }
        Ok(())
    }
}

/// Of what `rsttrace doctor -o json` says.
pub fn programs(report: &Value) -> Result<Programs> {
    let programs = report["programs"]
        .as_array()
        .context("the doctor tells of no programs")?;
    let program = |program: &Value| {
        let name = program["name"].as_str().context("a program has no name")?;
        Ok((name.to_owned(), program["verified_instructions"].as_u64()))
    };
    programs.iter().map(program).collect()
}

fn file() -> PathBuf {
    workspace::root().join("xtask/data/verifier.tsv")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(programs: &[(&str, Option<u64>)]) -> Programs {
        let owned =
            |(name, instructions): &(&str, Option<u64>)| ((*name).to_owned(), *instructions);
        programs.iter().map(owned).collect()
    }

    fn budget() -> Budget {
        let mut budget = Budget::default();
        budget.note((6, 1), of(&[("a", Some(1000)), ("b", Some(10))]));
        budget.note((5, 10), of(&[("a", None)]));
        budget
    }

    #[test]
    fn the_table_reads_back_as_it_was_written() -> Result<()> {
        let text = budget().to_string();
        assert!(
            text.ends_with("instructions\n5.10\ta\t-\n6.1\ta\t1000\n6.1\tb\t10\n"),
            "{text}"
        );
        assert_eq!(Budget::read(&text)?, budget());
        assert!(Budget::read("6.1\ta\n").is_err());
        assert!(Budget::read("6.1\ta\tmany\n").is_err());
        Ok(())
    }

    #[test]
    fn a_rise_of_more_than_a_tenth_names_program_kernel_before_and_after() {
        let exceeded = |a, b| budget().exceeded((6, 1), &of(&[("a", Some(a)), ("b", Some(b))]));
        assert!(exceeded(1100, 1).is_empty());
        let failures = exceeded(1101, 10);
        assert_eq!(failures.len(), 1);
        for word in ["1101", "of a", "6.1", "1000"] {
            assert!(failures[0].contains(word), "{failures:?}");
        }
    }

    #[test]
    fn programs_that_come_and_go_are_told() {
        let failures = budget().exceeded((6, 1), &of(&[("a", Some(1)), ("c", Some(1))]));
        assert_eq!(failures.len(), 2);
        assert!(
            failures[0].starts_with("c is not in") && failures[1].starts_with("b is not loaded")
        );
    }

    #[test]
    fn a_kernel_that_does_not_tell_or_is_not_in_the_table_has_no_budget() {
        assert!(budget().exceeded((5, 10), &of(&[("a", None)])).is_empty());
        assert!(budget().exceeded((6, 6), &of(&[("a", Some(1))])).is_empty());
    }

    #[test]
    fn the_committed_table_is_understood() -> Result<()> {
        let budget = Budget::committed()?;
        assert_eq!(Budget::read(&budget.to_string())?, budget);
        Ok(())
    }
}

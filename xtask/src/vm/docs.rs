//! The support matrix in docs/KERNELS.md: results of a run, between two marks.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    expect::{self, Host, Version},
    judge,
    step::{CLEANUP, Kind},
};
use crate::{
    accuracy::{cases, tally},
    tally::of_output,
    workspace,
};

/// What is told of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    release: String,
    version: Version,
    /// Facts in the order of the doctor, and how each is had; `None`: not at all.
    facts: Vec<(String, Option<String>)>,
    /// `rsttrace demo --all`.
    demo: Option<Cases>,
    /// The demo over the other transport.
    perf: Option<Cases>,
    /// Tests that nothing stays: how many held, of how many.
    cleanup: Option<(u64, u64)>,
    /// The most that a program took; `None` if the kernel does not tell.
    verified: Option<u64>,
}

/// How many cases ended how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cases {
    right: usize,
    unknown: usize,
    wrong: usize,
    not_staged: usize,
}

const BEGIN: &str = "<!-- by `cargo xtask vm --update-docs` -->\n";
const END: &str = "<!-- end -->\n";

impl Column {
    /// Of what steps left in `folder`. An error if the hooks are not known.
    pub fn read(release: &str, host: Host, folder: &Path) -> Result<Self> {
        let text = |step: &str| fs::read_to_string(folder.join(format!("{step}.out")));
        let report = text(&Kind::Hooks.to_string()).context("the hooks were not tried")?;
        let report: Value = serde_json::from_str(&report).context("the doctor printed no JSON")?;
        let hooks = report["hooks"]
            .as_array()
            .context("the doctor could not try the hooks")?;
        let fact = |hook: &Value| {
            Some((
                hook["fact"].as_str()?.to_owned(),
                hook["way"].as_str().map(str::to_owned),
            ))
        };
        let cases = |kind: Kind| -> Option<Cases> {
            let cases = cases::read(&text(&kind.to_string()).ok()?).ok()?;
            let tally = tally::Tally::of(&cases);
            (!cases.is_empty()).then(|| Cases {
                right: tally.right(),
                unknown: tally.unknown(),
                wrong: tally.mistakes().count(),
                not_staged: tally.not_staged() + tally.failed().len(),
            })
        };
        let cleanup = text(CLEANUP).map(|text| of_output(&text)).ok();
        Ok(Self {
            release: release.to_owned(),
            version: host.version,
            facts: hooks.iter().filter_map(fact).collect(),
            demo: cases(Kind::Demo),
            perf: cases(Kind::Perf),
            cleanup: cleanup
                .filter(|tests| tests.ran() > 0)
                .map(|tests| (tests.passed, tests.ran())),
            verified: judge::programs(folder)?.into_values().flatten().max(),
        })
    }
}

/// Writes the table.
pub fn write(columns: Vec<Column>) -> Result<()> {
    let file = workspace::root().join("docs/KERNELS.md");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let text = replaced(&text, &table(columns))
        .context("docs/KERNELS.md has no marks for the support matrix")?;
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// Kernels from left to right, oldest first.
fn table(mut columns: Vec<Column>) -> String {
    columns.sort_by_key(|column| column.version);
    let row = |title: &str, cell: &dyn Fn(&Column) -> String| {
        let cells: Vec<_> = columns.iter().map(cell).collect();
        format!("| {title} | {} |\n", cells.join(" | "))
    };
    let mut table = row("kernel", &|column| column.release.clone());
    table += &format!("|---{}|\n", "|---".repeat(columns.len()));
    let facts = columns.last().map(|column| column.facts.clone());
    for (fact, _) in facts.unwrap_or_default() {
        table += &row(&format!("`{fact}`"), &|column| {
            let had = column.facts.iter().find(|(name, _)| *name == fact);
            had.and_then(|(_, way)| way.clone())
                .unwrap_or_else(|| "unavailable".into())
        });
    }
    table += &row("attach type of classifiers", &|column| {
        if column.version >= expect::TCX {
            "TCX or clsact".into()
        } else {
            "clsact".into()
        }
    });
    table += &row(
        "`rsttrace demo --all`, ring buffer: right / unknown / wrong / not staged",
        &|column| shown(column.demo),
    );
    table += &row("`rsttrace demo`, perf event array: the same", &|column| {
        shown(column.perf)
    });
    table += &row("cleanup tests", &|column| match column.cleanup {
        Some((held, ran)) => format!("{held} of {ran} pass"),
        None => "not run".into(),
    });
    table += &row("after kill -9", &|column| {
        if column.version >= expect::TCX {
            "nothing remains".into()
        } else {
            "removed by the next start".into()
        }
    });
    table += &row(
        "largest program, instructions verified (limit 1,000,000)",
        &|column| {
            column
                .verified
                .map_or_else(|| "unknown".into(), |most| most.to_string())
        },
    );
    table
}

fn shown(cases: Option<Cases>) -> String {
    match cases {
        Some(Cases {
            right,
            unknown,
            wrong,
            not_staged,
        }) => format!("{right} / {unknown} / {wrong} / {not_staged}"),
        None => "not run".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(release: &str, version: Version, way: Option<&str>) -> Column {
        Column {
            release: release.into(),
            version,
            facts: vec![("clock".into(), way.map(str::to_owned))],
            demo: Some(Cases {
                right: 345,
                unknown: 1,
                wrong: 2,
                not_staged: 3,
            }),
            perf: None,
            cleanup: Some((8, 9)),
            verified: (version > (5, 10)).then_some(7116),
        }
    }

    #[test]
    fn each_kernel_is_a_column_and_the_oldest_the_first() {
        let columns = vec![
            column("7.3.4", (7, 3), Some("test run")),
            column("5.10.0-46", (5, 10), None),
        ];
        let wanted = "\
| kernel | 5.10.0-46 | 7.3.4 |
|---|---|---|
| `clock` | unavailable | test run |
| attach type of classifiers | clsact | TCX or clsact |
| `rsttrace demo --all`, ring buffer: right / unknown / wrong / not staged | 345 / 1 / 2 / 3 | 345 / 1 / 2 / 3 |
| `rsttrace demo`, perf event array: the same | not run | not run |
| cleanup tests | 8 of 9 pass | 8 of 9 pass |
| after kill -9 | removed by the next start | nothing remains |
| largest program, instructions verified (limit 1,000,000) | unknown | 7116 |
";
        assert_eq!(table(columns), wanted);
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        let wanted = format!("a\n{BEGIN}new\n{END}b\n");
        assert_eq!(replaced(&text, "new\n"), Some(wanted));
        assert_eq!(replaced("a\n", "new\n"), None);
    }

    #[test]
    fn the_page_has_the_marks() -> Result<()> {
        let text = fs::read_to_string(workspace::root().join("docs/KERNELS.md"))?;
        assert!(replaced(&text, "").is_some());
        Ok(())
    }
}

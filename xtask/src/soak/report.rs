//! Was it good, and how is that told?

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, Result};

use super::{census::Share, samples::Sample};
use crate::bench::{
    stats::number,
    told::{Total, sent},
};

/// What a soak showed.
pub struct Report {
    /// How long it was to be.
    pub minutes: u32,
    /// Names of the phases, in the order of their numbers. One more number stands for the rest at the end.
    pub phases: Vec<&'static str>,
    /// The tracer's summary.
    pub totals: Vec<Total>,
    /// Whether it said so.
    pub adds_up: bool,
    /// Sent resets in its last metrics, whatever became of them.
    pub in_metrics: u64,
    /// The kernel's counts.
    pub share: Share,
    /// Second by second.
    pub samples: Vec<Sample>,
}

const MB: f64 = 1e6;
/// By how much memory may grow from the second quarter to the last: a part of it, or bytes.
const GROWTH: (f64, f64) = (0.1, 2.0 * MB);
/// What may be held at the end more than before the first flood.
const HELD: f64 = 6.0 * MB;

impl Report {
    /// What is not as it should be.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let sent = sent(&self.totals);
        let mut require = |good: bool, what: String| {
            if !good {
                wrong.push(what);
            }
        };
        for total in &self.totals {
            let sum = total.detailed + total.suppressed + total.lost;
            let name = &total.name;
            require(
                total.seen == sum,
                format!("{name}: {} seen, {sum} accounted for", total.seen),
            );
        }
        require(
            self.adds_up,
            "the summary says it does not add up".to_owned(),
        );
        require(
            self.share.explains(sent.seen),
            format!("{} resets counted, but {:?}", sent.seen, self.share),
        );
        require(
            self.in_metrics == sent.seen,
            format!(
                "{} resets in the metrics, {} in the summary",
                self.in_metrics, sent.seen
            ),
        );
        match self.quarters() {
            Some([_, second, _, last]) => {
                let bearable = (second * GROWTH.0).max(GROWTH.1);
                require(
                    last <= second + bearable,
                    format!("memory grows: {} to {}", megabytes(second), megabytes(last)),
                );
            }
            None => require(false, "too few samples".to_owned()),
        }
        match self.ends() {
            Some((first, last)) => require(
                last <= first + HELD,
                format!(
                    "memory is kept: {} after {}",
                    megabytes(last),
                    megabytes(first)
                ),
            ),
            None => require(false, "no samples of rest".to_owned()),
        }
        wrong
    }

    /// Most memory in each quarter of the load: it goes up and down with the floods, so a median would tell which of them fell
    /// into a quarter.
    fn quarters(&self) -> Option<[f64; 4]> {
        let loaded: Vec<_> = self
            .samples
            .iter()
            .filter(|s| s.phase < self.phases.len())
            .collect();
        let quarter = loaded.len() / 4;
        let most = |which: usize| {
            let part = loaded.iter().skip(which * quarter).take(quarter);
            let most = part.map(|sample| sample.resident).max()?;
            Some(most as f64)
        };
        Some([most(0)?, most(1)?, most(2)?, most(3)?])
    }

    /// Memory before the first flood, and at the end.
    fn ends(&self) -> Option<(f64, f64)> {
        let first = self
            .samples
            .iter()
            .take_while(|sample| sample.phase == 0)
            .last()?;
        let last = self
            .samples
            .last()
            .filter(|sample| sample.phase == self.phases.len())?;
        Some((first.resident as f64, last.resident as f64))
    }

    /// Seconds, CPU seconds, context switches, most memory of a phase in all rounds.
    fn phase(&self, phase: usize) -> (f64, f64, u64, u64) {
        let mut sum = (0.0, 0.0, 0, 0);
        for pair in self.samples.windows(2) {
            let [before, after] = pair else { continue };
            if after.phase == phase {
                sum.0 += after.at - before.at;
                sum.1 += after.cpu - before.cpu;
                sum.2 += after.switches.saturating_sub(before.switches);
                sum.3 = sum.3.max(after.resident);
            }
        }
        sum
    }

    /// Writes all figures.
    pub fn write(&self, file: &Path) -> Result<()> {
        let json = serde_json::json!({
            "minutes": self.minutes,
            "phases": self.phases,
            "told": self.totals,
            "ours": self.share.ours,
            "others_least": self.share.others_least,
            "others_most": self.share.others_most,
            "quarters": self.quarters(),
            "wrong": self.wrong(),
            "samples": self.samples,
        });
        let folder = file.parent().context("a file is in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let text = serde_json::to_string_pretty(&json).context("write as JSON")?;
        fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))
    }
}

impl fmt::Display for Report {
    /// Markdown: a table, and a paragraph.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| phase | seconds | CPU | context switches a second | most memory |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|")?;
        let mut seen = Vec::new();
        for (at, name) in self.phases.iter().enumerate() {
            let same = (0..self.phases.len()).filter(|other| self.phases.get(*other) == Some(name));
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let parts: Vec<_> = same
                .filter(|other| *other >= at)
                .map(|other| self.phase(other))
                .collect();
            line(f, name, &parts)?;
        }
        line(f, "nothing, at the end", &[self.phase(self.phases.len())])?;
        let sent = sent(&self.totals);
        let others = match self.share.others_most {
            Some(0) => "nobody else sent any".to_owned(),
            Some(most) => format!(
                "others sent {} to {}",
                count(self.share.others_least),
                count(most)
            ),
            None => format!(
                "others sent at least {}, of namespaces that ended nobody knows",
                count(self.share.others_least)
            ),
        };
        write!(
            f,
            "\nIn {} minutes the kernel counted {} resets in the namespaces of the load ({others}). Of {} that rsttrace saw it \
             described {}, counted {} and lost {}.",
            self.minutes,
            count(self.share.ours),
            count(sent.seen),
            count(sent.detailed),
            count(sent.suppressed),
            count(sent.lost)
        )?;
        if let (Some(quarters), Some((first, last))) = (self.quarters(), self.ends()) {
            let [one, two, three, four] = quarters.map(megabytes);
            write!(
                f,
                " Its memory was {} before the first flood, {one}, {two}, {three} and {four} in the quarters of the time \
                 (the most), and {} at rest afterwards.",
                megabytes(first),
                megabytes(last)
            )?;
        }
        let wrong = self.wrong();
        if wrong.is_empty() {
            writeln!(f, " All as it should be.")
        } else {
            writeln!(f, " **Not as it should be: {}.**", wrong.join("; "))
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, parts: &[(f64, f64, u64, u64)]) -> fmt::Result {
    let seconds: f64 = parts.iter().map(|part| part.0).sum();
    let cpu: f64 = parts.iter().map(|part| part.1).sum();
    let switches: u64 = parts.iter().map(|part| part.2).sum();
    let most = parts.iter().map(|part| part.3).max().unwrap_or(0);
    let each = seconds.max(0.001);
    writeln!(
        f,
        "| {name} | {} | {} % | {} | {} |",
        number(seconds, 0),
        number(100.0 * cpu / each, 1),
        number(switches as f64 / each, 0),
        megabytes(most as f64)
    )
}

fn megabytes(bytes: f64) -> String {
    format!("{} MB", number(bytes / MB, 1))
}

fn count(value: u64) -> String {
    number(value as f64, 0)
}

/// What the metrics file says of sent resets, whatever became of them.
pub fn sent_in_metrics(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Ok(sum_of(&text, "rsttrace_events_total", r#"kind="sent""#))
}

fn sum_of(text: &str, name: &str, label: &str) -> u64 {
    let of_it = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('{') && rest.contains(label))
    });
    of_it
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::told;

    fn report(resident: impl Fn(usize) -> u64, summary: &str) -> Report {
        let sample = |number: usize| Sample {
            at: number as f64,
            phase: usize::from(number % 10 > 4) + usize::from(number >= 40) * 2,
            resident: resident(number),
            cpu: number as f64 / 10.0,
            switches: number as u64 * 20,
        };
        Report {
            minutes: 1,
            phases: vec!["quiet", "flood"],
            totals: told::totals(summary),
            adds_up: true,
            in_metrics: 50,
            share: Share {
                ours: 50,
                others_least: 0,
                others_most: Some(0),
            },
            samples: (0..41).map(sample).collect(),
        }
    }

    const GOOD: &str = "kernel, sent: 50 = 10 detailed + 40 suppressed + 0 lost\n";

    #[test]
    fn what_is_flat_and_adds_up_is_good() {
        let good = report(|_| 20_000_000, GOOD);
        assert_eq!(good.wrong(), Vec::<String>::new());
        let text = good.to_string();
        assert!(
            text.contains("| flood | 20 | 10.0 % | 20 | 20.0 MB |"),
            "{text}"
        );
        assert!(text.ends_with("All as it should be.\n"), "{text}");
    }

    #[test]
    fn growth_what_is_kept_and_what_is_missing_are_wrong() {
        let grows = report(|at| 20_000_000 + at as u64 * 150_000, GOOD).wrong();
        assert!(
            grows.len() == 1 && grows[0].starts_with("memory grows"),
            "{grows:?}"
        );
        let kept = report(|at| if at == 40 { 40_000_000 } else { 20_000_000 }, GOOD).wrong();
        assert!(
            kept.len() == 1 && kept[0].starts_with("memory is kept"),
            "{kept:?}"
        );
        let short = "kernel, sent: 50 = 10 detailed + 39 suppressed + 0 lost\n";
        assert_eq!(report(|_| 1, short).wrong().len(), 1);
        let missing = "kernel, sent: 49 = 10 detailed + 39 suppressed + 0 lost\n";
        assert_eq!(report(|_| 1, missing).wrong().len(), 2);
    }

    #[test]
    fn metrics_are_summed_by_label() {
        let text = "# HELP x\na{kind=\"sent\",outcome=\"lost\"} 2\na{kind=\"sent\",outcome=\"detailed\"} 40\n\
                    a{kind=\"received\",outcome=\"lost\"} 1\nab{kind=\"sent\"} 9\n";
        assert_eq!(sum_of(text, "a", r#"kind="sent""#), 42);
    }
}

//! Text of the summary.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::hash::Hash;
use std::time::Duration;

use super::Tally;
use super::{NO_PROCESS, Summary};
use crate::findings::{Findings, rank, sentence};
use crate::record::{NotAnalyzed, Severity};
use crate::text::{escape, pad, size, width};
use crate::words::count;

/// Lines of each table.
const TOP: usize = 10;

/// Findings that are shown, and with all counts.
const FINDINGS: [usize; 2] = [3, 20];

impl Summary {
    /// All of it as plain text, lines ended.
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        self.write_headline(out, self.totals.duration)?;
        let mut causes: Vec<_> = self.causes.iter().collect();
        causes.sort_by_key(|&(key, number)| (rank(key.0), Reverse(*number), *key));
        let causes = causes
            .into_iter()
            .map(|((severity, origin, cause), number)| {
                (
                    *number,
                    vec![
                        cause.to_string(),
                        severity.to_string(),
                        origin.name().replace('_', " "),
                    ],
                )
            });
        self.findings(out)?;
        table(out, "cause", causes.collect(), 0)?;
        if self.is_detailed {
            if self.knows_processes() {
                section(out, "process", &self.processes)?;
            }
            section(out, "peer", &self.peers)?;
        }
        section(out, "failed without a reset", &self.failed)?;
        self.lessons(out)?;
        self.kernel(out)?;
        self.own(out)
    }

    /// Where none is known, there is nothing to list.
    fn knows_processes(&self) -> bool {
        let (top, [others]) = self.processes.top(2);
        others > 0 || top.iter().any(|(name, _)| *name != NO_PROCESS)
    }

    /// One line about a trace that goes on.
    pub fn status(&self, duration: Duration, lost: u64) -> String {
        let all: u64 = self.causes.values().sum::<u64>() + self.failures.values().sum::<u64>();
        let mut text = format!("tracing for {}: ", elapsed(duration));
        if all + self.suppressed + self.left_out == 0 {
            text.push_str("no reset yet (`rsttrace demo` shows what one looks like)");
        } else {
            let parts = [
                (self.left_out, "excluded by filters"),
                (self.suppressed, "suppressed"),
                (lost, "lost"),
            ];
            let (shown, hidden) = (count(all - self.hidden), count(self.hidden));
            let _ = write!(text, "{shown} shown, {hidden} hidden as noise");
            for (number, what) in parts.iter().filter(|(number, _)| *number > 0) {
                let _ = write!(text, ", {} {what}", count(*number));
            }
        }
        text
    }

    /// The first line of the summary after this time.
    pub fn headline(&self, duration: Duration) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_headline(&mut out, duration);
        let line = out.trim_start().lines().next();
        line.unwrap_or_default().to_owned()
    }

    fn write_headline(&self, out: &mut String, duration: Duration) -> std::fmt::Result {
        let of = |severity| -> u64 {
            let counts = self.causes.iter();
            counts
                .filter(|(key, _)| key.0 == severity)
                .map(|(_, number)| number)
                .sum()
        };
        let all: u64 = self.causes.values().sum();
        write!(out, "\n{}", plural(all - self.again, "reset", "resets"))?;
        if self.again > 0 {
            // Sent, forwarded and received on this host, for example.
            write!(out, ", seen {} times,", count(all))?;
        }
        if self.incidents < all - self.again {
            let incidents = plural(self.incidents, "incident", "incidents");
            write!(out, " of {incidents}")?;
        }
        write!(out, " in {}", elapsed(duration))?;
        if all > 0 {
            let faults = plural(of(Severity::Fault), "fault", "faults");
            let refused = count(of(Severity::Refused));
            write!(
                out,
                ": {faults}, {refused} refused, {} noise",
                count(of(Severity::Noise))
            )?;
        }
        if self.hidden > 0 {
            write!(out, " (counted only; --noise shows it)")?;
        }
        writeln!(out)?;
        if self.suppressed > 0 {
            let more = count(self.suppressed);
            let (up_to, filters) = if self.suppressed_may_match {
                ("up to ", " (the filters cannot be applied to them)")
            } else {
                ("", "")
            };
            writeln!(
                out,
                "{up_to}{more} more suppressed by the rate limit{filters}; use --every to report each reset"
            )?;
        }
        if self.corrections > 0 {
            let verdicts = plural(self.corrections, "verdict", "verdicts");
            writeln!(out, "{verdicts} corrected by later resets")?;
        }
        if self.left_out > 0 {
            writeln!(out, "{} more excluded by filters", count(self.left_out))?;
        }
        let [failed] = self.failed.total();
        if failed > 0 {
            let of = |severity| self.failures.get(&severity).copied().unwrap_or_default();
            writeln!(
                out,
                "{} without a reset: {}, {} refused, {} noise",
                plural(failed, "failure", "failures"),
                plural(of(Severity::Fault), "fault", "faults"),
                count(of(Severity::Refused)),
                count(of(Severity::Noise))
            )?;
        }
        Ok(())
    }

    /// What happened most among the worst, and what to do.
    fn findings(&self, out: &mut String) -> std::fmt::Result {
        let findings = self.findings.clone();
        let findings = findings.map_or_else(Vec::new, Findings::finish);
        if findings.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nfindings, worst first")?;
        let most = FINDINGS[usize::from(self.is_detailed)];
        for finding in findings.iter().take(most) {
            writeln!(out, "  {}", sentence(finding))?;
            if let Some(advice) = finding.advice(1).first() {
                writeln!(out, "    → {}", escape(advice))?;
            }
        }
        let others = findings.len().saturating_sub(most);
        if others > 0 {
            let others = plural(others as u64, "more finding", "more findings");
            let how = if self.is_detailed {
                ""
            } else {
                " (-v shows them)"
            };
            writeln!(out, "  and {others}{how}")?;
        }
        Ok(())
    }

    fn lessons(&self, out: &mut String) -> std::fmt::Result {
        if self.totals.lessons.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nlearned idle timeouts")?;
        for lesson in self.totals.lessons.iter().take(TOP) {
            writeln!(out, "  {lesson}")?;
        }
        Ok(())
    }

    fn kernel(&self, out: &mut String) -> std::fmt::Result {
        if self.totals.is_running {
            return writeln!(out, "\nstill tracing: event loss is counted at the end");
        }
        // Zeros say that nothing was seen.
        if self.totals.is_enough {
            return writeln!(
                out,
                "\nstopped after --count: event loss is unknown (it is stored at the end of the recording)"
            );
        }
        if self.totals.is_cut_off {
            return writeln!(out, "\nevent loss is unknown: the recording is truncated");
        }
        writeln!(out)?;
        if self.totals.captures.is_some() {
            self.packets(out)?;
            return self.shortfalls(out);
        }
        let mut lost = false;
        for total in &self.totals.kernel {
            let sum = total
                .detailed
                .saturating_add(total.suppressed)
                .saturating_add(total.lost);
            let adds_up = sum == total.seen;
            lost |= total.lost > 0 || !adds_up;
            if !self.is_detailed && total.lost == 0 && adds_up {
                continue;
            }
            writeln!(
                out,
                "kernel, {}: {} = {} detailed + {} suppressed + {} lost{}",
                total.name,
                count(total.seen),
                count(total.detailed),
                count(total.suppressed),
                count(total.lost),
                if adds_up {
                    String::new()
                } else {
                    format!(
                        " (mismatch: {} unaccounted for)",
                        count(total.seen.abs_diff(sum))
                    )
                }
            )?;
        }
        if !lost {
            writeln!(out, "no events lost")?;
        } else {
            writeln!(out, "events lost (ring buffer full); increase --buffer")?;
        }
        self.shortfalls(out)
    }

    /// What of all captures was TCP, and what was not analyzed.
    fn packets(&self, out: &mut String) -> std::fmt::Result {
        let mut reasons: Vec<(&str, u64)> = Vec::new();
        let (mut all, mut tcp, mut not_tcp) = (0_u64, 0_u64, 0_u64);
        if self.captures().is_empty() {
            return Ok(());
        }
        for capture in self.captures() {
            all = all.saturating_add(capture.packets);
            tcp = tcp.saturating_add(capture.tcp);
            not_tcp = not_tcp.saturating_add(capture.not_tcp);
            for NotAnalyzed { reason, packets } in &capture.not_analyzed {
                match reasons.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, sum)) => *sum = sum.saturating_add(*packets),
                    None => reasons.push((reason, *packets)),
                }
            }
        }
        reasons.sort_by_key(|(_, packets)| Reverse(*packets));
        let left = reasons.iter().map(|(_, packets)| packets).sum();
        writeln!(
            out,
            "{}: {} TCP, {} other protocols, {} not analyzed",
            plural(all, "packet", "packets"),
            count(tcp),
            count(not_tcp),
            count(left)
        )?;
        for (reason, packets) in reasons.iter().take(TOP) {
            writeln!(out, "not analyzed, {reason}: {}", count(*packets))?;
        }
        let others = reasons.iter().skip(TOP).map(|(_, packets)| packets).sum();
        if others > 0 {
            writeln!(out, "not analyzed, other reasons: {}", count(others))?;
        }
        Ok(())
    }

    fn shortfalls(&self, out: &mut String) -> std::fmt::Result {
        for (name, number) in self
            .totals
            .shortfalls
            .iter()
            .filter(|(_, number)| *number > 0)
        {
            writeln!(out, "{name}: {}", count(*number))?;
        }
        Ok(())
    }
}

impl Summary {
    /// What the tracer itself cost.
    fn own(&self, out: &mut String) -> std::fmt::Result {
        let Some(vitals) = self.totals.vitals.as_ref().filter(|_| self.is_detailed) else {
            return Ok(());
        };
        if let Some(own) = vitals.process {
            let memory = size(own.most_resident);
            writeln!(
                out,
                "rsttrace: {} CPU time, peak resident memory {memory}",
                seconds(own.cpu)
            )?;
        }
        if let Some(cost) = vitals.program_cost() {
            let runs = plural(cost.runs, "run", "runs");
            writeln!(out, "eBPF programs: {} in {runs}", seconds(cost.time))?;
        }
        let buffer = vitals.buffer;
        if buffer.capacity > 0 {
            let percent = buffer.most_read as f64 * 100.0 / buffer.capacity as f64;
            let size = size(buffer.capacity);
            writeln!(out, "event buffer: {percent:.1} % of {size} used at peak")?;
        }
        Ok(())
    }
}

fn section<K: Clone + Eq + Hash + Ord + ToString>(
    out: &mut String,
    title: &str,
    tally: &Tally<K>,
) -> std::fmt::Result {
    let (top, [others]) = tally.top(TOP);
    let rows = top
        .into_iter()
        .map(|(key, [number])| (number, vec![key.to_string()]));
    table(out, title, rows.collect(), others)
}

/// Numbers flush right, then columns flush left.
fn table(
    out: &mut String,
    title: &str,
    rows: Vec<(u64, Vec<String>)>,
    others: u64,
) -> std::fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(number, row)| (count(number), row))
        .collect();
    if others > 0 {
        rows.push((count(others), vec!["others".to_owned()]));
    }
    let numbers = rows
        .iter()
        .map(|(number, _)| number.len())
        .max()
        .unwrap_or(0)
        .max("resets".len());
    let columns = rows.iter().map(|(_, row)| row.len()).max().unwrap_or(0);
    let widest: Vec<_> = (0..columns)
        .map(|at| {
            rows.iter()
                .filter_map(|(_, row)| row.get(at))
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    writeln!(out, "\n{:>numbers$}  {title}", "")?;
    for (number, row) in rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widest)
            .map(|(cell, &widest)| pad(cell, widest))
            .collect();
        writeln!(out, "{number:>numbers$}  {}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `0.02 s`, `20.01 s`.
fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// `20.0 s`, `5 min 3 s`, `2 h 5 min`.
fn elapsed(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", count(seconds / 3600), seconds % 3600 / 60),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::self_stats::KernelTotal;
    use crate::summary::Totals;

    #[test]
    fn losses_that_do_not_add_up_are_said() {
        let mut summary = Summary::default();
        summary.total(Totals {
            kernel: vec![KernelTotal {
                name: "sent".into(),
                seen: 10,
                detailed: 7,
                suppressed: 1,
                lost: 1,
            }],
            ..Totals::default()
        });
        let text = summary.render();
        assert!(text.contains("10 = 7 detailed + 1 suppressed + 1 lost (mismatch: 1"));
        assert!(!text.contains("no events lost"));
    }

    #[test]
    fn without_losses_that_is_said_too() {
        let mut summary = Summary::default();
        summary.total(Totals {
            shortfalls: vec![("tombstones".into(), 0)],
            ..Totals::default()
        });
        assert!(summary.render().contains("no events lost"));
        assert!(!summary.render().contains("tombstones"));
    }
}

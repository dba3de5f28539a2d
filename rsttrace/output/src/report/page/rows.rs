//! Tables of all records and of suppressed resets.

use std::collections::BTreeMap;
use std::time::Duration;

use maud::{Markup, html};

use super::{class, shown};
use crate::findings::rank;
use crate::record::{Direction, Record, SuppressedRecord};
use crate::words::{self, count, things};

/// Characters of a process's name and of a sentence.
pub(super) const NAME: usize = 40;
pub(super) const SENTENCE: usize = 300;
/// Processes that can be chosen.
const MOST_PROCESSES: usize = 200;
/// Counts that are listed.
const MOST_SUMS: usize = 50;
/// Bytes of rows: the page stays below five megabytes.
const MOST_BYTES: usize = 4 << 20;

/// The records, in the order given; `all` is how many there were.
pub(super) fn section(records: &[Record], all: u64) -> Markup {
    if records.is_empty() {
        return html! {};
    }
    let mut lines = Vec::new();
    let mut bytes = 0;
    for record in records {
        let line = row(record).into_string();
        bytes += line.len();
        if bytes > MOST_BYTES {
            break;
        }
        lines.push(line);
    }
    let number = lines.len() as u64;
    let listed = &records[..lines.len()];
    html! {
        section #records {
            h2 { "All records" }
            @if lines.len() < records.len() {
                p .note {
                    (count(number)) " of the most severe of " (count(all)) " records, to limit the size of the page. Findings and charts cover all of them."
                }
            } @else if number < all {
                p .note {
                    "The " (count(number)) " most severe of " (count(all)) " records, the newest of each severity. Findings and charts cover all of them."
                }
            }
            (filters(listed))
            div .scroll tabindex="0" role="region" aria-labelledby="rows-caption" {
                table #rows {
                    caption #rows-caption { "Resets by time (UTC)" }
                    thead {
                        tr {
                            @for name in ["time", "connection", "process", "severity", "cause", "idle time", "what happened"] {
                                th scope="col" { (name) }
                            }
                        }
                    }
                    tbody { @for line in &lines { (maud::PreEscaped(line)) } }
                }
            }
        }
    }
}

fn row(record: &Record) -> Markup {
    let verdict = &record.verdict;
    let time = record.time.parse::<jiff::Timestamp>().map_or_else(
        |_| shown(&record.time, NAME),
        |time| time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    );
    let way = match record.direction {
        Direction::Sent => "sent",
        Direction::Received => "recv",
        Direction::Forwarded => "fwd",
        Direction::Observed => "seen",
    };
    let arrow = if record.left_local() {
        " → "
    } else {
        " ← "
    };
    let quiet = record.idle.as_ref().and_then(|idle| idle.quiet_before);
    html! {
        tr {
            td { (time) }
            td { (way) " " code { (record.local) } (arrow) code { (record.remote) } }
            td {
                @if let Some(process) = &record.process { b { (shown(&process.comm, NAME)) } "[" (process.pid) "]" } @else { "–" }
            }
            td class=(class(rank(verdict.severity))) { (verdict.severity) }
            td { b { (verdict.cause) } " " small { i { (verdict.origin) } ", " (verdict.confidence) } }
            @match quiet {
                Some(quiet) => td data-v=(quiet) { (silence(quiet)) },
                None => td {},
            }
            td { (shown(verdict.summary(), SENTENCE)) }
        }
    }
}

/// `27.0 ms`, `300.0 s`.
fn silence(seconds: f64) -> String {
    if seconds < 1.0 {
        return words::seconds(seconds);
    }
    words::silence(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// Shown by the script, which they need.
fn filters(records: &[Record]) -> Markup {
    let of = |name: fn(&Record) -> Option<String>| {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for record in records {
            if let Some(name) = name(record) {
                *counts.entry(name).or_default() += 1;
            }
        }
        counts
    };
    let severities = of(|it| Some(it.verdict.severity.to_string()));
    let causes = of(|it| Some(it.verdict.cause.to_string()));
    let origins = of(|it| Some(it.verdict.origin.to_string()));
    let processes = of(|it| Some(shown(&it.process.as_ref()?.comm, NAME)));
    html! {
        form #filters hidden {
            label { "text " input type="search" name="text" placeholder="address, port, word" autocomplete="off"; }
            (select("severity", &severities))
            (select("cause", &causes))
            (select("origin", &origins))
            (select("process", &processes))
            button type="reset" { "show all" }
            output name="shown" aria-live="polite" {}
        }
    }
}

fn select(name: &str, counts: &BTreeMap<String, u64>) -> Markup {
    html! {
        label {
            (name) " "
            select name=(name) {
                option value="" { "any" }
                @for (value, number) in counts.iter().take(MOST_PROCESSES) {
                    option value=(value) { (value) " (" (count(*number)) ")" }
                }
            }
        }
    }
}

/// The largest sums of floods, given largest first; `all` resets are in sums.
pub(super) fn sums(sums: &[SuppressedRecord], all: u64) -> Markup {
    let largest = sums.get(..MOST_SUMS).unwrap_or(sums);
    let listed = largest
        .iter()
        .fold(0_u64, |listed, sum| listed.saturating_add(sum.count));
    let left = all.saturating_sub(listed);
    html! {
        div .scroll tabindex="0" role="region" aria-labelledby="sums-caption" {
            table #sums {
                caption #sums-caption { "Counts, largest first (UTC)" }
                thead {
                    tr { th scope="col" .number { "resets" } @for name in ["until", "what", "port", "from or to"] { th scope="col" { (name) } } }
                }
                tbody {
                    @for sum in largest {
                        tr {
                            td .number { (count(sum.count)) }
                            td { (super::second(&sum.time)) }
                            td {
                                @if let Some(cause) = sum.cause { (cause) } @else { "several causes" }
                                @if let Some(direction) = sum.direction { ", " (direction) }
                                @if let Some(reason) = sum.reason.as_deref() { ", " (shown(reason, NAME)) }
                            }
                            td {
                                @match (sum.local_port, sum.remote_port) {
                                    (Some(port), _) => { (port) }
                                    (None, Some(port)) => { "theirs: " (port) }
                                    (None, None) => { "many" }
                                }
                            }
                            td { (sum.remote_network.as_deref().map_or_else(|| "many networks".to_owned(), |it| shown(it, NAME))) }
                        }
                    }
                }
            }
        }
        @if left > 0 { p .note { "Smaller counts: " (things(left, "reset")) "." } }
    }
}

//! One self-contained HTML file: no network access, no fonts, no other files.
//!
//! Text from records is escaped twice: for readers (controls and what reorders text become visible) and for HTML. The
//! page is complete without its script, which only filters and sorts.

mod charts;
mod findings;
mod path_diagram;
mod rows;

use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::About;
use super::aggregate::Gathering;
use crate::findings::rank;
use crate::record::{Severity, SuppressedRecord};
use crate::text::escape;
use crate::words::{self, count, things};

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
/// The page loads nothing; only its own style and script run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                      base-uri 'none'; form-action 'none'";
/// Marks a page of rsttrace, within the first [`MARKED`] bytes.
const GENERATOR: &str = r#"<meta name="generator" content="rsttrace "#;
const MARKED: usize = 1_024;
/// Bars of one table.
const BARS: usize = 10;
const WAYS: usize = 6;
/// Names of hosts in a heading.
const HOSTS: usize = 3;
/// Failures without a reset that are listed.
const FAILURES: usize = 10;

/// Severities, worst first: the name in records, what it means.
const SEVERITIES: [(Severity, &str); 3] = [
    (Severity::Fault, "connections lost"),
    (Severity::Refused, "attempts refused"),
    (Severity::Noise, "noise: no impact"),
];

pub fn page(mut gathering: Gathering, about: &About) -> String {
    let rows = gathering.take_rows();
    let findings = std::mem::take(&mut gathering.findings).finish();
    let sums = gathering.take_sums();
    let ways = std::mem::take(&mut gathering.chains).finish(WAYS);
    let title = title(&gathering);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(concat!("rsttrace ", env!("CARGO_PKG_VERSION")));
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a .skip href="#findings" { "Skip to the findings" }
                header {
                    p .kicker { "rsttrace report" }
                    h1 { (title) }
                    p .lead { (lead(&gathering, about)) }
                    (key_figures(&gathering))
                }
                main {
                    section #findings {
                        h2 { "Findings" }
                        (findings::section(&findings, rows.len() as u64 == gathering.records()))
                    }
                    (charts::timeline(&gathering))
                    (charts::quiet(&gathering))
                    (path_diagram::section(&ways))
                    (charts::most(&gathering, BARS))
                    (uncounted(&gathering, &sums))
                    (rows::section(&rows, gathering.records()))
                    (about_page(&gathering, about))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    markup.into_string()
}

/// Whether a file that begins so is a page of this program's, of whatever version: at least a KiB, unless the file is shorter.
pub fn is_page(head: &[u8]) -> bool {
    let mark = GENERATOR.as_bytes();
    head.starts_with(b"<!DOCTYPE html>")
        && head
            .get(..head.len().min(MARKED))
            .is_some_and(|it| it.windows(mark.len()).any(|part| part == mark))
}

fn title(gathering: &Gathering) -> String {
    let hosts: Vec<_> = gathering
        .hosts
        .keys()
        .take(HOSTS)
        .map(|it| shown(it, 60))
        .collect();
    let more = gathering.hosts.len().saturating_sub(HOSTS);
    match (hosts.is_empty(), more) {
        (true, _) => "TCP resets".to_owned(),
        (false, 0) => format!("TCP resets on {}", hosts.join(", ")),
        (false, more) => format!("TCP resets on {} and {more} more", hosts.join(", ")),
    }
}

/// What there was, in one sentence.
fn lead(gathering: &Gathering, about: &About) -> String {
    let (Some(first), Some(last)) = (gathering.first, gathering.last) else {
        return if about.unread.is_nothing() {
            "No resets.".to_owned()
        } else {
            "No resets in the readable part of the input; see below for the rest.".to_owned()
        };
    };
    let resets = gathering.resets();
    let mut text = things(resets, "reset");
    if first < last {
        let span = words::seconds(last.duration_since(first).as_secs_f64());
        let _ = write!(text, " in {span}");
    }
    if resets < gathering.records() {
        // Each end and each hop of a reset on one host has a record.
        let _ = write!(text, " ({})", things(gathering.records(), "record"));
    }
    if gathering.suppressed > 0 {
        let _ = write!(
            text,
            ", and {} more suppressed by the rate limit",
            count(gathering.suppressed)
        );
    }
    if day_and_time(first) == day_and_time(last) {
        let _ = write!(text, ": at {} (UTC).", day_and_time(first));
        return text;
    }
    let _ = write!(
        text,
        ": from {} to {} (UTC).",
        day_and_time(first),
        if same_day(first, last) {
            last.strftime("%H:%M:%S").to_string()
        } else {
            day_and_time(last)
        }
    );
    text
}

fn key_figures(gathering: &Gathering) -> Markup {
    html! {
        dl .figures {
            @for ((severity, meaning), number) in SEVERITIES.iter().zip(gathering.resets) {
                div class=(class(rank(*severity))) {
                    dt { (meaning) }
                    dd { (count(number)) }
                }
            }
            @if gathering.suppressed > 0 {
                div {
                    dt { "suppressed in floods" }
                    dd { (count(gathering.suppressed)) }
                }
            }
            @if gathering.failed > 0 {
                div {
                    dt { "failures without a reset" }
                    dd { (count(gathering.failed)) }
                }
            }
        }
    }
}

/// What the records of resets do not contain: sums of floods, and failures without a reset.
fn uncounted(gathering: &Gathering, sums: &[SuppressedRecord]) -> Markup {
    let mut failures: Vec<_> = gathering.failures.iter().collect();
    failures.sort_by_key(|(group, failures)| (group.severity, std::cmp::Reverse(failures.number)));
    let listed: u64 = failures.iter().take(FAILURES).map(|it| it.1.number).sum();
    html! {
        @if !sums.is_empty() {
            section #floods {
                h2 { "Suppressed resets" }
                p { "In a flood only a sample of the resets has records. The others are counted exactly." }
                (rows::sums(sums, gathering.suppressed))
            }
        }
        @if !failures.is_empty() {
            section #failures {
                h2 { "Failures without a reset" }
                p { (things(gathering.failed, "connect or connection")) " failed without a reset: timeouts, ICMP messages, full accept queues." }
                ul {
                    @for (group, failures) in failures.iter().take(FAILURES) {
                        li {
                            (group.severity.name()) ", " (group.kind.name()) ", " (shown(&group.process, 60))
                            @if let Some(address) = group.address { ", " (address) }
                            ": "
                            (count(failures.number)) ", the newest: " (shown(&failures.summary, rows::SENTENCE))
                            @if let Some(advice) = &failures.advice { " → " (shown(advice, rows::SENTENCE)) }
                        }
                    }
                    @if listed < gathering.failed { li { "others (" (count(gathering.failed - listed)) ")" } }
                }
            }
        }
    }
}

fn about_page(gathering: &Gathering, about: &About) -> Markup {
    let unread = &about.unread;
    html! {
        section #about {
            h2 { "About this report" }
            dl .about {
                dt { "Source" }
                dd { (shown(&about.source, 400)) }
                dt { "Generated" }
                dd {
                    (day_and_time(about.generated)) " (UTC) by rsttrace " (env!("CARGO_PKG_VERSION"))
                }
                @if !gathering.hosts.is_empty() {
                    dt { "Hosts" }
                    dd {
                        @for (index, (host, number)) in gathering.hosts.iter().enumerate() {
                            @if index > 0 { ", " }
                            (shown(host, 60)) " (" (count(*number)) ")"
                        }
                    }
                }
                dt { "Lost events" }
                dd {
                    @match about.lost {
                        None => { "The input does not say whether events were lost." }
                        Some(0) => { "None." }
                        Some(lost) => { (things(lost, "event")) " lost: the numbers in this report are too low by this amount." }
                    }
                }
                dt { "Skipped input" }
                dd {
                    @if unread.is_nothing() {
                        "None: the input was read completely."
                    }
                    @if let Some(early) = &unread.early {
                        p { (shown(early, 400)) }
                    }
                    @if !unread.left_out.is_empty() {
                        ul { @for (name, number) in &unread.left_out { li { (shown(name, 100)) ": " (count(*number)) } } }
                    }
                    @if unread.lines > 0 {
                        p {
                            (things(unread.lines, "line")) " of the input "
                            (if unread.lines == 1 { "is not a record:" } else { "are not records:" })
                        }
                        ul {
                            @for line in &unread.first { li { (shown(line, 240)) } }
                            @if unread.lines > unread.first.len() as u64 {
                                li { "and " (count(unread.lines - unread.first.len() as u64)) " more" }
                            }
                        }
                    }
                }
                dt { "Confidence" }
                dd {
                    b { "certain" } ": the kernel gave the reason, or two independent facts agree. "
                    b { "likely" } ": one strong heuristic. "
                    b { "possible" } ": a hint only. A finding has the lowest confidence of its records."
                }
            }
        }
    }
}

/// Text from records: limited in length, with control characters made visible. Not yet escaped for HTML.
fn shown(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => escape(text).into_owned(),
        Some((end, _)) => format!("{}…", escape(&text[..end])),
    }
}

/// The class that gives a severity its color.
fn class(rank: usize) -> &'static str {
    ["s0", "s1", "s2"][rank.min(2)]
}

fn severity_name(rank: usize) -> &'static str {
    SEVERITIES[rank.min(2)].0.name()
}

/// `2026-01-05 12:03:41`
fn day_and_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn same_day(one: Timestamp, other: Timestamp) -> bool {
    one.strftime("%F").to_string() == other.strftime("%F").to_string()
}

/// The time of a record, to the second; unchanged if it is not a time.
fn second(time: &str) -> String {
    time.parse().map_or_else(|_| shown(time, 40), day_and_time)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::record::Output;
    use crate::record::Record;
    use crate::report::Unread;

    fn about() -> About {
        About {
            source: "<b>file</b>".to_owned(),
            generated: "2026-01-06T00:00:00Z".parse().unwrap(),
            lost: None,
            unread: Unread {
                lines: 1,
                first: vec!["line 1: <script>alert(1)</script>".to_owned()],
                ..Unread::default()
            },
        }
    }

    fn hostile() -> Record {
        let text = include_str!("../../../tests/data/records/hostile_names.json");
        let mut record: Record = serde_json::from_str(text).unwrap();
        let script =
            "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'\u{202e}\x1b[31m";
        record.host = Some(script.into());
        record.verdict.edit(|text| text.summary = script.to_owned());
        record
            .verdict
            .edit(|text| text.evidence[0].detail = script.to_owned().into());
        record
            .verdict
            .edit(|text| text.advice = vec![script.to_owned().into()]);
        let process = record.process.as_mut().unwrap();
        process.comm = script.into();
        process.unit = Some(script.into());
        record
    }

    #[test]
    fn nothing_from_records_becomes_markup() {
        let mut gathering = Gathering::default();
        gathering.add(Output::Reset(Box::new(hostile())));
        let text = page(gathering, &about());
        assert_eq!(text.matches("<script").count(), 1, "{text}");
        assert_eq!(text.matches("</script").count(), 1);
        assert!(!text.contains("<img") && !text.contains("<b>file"));
        assert!(text.contains("&lt;img src=x onerror"));
        assert!(text.contains("\\u{202e}\\x1b[31m"));
        assert!(!text.chars().any(|c| c != '\n' && crate::text::is_unsafe(c)));
    }

    #[test]
    fn the_greatest_numbers_do_no_harm() {
        let text = include_str!("../../../tests/data/suppressed.json");
        let mut sum: SuppressedRecord = serde_json::from_str(text).unwrap();
        sum.count = u64::MAX;
        let text = include_str!("../../../tests/data/records/idle_timeout_middlebox.json");
        let mut record: Record = serde_json::from_str(text).unwrap();
        let idle = record.idle.as_mut().unwrap();
        let learned = idle.learned.as_mut().unwrap();
        (learned.samples, learned.of) = (u64::MAX, u64::MAX);
        learned.timeout = f64::MAX;
        let mut gathering = Gathering::default();
        for number in 0..60 {
            gathering.add(Output::Suppressed(Box::new(sum.clone())));
            let mut record = record.clone();
            let idle = record.idle.as_mut().unwrap();
            idle.quiet_before = Some([f64::MAX, f64::MIN, 0.0, 1e-300][number % 4]);
            idle.candidates[0].timeout = [f64::MAX, f64::MIN, 0.0, 1e-300][number / 4 % 4];
            record.time = [
                "9999-12-30T22:00:00Z",
                "-009999-01-02T00:00:00Z",
                "2262-04-11T00:00:00Z",
                "1970-01-01T00:00:00Z",
            ][number / 16]
                .to_owned();
            gathering.add(Output::Reset(Box::new(record)));
        }
        let mut about = about();
        about.lost = Some(u64::MAX);
        about.unread.lines = u64::MAX;
        let text = page(gathering, &about);
        assert!(text.contains("18,446,744,073,709,551,615"));
    }

    #[test]
    fn skipped_input_is_listed() {
        let mut about = about();
        about.unread = Unread::default();
        assert!(page(Gathering::default(), &about).contains("was read completely"));
        about
            .unread
            .leave_out("frames cut before the end of the TCP header", 12);
        about.unread.leave_out("malformed packets", 0);
        about.unread.early = Some("it ends within a frame".to_owned());
        let text = page(Gathering::default(), &about);
        assert!(text.contains("No resets in the readable part"));
        assert!(text.contains("frames cut before the end of the TCP header: 12"));
        assert!(text.contains("it ends within a frame"));
        assert!(!text.contains("was read completely") && !text.contains("malformed"));
    }

    #[test]
    fn a_page_is_known_by_its_beginning() {
        let text = page(Gathering::default(), &about());
        assert!(is_page(&text.as_bytes()[..MARKED]));
        assert!(is_page(text.as_bytes()));
        let other = text.replace("content=\"rsttrace", "content=\"hand");
        assert!(!is_page(other.as_bytes()) && !is_page(b"") && !is_page(b"<!DOCTYPE html>"));
    }

    #[test]
    fn one_reset_is_at_a_time_and_not_within_one() {
        let mut gathering = Gathering::default();
        gathering.add(Output::Reset(Box::new(hostile())));
        let text = page(gathering, &about());
        assert!(text.contains("1 reset: at 2026-01-05 "), "{text}");
        assert!(!text.contains("All of them within"));
    }

    #[test]
    fn counts_beyond_the_limit_are_summed_up() {
        let text = include_str!("../../../tests/data/suppressed.json");
        let mut sum: SuppressedRecord = serde_json::from_str(text).unwrap();
        let mut gathering = Gathering::default();
        for count in 1..=2_000 {
            sum.count = count;
            gathering.add(Output::Suppressed(Box::new(sum.clone())));
        }
        let text = page(gathering, &about());
        assert!(text.contains(">2,000</td>") && !text.contains(">1,950</td>"));
        assert!(text.contains("Smaller counts: 1,902,225 resets"), "{text}");
    }

    #[test]
    fn without_a_reset_there_is_a_page_that_says_so() {
        let mut about = about();
        about.unread = Unread::default();
        assert!(page(Gathering::default(), &about).contains("No resets."));
    }

    #[test]
    fn equal_input_gives_equal_pages() {
        let make = || {
            let mut gathering = Gathering::default();
            gathering.add(Output::Reset(Box::new(hostile())));
            page(gathering, &about())
        };
        assert_eq!(make(), make());
    }
}

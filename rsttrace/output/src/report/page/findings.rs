//! The findings: sentence, confidence, advice, and the evidence of one record.

use maud::{Markup, html};

use super::{class, second, severity_name, shown};
use crate::findings::{Finding, number_of, sentence};
use crate::record::Confidence;
use crate::words::{self, count, things};

/// Findings that are shown.
const MOST: usize = 40;
/// Pieces of advice, facts that are missing, facts of one record.
const MOST_ADVICE: usize = 3;
const MOST_MISSING: usize = 4;
const MOST_FACTS: usize = 12;
/// Characters of a sentence from a record.
const LONG: usize = 400;

/// All of them, worst first. `all_rows`: every record is in the table.
pub(super) fn section(findings: &[Finding], all_rows: bool) -> Markup {
    let left: u64 = findings.iter().skip(MOST).map(|it| it.count).sum();
    html! {
        @if findings.is_empty() {
            p { "None." }
        }
        @for finding in findings.iter().take(MOST) {
            (article(finding, all_rows))
        }
        @if left > 0 {
            p .note {
                (things((findings.len() - MOST) as u64, "further finding")) " with " (things(left, "reset"))
                ", not more severe: see the table of records."
            }
        }
    }
}

fn article(finding: &Finding, all_rows: bool) -> Markup {
    let kind = &finding.kind;
    let process = kind.process.as_deref().unwrap_or_default();
    html! {
        article class={ "finding " (class(kind.severity)) } {
            h3 { (sentence(finding)) "." }
            p .meta {
                span .badge { (severity_name(kind.severity)) }
                " "
                span { (kind.cause) " · " (kind.origin) }
                span { (sureness(finding)) }
                span { (when(finding)) }
                @if !process.is_empty() { span { (who(finding)) } }
                @if all_rows {
                    span .show {
                        a href="#records" data-severity=(severity_name(kind.severity)) data-cause=(kind.cause)
                            data-process=(shown(process, super::rows::NAME)) { "show records" }
                    }
                }
            }
            @if finding.is_unknown() {
                @let missing = finding.missing(MOST_MISSING);
                p .missing { "What is known:" }
                @if missing.is_empty() {
                    p { "The records contain no evidence." }
                } @else {
                    ul { @for fact in missing { li { (shown(fact, LONG)) } } }
                }
            }
            @let advice = finding.advice(MOST_ADVICE);
            @if !advice.is_empty() {
                ul .advice { @for advice in advice { li { (shown(advice, LONG)) } } }
            }
            details {
                summary {
                    @if finding.count == 1 { "Evidence" } @else { "Evidence of one record" }
                }
                (example(finding))
            }
        }
    }
}

/// `certain`, or how many are how sure.
fn sureness(finding: &Finding) -> String {
    let [certain, likely, possible] = finding.sure;
    match finding.weakest() {
        Confidence::Certain => "certain".to_owned(),
        Confidence::Likely if certain == 0 => "likely".to_owned(),
        Confidence::Possible if certain + likely == 0 => "possible".to_owned(),
        _ => {
            let parts = [
                (certain, "certain"),
                (likely, "likely"),
                (possible, "possible"),
            ];
            let parts: Vec<_> = parts
                .iter()
                .filter(|(number, _)| *number > 0)
                .map(|(number, name)| format!("{} {name}", count(*number)))
                .collect();
            parts.join(", ")
        }
    }
}

fn when(finding: &Finding) -> String {
    let (first, last) = (second(&finding.first), second(&finding.last));
    if first == last {
        return first;
    }
    match (first.split_once(' '), last.split_once(' ')) {
        (Some((day, _)), Some((same, time))) if day == same => format!("{first} to {time}"),
        _ => format!("{first} to {last}"),
    }
}

/// Which processes, where they belong, and who was at the other ends.
fn who(finding: &Finding) -> String {
    let name = shown(finding.kind.process.as_deref().unwrap_or_default(), 40);
    let pids: Vec<_> = finding.pids.iter().collect();
    let mut text = match pids[..] {
        [] => name,
        [one] => format!("{name}[{one}]"),
        _ => format!("{name}, {} processes", number_of(pids.len())),
    };
    if let [place] = finding.places.iter().collect::<Vec<_>>()[..] {
        text.push_str(&format!(" in {}", shown(place, 60)));
    }
    let others: Vec<_> = finding
        .others
        .iter()
        .take(3)
        .map(|it| shown(it, 40))
        .collect();
    if !others.is_empty() {
        text.push_str(&format!(
            "; at the other end, on this host: {}",
            others.join(", ")
        ));
    }
    text
}

fn example(finding: &Finding) -> Markup {
    let record = &finding.example;
    html! {
        p {
            (second(&record.time)) ", " code { (record.source()) } " → " code { (record.destination()) }
            @if let Some(process) = &record.process { ", " (shown(&words::name(&process.comm, process.pid), 60)) }
            ": " (shown(record.verdict.summary(), LONG))
        }
        dl .evidence {
            @for fact in record.verdict.evidence().iter().take(MOST_FACTS) {
                dt { (shown(fact.kind.name(), 40)) }
                dd { (shown(&fact.detail, LONG)) }
            }
        }
    }
}

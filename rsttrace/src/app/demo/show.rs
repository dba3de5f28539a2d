//! The output of the demo: staged and reported.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::json;

use super::compare::{Case, Explained, Outcome, verdict};
use crate::cli::Failure;
use crate::demo::{Family, Holder, IpVersion, Scenario, Suite, Who};
use crate::terminal::{self, stdout_width};
use crate::text::escape;

pub fn list(scenarios: &[&Scenario]) -> Result<(), Failure> {
    let mut out = terminal::stdout();
    let width = scenarios
        .iter()
        .map(|scenario| scenario.name.len())
        .max()
        .unwrap_or(0);
    for scenario in scenarios {
        let family = match scenario.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
            Family::Both => "IPv4, IPv6",
        };
        let suite = match scenario.suite {
            Suite::Short => "",
            Suite::Long | Suite::Alone => "--all",
        };
        writeln!(
            out,
            "{:width$}  {:10}  {:5}  {}",
            scenario.name, family, suite, scenario.title
        )?;
    }
    Ok(())
}

/// A row for each truth, then the sums.
pub fn table(cases: &[Case], colors: bool) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(stdout_width().max(100)).unwrap_or(u16::MAX));
    table.set_header([
        "case",
        "ip",
        "socket",
        "view",
        "staged",
        "explained (one namespace)",
        "explained (whole host)",
        "result",
    ]);
    for case in cases {
        table.add_row(row(case, colors));
    }
    let mut out = terminal::stdout();
    writeln!(out, "{table}")?;
    let count =
        |want: fn(&Outcome) -> bool| cases.iter().filter(|case| want(&case.outcome)).count();
    let not_staged = count(|outcome| matches!(outcome, Outcome::NotStaged(_)));
    writeln!(
        out,
        "\n{} cases staged and judged for one namespace and for the whole host: {} right in both, {} unknown, {} wrong; {not_staged} not staged",
        cases.len() - not_staged,
        count(|outcome| *outcome == Outcome::Right),
        count(|outcome| *outcome == Outcome::Unknown),
        count(|outcome| matches!(outcome, Outcome::Wrong(_))),
    )?;
    // A scenario has a case for each end of its reset.
    let mut notes = Vec::new();
    for case in cases {
        let name = case.scenario.name;
        if case.attempts > 1 {
            let why = case.failed.join("; ");
            notes.push(format!(
                "{name}: staged {} times, because the staging failed: {why}",
                case.attempts
            ));
        }
        if case.lost_predates {
            notes.push(format!(
                "{name}: the socket was planned to be older than the tracer, but is not"
            ));
        }
    }
    notes.dedup();
    for note in notes {
        writeln!(out, "{}", escape(&note))?;
    }
    Ok(())
}

pub fn json(cases: &[Case]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for case in cases {
        serde_json::to_writer(&mut out, &json!(case)).map_err(io::Error::from)?;
        writeln!(out)?;
    }
    Ok(())
}

fn row(case: &Case, colors: bool) -> Vec<Cell> {
    let (result, color) = match &case.outcome {
        Outcome::Right => ("right".to_owned(), Color::Green),
        Outcome::Unknown => ("UNKNOWN".to_owned(), Color::Yellow),
        Outcome::Wrong(why) => {
            let details: Vec<_> = why.iter().map(|wrong| wrong.detail.as_str()).collect();
            (format!("WRONG: {}", details.join("; ")), Color::Red)
        }
        Outcome::NotStaged(why) => (format!("not staged: {why}"), Color::DarkGrey),
    };
    let mut result = Cell::new(escape(&result));
    if colors {
        result = result.fg(color).add_attribute(Attribute::Bold);
    }
    let judged = case.judged.as_ref();
    let truth = judged.map(|judged| &judged.namespace.truth);
    let staged = truth.map_or_else(
        || case.scenario.title.to_owned(),
        |truth| {
            let idle = truth
                .idle
                .map_or_else(String::new, |idle| format!(" ({})", idle.mode));
            let who = match &truth.who {
                Who::Process { pid, comm, did } => format!(" by {}[{pid}], {did}", escape(comm)),
                Who::Nobody => String::new(),
            };
            let really = truth.unknowable.map_or_else(String::new, |what| {
                format!("; not visible from a single host: {what}")
            });
            format!(
                "{}{idle}{who}{}{really}",
                verdict(truth.origin, truth.cause, None),
                nameable(&truth.named.any_of)
            )
        },
    );
    vec![
        Cell::new(case.scenario.name),
        Cell::new(match case.version {
            IpVersion::V4 => "4",
            IpVersion::V6 => "6",
        }),
        Cell::new(match (case.predates, case.lost_predates) {
            (true, _) => "before",
            (false, false) => "after",
            (false, true) => "after, not before",
        }),
        Cell::new(truth.map_or_else(String::new, |truth| {
            format!("{:?} {}", truth.view.place, truth.direction).to_lowercase()
        })),
        Cell::new(staged),
        Cell::new(judged.map_or_else(String::new, |judged| explained(&judged.namespace))),
        Cell::new(judged.map_or_else(String::new, |judged| explained(&judged.host))),
        result,
    ]
}

fn explained(explained: &Explained) -> String {
    let Some(record) = &explained.record else {
        return "–".to_owned();
    };
    let process = record.process.as_ref().map_or_else(String::new, |process| {
        format!(
            " by {}[{}] ({})",
            escape(&process.comm),
            process.pid,
            process.role
        )
    });
    let reported = &record.verdict;
    format!(
        "{}{process}",
        verdict(reported.origin, reported.cause, Some(reported.confidence))
    )
}

/// Whom a right record may name, where it is not the one who did it.
fn nameable(holders: &[Holder]) -> String {
    match holders {
        [] => " (no process expected)".to_owned(),
        holders => {
            let names: Vec<_> = holders
                .iter()
                .map(|holder| format!("{}[{}]", escape(&holder.comm), holder.pid))
                .collect();
            format!(" (expected process: {})", names.join(" or "))
        }
    }
}

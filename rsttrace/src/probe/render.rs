//! Text output of a probe.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};

use super::conclude::Conclusion;
use super::report::{Event, Observation, Report};
use super::trial::{Direction, OtherEnd, Speech};
use crate::text::escape;

/// A duration as it is read off a measurement: `0.0321 s` is `32 ms`, then `3.00 s`, `42.1 s`, `350.2 s (5 min 50 s)`.
pub fn seconds(duration: Duration) -> String {
    let value = duration.as_secs_f64();
    if value < 0.9995 {
        format!("{:.0} ms", value * 1e3)
    } else if value < 9.995 {
        format!("{value:.2} s")
    } else if value < 119.95 {
        format!("{value:.1} s")
    } else {
        let whole = value.round() as u64;
        let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
        let parts = [(hours, "h"), (minutes, "min"), (rest, "s")];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, unit)| format!("{number} {unit}"))
            .collect();
        format!("{value:.1} s ({})", parts.join(" "))
    }
}

/// The report as lines: what was done, what happened at each silence, what it means. Neighbouring silences with the same
/// fate share a row. `width` is in columns.
pub fn render(report: &Report, width: usize) -> String {
    let mut out = String::new();
    let spoken = match report.speech {
        Speech::Keepalive => "a keepalive probe",
        Speech::Bytes => "the given bytes",
        Speech::Message => "a message from one end, which the other answers",
    };
    let named = report.target.host.parse::<IpAddr>().is_err();
    let name = if named {
        format!("{} at ", escape(&report.target.host))
    } else {
        String::new()
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{name}{}: {} connections, idle for {} to {}, then {spoken}\n",
        report.address,
        report.observations.len(),
        of(report.silences.min),
        of(report.silences.max),
    );
    let tested = report.directions.iter().filter(|each| each.tested);
    let both = tested.count() > 1;
    for direction in [Direction::ToServer, Direction::ToClient] {
        let observations = report.observations.iter();
        let observations: Vec<_> = observations
            .filter(|observation| observation.direction == direction)
            .cloned()
            .collect();
        if observations.is_empty() {
            continue;
        }
        if both {
            let _ = writeln!(
                out,
                "{}: {} connections",
                direction.description(),
                observations.len()
            );
        }
        table(&mut out, observations, width);
        let about = report.directions.iter();
        let about = about.filter(|each| both && each.direction == direction);
        if let Some(conclusion) = about.filter_map(|each| each.conclusion.as_ref()).next() {
            let _ = writeln!(
                out,
                "{}: {}",
                headline(conclusion),
                escape(&conclusion.summary)
            );
        }
        out.push('\n');
    }
    let conclusion = &report.conclusion;
    let _ = writeln!(out, "{}", headline(conclusion));
    let _ = writeln!(out, "  {}", escape(&conclusion.summary));
    for note in &conclusion.notes {
        let _ = writeln!(out, "  note: {}", escape(note));
    }
    for advice in &conclusion.advice {
        let _ = writeln!(out, "  → {}", escape(advice));
    }
    for direction in &report.directions {
        if let Some(advice) = &direction.advice {
            let _ = writeln!(
                out,
                "  tested: {} after the silence; not tested: {}. {advice}",
                Direction::ToServer.description(),
                direction.direction.description(),
            );
        }
    }
    let ended = if report.interrupted {
        "interrupted after"
    } else {
        "took"
    };
    let _ = writeln!(out, "  {ended} {}", of(report.took));
    out
}

/// One direction's connections. Neighbouring silences with the same fate share a row.
fn table(out: &mut String, observations: Vec<Observation>, width: usize) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table.set_header(["idle time", "connections", "result"]);
    let (unfinished, seen): (Vec<_>, Vec<_>) = observations
        .into_iter()
        .partition(|observation| observation.event == Event::Unfinished);
    // Last, or they would tear the others apart.
    for run in runs(&seen).chain(runs(&unfinished)) {
        table.add_row([silences(run), run.len().to_string(), happened(run)]);
    }
    for line in table.to_string().lines() {
        // Without the padding on either side.
        let _ = writeln!(out, "{}", line.strip_prefix(' ').unwrap_or(line).trim_end());
    }
}

fn headline(conclusion: &Conclusion) -> String {
    let mode = conclusion
        .mode
        .map_or("no conclusion", |mode| mode.name())
        .replace('_', " ")
        .to_uppercase();
    let bounds = match (conclusion.at_least, conclusion.at_most) {
        (Some(least), Some(most)) if of(least) == of(most) => String::new(),
        (Some(least), Some(most)) => format!(" (between {} and {})", of(least), of(most)),
        (Some(least), None) => format!("no idle timeout up to {}", of(least)),
        (None, Some(most)) => format!("idle timeout below {}", of(most)),
        (None, None) => String::new(),
    };
    match conclusion.timeout {
        Some(timeout) => format!(
            "{mode} {}: idle timeout {}{bounds}",
            conclusion.confidence,
            of(timeout)
        ),
        None if conclusion.mode.is_some() => {
            format!("{mode} {}: {bounds}", conclusion.confidence)
        }
        None => mode,
    }
}

fn of(value: f64) -> String {
    seconds(Duration::try_from_secs_f64(value).unwrap_or_default())
}

/// Neighbours with the same fate.
fn runs(observations: &[Observation]) -> impl Iterator<Item = &[Observation]> {
    observations.chunk_by(|a, b| {
        a.event == b.event
            && a.data == b.data
            && a.error == b.error
            && (a.round == 0) == (b.round == 0)
            && (a.event == Event::Survived || a.other_end == b.other_end)
    })
}

fn silences(run: &[Observation]) -> String {
    let bounds = |value: fn(&Observation) -> f64| {
        let least = run.iter().map(value).fold(f64::INFINITY, f64::min);
        (least, run.iter().map(value).fold(0.0, f64::max))
    };
    let (least, most) = bounds(|observation| observation.silence);
    if run.iter().all(|observation| observation.round == 0) {
        "none (control)".to_owned()
    } else if of(least) == of(most) {
        of(least)
    } else {
        format!("{} … {}", of(least), of(most))
    }
}

fn happened(run: &[Observation]) -> String {
    let Some(first) = run.first() else {
        return String::new();
    };
    let least = run
        .iter()
        .map(|each| each.quiet)
        .fold(f64::INFINITY, f64::min);
    let most = run.iter().map(|each| each.quiet).fold(0.0, f64::max);
    let quiet = if of(least) == of(most) {
        of(least)
    } else {
        format!("{} … {}", of(least), of(most))
    };
    let error = || first.error.as_deref().map(escape).unwrap_or_default();
    let what = match first.event {
        Event::Survived => match first.data {
            Some(true) => "survived: the application answered".to_owned(),
            Some(false) => "survived: acknowledged, no answer from the application".to_owned(),
            None => "survived".to_owned(),
        },
        Event::FinInSilence => format!("FIN after {quiet} idle"),
        Event::RstInSilence => format!("RST after {quiet} idle"),
        Event::FinOnPacket => "FIN on the next packet".to_owned(),
        Event::RstOnPacket => "RST on the next packet".to_owned(),
        Event::NoAnswer => "no answer to the next packets".to_owned(),
        Event::NotOpened => format!("cannot connect: {}", error()),
        Event::Failed => error().into_owned(),
        Event::Unfinished => "not waited for".to_owned(),
    };
    let other = match (first.event, first.other_end) {
        (Event::Survived | Event::NotOpened | Event::Failed | Event::Unfinished, _) | (_, None) => {
            ""
        }
        (
            Event::FinInSilence
            | Event::RstInSilence
            | Event::FinOnPacket
            | Event::RstOnPacket
            | Event::NoAnswer,
            Some(saw),
        ) => match saw {
            OtherEnd::Open => "; still open at the other end",
            OtherEnd::Message => "; the packet arrived at the other end",
            OtherEnd::Rst => "; RST at the other end",
            OtherEnd::Fin => "; FIN at the other end",
        },
    };
    what + other
}

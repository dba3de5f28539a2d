//! Human-readable output of `rsttrace doctor`: facts, then findings and recommendations.

use std::io::{self, Write};
use std::time::Duration;

use crate::cli::Failure;
use crate::doctor::{Finding, Inspection, Severity, Tracing, counts, environment};
use crate::record;
use crate::terminal::{self, Palette, stdout_width};
use crate::text::{escape, pad, wrap};
use crate::words::count;
use crate::words::span;

/// Columns of the names at the left.
const NAMES: usize = 12;

/// What was found, the findings, and the sum.
pub fn table(
    host: Option<&str>,
    inspection: &Inspection,
    findings: &[Finding],
    colors: bool,
) -> Result<(), Failure> {
    let mut out = terminal::stdout();
    let width = stdout_width();
    for (name, text) in rows(host, inspection) {
        line(&mut out, &pad(name, NAMES), &text, width)?;
    }
    writeln!(out)?;
    let palette = Palette { colors };
    for finding in findings {
        let (label, color) = match finding.severity {
            Severity::Warning => ("WARNING", record::Severity::Fault),
            Severity::Advice => ("advice", record::Severity::Refused),
            Severity::Ok => ("ok", record::Severity::Noise),
        };
        let label = palette.severity(color, &pad(label, NAMES));
        let text = match &finding.advice {
            Some(advice) => format!("{} → {advice}", finding.summary),
            None => finding.summary.clone(),
        };
        line(&mut out, &label, &text, width)?;
    }
    let number = |severity| findings.iter().filter(|it| it.severity == severity).count();
    let wrong = match number(Severity::Warning) {
        0 => "no warnings".to_owned(),
        1 => "1 warning".to_owned(),
        more => format!("{more} warnings"),
    };
    let advised = match number(Severity::Advice) {
        0 => "no recommendations".to_owned(),
        1 => "1 recommendation".to_owned(),
        more => format!("{more} recommendations"),
    };
    writeln!(out, "\n{wrong}, {advised}")?;
    Ok(())
}

/// A name and a text that continues below itself. The name may hold colours.
fn line(out: &mut impl Write, name: &str, text: &str, width: usize) -> io::Result<()> {
    let rest = width.saturating_sub(NAMES + 1);
    for (index, part) in wrap(&escape(text), rest, rest).iter().enumerate() {
        if index == 0 {
            writeln!(out, "{name} {part}")?;
        } else {
            writeln!(out, "{:NAMES$} {part}", "")?;
        }
    }
    Ok(())
}

fn rows(host: Option<&str>, inspection: &Inspection) -> Vec<(&'static str, String)> {
    let unknown = || "unknown".to_owned();
    let settings = &inspection.settings;
    let mut rows = Vec::new();
    rows.push(("host", host.map_or_else(unknown, str::to_owned)));
    if let Some(cloud) = inspection.environment {
        rows.push(("environment", environment(cloud).to_owned()));
    }
    rows.push((
        "kernel",
        format!(
            "{}, {} BTF",
            inspection.kernel.clone().unwrap_or_else(unknown),
            if inspection.has_btf {
                "with"
            } else {
                "without"
            }
        ),
    ));
    rows.push(("hooks", hooks(&inspection.tracing)));
    rows.push((
        "keepalive",
        settings.keepalive.map_or_else(unknown, |it| {
            format!(
                "sockets with SO_KEEPALIVE: first probe after {}, then every {}, timeout after {} unanswered probes",
                seconds(it.time),
                seconds(it.interval),
                it.probes
            )
        }),
    ));
    rows.push((
        "conntrack",
        settings.conntrack.map_or_else(
            || "not loaded".to_owned(),
            |it| {
                let most = inspection.counters.tracking.map(|it| it.most);
                let most = most.map_or_else(String::new, |it| format!(" of {}", count(it)));
                let tracked = inspection
                    .tracked
                    .map_or_else(String::new, |it| format!("; {}{most} entries", count(it)));
                format!(
                    "timeouts: established {}, unacknowledged data {}, half-closed {}{tracked}",
                    seconds(it.established),
                    seconds(it.unacknowledged),
                    seconds(it.close_wait)
                )
            },
        ),
    ));
    if let Some(ipvs) = settings.ipvs {
        let text = format!(
            "timeouts: established {}, after FIN {}",
            seconds(ipvs.established),
            seconds(ipvs.fin_wait)
        );
        rows.push(("ipvs", text));
    }
    let counters = &inspection.counters;
    if let (Some(overflows), Some(drops)) = (counters.listen_overflows, counters.listen_drops) {
        let text = format!(
            "{} overflows, {} drops since boot; net.core.somaxconn {}",
            count(overflows),
            count(drops),
            counters.somaxconn.map_or_else(unknown, count)
        );
        rows.push(("listeners", text));
    }
    let forwards = if settings.forwards { "yes" } else { "no" };
    rows.push(("forwarding", forwards.to_owned()));
    rows.push(("sockets", sockets(inspection)));
    rows
}

fn hooks(tracing: &Tracing) -> String {
    match tracing {
        Tracing::Tried { hooks, .. } => {
            let granted: Vec<_> = hooks
                .iter()
                .filter(|hook| hook.refused.is_none())
                .map(|hook| match (hook.way, hook.costs) {
                    // In a lesser way.
                    (Some(way), Some(_)) => format!("{} (by {way})", hook.fact),
                    _ => hook.fact.to_owned(),
                })
                .collect();
            format!(
                "{} of {}: {}",
                granted.len(),
                hooks.len(),
                granted.join(", ")
            )
        }
        Tracing::NotPermitted(_) => "not checked: not permitted".to_owned(),
        Tracing::NotSupported(_) => "none: kernel not supported".to_owned(),
        Tracing::Failed(_) => "cannot be attached".to_owned(),
    }
}

fn sockets(inspection: &Inspection) -> String {
    match (counts(inspection), &inspection.sockets) {
        (Some(it), _) => format!(
            "{} listening, {} connections, {} of them idle for {} or longer",
            count(it.listening as u64),
            count(it.established as u64),
            count(it.idle as u64),
            span(inspection.idle_from)
        ),
        (None, Err(why)) => format!("cannot list: {why}"),
        (None, Ok(_)) => "unknown".to_owned(),
    }
}

fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs())
}

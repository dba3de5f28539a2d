//! What does docs/PERFORMANCE.md say? What a run measured, in a frame of prose, and notes that are kept.

use std::fs;

use anyhow::{Context as _, Result, bail};
use comfy_table::{Table, presets::ASCII_MARKDOWN};

use super::{
    budget::{self, course},
    report::{Memory, Pair, Report},
    stats::{Spread, number},
    trial::{Course, NONE},
};
use crate::workspace;

const TEMPLATE: &str = include_str!("../../data/performance.md");
const NOTES_BEGIN: &str = "<!-- notes, written by hand: kept -->\n";
const NOTES_END: &str = "<!-- end of notes -->";
const MICRO: f64 = 1e6;
const MEGA: f64 = 1e-6;
const NOT_MEASURED: &str = "Not measured.\n";

/// Writes it.
pub fn write(report: &Report) -> Result<()> {
    let file = workspace::root().join("docs/PERFORMANCE.md");
    let before = fs::read_to_string(&file).unwrap_or_default();
    let text = page(report, notes(&before))?;
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))
}

/// The budgets alone.
pub fn budget_table(report: &Report) -> String {
    let rows = budget::rows(report).into_iter().map(|row| {
        let met = match row.met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "–",
        };
        let measured = row.measured.unwrap_or_else(|| "not measured".to_owned());
        vec![
            row.what.to_owned(),
            row.budget.to_owned(),
            measured,
            met.to_owned(),
        ]
    });
    table(&["what", "budget", "measured", ""], rows.collect())
}

/// What is between the marks; a place for it where there is none.
fn notes(page: &str) -> &str {
    let after = page.split_once(NOTES_BEGIN).map(|(_, after)| after);
    let notes = after.and_then(|after| after.split_once(NOTES_END));
    notes.map_or("", |(notes, _)| notes)
}

fn page(report: &Report, notes: &str) -> Result<String> {
    let parts = [
        ("machine", machine(report)),
        ("budget", budget_table(report)),
        ("notes", format!("{NOTES_BEGIN}{notes}{NOTES_END}\n")),
        ("classifier", classifier(report)),
        ("connect", connect(report)),
        ("pairs", pairs(report)),
        ("storm", storm(&report.storm)),
        ("peers", peers(&report.peers)),
        ("transport", storm(&report.transport)),
        ("start", start(report)),
        ("memory", memory(&report.memory)),
    ];
    let mut page = TEMPLATE.to_owned();
    for (name, text) in parts {
        let place = format!("{{{{{name}}}}}\n");
        if page.matches(&place).count() != 1 {
            bail!("the frame of docs/PERFORMANCE.md has not one place for {name}");
        }
        page = page.replace(&place, &text);
    }
    Ok(page)
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = String::new();
    if report.quick {
        text += "**From a run with `--quick`: the figures mean little.**\n\n";
    }
    text += &format!(
        "- {}, {} CPUs, {} GB of memory\n- Linux {}, {}\n- rsttrace {}, measured {}\n",
        machine.cpu,
        machine.cpus,
        number(machine.memory as f64 / 1e9, 0),
        machine.kernel,
        machine.system,
        machine.commit,
        machine.date
    );
    let tools: Vec<_> = machine
        .tools
        .iter()
        .map(|(name, version)| format!("{name}: {version}"))
        .collect();
    if !tools.is_empty() {
        text += &format!("- {}\n", tools.join("; "));
    }
    text
}

fn classifier(report: &Report) -> String {
    let rows = report.classifier.iter().map(|packet| {
        let ns = |values: &[f64]| Spread::of(values.iter().copied());
        let times = |values: &[f64]| cell(Spread::ratio(values, &packet.empty), |s| s.show(2));
        vec![
            packet.frame.clone(),
            cell(ns(&packet.empty), |s| number(s.median, 1)),
            cell(ns(&packet.ingress), |s| number(s.median, 1)),
            times(&packet.ingress),
            cell(ns(&packet.egress), |s| number(s.median, 1)),
            times(&packet.egress),
        ]
    });
    let head = [
        "frame",
        "empty, ns",
        "in, ns",
        "in ÷ empty",
        "out, ns",
        "out ÷ empty",
    ];
    table(&head, rows.collect())
}

fn connect(report: &Report) -> String {
    let Some(connect) = &report.connect else {
        return NOT_MEASURED.to_owned();
    };
    let rows = connect.loops.iter().map(|course| {
        let runs = course
            .counted
            .as_ref()
            .and_then(|counted| super::trial::per(counted.bpf_runs? as f64, counted.done * 2));
        vec![
            course.workload.name(),
            course.tool.clone(),
            cell(course.speed(), |speed| speed.show(0)),
            kept(&connect.loops, course),
            cell(budget::microseconds_per_end(course), |us| number(us, 2)),
            cell(runs, |runs| number(runs, 1)),
        ]
    });
    let head = [
        "loop",
        "tool",
        "connections/s",
        "speed kept, %",
        "BPF µs per connection end",
        "BPF runs per connection end",
    ];
    table(&head, rows.collect())
}

fn pairs(report: &Report) -> String {
    let mut rows = Vec::new();
    let mut add = |what: &str, pair: &Pair| {
        rows.push(vec![
            what.to_owned(),
            cell(Spread::of(pair.off.iter().copied()), |s| s.show(1)),
            cell(Spread::of(pair.on.iter().copied()), |s| s.show(1)),
            cell(pair.kept(), |s| s.scaled(100.0).show(1)),
        ]);
    };
    let mut why = String::new();
    match report.connect.as_ref().map(|connect| &connect.requests) {
        Some(Ok(pair)) => add(
            "requests to nginx a second, a connection each, over veth",
            pair,
        ),
        Some(Err(error)) => why = format!("\nRequests to nginx: not measured: {error}\n"),
        None => {}
    }
    if let Some(pair) = &report.throughput {
        add("iperf3 over veth, Gbit/s", pair);
    }
    table(&["what", "without rsttrace", "with", "kept, %"], rows) + &why
}

fn storm(courses: &[Course]) -> String {
    let rows = courses
        .iter()
        .filter(|course| course.not_measured.is_none())
        .map(|course| {
            let total = |of: fn(&super::told::Total) -> u64| {
                let values = course.spread(|trial| {
                    let told = trial.told.as_ref()?;
                    let sent = told.kernel.iter().find(|total| total.name == "sent")?;
                    Some(of(sent) as f64)
                });
                cell(values, |values| number(values.median, 0))
            };
            vec![
                course.workload.name(),
                course.tool.clone(),
                cell(course.speed(), |speed| number(speed.median, 0)),
                kept(courses, course),
                cell(course.spread(|trial| Some(trial.resets as f64)), |s| {
                    number(s.median, 0)
                }),
                total(|sent| sent.seen),
                total(|sent| sent.detailed),
                total(|sent| sent.suppressed),
                total(|sent| sent.lost),
                cell(course.cpu_per_shown(), |s| s.scaled(MICRO).show(2)),
                cell(course.cpu_per_reset(), |s| s.scaled(MICRO).show(2)),
                resident(course),
            ]
        });
    let head = [
        "workload",
        "tool",
        "a second",
        "speed kept, %",
        "resets made",
        "seen",
        "explained",
        "suppressed",
        "lost",
        "CPU µs per reset explained",
        "CPU µs per reset made",
        "resident, MB",
    ];
    table(&head, rows.collect())
}

fn peers(courses: &[Course]) -> String {
    let measured = courses
        .iter()
        .filter(|course| course.not_measured.is_none());
    let rows = measured.map(|course| {
        let free = budget::course(courses, course.workload, NONE);
        let busy = free
            .filter(|_| course.tool != NONE)
            .and_then(|free| course.busy_per_reset(free));
        let shown = course.spread(|trial| {
            let shown = trial.told.as_ref()?.shown?;
            super::trial::per(shown as f64 * 100.0, trial.resets)
        });
        vec![
            course.workload.name(),
            course.tool.clone(),
            kept(courses, course),
            cell(course.cpu_per_reset(), |s| s.scaled(MICRO).show(2)),
            cell(course.bpf_per_reset(), |s| number(s * MICRO, 2)),
            cell(busy, |s| s.scaled(MICRO).show(2)),
            cell(course.cpu_per_shown(), |s| number(s.median * MICRO, 2)),
            cell(shown, |s| number(s.median, 1)),
            cell(budget::loss(course), |lost| number(lost * 100.0, 1)),
            resident(course),
        ]
    });
    let head = [
        "workload",
        "tool",
        "speed kept, %",
        "CPU µs per reset made",
        "of it BPF",
        "whole system, µs per reset made",
        "CPU µs per reset shown",
        "shown, %",
        "lost, %",
        "resident, MB",
    ];
    let mut text = table(&head, rows.collect());
    let mut missing: Vec<_> = courses
        .iter()
        .filter_map(|course| {
            Some(format!(
                "- {}: {}\n",
                course.tool,
                course.not_measured.as_ref()?
            ))
        })
        .collect();
    missing.dedup();
    missing.sort();
    missing.dedup();
    if !missing.is_empty() {
        text += "\nNot measured:\n\n";
        text += &missing.concat();
    }
    text
}

fn start(report: &Report) -> String {
    match &report.start {
        Some(took) => format!(
            "From start to hooks attached: {} ms in {} starts.\n",
            took.show(0),
            took.values.len()
        ),
        None => NOT_MEASURED.to_owned(),
    }
}

fn memory(sizes: &[Memory]) -> String {
    let rows = sizes.iter().map(|memory| {
        let megabytes = |bytes: u64| number(bytes as f64 * MEGA, 1);
        let sockets = if memory.sockets == memory.wanted {
            number(memory.sockets as f64, 0)
        } else {
            let (open, wanted) = (memory.sockets as f64, memory.wanted as f64);
            format!("{} (no room for {})", number(open, 0), number(wanted, 0))
        };
        let grown = sizes.first().and_then(|none| {
            let more = (memory.kernel_growth - none.kernel_growth) as f64;
            (memory.sockets > 0).then(|| more / memory.sockets as f64)
        });
        vec![
            sockets,
            number(memory.ready * 1e3, 0),
            megabytes(memory.resident),
            megabytes(memory.maps),
            megabytes(memory.programs),
            memory.socket_value.to_string(),
            number(memory.kernel_growth as f64 * MEGA, 1),
            cell(grown, |bytes| number(bytes, 0)),
        ]
    });
    let head = [
        "open sockets",
        "start, ms",
        "resident, MB",
        "maps, MB",
        "programs, MB",
        "value kept with a socket, bytes",
        "growth of the kernel's memory, MB",
        "of it a socket, bytes",
    ];
    table(&head, rows.collect()) + &extrapolated(sizes)
}

/// What could not be measured, from the most that could.
fn extrapolated(sizes: &[Memory]) -> String {
    let none = sizes.first().filter(|none| none.sockets == 0);
    let most = sizes.iter().max_by_key(|memory| memory.sockets);
    let (Some(none), Some(most)) = (none, most.filter(|most| most.sockets > 0)) else {
        return String::new();
    };
    let each = (most.kernel_growth - none.kernel_growth) as f64 / most.sockets as f64;
    let short = sizes.iter().filter(|memory| memory.sockets < memory.wanted);
    let line = |memory: &Memory| {
        format!(
            "\nExtrapolated from {} sockets, not measured: {} sockets would take {} MB of the kernel's memory.\n",
            number(most.sockets as f64, 0),
            number(memory.wanted as f64, 0),
            number(each * memory.wanted as f64 * MEGA, 0)
        )
    };
    short.map(line).collect()
}

fn kept(courses: &[Course], with: &Course) -> String {
    let free = course(courses, with.workload, NONE).filter(|_| with.tool != NONE);
    cell(free.and_then(|free| with.kept(free)), |kept| {
        kept.scaled(100.0).show(0)
    })
}

fn resident(course: &Course) -> String {
    cell(
        course.spread(|trial| Some(trial.resident? as f64 * MEGA)),
        |s| number(s.max, 0),
    )
}

fn cell<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}

fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return NOT_MEASURED.to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(ASCII_MARKDOWN)
        .set_header(head)
        .add_rows(rows);
    format!("{table}\n")
}

#[cfg(test)]
mod tests;

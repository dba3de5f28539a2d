//! Comparison of records with what the scenes expect.

use std::collections::{BTreeMap, BTreeSet};

use rsttrace::demo::traffic::{Expected, Host, Played, View};
use rsttrace::record::{
    Basis, FailureRecord, Idle, IncidentRole, Output, Process, Record, Sentence, Severity,
};

/// How far a named timer may be from the real one: a share of it, and seconds.
const TOLERANCE: (f64, f64) = (0.05, 0.1);

/// Mistakes of one view that are printed.
const MOST: usize = 5;

/// What was wrong in one view of a scene.
#[derive(Default)]
struct Wrong {
    lines: Vec<String>,
    /// Told though nobody lost anything.
    false_faults: usize,
    /// Told more than once.
    twice: usize,
}

/// Prints the result of each scene and the totals. Whether all is as it should be.
pub fn judge(played: &[Played], hosts: &[Output], whole: &[Output], verbose: bool) -> bool {
    let (mut right, mut known, mut unexpected) = (0, 0, 0);
    let (mut false_faults, mut twice) = (0, 0);
    for it in played {
        let mut lines = Vec::new();
        let mut is_wrong = false;
        let views = it.namespaces.keys().map(|host| view_of(*host));
        for view in views.chain([View::All]) {
            let outputs = if view == View::All { whole } else { hosts };
            let incidents = incidents(it, view, outputs);
            let expected = it.scene.expect.get(&view);
            let wrong = compare(expected.map_or(&[], Vec::as_slice), &incidents);
            is_wrong |= !wrong.lines.is_empty();
            if it.scene.known_failure.is_none() {
                false_faults += wrong.false_faults;
                twice += wrong.twice;
            }
            let name = format!("{view:?}").to_lowercase();
            let shown = wrong.lines.iter().take(MOST);
            lines.extend(shown.map(|line| format!("    {name}: {line}")));
            if let Some(more) = wrong.lines.len().checked_sub(MOST).filter(|it| *it > 0) {
                lines.push(format!("    {name}: and {more} more"));
            }
            if verbose {
                let told = incidents.iter().flat_map(|incident| &incident.records);
                lines.extend(told.map(|record| format!("    {name} has {}", describe(record))));
                let failures = incidents.iter().flat_map(|incident| &incident.failures);
                lines.extend(failures.map(|it| format!("    {name} has {}", told_failure(it))));
            }
        }
        if let Some(trouble) = &it.trouble {
            is_wrong = true;
            lines.push(format!("    not played: {trouble}"));
        }
        let verdict = match (is_wrong, &it.scene.known_failure) {
            (false, None) => {
                right += 1;
                "right"
            }
            (true, Some(reason)) => {
                known += 1;
                lines.push(format!("    known: {reason}"));
                "wrong (known)"
            }
            (true, None) => {
                unexpected += 1;
                "WRONG"
            }
            (false, Some(_)) => {
                right += 1;
                "right (a known failure until now)"
            }
        };
        println!("{:<40} {verdict}", it.scene.name);
        for line in lines {
            println!("{line}");
        }
    }
    println!(
        "\n{right} of {} scenes right, {known} wrong as known; {false_faults} faults that are none, {twice} incidents told twice",
        played.len()
    );
    unexpected == 0 && false_faults == 0 && twice == 0
}

fn view_of(host: Host) -> View {
    match host {
        Host::Client => View::Client,
        Host::Balancer => View::Balancer,
        Host::Server => View::Server,
    }
}

/// Records of one incident, in order.
#[derive(Default)]
struct Incident<'a> {
    records: Vec<&'a Record>,
    failures: Vec<&'a FailureRecord>,
}

impl Incident<'_> {
    fn severity(&self) -> Severity {
        let resets = self.records.iter().map(|record| record.impact());
        let failures = self.failures.iter().map(|failure| failure.impact());
        // In this order faults come first.
        resets.chain(failures).min().unwrap_or(Severity::Noise)
    }

    /// The record that a reader sees: a correction, or the one that carries the severity.
    fn told(&self) -> Option<&Record> {
        let correction = self.records.iter().rev().find(|it| it.is_correction());
        let told = correction.or_else(|| {
            let mut records = self.records.iter();
            records.find(|record| record.verdict.severity != Severity::Noise)
        });
        told.or(self.records.first()).copied()
    }

    fn is_told_twice(&self) -> bool {
        let told = self
            .records
            .iter()
            .filter(|record| record.verdict.severity != Severity::Noise && !record.is_correction());
        let failed = self.failures.iter().filter(|failure| !failure.is_noise());
        told.count() + failed.count() > 1
    }

    fn connections(&self) -> BTreeSet<[String; 2]> {
        let of = |record: &&Record| {
            let mut ends = [record.local.to_string(), record.remote.to_string()];
            ends.sort();
            ends
        };
        self.records.iter().map(of).collect()
    }
}

fn incidents<'a>(played: &Played, view: View, outputs: &'a [Output]) -> Vec<Incident<'a>> {
    let namespaces: Vec<u32> = played
        .namespaces
        .iter()
        .filter(|(host, _)| view == View::All || view_of(**host) == view)
        .map(|(_, inode)| *inode)
        .collect();
    let mut found: BTreeMap<u64, Incident<'a>> = BTreeMap::new();
    for output in outputs {
        if !(played.began..played.ended).contains(&seconds(output.time())) {
            continue;
        }
        match output {
            Output::Reset(record) => {
                if !record.netns.is_some_and(|it| namespaces.contains(&it)) {
                    continue;
                }
                let id = record
                    .incident
                    .as_ref()
                    .map_or(record.id.number, |it| it.id);
                found.entry(id).or_default().records.push(record);
            }
            Output::Failure(failure) => {
                if failure.netns.is_some_and(|it| namespaces.contains(&it)) {
                    let incident = failure.incident.as_ref();
                    let id = incident.map_or(failure.id.number, |it| it.id);
                    found.entry(id).or_default().failures.push(failure);
                }
            }
            Output::Suppressed(_) => {}
        }
    }
    found.into_values().collect()
}

fn compare(expected: &[Expected], incidents: &[Incident<'_>]) -> Wrong {
    let mut wrong = Wrong::default();
    let mut open: Vec<&Incident<'_>> = incidents.iter().collect();
    let (told, noise): (Vec<_>, Vec<_>) = expected
        .iter()
        .partition(|expected| expected.severity != Severity::Noise);
    let mut missing = Vec::new();
    for expected in told {
        if expected.several {
            let before = open.len();
            open.retain(|it| !mistakes(expected, it).is_empty());
            if open.len() == before {
                missing.push(expected);
            }
            continue;
        }
        for _ in 0..expected.count {
            let fits = |it: &&Incident<'_>| mistakes(expected, it).is_empty();
            match open.iter().position(fits) {
                Some(index) => drop(open.remove(index)),
                None => missing.push(expected),
            }
        }
    }
    for expected in missing {
        // The one that is least wrong is meant.
        let nearest = (0..open.len())
            .filter(|index| open[*index].severity() != Severity::Noise)
            .min_by_key(|index| mistakes(expected, open[*index]).len());
        match nearest {
            Some(index) => {
                let incident = open.remove(index);
                let text = mistakes(expected, incident).join("; ");
                wrong
                    .lines
                    .push(format!("{text}: {}", incident_text(incident)));
            }
            None => wrong.lines.push(format!(
                "no {} {} of {}",
                expected.severity,
                name(expected),
                expected.process.as_deref().unwrap_or("no process")
            )),
        }
    }
    for expected in noise {
        let is_there = incidents.iter().any(|incident| {
            incident.severity() == Severity::Noise
                && incident
                    .records
                    .iter()
                    .any(|record| record_mistakes(expected, record).is_empty())
        });
        if !is_there {
            let class = expected.class.map_or("any", |class| class.name());
            let cause = name(expected);
            wrong.lines.push(format!("no noise {cause}, class {class}"));
        }
    }
    let mut connections = BTreeSet::new();
    for incident in incidents {
        if incident.severity() == Severity::Noise {
            continue;
        }
        let is_again = incident
            .connections()
            .into_iter()
            .any(|it| !connections.insert(it));
        if is_again || incident.is_told_twice() {
            wrong.twice += 1;
            wrong
                .lines
                .push(format!("told twice: {}", incident_text(incident)));
        }
    }
    for incident in open {
        if incident.severity() != Severity::Noise {
            wrong.false_faults += 1;
            let text = incident_text(incident);
            wrong
                .lines
                .push(format!("{} that is none: {text}", incident.severity()));
        }
    }
    wrong
}

fn incident_text(incident: &Incident<'_>) -> String {
    let failures = incident
        .failures
        .iter()
        .map(|failure| told_failure(failure));
    let resets = incident.told().into_iter().map(describe);
    resets.chain(failures).collect::<Vec<_>>().join(" | ")
}

fn mistakes(expected: &Expected, incident: &Incident<'_>) -> Vec<String> {
    let failed = |kind| incident.failures.iter().find(|it| it.verdict.kind == kind);
    let mut wrong = match (expected.failure, incident.told()) {
        (Some(kind), _) => match failed(kind) {
            Some(failure) => {
                let process = failure.process.as_ref();
                let mut wrong = process_mistakes(expected, process);
                wrong.extend(advice_mistakes(expected, &failure.verdict.advice));
                wrong
            }
            None => vec![format!("no failure {kind}")],
        },
        (None, Some(record)) => record_mistakes(expected, record),
        (None, None) => vec!["a failure without a reset".to_owned()],
    };
    let severity = incident.severity();
    if severity != expected.severity {
        wrong.push(format!("{severity} instead of {}", expected.severity));
    }
    wrong
}

fn record_mistakes(expected: &Expected, record: &Record) -> Vec<String> {
    let mut wrong = Vec::new();
    let verdict = &record.verdict;
    if Some(verdict.cause) != expected.cause {
        wrong.push(format!("{} instead of {}", verdict.cause, name(expected)));
    }
    if expected.class.is_some() && verdict.class != expected.class {
        let name = |class: Option<rsttrace::record::Class>| class.map_or("none", |it| it.name());
        let (is, meant) = (name(verdict.class), name(expected.class));
        wrong.push(format!("class {is} instead of {meant}"));
    }
    wrong.extend(process_mistakes(expected, record.process.as_ref()));
    if expected.severity == Severity::Noise {
        return wrong;
    }
    let timer = record.idle.as_ref().and_then(timer);
    let is_right = match (timer, expected.timer) {
        (None, None) => true,
        (Some(is), Some(meant)) => (is - meant).abs() <= meant * TOLERANCE.0 + TOLERANCE.1,
        (None, Some(_)) | (Some(_), None) => false,
    };
    if !is_right {
        let text = |it: Option<f64>| it.map_or("none".to_owned(), |it| format!("{it:.2} s"));
        let (is, meant) = (text(timer), text(expected.timer));
        wrong.push(format!("timer {is} instead of {meant}"));
    }
    wrong.extend(advice_mistakes(expected, verdict.advice()));
    wrong
}

fn process_mistakes(expected: &Expected, process: Option<&Process>) -> Vec<String> {
    let is = process.map(|process| process.comm.as_str());
    let meant = expected.process.as_deref();
    if is == meant {
        return Vec::new();
    }
    let [is, meant] = [is, meant].map(|name| name.unwrap_or("nobody"));
    vec![format!("process {is} instead of {meant}")]
}

fn advice_mistakes(expected: &Expected, advice: &[Sentence]) -> Vec<String> {
    let first = advice.first().map_or("", |advice| advice.as_ref());
    let mut wrong: Vec<_> = expected
        .advice
        .iter()
        .filter(|words| !first.contains(words.as_str()))
        .map(|words| format!("first advice without `{words}`"))
        .collect();
    if first.is_empty() && expected.severity == Severity::Fault {
        wrong.push("no advice".to_owned());
    }
    wrong
}

/// What is expected, in a word.
fn name(expected: &Expected) -> &'static str {
    let failure = expected.failure.map(|kind| kind.name());
    let cause = expected.cause.map(|cause| cause.name());
    failure.or(cause).unwrap_or("nothing")
}

fn told_failure(failure: &FailureRecord) -> String {
    let verdict = &failure.verdict;
    let process = failure.process.as_ref();
    let advice = verdict.advice.first();
    format!(
        "{} [{}] {} {}: {} => {}",
        &failure.time[17..23],
        failure.impact(),
        process.map_or("nobody", |process| process.comm.as_str()),
        verdict.kind,
        verdict.summary,
        advice.map_or("no advice", |advice| advice.as_ref()),
    )
}

/// The timer that a record names.
fn timer(idle: &Idle) -> Option<f64> {
    idle.mode?;
    let learned = idle.learned.as_ref().map(|learned| learned.timeout);
    let mut candidates = idle.candidates.iter();
    let set = candidates.find(|candidate| candidate.basis != Basis::Known);
    learned
        .or(set.map(|candidate| candidate.timeout))
        .or(idle.quiet_before)
}

fn describe(record: &Record) -> String {
    let verdict = &record.verdict;
    let role = record.incident.as_ref().map(|incident| incident.role);
    let process = record.process.as_ref();
    let advice = verdict.advice().first();
    format!(
        "{} [{} {} {} {}] {} {} → {} {} {}: {} => {}",
        &record.time[17..23],
        record.incident.as_ref().map_or(0, |it| it.id % 100_000),
        role.map_or("", IncidentRole::name),
        record.impact(),
        verdict.class.map_or("", |class| class.name()),
        record.direction,
        record.local,
        record.remote,
        process.map_or("nobody", |process| process.comm.as_str()),
        verdict.cause,
        verdict.summary(),
        advice.map_or("no advice", |advice| advice.as_ref()),
    )
}

/// Unix time of an RFC 3339 time.
fn seconds(time: &str) -> f64 {
    let parsed: Option<jiff::Timestamp> = time.parse().ok();
    parsed.map_or(0.0, |time| time.as_duration().as_secs_f64())
}

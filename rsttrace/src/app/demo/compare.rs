//! Comparison of an explanation with the truth of the staging side.

use std::net::SocketAddr;

use serde::Serialize;

use super::plan::Done;
use crate::demo::{IpVersion, StagedIdle, Truth};
use crate::record::{
    Basis, Cause, Confidence, Direction, Idle, IdleMode, Origin, Process, Quality, Record, Severity,
};

/// One truth and what was made of it.
#[derive(Debug, Serialize)]
pub struct Case {
    pub scenario: Name,
    pub version: IpVersion,
    /// The socket was there before the tracer.
    pub predates: bool,
    /// What was staged; absent if it could not be.
    pub truth: Option<Truth>,
    /// How it was explained; absent if it was not.
    pub record: Option<Record>,
    pub outcome: Outcome,
}

/// A scenario's name and title.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Name {
    pub name: &'static str,
    pub title: &'static str,
}

/// How an explanation compares with the truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "why")]
pub enum Outcome {
    /// Origin, cause, process and cost are as staged.
    Right,
    /// The verdict is "unknown".
    Unknown,
    /// Something is not as staged: all of it.
    Wrong(Vec<Mistake>),
    /// This machine cannot stage it.
    NotStaged(String),
}

/// One thing that is not as staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// What it is about.
    pub about: About,
    /// What was told, and what is true.
    pub detail: String,
}

/// What a mistake is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The staging itself failed, so there is nothing to explain.
    Staging,
    /// There is no record.
    Missing,
    Origin,
    Cause,
    /// Whose socket it was.
    Process,
    /// The idle timeout and how it made itself known.
    Idle,
    Cost,
    /// How sure it is.
    Confidence,
    /// How much was unread.
    Unread,
    /// How often one reset is told.
    Count,
    /// Which records are of one chain.
    Chain,
}

impl About {
    fn is_wrong(self, detail: impl Into<String>) -> Mistake {
        let detail = detail.into();
        Mistake {
            about: self,
            detail,
        }
    }
}

/// Compares each truth of a scenario with the records of its view.
pub fn compare(done: &Done, records: &[Record]) -> Vec<Case> {
    let case = |truth, record, outcome| Case {
        scenario: Name {
            name: done.scenario.name,
            title: done.scenario.title,
        },
        version: done.version,
        predates: done.predates,
        truth,
        record,
        outcome,
    };
    match &done.staged {
        Err(error) if error.is_not_staged() => {
            vec![case(None, None, Outcome::NotStaged(error.to_string()))]
        }
        // The staging itself went wrong: that is no proof of anything, so it may not count as right.
        Err(error) => vec![case(
            None,
            None,
            Outcome::Wrong(vec![
                About::Staging.is_wrong(format!("staging failed: {error}")),
            ]),
        )],
        Ok(staged) => {
            let mut judged: Vec<_> = staged
                .truths
                .iter()
                .map(|truth| {
                    let alike = staged
                        .truths
                        .iter()
                        .filter(|other| is_same_reset(truth, other))
                        .count();
                    (truth, judge(truth, alike, records))
                })
                .collect();
            demand_one_chain(&mut judged);
            judged
                .into_iter()
                .map(|(truth, (record, outcome))| {
                    case(Some(truth.clone()), record.cloned(), outcome)
                })
                .collect()
        }
    }
}

/// Records of one chain that do not say so are wrong, all of them.
fn demand_one_chain(judged: &mut [(&Truth, (Option<&Record>, Outcome))]) {
    let chains: Vec<_> = judged
        .iter()
        .filter(|(truth, _)| truth.linked)
        .filter_map(|(_, (record, _))| *record)
        .map(|record| record.link.as_ref().map(|link| link.id))
        .collect();
    let is_one = chains
        .windows(2)
        .all(|two| two[0].is_some() && two[0] == two[1]);
    if is_one {
        return;
    }
    for (truth, (_, outcome)) in judged.iter_mut() {
        if truth.linked && *outcome == Outcome::Right {
            let detail = "not linked with the rest of its chain";
            *outcome = Outcome::Wrong(vec![About::Chain.is_wrong(detail)]);
        }
    }
}

fn is_same_reset(one: &Truth, other: &Truth) -> bool {
    one.view == other.view
        && one.direction == other.direction
        && one.sender == other.sender
        && one.receiver == other.receiver
}

fn judge<'a>(truth: &Truth, alike: usize, records: &'a [Record]) -> (Option<&'a Record>, Outcome) {
    let of_flow: Vec<_> = records
        .iter()
        .filter(|record| is_of_flow(truth.view.netns, truth.sender, truth.receiver, record))
        .collect();
    let found = of_flow
        .iter()
        .copied()
        .find(|record| is_about(truth.direction, truth.sender, truth.receiver, record));
    let Some(record) = found else {
        let others: Vec<_> = of_flow
            .iter()
            .map(|record| record.direction.name())
            .collect();
        let why = if others.is_empty() {
            "no record".to_owned()
        } else {
            format!("no record of this direction, but: {}", others.join(", "))
        };
        return (None, Outcome::Wrong(vec![About::Missing.is_wrong(why)]));
    };
    if record.verdict.origin == Origin::Unknown {
        return (Some(record), Outcome::Unknown);
    }
    let mut wrong = Vec::new();
    let verdict = &record.verdict;
    if verdict.origin != truth.origin {
        wrong.push(About::Origin.is_wrong(format!(
            "origin {} instead of {}",
            verdict.origin, truth.origin
        )));
    }
    if verdict.cause != truth.cause {
        wrong.push(About::Cause.is_wrong(format!(
            "cause {} instead of {}",
            verdict.cause, truth.cause
        )));
    }
    if let Some(error) = wrong_process(truth, record.process.as_ref()) {
        wrong.push(About::Process.is_wrong(error));
    }
    if !is_cost_right(truth, verdict.severity) {
        let lost = if truth.lost { "a" } else { "no" };
        wrong.push(About::Cost.is_wrong(format!(
            "{} though {lost} connection was lost",
            verdict.severity
        )));
    }
    if truth.unknowable.is_some() && verdict.confidence == Confidence::Certain {
        let detail = "certain of what nobody on one host can know";
        wrong.push(About::Confidence.is_wrong(detail));
    }
    if let Some(error) = truth.idle.and_then(|staged| wrong_idle(staged, record)) {
        wrong.push(About::Idle.is_wrong(error));
    }
    if let (Some(staged), Some(told)) = (
        truth.unread,
        record.socket.as_ref().and_then(|socket| socket.unread),
    ) && staged != told
    {
        wrong.push(About::Unread.is_wrong(format!("{told} bytes unread instead of {staged}")));
    }
    for blamed in of_flow.iter().filter(|record| blames(truth, record)) {
        wrong.push(About::Cause.is_wrong(format!(
            "{} is blamed for a reset {}",
            blamed.verdict.cause,
            blamed.direction.name()
        )));
    }
    // A reset told twice in one direction is one too many.
    let told = of_flow
        .iter()
        .filter(|record| is_about(truth.direction, truth.sender, truth.receiver, record))
        .count();
    if told != alike {
        wrong.push(About::Count.is_wrong(format!("{told} records for {alike} resets")));
    }
    let outcome = if wrong.is_empty() {
        Outcome::Right
    } else {
        Outcome::Wrong(wrong)
    };
    (Some(record), outcome)
}

/// In this namespace, between these two ends.
pub fn is_of_flow(netns: u64, sender: SocketAddr, receiver: SocketAddr, record: &Record) -> bool {
    let ends = [
        (&record.local, &record.remote),
        (&record.remote, &record.local),
    ];
    record.netns.map(u64::from) == Some(netns)
        && ends.iter().any(|(one, other)| {
            (one.address, one.port) == (sender.ip(), sender.port())
                && (other.address, other.port) == (receiver.ip(), receiver.port())
        })
}

/// It gives somebody one of the causes that the path alone looks like here.
fn blames(truth: &Truth, record: &Record) -> bool {
    truth.spares.contains(&record.verdict.cause) && record.verdict.origin != Origin::Unknown
}

/// Of this direction, and with the right end called local.
pub fn is_about(
    direction: Direction,
    sender: SocketAddr,
    receiver: SocketAddr,
    record: &Record,
) -> bool {
    let local = match direction {
        Direction::Sent | Direction::Forwarded => sender,
        Direction::Received | Direction::Observed => receiver,
    };
    record.direction == direction
        && (record.local.address, record.local.port) == (local.ip(), local.port())
}

/// An unharmed connection is never a fault; a lost one always is to the end that had to hear of it. The end that reset
/// it may know that nobody used it any more.
fn is_cost_right(truth: &Truth, told: Severity) -> bool {
    match told {
        Severity::Fault => truth.lost,
        Severity::Refused => !truth.lost,
        Severity::Noise => !truth.lost || truth.direction != Direction::Received,
    }
}

/// How far a named timeout may be from the staged one.
const TIMEOUT_TOLERANCE: f64 = 0.05;

fn wrong_idle(staged: StagedIdle, record: &Record) -> Option<String> {
    let idle = record.idle.as_ref();
    let mode = idle.and_then(|idle| idle.mode);
    if mode != Some(staged.mode) {
        let told = mode.map_or("none", IdleMode::name);
        return Some(format!("idle mode {told} instead of {}", staged.mode));
    }
    if let Some(device) = staged.device
        && !idle.is_some_and(|idle| names_only(idle, device))
    {
        return Some(format!("it names not {device} alone"));
    }
    let (meant, idle) = (staged.timeout?, idle?);
    let told = named_timeout(idle, staged.mode);
    match told {
        Some(told) if (told - meant).abs() <= meant * TIMEOUT_TOLERANCE => None,
        Some(told) => Some(format!("timeout {told:.2} s instead of {meant:.2} s")),
        None => Some(format!("no timeout instead of {meant:.2} s")),
    }
}

/// Whether this device, and no other that is set on this host or its path, is named.
fn names_only(idle: &Idle, device: &str) -> bool {
    let mut set = idle
        .candidates
        .iter()
        .filter(|candidate| candidate.basis != Basis::Known)
        .peekable();
    set.peek().is_some() && set.all(|candidate| candidate.device.contains(device))
}

/// The timeout that a record commits itself to: learned, a hop's or this host's own setting; at expiry the silence is it.
fn named_timeout(idle: &Idle, mode: IdleMode) -> Option<f64> {
    let learned = idle.learned.as_ref().map(|learned| learned.timeout);
    let set = idle
        .candidates
        .iter()
        .find(|candidate| candidate.basis != Basis::Known);
    let silence = idle.quiet_before.filter(|_| mode != IdleMode::LateRst);
    learned
        .or(set.map(|candidate| candidate.timeout))
        .or(silence)
}

fn wrong_process(truth: &Truth, process: Option<&Process>) -> Option<String> {
    let named = &truth.named;
    match process {
        None if named.any_of.is_empty() || named.may_be_absent => None,
        None => Some(format!("no process instead of {:?}", named.any_of)),
        Some(process) => {
            let fits = named.any_of.iter().any(|holder| {
                holder.pid == process.pid
                    && holder.comm == process.comm
                    && holder.roles.contains(&process.role)
                    && (!holder.only_as_guess || process.quality == Quality::Inherited)
            });
            let text = || {
                let Process {
                    comm,
                    pid,
                    role,
                    quality,
                    ..
                } = process;
                format!("{comm}[{pid}] as {role}, {quality},")
            };
            if fits {
                None
            } else {
                Some(format!("{} instead of {:?}", text(), named.any_of))
            }
        }
    }
}

/// How an explanation reads in a cell: origin, cause, confidence.
pub fn verdict(origin: Origin, cause: Cause, confidence: Option<Confidence>) -> String {
    let mut text = format!("{}: {}", origin.name().replace('_', " "), cause.name());
    if let Some(confidence) = confidence {
        text.push_str(&format!(", {confidence}"));
    }
    text
}

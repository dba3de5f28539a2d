//! Comparison of an explanation with the truth of the staging side.
//!
//! Each case is judged twice: with the events of one namespace, as on a host of its own, and with those of the whole host, as
//! `rsttrace watch` does. A case is right only if both explanations are.

use std::net::SocketAddr;

use serde::Serialize;

use super::plan::Done;
use crate::demo::{IpVersion, StagedIdle, Truth};
use crate::record::{
    Basis, Cause, Confidence, Direction, Idle, IdleMode, IncidentRole, Origin, Process, Quality,
    Record, Severity,
};

/// One truth and what was made of it.
#[derive(Debug, Serialize)]
pub struct Case {
    pub scenario: Name,
    pub version: IpVersion,
    /// The socket was there before the tracer.
    pub predates: bool,
    /// It was planned to be older than the tracer, and had to be opened again.
    pub lost_predates: bool,
    /// How often it was staged.
    pub attempts: usize,
    /// Why it was staged more than once: what failed each time. How it was explained is never a reason.
    pub failed: Vec<String>,
    /// How it was explained; absent if it could not be staged.
    #[serde(flatten)]
    pub judged: Option<Judged>,
    /// The result of both ways to judge.
    pub outcome: Outcome,
}

/// A staged reset as two tracers explain it.
#[derive(Debug, Serialize)]
pub struct Judged {
    /// One that sees the namespace of one end alone.
    pub namespace: Explained,
    /// One that sees the whole host.
    pub host: Explained,
}

/// What was staged, and how it was explained.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// What was staged, as far as it can be known there.
    pub truth: Truth,
    /// Absent if it was not explained.
    pub record: Option<Record>,
    pub outcome: Outcome,
}

/// Records of the same events, judged in two ways.
pub struct Records {
    /// Each namespace for itself.
    pub namespaces: Vec<Record>,
    /// All of them as one host.
    pub host: Vec<Record>,
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
    Unknown,
    /// Something is not as staged: all of it.
    Wrong(Vec<Mistake>),
    /// This machine cannot stage it.
    NotStaged(String),
}

impl Outcome {
    /// Right only where both are.
    fn of_both(namespace: &Self, host: &Self) -> Self {
        let mut mistakes = Vec::new();
        for (outcome, sight) in [(namespace, "one namespace"), (host, "whole host")] {
            if let Self::Wrong(why) = outcome {
                mistakes.extend(why.iter().map(|mistake| Mistake {
                    about: mistake.about,
                    detail: format!("{sight}: {}", mistake.detail),
                }));
            }
        }
        if !mistakes.is_empty() {
            return Self::Wrong(mistakes);
        }
        match (namespace, host) {
            (Self::Right, Self::Right) => Self::Right,
            (Self::Unknown | Self::Wrong(_) | Self::NotStaged(_), _)
            | (_, Self::Unknown | Self::Wrong(_) | Self::NotStaged(_)) => Self::Unknown,
        }
    }
}

/// One thing that is not as staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    pub about: About,
    /// What was reported, and what is true.
    pub detail: String,
}

/// What a mistake is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The staging itself failed, so there is nothing to explain.
    Staging,
    Missing,
    Origin,
    Cause,
    Process,
    /// The idle timeout and how it made itself known.
    Idle,
    Cost,
    Confidence,
    Unread,
    /// Words of the summary.
    Text,
    /// The number of records of one reset.
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

/// Compares each truth of a scenario with its records.
pub fn compare(done: &Done, records: &Records) -> Vec<Case> {
    let case = |judged, outcome| Case {
        scenario: Name {
            name: done.scenario.name,
            title: done.scenario.title,
        },
        version: done.version,
        predates: done.predates && !done.lost_predates,
        lost_predates: done.lost_predates,
        attempts: done.failed.len() + 1,
        failed: done.failed.clone(),
        judged,
        outcome,
    };
    let staged = match &done.staged {
        Ok(staged) => staged,
        Err(error) if error.is_not_staged() => {
            return vec![case(None, Outcome::NotStaged(error.to_string()))];
        }
        // The staging itself went wrong: that is no proof of anything, so it may not count as right.
        Err(error) => {
            let mistake = About::Staging.is_wrong(format!("staging failed: {error}"));
            return vec![case(None, Outcome::Wrong(vec![mistake]))];
        }
    };
    let on_host = staged.truths.iter().map(Truth::on_whole_host).collect();
    let namespace = explained(staged.truths.clone(), &records.namespaces);
    let mut host = explained(on_host, &records.host);
    demand_one_reset(&mut host);
    let both = namespace.into_iter().zip(host);
    both.map(|(namespace, host)| {
        let outcome = Outcome::of_both(&namespace.outcome, &host.outcome);
        case(Some(Judged { namespace, host }), outcome)
    })
    .collect()
}

fn explained(truths: Vec<Truth>, records: &[Record]) -> Vec<Explained> {
    let alike = |truth: &Truth| {
        let same = truths.iter().filter(|other| is_same_reset(truth, other));
        same.count()
    };
    let judged: Vec<_> = truths
        .iter()
        .map(|truth| judge(truth, alike(truth), records))
        .collect();
    let mut explained: Vec<_> = truths
        .into_iter()
        .zip(judged)
        .map(|(truth, (record, outcome))| Explained {
            truth,
            record: record.cloned(),
            outcome,
        })
        .collect();
    demand_one_chain(&mut explained, |truth| truth.linked);
    explained
}

/// The whole host sees every end of a reset, so its records are of one chain.
fn demand_one_reset(explained: &mut [Explained]) {
    let resets: Vec<_> = explained.iter().map(|it| reset_of(&it.truth)).collect();
    for (index, reset) in resets.iter().enumerate() {
        if !resets[..index].contains(reset) {
            demand_one_chain(explained, |truth| reset_of(truth) == *reset);
        }
    }
}

/// What survives the translation of addresses.
fn reset_of(truth: &Truth) -> (u32, u32, u8) {
    let seen = &truth.seen;
    (seen.seq, seen.ack, seen.flags.0)
}

/// Records of one chain that do not say so are wrong, all of them.
fn demand_one_chain(explained: &mut [Explained], is_of_it: impl Fn(&Truth) -> bool) {
    let records = explained
        .iter()
        .filter(|it| is_of_it(&it.truth))
        .filter_map(|it| it.record.as_ref());
    let chains: Vec<_> = records
        .map(|record| record.link.as_ref().map(|link| link.id))
        .collect();
    let is_one = chains
        .windows(2)
        .all(|two| two[0].is_some() && two[0] == two[1]);
    if is_one {
        return;
    }
    for it in explained.iter_mut() {
        if is_of_it(&it.truth) && it.outcome == Outcome::Right {
            let detail = "not linked with the rest of its chain";
            it.outcome = Outcome::Wrong(vec![About::Chain.is_wrong(detail)]);
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
    if !is_cost_right(truth, record.impact()) {
        let lost = if truth.lost { "a" } else { "no" };
        wrong.push(About::Cost.is_wrong(format!(
            "{} though {lost} connection was lost",
            record.impact()
        )));
    }
    if truth.unknowable.is_some() && verdict.confidence == Confidence::Certain {
        let detail = "certain about what a single host cannot know";
        wrong.push(About::Confidence.is_wrong(detail));
    }
    if let Some(error) = truth.idle.and_then(|staged| wrong_idle(staged, record)) {
        wrong.push(About::Idle.is_wrong(error));
    }
    let mode = record.idle.as_ref().and_then(|idle| idle.mode);
    if let Some(mode) = mode.filter(|_| truth.no_timer) {
        wrong.push(About::Idle.is_wrong(format!("idle mode {mode} though it was no timer")));
    }
    if let (Some(staged), Some(reported)) = (
        truth.unread,
        record.socket.as_ref().and_then(|socket| socket.unread),
    ) && staged != reported
    {
        wrong.push(About::Unread.is_wrong(format!("{reported} bytes unread instead of {staged}")));
    }
    let summary = record.verdict.summary();
    if let Some(text) = truth.says.as_deref().filter(|text| !summary.contains(text)) {
        wrong.push(About::Text.is_wrong(format!("its summary does not say {text:?}")));
    }
    if let Some(text) = truth.never_says.filter(|text| summary.contains(text)) {
        wrong.push(About::Text.is_wrong(format!("its summary says {text:?}")));
    }
    for blamed in of_flow.iter().filter(|record| blames(truth, record)) {
        wrong.push(About::Cause.is_wrong(format!(
            "{} is blamed for a reset {}",
            blamed.verdict.cause,
            blamed.direction.name()
        )));
    }
    // A reset told twice in one direction is one too many, and so is an end of a connection.
    let told: Vec<_> = of_flow
        .iter()
        .filter(|record| is_about(truth.direction, truth.sender, truth.receiver, record))
        .collect();
    let further = told.iter().filter(|record| is_consequence(record)).count();
    let (count, resets) = (told.len(), alike + truth.further);
    if count != resets || truth.further > 0 && further != truth.further {
        wrong.push(About::Count.is_wrong(format!(
            "{count} records for {resets} resets, {further} of them consequences instead of {}",
            truth.further
        )));
    }
    let harmful = of_flow
        .iter()
        .filter(|record| record.verdict.severity != Severity::Noise)
        .count();
    if harmful > alike {
        wrong.push(About::Count.is_wrong(format!("{harmful} faults for {alike} incidents")));
    }
    let outcome = if wrong.is_empty() {
        Outcome::Right
    } else {
        Outcome::Wrong(wrong)
    };
    (Some(record), outcome)
}

fn is_consequence(record: &Record) -> bool {
    record
        .incident
        .as_ref()
        .is_some_and(|incident| incident.role == IncidentRole::Consequence)
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

/// It names one of the causes that this path looks like.
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
/// it may know that the connection was not in use any more.
fn is_cost_right(truth: &Truth, reported: Severity) -> bool {
    match reported {
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
        let reported = mode.map_or("none", IdleMode::name);
        return Some(format!("idle mode {reported} instead of {}", staged.mode));
    }
    if let Some(device) = staged.device
        && !idle.is_some_and(|idle| names_only(idle, device))
    {
        return Some(format!("other devices are named besides {device}"));
    }
    let (meant, idle) = (staged.timeout?, idle?);
    let reported = named_timeout(idle, staged.mode);
    match reported {
        Some(reported) if (reported - meant).abs() <= meant * TIMEOUT_TOLERANCE => None,
        Some(reported) => Some(format!("timeout {reported:.2} s instead of {meant:.2} s")),
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

//! The demo as test data: kernel events and what was staged.

use std::net::SocketAddr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::compare::{About, Explained, Outcome, Records, compare, is_about, is_of_flow};
use super::{choose, replay_each_namespace, resets, run};
use crate::app::runtime;
use crate::cli::{Failure, TracerOptions};
use crate::decode::Decoder;
use crate::demo::IpVersion;
use crate::engine::Input;
use crate::event::HostContext;
use crate::record::{Cause, Confidence, Direction, Origin, Record, Word};
use crate::recording::{Effort, End, Head, Reader, Replayed, Writer, Written, replay};

pub struct RecordedDemo {
    /// What came out of the kernel. Which host it was, and what was known of processes, is left out.
    pub recording: Vec<u8>,
    pub head: Head,
    pub written: Written,
    /// What was staged, however it was explained.
    pub cases: Vec<RecordedCase>,
    /// What could not be staged, and why.
    pub left_out: Vec<String>,
}

/// A reset that was staged, at one place. Its process is left out: it takes `/proc` to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedCase {
    pub scenario: String,
    pub version: IpVersion,
    /// The socket was there before the tracer.
    pub predates: bool,
    /// Inode number of the namespace of that place.
    pub netns: u32,
    /// Which way it goes there.
    pub direction: Direction,
    /// The source of the RST as on the wire.
    pub sender: SocketAddr,
    pub receiver: SocketAddr,
    /// As a tracer explains it that sees this namespace alone.
    pub namespace: RecordedVerdict,
    /// As one explains it that sees the whole host.
    pub host: RecordedVerdict,
}

/// What was staged and what the events alone, without clocks and `/proc`, are explained as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedVerdict {
    /// By the staging side's word.
    pub staged: (Origin, Cause),
    /// By the tracer's; absent if it has no record.
    pub told: Option<(Origin, Cause, Confidence)>,
    pub result: RecordedResult,
}

/// How a recorded explanation compares with what was staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedResult {
    Right,
    Unknown,
    /// Not as staged: known defects on that kernel.
    Wrong(Vec<String>),
}

impl RecordedCase {
    /// The current record: the first of its place, its two ends and its direction.
    pub fn told(&self, records: &[Record]) -> Option<(Origin, Cause, Confidence)> {
        let record = records.iter().find(|record| {
            is_of_flow(self.netns.into(), self.sender, self.receiver, record)
                && is_about(self.direction, self.sender, self.receiver, record)
        })?;
        Some(told(record))
    }
}

fn told(record: &Record) -> (Origin, Cause, Confidence) {
    let verdict = &record.verdict;
    (verdict.origin, verdict.cause, verdict.confidence)
}

impl RecordedVerdict {
    fn of(explained: &Explained) -> Self {
        Self {
            staged: (explained.truth.origin, explained.truth.cause),
            told: explained.record.as_ref().map(told),
            result: match &explained.outcome {
                Outcome::Right => RecordedResult::Right,
                Outcome::Unknown => RecordedResult::Unknown,
                Outcome::NotStaged(why) => RecordedResult::Wrong(vec![why.clone()]),
                Outcome::Wrong(mistakes) => {
                    let known = mistakes.iter().filter(|it| it.about != About::Process);
                    let known: Vec<_> = known.map(|it| it.detail.clone()).collect();
                    if known.is_empty() {
                        RecordedResult::Right
                    } else {
                        RecordedResult::Wrong(known)
                    }
                }
            },
        }
    }

    pub fn is_right(&self) -> bool {
        self.result == RecordedResult::Right
    }
}

/// Runs the short demo and keeps all of it. An event that was lost is an error.
pub fn record_demo(tracer: &TracerOptions) -> Result<RecordedDemo, Failure> {
    let chosen = choose(&[], false)?;
    let traced = runtime()?.block_on(run(tracer, &chosen, None))?;
    if traced.lost > 0 {
        let lost = traced.lost;
        return Err(anyhow::anyhow!("{lost} events were lost; run the demo again").into());
    }
    let staged = traced
        .done
        .iter()
        .filter_map(|done| done.staged.as_ref().ok());
    let places: Vec<_> = staged
        .flat_map(|staged| &staged.truths)
        .filter_map(|truth| u32::try_from(truth.view.netns).ok())
        .collect();
    let (recording, written) =
        events_of(&traced.recording, &places).context("cannot select the events of the demo")?;
    let whole = |replayed: Replayed| replayed.end.map(|_| replayed.outputs);
    let judged = replay(&*recording).context("cannot replay the recording")?;
    let head = judged.head.clone();
    let host = whole(judged).context("cannot replay the recording")?;
    let namespaces = replay_each_namespace(&*recording).and_then(whole);
    let namespaces = namespaces.context("cannot judge the namespaces separately")?;
    let records = Records {
        namespaces: resets(namespaces).collect(),
        host: resets(host).collect(),
    };
    let mut recorded = RecordedDemo {
        recording,
        head,
        written,
        cases: Vec::new(),
        left_out: Vec::new(),
    };
    for case in traced.done.iter().flat_map(|done| compare(done, &records)) {
        let Some(judged) = &case.judged else {
            let left_out = format!("{}: {:?}", case.scenario.name, case.outcome);
            recorded.left_out.push(left_out);
            continue;
        };
        let truth = &judged.namespace.truth;
        recorded.cases.push(RecordedCase {
            scenario: case.scenario.name.to_owned(),
            version: case.version,
            predates: case.predates,
            netns: truth.view.netns.try_into().unwrap_or_default(),
            direction: truth.direction,
            sender: truth.sender,
            receiver: truth.receiver,
            namespace: RecordedVerdict::of(&judged.namespace),
            host: RecordedVerdict::of(&judged.host),
        });
    }
    Ok(recorded)
}

/// The events of these namespaces alone, without host context other than inode numbers: tracepoints see the whole
/// machine, and a recording must not contain data of others.
fn events_of(whole: &[u8], namespaces: &[u32]) -> anyhow::Result<(Vec<u8>, Written)> {
    let mut reader = Reader::new(whole)?;
    let mut head = reader.head().clone();
    let host = &mut head.premises.host;
    (host.host, host.boot_id, host.environment) = (None, Word::default(), None);
    let decoder = Decoder::new(head.premises.kernel.clone());
    let mut writer = Writer::new(Vec::new(), &head, Effort::Archive)?;
    while let Some(input) = reader.input()? {
        let Input::Event { bytes, facts, .. } = input else {
            continue;
        };
        let inode = decoder.decode(bytes)?.netns_inode.or(facts.netns_inode);
        if inode.is_some_and(|inode| namespaces.contains(&inode)) {
            let facts = HostContext {
                netns_inode: inode,
                ..HostContext::default()
            };
            writer.event(bytes, &facts)?;
        }
    }
    writer.input(&Input::Finish)?;
    Ok(writer.finish(&End::default())?)
}

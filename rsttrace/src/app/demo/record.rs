//! The demo as data: what came out of the kernel, and what was staged, to be judged again without either.

use std::net::SocketAddr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::compare::{About, Case, Outcome, is_about, is_of_flow};
use super::{choose, resets, run};
use crate::app::runtime;
use crate::cli::{Failure, TracerOptions};
use crate::decode::Decoder;
use crate::demo::{IpVersion, Truth};
use crate::event::Facts;
use crate::judge::{Input, Sight};
use crate::record::{Cause, Confidence, Direction, Origin, Record, Word};
use crate::recording::{Effort, End, Head, Reader, Writer, Written, replay};

/// The short demo, recorded.
pub struct RecordedDemo {
    /// What came out of the kernel: a recording, to be judged each namespace by itself. Which host it was, and what was
    /// known of processes, is left out.
    pub recording: Vec<u8>,
    pub head: Head,
    pub written: Written,
    /// What was staged and rightly explained, but for its process.
    pub cases: Vec<RecordedCase>,
    /// What could not be staged, or was not explained rightly, and why.
    pub left_out: Vec<String>,
}

/// A reset that was staged, in one view, and rightly explained. Its process is left out: it takes `/proc` to tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedCase {
    pub scenario: String,
    pub version: IpVersion,
    /// The socket was there before the tracer.
    pub predates: bool,
    /// Inode number of the namespace in whose view it is judged.
    pub netns: u32,
    /// Which way it goes there.
    pub direction: Direction,
    /// The source of the RST as on the wire.
    pub sender: SocketAddr,
    pub receiver: SocketAddr,
    /// Who is behind it, by the staging side's word and the tracer's.
    pub origin: Origin,
    /// Why, by the staging side's word and the tracer's.
    pub cause: Cause,
    /// How sure that is by the events alone, without clocks and `/proc`.
    pub confidence: Confidence,
}

impl RecordedCase {
    /// Its record: the first of its view, its two ends and its direction.
    pub fn find<'a>(&self, records: &'a [Record]) -> Option<&'a Record> {
        records.iter().find(|record| {
            is_of_flow(self.netns.into(), self.sender, self.receiver, record)
                && is_about(self.direction, self.sender, self.receiver, record)
        })
    }

    fn new(case: &Case, truth: &Truth, records: &[Record]) -> Option<Self> {
        let mut recorded = Self {
            scenario: case.scenario.name.to_owned(),
            version: case.version,
            predates: case.predates,
            netns: truth.view.netns.try_into().ok()?,
            direction: truth.direction,
            sender: truth.sender,
            receiver: truth.receiver,
            origin: truth.origin,
            cause: truth.cause,
            confidence: Confidence::Certain,
        };
        recorded.confidence = recorded.find(records)?.verdict.confidence;
        Some(recorded)
    }
}

/// Runs the short demo and keeps all of it. An event that was lost is an error.
pub fn record_demo(tracer: &TracerOptions) -> Result<RecordedDemo, Failure> {
    let chosen = choose(&[], false)?;
    let (cases, finished) = runtime()?.block_on(run(tracer, &chosen, true, None))?;
    let lost: u64 = finished.totals.kernel.iter().map(|total| total.lost).sum();
    let whole = match finished.recorded.and_then(|recorded| recorded.memory) {
        Some(whole) if lost == 0 => whole,
        _ => return Err(anyhow::anyhow!("{lost} events were lost; run the demo again").into()),
    };
    let views = cases.iter().filter_map(|case| case.truth.as_ref());
    let views: Vec<_> = views
        .filter_map(|truth| u32::try_from(truth.view.netns).ok())
        .collect();
    let (recording, written) =
        events_of(&whole, &views).context("cannot select the events of the demo")?;
    let judged =
        replay(&*recording, Sight::EachNamespace).context("cannot replay the recording")?;
    judged.end.context("cannot replay the recording")?;
    let records: Vec<_> = resets(judged.outputs).collect();
    let mut recorded = RecordedDemo {
        recording,
        head: judged.head,
        written,
        cases: Vec::new(),
        left_out: Vec::new(),
    };
    for case in &cases {
        let is_right = match &case.outcome {
            Outcome::Right => true,
            Outcome::Wrong(mistakes) => mistakes.iter().all(|it| it.about == About::Process),
            Outcome::Unknown | Outcome::NotStaged(_) => false,
        };
        let truth = case.truth.as_ref().filter(|_| is_right);
        let kept = truth.and_then(|truth| RecordedCase::new(case, truth, &records));
        match kept {
            Some(kept) => recorded.cases.push(kept),
            None => recorded
                .left_out
                .push(format!("{}: {:?}", case.scenario.name, case.outcome)),
        }
    }
    Ok(recorded)
}

/// The events of these namespaces alone, with nothing that the host told but their numbers: tracepoints see the whole
/// machine, and whose it was is nobody's concern.
fn events_of(whole: &[u8], namespaces: &[u32]) -> anyhow::Result<(Vec<u8>, Written)> {
    let mut reader = Reader::new(whole)?;
    let mut head = reader.head().clone();
    let host = &mut head.premises.host;
    (host.host, host.boot_id, host.environment) = (None, Word::default(), None);
    let decoder = Decoder::new(head.premises.kernel.clone());
    let mut writer = Writer::new(Vec::new(), &head, Effort::Archive)?;
    while let Some(input) = reader.input()? {
        let Input::Event { bytes, facts } = input else {
            continue;
        };
        let inode = decoder.decode(bytes)?.netns_inode.or(facts.netns_inode);
        if inode.is_some_and(|inode| namespaces.contains(&inode)) {
            let facts = Facts {
                netns_inode: inode,
                ..Facts::default()
            };
            writer.event(bytes, &facts)?;
        }
    }
    writer.input(&Input::Finish)?;
    Ok(writer.finish(&End::default())?)
}

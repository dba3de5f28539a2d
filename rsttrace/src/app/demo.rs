//! `rsttrace demo`: stages resets, traces them, and compares the verdicts with what was staged.

mod captures;
mod compare;
mod namespaces;
mod plan;
mod record;
mod show;

use std::path::Path;

use anyhow::Context as _;
use log::warn;

use super::recorder::RecordTo;
use super::runtime;
use super::session::{PreparedSession, SessionOptions};
use crate::cli::{DemoOptions, Failure, OutputFormat, TracerOptions};
use crate::demo::scenarios::ALL;
use crate::demo::{Lab, Place, Scenario, StageError, Suite, Taps};
use crate::kernel::{DETAIL_INTERVAL, InterfaceOptions, Scope};
use crate::record::Output;
use crate::record::Record;
use crate::recording::RecordingError;
use crate::silence::candidates::{Hop, Kind};
pub use captures::{CaptureSight, CapturedCase, Grade, judge_captures};
use compare::{Case, Outcome, Records, compare};
pub use namespaces::replay_each_namespace;
use plan::{Done, carry_out, open_those_that_predate};
pub use record::{RecordedCase, RecordedDemo, RecordedResult, RecordedVerdict, record_demo};

/// Bytes for events. The tracepoints see the whole machine, so a storm in another namespace must fit, too.
const BUFFER_BYTES: u32 = 4 << 20;

/// Stages what the options name and prints how it was explained.
pub fn demo(options: DemoOptions) -> Result<(), Failure> {
    let chosen = choose(&options.only, options.all || options.list)?;
    if options.list {
        return show::list(&chosen);
    }
    let folder = options.captures.as_deref();
    let traced = runtime()?.block_on(run(&options.tracer, &chosen, folder))?;
    let cases = traced.cases()?;
    if traced.lost > 0 {
        warn!(
            "{} events were lost: some unknown results may be due to that",
            traced.lost
        );
    }
    if let Some(folder) = folder {
        captures::note_staged(folder, &cases)?;
    }
    match options.output {
        OutputFormat::Table => show::table(&cases, options.color.for_stdout())?,
        OutputFormat::Json => show::json(&cases)?,
    }
    judge(&cases, options.require)
}

/// The scenarios by name; for no name all of the suite.
fn choose(names: &[String], long: bool) -> Result<Vec<&'static Scenario>, Failure> {
    if let Some(unknown) = names
        .iter()
        .find(|name| ALL.iter().all(|scenario| scenario.name != **name))
    {
        let message = format!("unknown case `{unknown}`; see `rsttrace demo --list`");
        return Err(Failure::Usage(message));
    }
    let is_chosen = |scenario: &&&Scenario| {
        if names.is_empty() {
            long || scenario.suite == Suite::Short
        } else {
            names.iter().any(|name| name == scenario.name)
        }
    };
    Ok(ALL.iter().filter(is_chosen).copied().collect())
}

/// Exit 0 only if nothing staged was explained incorrectly or not at all, and enough was staged.
fn judge(cases: &[Case], required: Option<usize>) -> Result<(), Failure> {
    let is_bad = |case: &&Case| matches!(case.outcome, Outcome::Wrong(_) | Outcome::Unknown);
    let bad = cases.iter().filter(is_bad).count();
    if bad > 0 {
        return Err(Failure::Failed(anyhow::anyhow!(
            "{bad} of {} cases were explained incorrectly or as unknown; please report this with the output of `rsttrace demo -o json`",
            cases.len()
        )));
    }
    let Some(required) = required else {
        return Ok(());
    };
    let mut staged: Vec<_> = cases
        .iter()
        .filter(|case| case.outcome == Outcome::Right)
        .map(|case| case.scenario.name)
        .collect();
    staged.sort_unstable();
    staged.dedup();
    if staged.len() < required {
        return Err(Failure::Failed(anyhow::anyhow!(
            "only {} of {required} required cases could be staged; the table shows the reasons",
            staged.len()
        )));
    }
    let lost = cases.iter().filter(|case| case.lost_predates).count();
    if lost > 0 {
        return Err(Failure::Failed(anyhow::anyhow!(
            "{lost} cases need a socket that is older than the tracer and were staged with a newer one; \
             run the demo again when the machine is less busy"
        )));
    }
    Ok(())
}

/// The staged cases and their trace.
struct Traced {
    done: Vec<Done>,
    /// Records as in `watch`.
    host: Vec<Record>,
    /// Inputs of the judge.
    recording: Vec<u8>,
    /// Events lost in the kernel.
    lost: u64,
}

impl Traced {
    fn cases(&self) -> anyhow::Result<Vec<Case>> {
        let replayed = replay_each_namespace(&*self.recording).and_then(|replayed| {
            replayed.end?;
            Ok::<_, RecordingError>(replayed.outputs)
        });
        let namespaces = replayed.context("cannot judge the namespaces separately")?;
        let records = Records {
            namespaces: resets(namespaces).collect(),
            host: self.host.clone(),
        };
        let cases = self.done.iter().flat_map(|done| compare(done, &records));
        Ok(cases.collect())
    }
}

/// Stages the scenarios while a tracer runs.
async fn run(
    tracer: &TracerOptions,
    chosen: &[&'static Scenario],
    captures: Option<&Path>,
) -> Result<Traced, Failure> {
    let hops = chosen
        .iter()
        .flat_map(|scenario| scenario.hops)
        .map(hop)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let chosen = chosen.to_vec();
    // The lab blocks, so it has its own thread; the tracer starts between its two parts.
    let lab = tokio::task::spawn_blocking(Lab::up)
        .await
        .context("cannot set up the test namespaces")?
        .map_err(|error| stage_failure(&error))?;
    let taps = match captures {
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            Some(Taps::start(&lab, folder).map_err(|error| stage_failure(&error))?)
        }
        None => None,
    };
    let places = [Place::Client, Place::Router, Place::Server].map(|place| lab.view(place).netns);
    let prepared = PreparedSession::new(SessionOptions {
        tracer: tracer.clone(),
        buffer_bytes: BUFFER_BYTES,
        interfaces: InterfaceOptions {
            scope: Scope::Only(
                places
                    .into_iter()
                    .filter_map(|inode| u32::try_from(inode).ok())
                    .collect(),
            ),
            patience: std::time::Duration::from_secs(10),
            ..InterfaceOptions::default()
        },
        hops,
        // As `watch` without options.
        detail_interval: Some(DETAIL_INTERVAL),
        // The namespaces are judged one by one afterwards.
        record: Some(RecordTo::Memory),
    })?;
    // What predates the tracer is silent from here on: only attaching comes in between.
    let (lab, plans) = tokio::task::spawn_blocking(move || {
        let mut lab = lab;
        let plans = open_those_that_predate(&mut lab, &chosen);
        (lab, plans)
    })
    .await
    .context("cannot open the connections that predate the trace")?;
    let mut session = prepared.start()?;
    let mut staging = tokio::task::spawn_blocking(move || {
        let mut lab = lab;
        let done = carry_out(&mut lab, plans);
        (lab, done)
    });
    let mut records: Vec<Record> = Vec::new();
    // The actors live until the records are judged: they may be looked up.
    let (_lab, done) = loop {
        tokio::select! {
            outputs = session.next() => records.extend(resets(outputs?)),
            done = &mut staging => break done.context("cannot stage the resets")?,
        }
    };
    let mut finished = session.finish();
    if let Some(taps) = taps {
        taps.finish().context("cannot write the packet captures")?;
    }
    records.extend(resets(std::mem::take(&mut finished.outputs)));
    let recorded = finished.recorded.unwrap_or_default();
    let recording = recorded
        .memory
        .filter(|_| recorded.missed == 0)
        .context("events are missing from the recording in memory; run the demo again")?;
    Ok(Traced {
        done,
        host: records,
        recording,
        lost: finished.totals.kernel.iter().map(|it| it.lost).sum(),
    })
}

/// As a configuration file would name it.
fn hop(staged: &crate::demo::Hop) -> anyhow::Result<Hop> {
    Ok(Hop {
        name: staged.name.to_owned(),
        network: staged
            .network
            .parse()
            .with_context(|| format!("invalid network of hop {}", staged.name))?,
        port: staged.port,
        timeout: staged.timeout,
        mode: staged.mode,
        kind: if staged.transparent {
            Kind::Transparent
        } else {
            Kind::Terminating
        },
    })
}

fn resets(outputs: impl IntoIterator<Item = Output>) -> impl Iterator<Item = Record> {
    outputs.into_iter().filter_map(|output| match output {
        Output::Reset(record) => Some(*record),
        Output::Failure(_) | Output::Suppressed(_) => None,
    })
}

fn stage_failure(error: &StageError) -> Failure {
    if error.is_not_staged() && !nix::unistd::geteuid().is_root() {
        Failure::NotPermitted(format!("{error}; run as root (sudo rsttrace demo)"))
    } else {
        Failure::Failed(anyhow::anyhow!(
            "cannot set up the test namespaces: {error}; run again with -vv for details"
        ))
    }
}

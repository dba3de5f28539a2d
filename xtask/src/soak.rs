//! `cargo xtask soak`: memory and counts of the tracer during minutes of floods.

use std::{
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::{
    bench::{
        Programs,
        lab::{self, Lab},
        process::{End, Running, Speaks},
        told::{self, Told},
        workload::{Act, Place, Workload},
    },
    command, workspace,
};

mod census;
mod report;
mod samples;

use census::{Census, Share};
use report::Report;
use samples::{Sample, Sampler};

/// Run the tracer through floods for minutes, and check its memory and its counts against the kernel
///
/// Creates its own network namespaces and removes them. Exit code 1 if a check fails.
#[derive(clap::Args)]
pub struct Args {
    /// Run time in minutes; 1 checks that it works
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Result file [default: target/soak/soak.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What one phase adds to the steady traffic, so many a second (0: as many as possible).
#[derive(Clone, Copy)]
struct Phase {
    name: &'static str,
    load: Option<(Act, u64)>,
}

const fn phase(name: &'static str, act: Act, rate: u64) -> Phase {
    Phase {
        name,
        load: Some((act, rate)),
    }
}

const QUIET: Phase = Phase {
    name: "steady traffic alone",
    load: None,
};

/// One after the other, again and again.
const PHASES: [Phase; 8] = [
    QUIET,
    phase("linger-0 closes, 1 k/s", Act::Reset, 1_000),
    phase("linger-0 closes, 10 k/s", Act::Reset, 10_000),
    phase("linger-0 closes, full rate", Act::Reset, 0),
    QUIET,
    phase("SYN flood, one /24, 10 k/s", Act::Flood, 10_000),
    phase("SYN flood, one /24, full rate", Act::Flood, 0),
    phase("SYN flood, random sources, full rate", Act::RandomFlood, 0),
];

/// Every quarter of the time has as many of each phase, or quarters would not compare.
const QUARTERS: u32 = 4;
/// A phase lasts no longer, if there is time for several rounds.
const LONGEST: Duration = Duration::from_secs(15);
/// Requests a second, all the time.
const STEADY: u64 = 200;
/// Without any load, at the end: what is held for no reason is given back by then.
const REST: Duration = Duration::from_secs(8);

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if !command::is_root() {
        bail!("tracing needs root: run `sudo -E cargo xtask soak`");
    }
    let programs = Programs::build()?;
    let folder = tempfile::tempdir().context("make a folder for the metrics")?;
    let metrics = folder.path().join("rsttrace.prom");
    let lab = Lab::new(&programs)?;
    let ours = [lab::End::Client, lab::End::Server].map(|end| {
        let path = lab.path(end);
        census::inode(path.as_ref()).with_context(|| format!("look at {path}"))
    });
    let [client, server] = ours;
    let ours = [client?, server?];

    let outside = census::take();
    let mut watch = Command::new(&programs.rsttrace);
    watch.args(["watch", "-o", "json", "--metrics-file"]);
    watch.arg(&metrics).env_remove("RUST_LOG");
    let mut tracer = Running::start(&watch, Speaks::Err)?;
    tracer.await_line("tracing resets")?;
    let begin = census::take();
    let lasts = Duration::from_secs(60) * args.minutes;
    let (sampled, mut seen) = load(&programs, &lab, tracer.pid(), lasts)?;
    let end = census::take();
    let told = tracer.end(End::Signal(Signal::SIGINT))?;
    let edges = [outside, begin, end, census::take()];
    seen.retain(|inode, _| !ours.contains(inode));

    let report = Report {
        minutes: args.minutes,
        phases: PHASES.map(|phase| phase.name).to_vec(),
        told: told::summary(&told),
        adds_up: !told.contains("does not add up"),
        in_metrics: report::sent_in_metrics(&metrics)?,
        share: Share::of(&ours, &edges, &seen),
        samples: sampled,
    };
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| workspace::target().join("soak/soak.json"));
    report.write(&out)?;
    print!("{report}");
    eprintln!("figures: {}", out.display());
    let wrong = report.wrong();
    if !wrong.is_empty() {
        bail!("the tracer did not last: {}\n{told}", wrong.join("; "));
    }
    Ok(())
}

/// Goes through all phases, and looks at the tracer meanwhile.
fn load(
    programs: &Programs,
    lab: &Lab,
    tracer: u32,
    lasts: Duration,
) -> Result<(Vec<Sample>, Census)> {
    let each = (PHASES.len() as u32) * QUARTERS;
    let rounds = (lasts.as_secs_f64() / (LONGEST * each).as_secs_f64())
        .ceil()
        .max(1.0) as u32;
    let phase_lasts = lasts / (each * rounds);
    let sampler = Sampler::default();
    let mut steady = Workload {
        act: Act::Exchange,
        place: Place::Veth,
        rate: STEADY,
    }
    .command(programs, lab, lasts);
    let failed = Mutex::new(None);
    let worked = thread::scope(|scope| {
        scope.spawn(|| note(&failed, sampler.run(tracer)));
        scope.spawn(|| note(&failed, command::output(&mut steady).map(drop)));
        let worked = phases(
            programs,
            lab,
            &sampler,
            phase_lasts,
            QUARTERS * rounds,
            &failed,
        );
        sampler.phase.store(PHASES.len(), Ordering::Relaxed);
        if worked.is_ok() {
            thread::sleep(REST);
        }
        sampler.stop();
        worked
    });
    worked?;
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(sampler.into_seen()),
    }
}

fn phases(
    programs: &Programs,
    lab: &Lab,
    sampler: &Sampler,
    lasts: Duration,
    rounds: u32,
    failed: &Mutex<Option<anyhow::Error>>,
) -> Result<()> {
    for round in 0..rounds {
        eprintln!("round {} of {rounds}, {lasts:?} a phase", round + 1);
        for (number, phase) in PHASES.iter().enumerate() {
            sampler.phase.store(number, Ordering::Relaxed);
            if failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some()
            {
                // Told by whoever looks at it.
                return Ok(());
            }
            let begin = Instant::now();
            if let Some((act, rate)) = phase.load {
                let workload = Workload {
                    act,
                    place: Place::Veth,
                    rate,
                };
                workload.run(programs, lab, lasts)?;
            }
            thread::sleep(lasts.saturating_sub(begin.elapsed()));
        }
    }
    Ok(())
}

/// Keeps the first failure.
fn note(failed: &Mutex<Option<anyhow::Error>>, result: Result<()>) {
    if let Err(error) = result {
        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(error);
    }
}

/// What became of the resets that were sent; none if the summary does not tell.
fn sent(told: &Told) -> told::Total {
    let sent = told.kernel.iter().find(|total| total.name == "sent");
    sent.cloned().unwrap_or_default()
}

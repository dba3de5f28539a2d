//! The cost of a packet that passes a classifier. `classifier RUNS ROUNDS` (as root; `cargo xtask bench` does it) prints
//! nanoseconds a packet, of an empty classifier and of both of rsttrace's, in turns.

mod bpf;
mod frames;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Parser;
use frames::Frame;
use rsttrace::kernel::{Options, Prepared};
use serde::Serialize;

/// Runs classifiers on frames that never were on a wire
#[derive(Parser)]
struct Args {
    /// Runs on each frame in all rounds together
    runs: u32,
    /// Rounds, in each of which every program has its turn
    rounds: u32,
}

/// Its events find room, so that each run does the whole work.
const RUNS_WITH_EVENT: u32 = 40_000;
const ROOM: u32 = 128 << 20;

/// Nanoseconds a packet, one number a round.
#[derive(Serialize)]
struct Cost {
    frame: String,
    /// The same kind of frame is held against the same budget.
    kind: frames::Kind,
    runs: u32,
    empty: Vec<f64>,
    ingress: Vec<f64>,
    egress: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let options = Options {
        buffer_bytes: ROOM,
        interfaces: None,
        ..Options::default()
    };
    let all = frames::all()?;
    let events = all
        .iter()
        .filter(|(_, kind, _)| *kind == frames::Kind::Event);
    let flood: Vec<_> = events
        .map(|(name, _, frame)| {
            (
                format!("{name} in a flood"),
                frames::Kind::Flood,
                frame.clone(),
            )
        })
        .collect();
    let mut costs = measure(&args, &options, all)?;
    // As `rsttrace watch` without options: what comes too often is only counted.
    let options = Options {
        detail_interval: Some(Duration::from_millis(50)),
        ..options
    };
    costs.extend(measure(&args, &options, flood)?);
    println!("{}", serde_json::to_string(&costs)?);
    Ok(())
}

fn measure(args: &Args, options: &Options, frames: Vec<Frame>) -> anyhow::Result<Vec<Cost>> {
    let rounds = args.rounds.max(1);
    let mut prepared = Prepared::new(options)?;
    let ingress = prepared
        .classifier("tc_ingress_l2")
        .map_err(|e| anyhow!(e))?;
    let egress = prepared
        .classifier("tc_egress_l2")
        .map_err(|e| anyhow!(e))?;
    let empty = bpf::load_empty().context("load an empty classifier")?;
    let mut costs = Vec::new();
    for (name, kind, frame) in frames {
        let wanted = match kind {
            frames::Kind::Event => args.runs.min(RUNS_WITH_EVENT),
            _ => args.runs,
        };
        let runs = (wanted / rounds).max(1);
        let cost = |program: &OwnedFd| -> anyhow::Result<f64> {
            let took = bpf::test_run(program.as_fd(), &frame, runs)
                .with_context(|| format!("run a classifier on: {name}"))?;
            Ok(took.as_secs_f64() * 1e9 / f64::from(runs))
        };
        let (mut on_empty, mut on_ingress, mut on_egress) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            on_empty.push(cost(&empty)?);
            on_ingress.push(cost(&ingress)?);
            on_egress.push(cost(&egress)?);
        }
        costs.push(Cost {
            frame: name,
            kind,
            runs: runs * rounds,
            empty: on_empty,
            ingress: on_ingress,
            egress: on_egress,
        });
    }
    Ok(costs)
}

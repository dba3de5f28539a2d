//! What does a packet cost that passes a classifier? `classifier RUNS ROUNDS` (as root; `cargo xtask bench` does it) prints
//! nanoseconds a packet, of an empty classifier and of both of rsttrace's, in turns.

mod bpf;
mod frames;

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context as _, anyhow};
use clap::Parser;
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
    frame: &'static str,
    /// The same kind of frame is held against the same budget.
    kind: frames::Kind,
    runs: u32,
    empty: Vec<f64>,
    ingress: Vec<f64>,
    egress: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let rounds = args.rounds.max(1);
    let options = Options {
        buffer_bytes: ROOM,
        interfaces: None,
        ..Options::default()
    };
    let mut prepared = Prepared::new(&options)?;
    let ingress = prepared
        .classifier("tc_ingress_l2")
        .map_err(|e| anyhow!(e))?;
    let egress = prepared
        .classifier("tc_egress_l2")
        .map_err(|e| anyhow!(e))?;
    let empty = bpf::load_empty().context("load an empty classifier")?;
    let mut costs = Vec::new();
    for (name, kind, frame) in frames::all()? {
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
        let mut row = Cost {
            frame: name,
            kind,
            runs: runs * rounds,
            empty: Vec::new(),
            ingress: Vec::new(),
            egress: Vec::new(),
        };
        for _ in 0..rounds {
            row.empty.push(cost(&empty)?);
            row.ingress.push(cost(&ingress)?);
            row.egress.push(cost(&egress)?);
        }
        costs.push(row);
    }
    println!("{}", serde_json::to_string(&costs)?);
    Ok(())
}

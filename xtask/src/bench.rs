//! `cargo xtask bench`: the cost of tracing.
//!
//! Figures compare only within one run: each batch with a tool is bracketed by batches without one, and its speed is a part of
//! their mean.

use std::{
    fmt::{self, Display, Formatter},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::sys::{Stats, enable_stats};
use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Deserialize;

use crate::command;

mod fdinfo;
pub mod lab;
mod memory;
pub mod process;
pub mod totals;
pub mod workload;

use lab::Lab;
use process::{Running, Speaks};
use totals::Total;
use workload::{Act, Place, Workload};

/// Measure the cost of tracing, each batch next to batches without it
///
/// Creates its own network namespaces and removes them. Let nothing else run at the same time. Figures of different runs,
/// machines or kernels do not compare.
#[derive(clap::Args)]
pub struct Args {
    /// Run only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Check in one minute that everything works; the results are not meaningful
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Packets that pass a classifier
    Classifier,
    /// Connections without resets
    Connect,
    /// Resets, at full rate and at 10 k a second
    Storm,
    /// From start to hooks attached
    Start,
    /// Memory of the daemon and of the kernel
    Memory,
}

pub struct Programs {
    pub rsttrace: PathBuf,
    load: PathBuf,
}

struct Bench {
    programs: Programs,
    quick: bool,
    rounds: usize,
    lasts: Duration,
}

/// Arguments of the tracer.
type Tool = &'static [&'static str];

const DEFAULT: Tool = &["watch"];
const EVERY: Tool = &["watch", "--every", "--noise", "-o", "json"];
const PERF: Tool = &["watch", "--transport", "perf"];

/// Median and extremes of one measure.
pub struct Spread {
    pub median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// `None` without values, or with one that is not finite.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = |at: usize| values[at / 2];
        let median = f64::midpoint(middle(values.len() - 1), middle(values.len()));
        (min.is_finite() && max.is_finite()).then_some(Self { median, min, max })
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ({:.3}–{:.3})", self.median, self.min, self.max)
    }
}

struct Rows(Table);

impl Rows {
    fn add(
        &mut self,
        case: &str,
        tool: Tool,
        measure: &str,
        values: impl IntoIterator<Item = f64>,
    ) {
        if let Some(spread) = Spread::of(values) {
            let (tool, spread) = (tool.join(" "), spread.to_string());
            self.0.add_row([case, &tool, measure, &spread]);
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    if !command::is_root() {
        bail!("tracing needs root: run `sudo -E cargo xtask bench`");
    }
    let (rounds, lasts) = if args.quick {
        (1, Duration::from_millis(400))
    } else {
        (5, Duration::from_secs(3))
    };
    let bench = Bench {
        programs: Programs::build()?,
        quick: args.quick,
        rounds,
        lasts,
    };
    for part in Part::value_variants() {
        if args.only.is_empty() || args.only.contains(part) {
            let mut rows = Rows(Table::new());
            rows.0.load_style(presets::NOTHING);
            let header = [&format!("{part:?}"), "tool", "measure", "median (min–max)"];
            rows.0.set_header(header);
            bench
                .measure(*part, &mut rows)
                .with_context(|| format!("{part:?}"))?;
            println!("{}\n", rows.0);
        }
    }
    Ok(())
}

impl Programs {
    pub fn build() -> Result<Self> {
        Ok(Self {
            rsttrace: build("rsttrace", "--bin", "rsttrace")?,
            load: build("xtask", "--bin", "xtask")?,
        })
    }
}

/// The release build of this target.
fn build(package: &str, kind: &str, target: &str) -> Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo.args(["build", "--release", "--package", package, kind, target]);
    let built = command::build(&mut cargo)?.remove(target);
    built.with_context(|| format!("cargo built no {target}"))
}

impl Bench {
    fn measure(&self, part: Part, rows: &mut Rows) -> Result<()> {
        let full = |act, place| Workload {
            act,
            place,
            rate: 0,
        };
        match part {
            Part::Classifier => self.classifier(rows),
            Part::Connect => {
                let connect = full(Act::Connect, Place::Lo);
                let exchange = full(Act::Exchange, Place::Veth);
                self.batches(&[connect, exchange], &[DEFAULT], rows)
            }
            Part::Storm => {
                let reset = |place| full(Act::Reset, place);
                let paced = Workload {
                    rate: 10_000,
                    ..reset(Place::Veth)
                };
                let floods = [Act::Flood, Act::RandomFlood].map(|act| full(act, Place::Veth));
                let mut storms = vec![reset(Place::Veth), floods[0]];
                if !self.quick {
                    storms.extend([reset(Place::Lo), paced, floods[1]]);
                }
                self.batches(&storms, &[DEFAULT, EVERY, PERF], rows)
            }
            Part::Start => {
                let starts = if self.quick { 3 } else { 15 };
                let took = (0..starts).map(|_| {
                    let (tracer, took) = self.tracer(DEFAULT)?;
                    tracer.end().map(|_| took.as_secs_f64() * 1e3)
                });
                let took = took.collect::<Result<Vec<_>>>();
                rows.add("", DEFAULT, "ms to hooks attached", took?);
                Ok(())
            }
            Part::Memory => memory::measure(self, rows),
        }
    }

    fn tracer(&self, tool: Tool) -> Result<(Running, Duration)> {
        let mut command = Command::new(&self.programs.rsttrace);
        command.args(tool);
        let begin = Instant::now();
        let mut running = Running::start(&command, Speaks::Err)?;
        let ready = running.await_line("tracing resets")?;
        Ok((running, ready - begin))
    }

    /// Nanoseconds per packet, as measured by the example `classifier`.
    fn classifier(&self, rows: &mut Rows) -> Result<()> {
        #[derive(Deserialize)]
        struct Cost {
            frame: String,
            empty: Vec<f64>,
            ingress: Vec<f64>,
            egress: Vec<f64>,
        }
        let program = build("rsttrace", "--example", "classifier")?;
        let runs = if self.quick { "100000" } else { "6000000" };
        let text = command::output(Command::new(program).args([runs, "25"]))?;
        let costs: Vec<Cost> = serde_json::from_str(&text)
            .context("the example `classifier` printed something else")?;
        for cost in costs {
            let empty = cost.empty.clone();
            rows.add(&cost.frame, &["empty"], "ns per packet", empty);
            for (way, values) in [(&["ingress"], cost.ingress), (&["egress"], cost.egress)] {
                let ratio = values
                    .iter()
                    .zip(&cost.empty)
                    .map(|(own, empty)| own / empty);
                rows.add(&cost.frame, way, "times the empty one", ratio);
            }
        }
        Ok(())
    }

    /// Each tool on each workload, bracketed by batches without a tool; then once more while the kernel measures BPF run times,
    /// which has a cost of its own.
    fn batches(&self, workloads: &[Workload], tools: &[Tool], rows: &mut Rows) -> Result<()> {
        let lab = Lab::new(&self.programs)?;
        for workload in workloads {
            let case = workload.name();
            let mut of_tool: Vec<Vec<(Batch, f64)>> = vec![Vec::new(); tools.len()];
            let mut before = self.batch(&lab, *workload, None)?;
            for round in 0..self.rounds {
                eprintln!("  {case}, round {}", round + 1);
                for (tool, batches) in tools.iter().zip(&mut of_tool) {
                    let batch = self.batch(&lab, *workload, Some(*tool))?;
                    let after = self.batch(&lab, *workload, None)?;
                    let free = f64::midpoint(before.speed, after.speed);
                    let kept = batch.speed / free;
                    batches.push((batch, kept));
                    before = after;
                }
            }
            for (tool, batches) in tools.iter().zip(of_tool) {
                let counted = {
                    let _counting =
                        enable_stats(Stats::RunTime).context("measure BPF run times")?;
                    self.batch(&lab, *workload, Some(*tool))?
                };
                let mut add = |measure, of: &dyn Fn(&Batch) -> f64| {
                    let values = batches.iter().map(|(batch, _)| of(batch));
                    rows.add(&case, tool, measure, values);
                };
                add("k per second", &|batch| batch.speed / 1e3);
                add("µs of CPU per event", &|batch| {
                    batch.cpu * 1e6 / batch.events
                });
                add("part detailed", &|batch| {
                    batch.sent.detailed as f64 / batch.sent.seen as f64
                });
                add("lost", &|batch| batch.sent.lost as f64);
                add("MB resident", &|batch| batch.resident as f64 / 1e6);
                let kept = batches.iter().map(|(_, kept)| *kept);
                rows.add(&case, tool, "part of the free speed", kept);
                let bpf = [counted.bpf * 1e6 / counted.events];
                rows.add(&case, tool, "µs in BPF per event", bpf);
            }
        }
        Ok(())
    }

    fn batch(&self, lab: &Lab, workload: Workload, tool: Option<Tool>) -> Result<Batch> {
        let tracer = tool.map(|tool| self.tracer(tool)).transpose()?;
        let tracer = tracer.map(|(tracer, _)| tracer);
        let before = tracer.as_ref().map(|tracer| {
            // Work of the start.
            tracer.settle(STILL / 2);
            (tracer.cpu(), tracer.bpf())
        });
        let resets = lab.resets()?;
        let ran = workload.run(&self.programs, lab, self.lasts)?;
        if let Some(tracer) = &tracer {
            tracer.settle(STILL);
        }
        let resets = lab.resets()? - resets;
        // A flood does not wait for answers.
        let (speed_of, events) = match workload.act {
            Act::Connect | Act::Exchange => (ran.done, ran.done),
            Act::Reset => (ran.done, resets),
            Act::Flood | Act::RandomFlood => (resets, resets),
        };
        let mut batch = Batch {
            speed: speed_of as f64 / ran.seconds,
            events: events as f64,
            ..Batch::default()
        };
        if let (Some(tracer), Some((cpu, bpf))) = (tracer, before) {
            batch.cpu = tracer.cpu().saturating_sub(cpu).as_secs_f64();
            batch.bpf = tracer.bpf().run_time_since(&bpf) as f64 / 1e9;
            batch.resident = tracer.resident();
            batch.sent = totals::sent(&totals::read(&tracer.end()?));
        }
        Ok(batch)
    }
}

/// The results of one batch of a workload, and the cost of the tracer.
#[derive(Clone, Default)]
struct Batch {
    /// Connections per second; in a flood, resets.
    speed: f64,
    /// Connections, or resets if the workload makes them.
    events: f64,
    /// CPU seconds of the tracer, user and system, until it was at rest.
    cpu: f64,
    /// Seconds in its BPF programs; 0 unless the kernel measures them.
    bpf: f64,
    /// Bytes.
    resident: u64,
    sent: Total,
}

/// Longer than a record may wait, which is a quarter of a second.
const STILL: Duration = Duration::from_millis(400);

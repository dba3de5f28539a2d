//! `cargo xtask bench`: what tracing costs.
//!
//! Figures compare only within one run: each batch under a tool is bracketed by batches without one, and counts as a part of
//! their mean.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use comfy_table::{Table, presets};
use nix::sys::signal::Signal;
use rsttrace_lab::Link;
use serde::{Deserialize, Serialize};

use crate::{command, workspace};

mod fdinfo;
mod memory;
pub mod process;
pub mod stats;
pub mod told;
pub mod workload;

use process::{End, Running, Speaks};
use stats::Spread;
use told::Total;
use workload::{Act, Place, Workload};

/// Measure what tracing costs, each batch beside batches without it
///
/// It makes network namespaces of its own, which end with it. Let nothing else run meanwhile: figures of different runs,
/// machines or kernels do not compare.
#[derive(clap::Args)]
pub struct Args {
    /// Run only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Check in one minute that everything works; the results are not meaningful
    #[arg(long)]
    quick: bool,
    /// Batches of each kind; else five
    #[arg(long, value_name = "N", conflicts_with = "quick", value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: Option<u8>,
    /// Seconds of one batch; else three
    #[arg(long, value_name = "N", conflicts_with = "quick", value_parser = clap::value_parser!(u8).range(1..=60))]
    seconds: Option<u8>,
    /// Where the figures go, as JSON; else target/bench/bench.json
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    /// A packet that passes a classifier
    Classifier,
    /// Connections that nobody resets
    Connect,
    /// Resets, at full rate and at 10 k a second
    Storm,
    /// From start to hooks attached
    Start,
    /// Memory of the daemon and of the kernel's side
    Memory,
}

/// What is run.
pub struct Programs {
    /// The tracer.
    pub rsttrace: PathBuf,
    load: PathBuf,
}

struct Bench {
    programs: Programs,
    quick: bool,
    rounds: usize,
    lasts: Duration,
}

/// A way to run the tracer.
#[derive(Clone, Copy)]
struct Tool {
    name: &'static str,
    arguments: &'static [&'static str],
}

const DEFAULT: Tool = Tool {
    name: "watch",
    arguments: &["watch"],
};
const EVERY: Tool = Tool {
    name: "watch --every -o json",
    arguments: &["watch", "--every", "--noise", "-o", "json"],
};
const PERF: Tool = Tool {
    name: "watch --transport perf",
    arguments: &["watch", "--transport", "perf"],
};

/// One figure.
#[derive(Serialize)]
struct Row {
    part: Part,
    case: String,
    tool: &'static str,
    measure: &'static str,
    #[serde(flatten)]
    spread: Spread,
}

/// All figures of a run.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    /// Adds a figure; nothing where there is none.
    fn add(
        &mut self,
        part: Part,
        case: &str,
        tool: &'static str,
        measure: &'static str,
        values: impl IntoIterator<Item = f64>,
    ) {
        self.0.extend(Spread::of(values).map(|spread| Row {
            part,
            case: case.to_owned(),
            tool,
            measure,
            spread,
        }));
    }

    fn print(&self) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["part", "case", "tool", "measure", "median (least–most)"]);
        for row in &self.0 {
            table.add_row([
                format!("{:?}", row.part).to_lowercase(),
                row.case.clone(),
                row.tool.to_owned(),
                row.measure.to_owned(),
                row.spread.show(3),
            ]);
        }
        println!("{table}");
    }

    fn write(&self, file: &Path) -> Result<()> {
        let folder = file.parent().context("a file is in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let text = serde_json::to_string_pretty(&self.0).context("write as JSON")?;
        fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if !command::is_root() {
        bail!("tracing needs root: run `sudo -E cargo xtask bench`");
    }
    let (rounds, lasts) = if args.quick {
        (1, Duration::from_millis(400))
    } else {
        let seconds = Duration::from_secs(args.seconds.unwrap_or(3).into());
        (args.rounds.unwrap_or(5).into(), seconds)
    };
    let bench = Bench {
        programs: Programs::build()?,
        quick: args.quick,
        rounds,
        lasts,
    };
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| workspace::target().join("bench/bench.json"));
    let mut rows = Rows::default();
    for part in Part::value_variants() {
        if args.only.is_empty() || args.only.contains(part) {
            eprintln!("{part:?}");
            bench
                .measure(*part, &mut rows)
                .with_context(|| format!("{part:?}"))?;
            // What a later part breaks does not take the earlier ones away.
            rows.write(&out)?;
        }
    }
    rows.print();
    eprintln!("figures: {}", out.display());
    Ok(())
}

impl Programs {
    /// The tracer as users have it, and the load as fast as it can be.
    pub fn build() -> Result<Self> {
        Ok(Self {
            rsttrace: build(&["--package", "rsttrace", "--bin", "rsttrace"], "rsttrace")?,
            load: build(&["--package", "xtask"], "xtask")?,
        })
    }
}

/// The file that cargo makes of these arguments.
fn build(arguments: &[&str], file: &str) -> Result<PathBuf> {
    let mut cargo = command::cargo();
    command::run(
        cargo
            .args(["build", "--quiet", "--release"])
            .args(arguments),
    )?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let folder = target.unwrap_or_else(workspace::target);
    let file = folder.join("release").join(file);
    fs::canonicalize(&file).with_context(|| format!("cargo built no {}", file.display()))
}

impl Bench {
    fn measure(&self, part: Part, rows: &mut Rows) -> Result<()> {
        let full = Workload::full;
        match part {
            Part::Classifier => self.classifier(rows),
            Part::Connect => {
                let connect = full(Act::Connect, Place::Lo);
                let exchange = full(Act::Exchange, Place::Veth);
                self.batches(part, &[connect, exchange], &[DEFAULT], rows)
            }
            Part::Storm => {
                let reset = |place| full(Act::Reset, place);
                let paced = Workload::paced(Act::Reset, Place::Veth);
                let floods = [Act::Flood, Act::RandomFlood].map(|act| full(act, Place::Veth));
                let mut storms = vec![reset(Place::Veth), floods[0]];
                if !self.quick {
                    storms.extend([reset(Place::Lo), paced, floods[1]]);
                }
                self.batches(part, &storms, &[DEFAULT, EVERY, PERF], rows)
            }
            Part::Start => {
                let starts = if self.quick { 3 } else { 15 };
                let took: Result<Vec<f64>> = (0..starts).map(|_| self.start()).collect();
                rows.add(part, "", DEFAULT.name, "ms to hooks attached", took?);
                Ok(())
            }
            Part::Memory => memory::measure(self, rows),
        }
    }

    fn tracer(&self, tool: Tool) -> Result<(Running, Duration)> {
        let mut command = Command::new(&self.programs.rsttrace);
        command.args(tool.arguments).env_remove("RUST_LOG");
        let begin = Instant::now();
        let mut running = Running::start_bare(command, Speaks::Err)?;
        let ready = running.await_line("tracing resets")?;
        Ok((running, ready - begin))
    }

    /// In milliseconds.
    fn start(&self) -> Result<f64> {
        let (tracer, took) = self.tracer(DEFAULT)?;
        tracer.end(End::Signal(Signal::SIGINT))?;
        Ok(took.as_secs_f64() * 1e3)
    }

    /// What the example measures: nanoseconds a packet, in turns.
    fn classifier(&self, rows: &mut Rows) -> Result<()> {
        #[derive(Deserialize)]
        struct Cost {
            frame: String,
            empty: Vec<f64>,
            ingress: Vec<f64>,
            egress: Vec<f64>,
        }
        let example = ["--package", "rsttrace", "--example", "classifier"];
        let program = build(&example, "examples/classifier")?;
        let runs = if self.quick { "100000" } else { "6000000" };
        let text = command::output(Command::new(program).args([runs, "25"]))?;
        let costs: Vec<Cost> = serde_json::from_str(&text)
            .context("the example `classifier` printed something else")?;
        for cost in costs {
            let part = Part::Classifier;
            rows.add(
                part,
                &cost.frame,
                "empty",
                "ns a packet",
                cost.empty.clone(),
            );
            for (way, values) in [("ingress", cost.ingress), ("egress", cost.egress)] {
                let ratio = values
                    .iter()
                    .zip(&cost.empty)
                    .map(|(own, empty)| own / empty);
                rows.add(part, &cost.frame, way, "times the empty one", ratio);
            }
        }
        Ok(())
    }

    /// Each tool on each workload, bracketed by batches without a tool; at last once more while the kernel counts BPF run times,
    /// which costs something itself.
    fn batches(
        &self,
        part: Part,
        workloads: &[Workload],
        tools: &[Tool],
        rows: &mut Rows,
    ) -> Result<()> {
        let link = Link::new().context("make network namespaces")?;
        for workload in workloads {
            let case = workload.name();
            let mut of_tool: Vec<Vec<(Batch, f64)>> = vec![Vec::new(); tools.len()];
            let mut before = self.batch(&link, *workload, None)?;
            for round in 0..self.rounds {
                eprintln!("  {case}, round {}", round + 1);
                for (tool, batches) in tools.iter().zip(&mut of_tool) {
                    let batch = self.batch(&link, *workload, Some(*tool))?;
                    let after = self.batch(&link, *workload, None)?;
                    let free = f64::midpoint(before.speed, after.speed);
                    let kept = batch.speed / free;
                    batches.push((batch, kept));
                    before = after;
                }
            }
            for (tool, batches) in tools.iter().zip(of_tool) {
                let counted = {
                    let _counting = count_bpf(&self.programs)?;
                    self.batch(&link, *workload, Some(*tool))?
                };
                let mut add = |measure, of: &dyn Fn(&Batch) -> f64| {
                    let values = batches.iter().map(|(batch, _)| of(batch));
                    rows.add(part, &case, tool.name, measure, values);
                };
                add("k a second", &|batch| batch.speed / 1e3);
                add("µs of CPU an event made", &|batch| {
                    batch.cpu * 1e6 / batch.events
                });
                add("part described", &|batch| {
                    batch.sent.detailed as f64 / batch.sent.seen as f64
                });
                add("lost", &|batch| batch.sent.lost as f64);
                add("MB resident", &|batch| batch.resident as f64 / 1e6);
                let kept = batches.iter().map(|(_, kept)| *kept);
                rows.add(part, &case, tool.name, "part of the free speed", kept);
                let bpf = [counted.bpf * 1e6 / counted.events];
                rows.add(part, &case, tool.name, "µs in BPF an event made", bpf);
            }
        }
        Ok(())
    }

    fn batch(&self, link: &Link, workload: Workload, tool: Option<Tool>) -> Result<Batch> {
        let tracer = tool.map(|tool| self.tracer(tool)).transpose()?;
        let tracer = tracer.map(|(tracer, _)| tracer);
        let before = tracer.as_ref().map(|tracer| {
            // What belongs to the start.
            tracer.settle(STILL / 2);
            (tracer.cpu(), tracer.bpf())
        });
        let before_resets = resets(link)?;
        let ran = workload.run(&self.programs, link, self.lasts)?;
        if let Some(tracer) = &tracer {
            tracer.settle(STILL);
        }
        let resets = resets(link)? - before_resets;
        // Who floods does not wait for answers.
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
            batch.sent = told::sent(&told::totals(&tracer.end(End::Signal(Signal::SIGINT))?));
        }
        Ok(batch)
    }
}

/// Resets sent at both ends, as the kernel counts them.
pub fn resets(link: &Link) -> Result<u64> {
    let ends = [&link.near, &link.far].map(|end| end.counter("OutRsts"));
    let [near, far] = ends;
    Ok(near.context("read a counter")? + far.context("read a counter")?)
}

/// What one batch of a workload did, and what the tracer took meanwhile.
#[derive(Clone, Default)]
struct Batch {
    /// Connections a second; in a flood, resets.
    speed: f64,
    /// Connections, or resets where those are made.
    events: f64,
    /// Seconds of the tracer's processes, user and system, until they had nothing left to do.
    cpu: f64,
    /// Seconds that its BPF programs ran; 0 unless the kernel counts.
    bpf: f64,
    /// Bytes.
    resident: u64,
    sent: Total,
}

/// A record waits for a quarter of a second at most.
const STILL: Duration = Duration::from_millis(400);

/// The kernel counts BPF run times as long as this lives.
fn count_bpf(programs: &Programs) -> Result<Running> {
    let mut command = Command::new(&programs.load);
    command.args(["load", "count-bpf"]);
    // Neither bound to this process by a signal nor in reach of Ctrl-C: it has something to put back.
    command.process_group(0);
    let mut counting = Running::start_bare(command, Speaks::Out)?;
    counting.await_line("ready")?;
    Ok(counting)
}

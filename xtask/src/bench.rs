//! `cargo xtask bench`: the cost of tracing.
//!
//! Figures compare only within one run: each batch with a tool is bracketed by batches without one, and its speed is a part of
//! their mean. Where the two differ much, the machine had other work, and the round does not count.

use std::{
    fmt::{self, Display, Formatter},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::sys::{Stats, enable_stats};
use clap::ValueEnum;
use comfy_table::{Table, presets};
use rsttrace_lab::Link;
use serde::Deserialize;

use crate::command;

mod fdinfo;
mod memory;
pub mod process;
pub mod totals;
pub mod workload;

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
    /// An older rsttrace to measure beside this one
    #[arg(long, value_name = "PROGRAM")]
    before: Option<PathBuf>,
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
    before: Option<PathBuf>,
    quick: bool,
    rounds: usize,
    lasts: Duration,
}

/// Arguments of the tracer.
type Tool = &'static [&'static str];

const DEFAULT: Tool = &["watch", "-v"];
const EVERY: Tool = &["watch", "-v", "--every", "--noise", "-o", "json"];
const PERF: Tool = &["watch", "-v", "--transport", "perf"];
/// Programs that return at once: what their calls alone cost.
const EMPTY: Tool = &["watch", "-v", "--empty-probes"];

/// Most by which the free speed before and after a batch may differ.
const STEADY: f64 = 0.08;

/// A tracer to measure.
#[derive(Clone, Copy)]
struct Subject<'a> {
    program: &'a Path,
    tool: Tool,
    is_before: bool,
}

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
        subject: impl Display,
        measure: &str,
        values: impl IntoIterator<Item = f64>,
    ) {
        if let Some(spread) = Spread::of(values) {
            self.line(case, subject, measure, &spread.to_string());
        }
    }

    fn line(&mut self, case: &str, subject: impl Display, measure: &str, value: &str) {
        self.0.add_row([case, &subject.to_string(), measure, value]);
    }

    /// The part of the free speed that is kept, or that the machine was too noisy to say.
    fn kept(
        &mut self,
        case: &str,
        subject: impl Display,
        kept: impl ExactSizeIterator<Item = Kept>,
    ) {
        let rounds = kept.len();
        let steady: Vec<f64> = kept.filter_map(|kept| kept.steady).collect();
        let measure = format!(
            "part of the free speed, {} of {rounds} rounds",
            steady.len()
        );
        if steady.len() * 2 > rounds {
            self.add(case, subject, &measure, steady);
        } else {
            self.line(case, subject, &measure, "the machine is too noisy");
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
        (9, Duration::from_millis(1500))
    };
    let bench = Bench {
        programs: Programs::build()?,
        before: args.before.clone(),
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
            rsttrace: command::build_one("rsttrace", "--bin", "rsttrace", true)?,
            load: command::build_one("xtask", "--bin", "xtask", true)?,
        })
    }
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
                let reset = full(Act::Reset, Place::Lo);
                let subjects = self.subjects(&[DEFAULT, EMPTY]);
                self.batches(&[connect, reset, exchange], &subjects, rows)
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
                self.batches(&storms, &self.subjects(&[DEFAULT, EVERY, PERF]), rows)
            }
            Part::Start => {
                let starts = if self.quick { 3 } else { 15 };
                let took = (0..starts).map(|_| {
                    let (tracer, took) = self.subject(DEFAULT).start()?;
                    tracer.end().map(|_| took.as_secs_f64() * 1e3)
                });
                let took = took.collect::<Result<Vec<_>>>();
                rows.add("", self.subject(DEFAULT), "ms to hooks attached", took?);
                Ok(())
            }
            Part::Memory => memory::measure(self, rows),
        }
    }

    fn subject(&self, tool: Tool) -> Subject<'_> {
        Subject {
            program: &self.programs.rsttrace,
            tool,
            is_before: false,
        }
    }

    /// The older one first.
    fn subjects(&self, tools: &[Tool]) -> Vec<Subject<'_>> {
        let mut subjects: Vec<_> = tools.iter().map(|tool| self.subject(tool)).collect();
        if let Some(program) = &self.before {
            let before = Subject {
                program,
                tool: DEFAULT,
                is_before: true,
            };
            subjects.insert(0, before);
        }
        subjects
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
        let program = command::build_one("rsttrace", "--example", "classifier", true)?;
        let runs = if self.quick { "100000" } else { "6000000" };
        let text = command::output(Command::new(program).args([runs, "25"]))?;
        let costs: Vec<Cost> = serde_json::from_str(&text)
            .context("the example `classifier` printed something else")?;
        for cost in costs {
            let empty = cost.empty.clone();
            rows.add(&cost.frame, "empty", "ns per packet", empty);
            for (way, values) in [("ingress", cost.ingress), ("egress", cost.egress)] {
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
    fn batches(
        &self,
        workloads: &[Workload],
        subjects: &[Subject<'_>],
        rows: &mut Rows,
    ) -> Result<()> {
        let link = Link::new().context("make network namespaces")?;
        for workload in workloads {
            let case = workload.name();
            let mut of_subject: Vec<Vec<(Batch, Kept)>> = vec![Vec::new(); subjects.len()];
            let mut before = self.batch(&link, *workload, None)?;
            for round in 0..self.rounds {
                eprintln!("  {case}, round {}", round + 1);
                for (subject, batches) in subjects.iter().zip(&mut of_subject) {
                    let batch = self.batch(&link, *workload, Some(*subject))?;
                    let after = self.batch(&link, *workload, None)?;
                    let kept = Kept::of(&before, &batch, &after);
                    batches.push((batch, kept));
                    before = after;
                }
            }
            for (subject, batches) in subjects.iter().zip(of_subject) {
                let counted = {
                    let _counting =
                        enable_stats(Stats::RunTime).context("measure BPF run times")?;
                    self.batch(&link, *workload, Some(*subject))?
                };
                let mut add = |measure, of: &dyn Fn(&Batch) -> f64| {
                    let values = batches.iter().map(|(batch, _)| of(batch));
                    rows.add(&case, *subject, measure, values);
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
                rows.kept(&case, *subject, batches.iter().map(|(_, kept)| *kept));
                let bpf = [counted.bpf * 1e6 / counted.events];
                rows.add(&case, *subject, "µs in BPF per event", bpf);
            }
        }
        Ok(())
    }

    fn batch(
        &self,
        link: &Link,
        workload: Workload,
        subject: Option<Subject<'_>>,
    ) -> Result<Batch> {
        let tracer = subject.map(|subject| subject.start()).transpose()?;
        let tracer = tracer.map(|(tracer, _)| tracer);
        let before = tracer.as_ref().map(|tracer| {
            // Work of the start.
            tracer.settle(STILL / 2);
            (tracer.cpu(), tracer.bpf())
        });
        let before_resets = resets(link)?;
        let ran = workload.run(&self.programs, link, self.lasts)?;
        if let Some(tracer) = &tracer {
            tracer.settle(STILL);
        }
        let resets = resets(link)? - before_resets;
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

impl Display for Subject<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let before = if self.is_before { "before: " } else { "" };
        write!(f, "{before}{}", self.tool.join(" "))
    }
}

impl Subject<'_> {
    /// How long it takes until it traces.
    fn start(self) -> Result<(Running, Duration)> {
        let mut command = Command::new(self.program);
        command.args(self.tool);
        let begin = Instant::now();
        let mut running = Running::start(&command, Speaks::Err)?;
        let ready = running.await_line("tracing resets")?;
        Ok((running, ready - begin))
    }
}

/// What a batch kept of the speed without a tool.
#[derive(Clone, Copy)]
struct Kept {
    /// Absent where the speed changed too much between the batch before and the one after.
    steady: Option<f64>,
}

impl Kept {
    fn of(before: &Batch, batch: &Batch, after: &Batch) -> Self {
        let free = f64::midpoint(before.speed, after.speed);
        let is_steady = (before.speed - after.speed).abs() <= free * STEADY;
        Self {
            steady: is_steady.then_some(batch.speed / free),
        }
    }
}

/// Resets sent at both ends, as the kernel counts them.
pub fn resets(link: &Link) -> Result<u64> {
    let [near, far] = [&link.near, &link.far].map(|end| end.counter("OutRsts"));
    Ok(near.context("read a counter")? + far.context("read a counter")?)
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

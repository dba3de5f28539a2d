//! `cargo xtask bench`: the cost of tracing, against its budgets.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{command, packages, workspace};

mod budget;
mod docs;
mod fdinfo;
pub mod lab;
mod machine;
mod part_classifier;
mod part_connect;
mod part_memory;
mod part_start;
mod part_storm;
mod part_throughput;
pub mod process;
mod report;
pub mod stats;
pub mod told;
mod tool;
mod trial;
pub mod workload;

use report::Report;

/// Measure the cost of tracing, next to other tools, and compare it with the budgets
///
/// Compared values are measured in turns in one run; do not compare different runs, machines or kernels. Creates its own network
/// namespaces and removes them. Let nothing else run on the machine.
#[derive(clap::Args)]
pub struct Args {
    /// Run only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Check in one minute that everything works; the results are not meaningful
    #[arg(long)]
    quick: bool,
    /// Number of rounds [default: 5]
    #[arg(long, value_name = "N", conflicts_with = "quick", value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: Option<u8>,
    /// Seconds per measurement [default: 3]
    #[arg(long, value_name = "N", conflicts_with = "quick", value_parser = clap::value_parser!(u8).range(1..=60))]
    seconds: Option<u8>,
    /// Result file [default: target/bench/bench.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Read the results of an earlier run instead of measuring
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "quick", "out", "install"])]
    from: Option<PathBuf>,
    /// Write docs/PERFORMANCE.md
    #[arg(long)]
    update_docs: bool,
    /// Install the Debian packages of the tools to compare with
    #[arg(long)]
    install: bool,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A packet that passes a classifier
    Classifier,
    /// Connections that are opened and closed, requests to nginx
    Connect,
    /// iperf3
    Throughput,
    /// Resets at full rate
    Storm,
    /// Other tools in the same storm
    Peers,
    /// From start to hooks attached
    Start,
    /// The daemon's memory and the kernel's
    Memory,
    /// Ring buffer against perf event arrays
    Transport,
}

/// What is run.
pub struct Programs {
    /// The tracer.
    pub rsttrace: PathBuf,
    load: PathBuf,
}

/// How long and how often.
pub struct Plan {
    quick: bool,
    /// One workload of a trial.
    lasts: Duration,
    /// Trials of each kind, in turns.
    rounds: usize,
    /// Runs of a classifier on each frame, in all.
    runs: u32,
    /// Starts that are timed.
    starts: usize,
    /// When memory is looked at.
    rest: Duration,
    /// Open sockets that memory is looked at with.
    sockets: &'static [usize],
}

const FULL: Plan = Plan {
    quick: false,
    lasts: Duration::from_secs(3),
    rounds: 5,
    runs: 6_000_000,
    starts: 15,
    rest: Duration::from_secs(10),
    sockets: &[0, 100_000, 1_000_000],
};

const QUICK: Plan = Plan {
    quick: true,
    lasts: Duration::from_millis(400),
    rounds: 1,
    runs: 100_000,
    starts: 3,
    rest: Duration::from_secs(1),
    sockets: &[0, 10_000],
};

/// A run.
pub struct Bench {
    programs: Programs,
    classifier: PathBuf,
    plan: Plan,
}

impl Args {
    fn plan(&self) -> Plan {
        if self.quick {
            return QUICK;
        }
        Plan {
            rounds: self.rounds.map_or(FULL.rounds, usize::from),
            lasts: self
                .seconds
                .map_or(FULL.lasts, |seconds| Duration::from_secs(seconds.into())),
            ..FULL
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let report = match &args.from {
        Some(file) => Report::read(file)?,
        None => measure(args)?,
    };
    print!("{}", docs::budget_table(&report));
    if args.update_docs {
        docs::write(&report)?;
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Report> {
    if !command::is_root() {
        bail!("tracing needs root: run `sudo -E cargo xtask bench`");
    }
    if args.install {
        packages::install(&tool::packages())?;
    } else if packages::is_debian() {
        let missing = packages::missing(&tool::packages());
        if !missing.is_empty() {
            eprintln!(
                "note: some figures will be missing for want of packages: add --install, or run `apt-get install {}`",
                missing.join(" ")
            );
        }
    }
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| workspace::target().join("bench/bench.json"));
    let bench = Bench {
        classifier: build(
            &["--package", "rsttrace", "--example", "classifier"],
            "examples/classifier",
        )?,
        programs: Programs::build()?,
        plan: args.plan(),
    };
    let mut report = Report::new(machine::read()?, bench.plan.quick);
    for part in Part::value_variants() {
        if args.only.is_empty() || args.only.contains(part) {
            eprintln!("{part:?}");
            bench
                .measure(*part, &mut report)
                .with_context(|| format!("{part:?}"))?;
            // What a later part breaks does not take the earlier ones away.
            report.write(&out)?;
        }
    }
    eprintln!("figures: {}", out.display());
    Ok(report)
}

impl Bench {
    fn measure(&self, part: Part, report: &mut Report) -> Result<()> {
        match part {
            Part::Classifier => report.classifier = part_classifier::measure(self)?,
            Part::Connect => report.connect = Some(part_connect::measure(self)?),
            Part::Throughput => report.throughput = Some(part_throughput::measure(self)?),
            Part::Storm => report.storm = part_storm::storm(self)?,
            Part::Peers => report.peers = part_storm::peers(self)?,
            Part::Start => report.start = part_start::measure(self)?,
            Part::Memory => report.memory = part_memory::measure(self)?,
            Part::Transport => report.transport = part_storm::transports(self)?,
        }
        Ok(())
    }
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
    command::run(
        command::cargo()
            .args(["build", "--quiet", "--release"])
            .args(arguments),
    )?;
    let folder = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => Path::new(&folder).join("release"),
        None => workspace::target().join("release"),
    };
    let file = folder.join(file);
    fs::canonicalize(&file).with_context(|| format!("cargo built no {}", file.display()))
}

impl Bench {
    fn rsttrace(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.rsttrace);
        command.args(arguments).env_remove("RUST_LOG");
        command
    }
}

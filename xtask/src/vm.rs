//! `cargo xtask vm`: demo and kernel tests on other kernels.

use std::{
    collections::VecDeque,
    fmt,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{packages, tally::Tally};
use budget::Budget;
use build::Built;
use expect::Host;
pub use expect::version;
use guest::{Ended, Machine, Run};
use here::HERE;
use judge::judge;
use kernel::Kernel;
use report::{Report, Row};
use step::{CLEANUP, Form, Kind, LOCKED_DOWN, Step, TESTS};

mod apt;
mod archive;
mod budget;
mod build;
mod exchange;
mod expect;
mod guest;
mod here;
mod initramfs;
mod judge;
mod kernel;
mod modules;
mod package;
mod report;
mod step;

/// Boot Debian kernels in qemu, and run the demo and the kernel tests there, or a command
///
/// A guest is this machine with another kernel: it sees the files of this machine read-only below an overlay in memory, so programs
/// and this repository are available under the same paths, and no change persists. Kernels are downloaded once,
/// with apt and separate package lists, to target/vm or $RSTTRACE_VM_CACHE. KVM is not needed, and root only to install
/// packages. The output of the guests is kept in target/vm/results.
#[derive(clap::Args)]
pub struct Args {
    /// Kernels by version prefix, for example 6.1 or 6.12.117; "newest" is the newest available one, "here" the kernel of
    /// this machine, without qemu but with root
    #[arg(value_name = "KERNEL", default_values = DEFAULT)]
    pub kernels: Vec<String>,
    /// Run only these steps
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// Memory of a guest in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    pub memory: u32,
    /// CPUs of a guest
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cpus: u32,
    /// Number of parallel guests; without enough CPUs their timing is unreliable
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub jobs: usize,
    /// Parameters to append to the kernel command line, for example lockdown=confidentiality
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub append: String,
    /// Look for newer kernels
    #[arg(long)]
    pub refresh: bool,
    /// Write the verified instructions to xtask/data/verifier.tsv instead of comparing them
    #[arg(long)]
    pub update_data: bool,
    /// Evaluate the results of the last run of each kernel instead of booting
    #[arg(long, conflicts_with = "command")]
    pub kept: bool,
    /// The part that `cargo xtask test` runs: the kernels that differ most, with the test builds
    #[arg(long, exclusive = true)]
    pub quick: bool,
    /// Time limit of COMMAND in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 600,
        requires = "command"
    )]
    pub timeout: u64,
    /// Run only this command in the guests; returns the first exit code that is not zero
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "only")]
    pub command: Vec<String>,
}

/// The oldest that is supported, the usual ones, and what is to come.
const DEFAULT: [&str; 4] = ["5.10", "6.1", "6.12", "newest"];

/// What guests are made of and what is used inside, besides what resets are staged with.
const PACKAGES: [&str; 5] = [
    "busybox-static",
    "ipvsadm",
    "kmod",
    "qemu-system-x86",
    "xz-utils",
];

/// A command in a guest ended with this code.
#[derive(Debug)]
pub struct Exited {
    kernel: String,
    /// The code.
    pub code: u8,
}

impl fmt::Display for Exited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, code } = self;
        write!(f, "{kernel}: the command ended with exit code {code}")
    }
}

impl std::error::Error for Exited {}

/// Kernels that are booted on every change, with all steps or these: the one with the most other ways to a fact, the one
/// whose verifier has most to do, and what is to come.
const QUICK: [(&str, &[Kind]); 3] = [
    (
        "5.10",
        &[Kind::Hooks, Kind::Demo, Kind::Perf, Kind::Refusal],
    ),
    ("6.1", &[Kind::Hooks]),
    (package::NEWEST, &[]),
];

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if args.quick {
        let tallies = run_quick()?;
        let failed = tallies.into_iter().filter(|(_, tally, _)| tally.failed > 0);
        let failed: Vec<_> = failed.map(|(release, ..)| release).collect();
        return if failed.is_empty() {
            Ok(())
        } else {
            Err(not_good(&failed))
        };
    }
    let (kernels, mut rows) = prepare(args)?;
    if !args.command.is_empty() {
        run_command(args, kernels, &Built::make(&[])?)?;
        return Ok(());
    }
    let has_tests = args.only.is_empty() || args.only.contains(&Kind::Tests);
    let tests: Vec<_> = TESTS.into_iter().map(|(name, ..)| name).collect();
    let built = match (args.kept, has_tests) {
        (true, _) => Built::nothing(&tests),
        (false, true) => Built::make(&tests)?,
        (false, false) => Built::make(&[])?,
    };
    let boots = Boot::all(kernels, &args.only, Form::Whole, &built)?;
    let budget = Budget::committed()?;
    let ran = run_all(args, boots, &built);
    rows.extend(ran.iter().map(|(boot, run)| {
        let budget = (!args.update_data).then_some(&budget);
        boot.row(run.as_ref(), budget)
    }));
    let failed = rows.iter().filter(|row| !row.failures().is_empty());
    let failed: Vec<_> = failed.map(|row| row.release.clone()).collect();
    print!("{}", Report(rows));
    if args.update_data {
        update_data(budget, &ran)?;
    }
    if !failed.is_empty() {
        return Err(not_good(&failed));
    }
    Ok(())
}

fn not_good(failed: &[String]) -> anyhow::Error {
    anyhow::anyhow!(
        "not good enough on {}: see above, and what was printed in target/vm/results. \
         `cargo xtask vm KERNEL --only STEP` runs a part of it, `cargo xtask vm KERNEL -- COMMAND` anything",
        failed.join(", ")
    )
}

/// The part of it that is run on every change. One tally a boot, by the name of its kernel; what could not even be had is
/// one that failed.
pub fn run_quick() -> Result<Vec<(String, Tally, Duration)>> {
    let built = Built::reuse(CLEANUP)?;
    // All else is tested here anyway.
    let mut args = Args::of(HERE);
    let (kernels, mut rows) = prepare(&args)?;
    let mut boots = Boot::all(kernels, &[Kind::Hooks], Form::Quick, &built)?;
    for (wanted, only) in QUICK {
        args = Args::of(wanted);
        let (kernels, missing) = prepare(&args)?;
        rows.extend(missing);
        boots.extend(Boot::all(kernels, only, Form::Quick, &built)?);
    }
    // One refusal under lockdown is enough.
    let locked = boots.iter().rposition(|boot| !boot.append.is_empty());
    let mut boots: Vec<_> = boots.into_iter().enumerate().collect();
    boots.retain(|(number, boot)| boot.append.is_empty() || Some(*number) == locked);
    let boots = boots.into_iter().map(|(_, boot)| boot).collect();
    let budget = Budget::committed()?;
    for (boot, run) in run_all(&args, boots, &built) {
        rows.push(boot.row(run.as_ref(), Some(&budget)));
    }
    let tally = |row: &Row| (row.release.clone(), row.tally(), row.took());
    let tallies = rows.iter().map(tally).collect();
    print!("{}", Report(rows));
    Ok(tallies)
}

impl Args {
    /// As if only this were named.
    fn of(kernel: &str) -> Self {
        Self {
            kernels: vec![kernel.to_owned()],
            only: Vec::new(),
            memory: 2048,
            cpus: 2,
            jobs: 1,
            append: String::new(),
            refresh: false,
            update_data: false,
            kept: false,
            quick: false,
            timeout: 600,
            command: Vec::new(),
        }
    }
}

/// The kernels, ready to boot (this machine's is `None`), and rows of those that cannot be had.
fn prepare(args: &Args) -> Result<(Vec<Option<Kernel>>, Vec<Row>)> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "a guest runs this machine's programs, and kernels are prepared for x86_64 only: run it on such a machine"
        );
    }
    packages::install_for_staging()?;
    packages::install(&PACKAGES).context("the guests need them")?;
    let mut kernels = Vec::new();
    let mut rows = Vec::new();
    for wanted in &args.kernels {
        let kernel = if wanted == HERE {
            None
        } else {
            match Kernel::fetch(wanted, args.refresh) {
                Ok(kernel) => Some(kernel),
                Err(error) => {
                    rows.push(Row::failed(wanted, &error));
                    continue;
                }
            }
        };
        if !kernels.contains(&kernel) {
            kernels.push(kernel);
        }
    }
    Ok((kernels, rows))
}

/// An example of rsttrace that runs in guests.
pub struct Example {
    built: Built,
    file: PathBuf,
}

impl Example {
    /// Builds it.
    pub fn build(name: &str) -> Result<Self> {
        let built = Built::with_example(name)?;
        let file = built.tests.get(name).cloned();
        Ok(Self {
            file: file.with_context(|| format!("cargo built no {name}"))?,
            built,
        })
    }

    /// Starts on this machine as well as in any guest.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Runs it in a guest: the kernel's release, and the folder that the guest has as /vm.
    pub fn run(&self, kernel: &str, words: &[&str], timeout: u64) -> Result<(String, PathBuf)> {
        let program = self.file.to_string_lossy().into_owned();
        let words = words.iter().copied().map(str::to_owned);
        let args = Args {
            timeout,
            command: std::iter::once(program).chain(words).collect(),
            ..Args::of(kernel)
        };
        let (kernels, failed) = prepare(&args)?;
        if let Some(row) = failed.first() {
            bail!("{}", row.failures().join("; "));
        }
        let ran = run_command(&args, kernels, &self.built)?;
        ran.into_iter().next().context("there was no kernel")
    }
}

/// The release of each kernel, and the folder of its results. A code other than 0 is an error.
fn run_command(
    args: &Args,
    kernels: Vec<Option<Kernel>>,
    built: &Built,
) -> Result<Vec<(String, PathBuf)>> {
    let mut ran = Vec::new();
    let boots = kernels.into_iter().map(|kernel| {
        let steps = vec![Step::command(&args.command, args.timeout)];
        Boot::new(kernel, steps, "")
    });
    let boots = boots.collect::<Result<_>>()?;
    for (boot, run) in run_all(args, boots, built) {
        let run = run.with_context(|| format!("kernel {}", boot.release))?;
        let ended = run.steps.first().map(|step| step.ended);
        match ended {
            Some(Ended::Exited(0)) | None => {}
            Some(Ended::Exited(code)) => bail!(Exited {
                kernel: boot.release,
                code
            }),
            Some(other) => bail!(
                "kernel {}: {other}; see {}, or allow more with --timeout",
                boot.release,
                run.folder.display()
            ),
        }
        ran.push((boot.release, run.folder));
    }
    Ok(ran)
}

/// A kernel with its steps.
struct Boot {
    /// `None`: this machine's own, as it runs.
    kernel: Option<Kernel>,
    release: String,
    steps: Vec<Step>,
    /// For the kernel's command line. What is not empty makes it another kernel.
    append: String,
}

impl Boot {
    fn new(kernel: Option<Kernel>, steps: Vec<Step>, append: &str) -> Result<Self> {
        let release = match &kernel {
            Some(kernel) => kernel.release.clone(),
            None => here::release()?,
        };
        Ok(Self {
            kernel,
            release,
            steps,
            append: append.to_owned(),
        })
    }

    /// Each kernel as it is, and each of Debian's once more, locked down.
    fn all(
        kernels: Vec<Option<Kernel>>,
        only: &[Kind],
        form: Form,
        built: &Built,
    ) -> Result<Vec<Self>> {
        let mut boots = Vec::new();
        for kernel in kernels {
            let mut boot = Self::new(kernel, Vec::new(), "")?;
            boot.steps = Step::all(only, form, boot.host()?.version, built);
            let locked = boot.kernel.clone();
            if boot.kernel.is_none() {
                // They would change this machine.
                boot.steps.retain(|step| step.kind != Kind::Features);
            }
            if !boot.steps.is_empty() {
                boots.push(boot);
            }
            if locked.is_some() && (only.is_empty() || only.contains(&Kind::Refusal)) {
                boots.push(Self::new(locked, vec![Step::lockdown()], LOCKED_DOWN)?);
            }
        }
        Ok(boots)
    }

    fn host(&self) -> Result<Host> {
        Ok(Host {
            version: version(&self.release)
                .with_context(|| format!("{} begins with no version", self.release))?,
            is_stock: self.kernel.is_some(),
        })
    }

    /// Of the folder of its results.
    fn name(&self) -> String {
        let append = self.append.split_whitespace().next();
        append.map_or_else(
            || self.release.clone(),
            |word| format!("{} {word}", self.release),
        )
    }

    fn run(&self, args: &Args, built: &Built) -> Result<Run> {
        let name = self.name();
        if args.kept {
            return Ok(Run::kept(&name, &self.steps));
        }
        let Some(kernel) = &self.kernel else {
            return here::run(&name, &self.steps, &built.program);
        };
        let machine = Machine {
            kernel,
            name: &name,
            memory: args.memory,
            cpus: args.cpus,
            append: &format!("{} {}", self.append, args.append),
            program: &built.program,
        };
        machine.run(&self.steps)
    }

    fn row(&self, run: Result<&Run, &anyhow::Error>, budget: Option<&Budget>) -> Row {
        let (run, host) = match (run, self.host()) {
            (Ok(run), Ok(host)) => (run, host),
            (Err(error), _) => return Row::failed(&self.name(), error),
            (_, Err(error)) => return Row::failed(&self.name(), &error),
        };
        let judged = self.steps.iter().zip(&run.steps).map(|(step, result)| {
            let judgement = judge(step, result, &run.folder, host, budget);
            (step.name.clone(), result.took, judgement)
        });
        Row {
            release: self.name(),
            boot: Some(run.boot),
            failure: None,
            steps: judged.collect(),
        }
    }
}

fn update_data(mut budget: Budget, ran: &[(Boot, Result<Run>)]) -> Result<()> {
    for (boot, run) in ran.iter().filter(|(boot, _)| boot.append.is_empty()) {
        let Ok(run) = run else { continue };
        match judge::programs(&run.folder) {
            Ok(programs) => budget.note(boot.host()?.version, programs),
            Err(error) => eprintln!("{}: its rows of verifier.tsv stay: {error:#}", boot.release),
        }
    }
    budget.write()
}

/// Runs all of it, `--jobs` at once; results in the same order.
fn run_all(args: &Args, boots: Vec<Boot>, built: &Built) -> Vec<(Boot, Result<Run>)> {
    let queue: VecDeque<_> = boots.into_iter().enumerate().collect();
    let queue = Mutex::new(queue);
    let done = Mutex::new(Vec::new());
    let next = || queue.lock().ok()?.pop_front();
    thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                while let Some((number, boot)) = next() {
                    let run = boot.run(args, built);
                    if let Ok(mut done) = done.lock() {
                        done.push((number, boot, run));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(number, ..)| *number);
    done.into_iter().map(|(_, boot, run)| (boot, run)).collect()
}

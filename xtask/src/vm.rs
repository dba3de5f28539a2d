//! `cargo xtask vm`: demo and kernel tests on other kernels.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{packages, tally::Tally};
use build::Built;
use guest::{Ended, Machine, Run};
use kernel::Kernel;
pub use step::version;
use step::{CLEANUP, Kind, LOCKED_DOWN, Step, Version};

mod apt;
mod build;
mod exchange;
mod guest;
mod initramfs;
mod kernel;
mod package;
mod qemu;
mod step;

/// Boot Debian kernels in qemu, and run the demo and the kernel tests there, or a command
///
/// A guest is this machine with another kernel: it sees the files of this machine read-only below an overlay in memory, so programs
/// and this repository are available under the same paths, and no change persists. Kernels are downloaded once,
/// with apt and separate package lists, to target/vm or $RSTTRACE_VM_CACHE. KVM is not needed, and root only to install
/// packages. The output of the guests is kept in target/vm/results.
#[derive(clap::Args)]
pub struct Args {
    /// Kernels by the beginning of their version, such as 6.1 or 6.12.117; "newest" is the newest to be had
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
    /// Parameters to append to the kernel command line, for example lockdown=confidentiality
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub append: String,
    /// Look for newer kernels
    #[arg(long)]
    pub refresh: bool,
    /// What `cargo xtask test` does: a part of it on the kernels that differ most, with programs as they are built for tests
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
const PACKAGES: [&str; 4] = ["busybox-static", "ipvsadm", "kmod", "xz-utils"];

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

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let reports = if args.quick {
        quick()?
    } else if args.command.is_empty() {
        let has_tests = args.only.is_empty() || args.only.contains(&Kind::Tests);
        let tests = if has_tests { step::tests() } else { Vec::new() };
        let (kernels, mut reports) = prepare(args)?;
        let built = Built::make(&tests)?;
        let boots = Boot::all(kernels, &args.only, false, &built)?;
        let ran = run_all(args, boots, &built);
        reports.extend(ran.iter().map(|(boot, run)| boot.report(run.as_ref())));
        reports
    } else {
        let (kernels, failed) = prepare(args)?;
        if let Some(report) = failed.first() {
            bail!("{}", report.failures.join("; "));
        }
        return run_command(args, kernels, &Built::make(&[])?).map(drop);
    };
    let failed = reports.iter().filter(|report| !report.failures.is_empty());
    let failed: Vec<_> = failed.map(|report| report.name.as_str()).collect();
    if !failed.is_empty() {
        bail!(
            "not good enough on {}: see above, and what was printed in target/vm/results. \
             `cargo xtask vm KERNEL --only STEP` runs a part of it, `cargo xtask vm KERNEL -- COMMAND` anything",
            failed.join(", ")
        );
    }
    Ok(())
}

/// The part of it that is run on every change. One tally a boot, by the name of its kernel; what could not even be had is
/// one that failed.
pub fn run_quick() -> Result<Vec<(String, Tally, Duration)>> {
    let reports = quick()?.into_iter();
    Ok(reports
        .map(|report| (report.name, report.tally, report.took))
        .collect())
}

fn quick() -> Result<Vec<Report>> {
    let built = Built::reuse(CLEANUP)?;
    let (mut boots, mut reports) = (Vec::new(), Vec::new());
    let mut args = Args::of(package::NEWEST);
    for (wanted, only) in QUICK {
        args = Args::of(wanted);
        let (kernels, missing) = prepare(&args)?;
        reports.extend(missing);
        boots.extend(Boot::all(kernels, only, true, &built)?);
    }
    // One refusal under lockdown is enough.
    let locked = boots.iter().filter(|boot| !boot.append.is_empty()).count();
    let mut left = locked.saturating_sub(1);
    boots.retain(|boot| {
        let is_one_too_many = !boot.append.is_empty() && left > 0;
        left -= usize::from(is_one_too_many);
        !is_one_too_many
    });
    let ran = run_all(&args, boots, &built);
    reports.extend(ran.iter().map(|(boot, run)| boot.report(run.as_ref())));
    Ok(reports)
}

impl Args {
    /// As if only this were named.
    fn of(kernel: &str) -> Self {
        Self {
            kernels: vec![kernel.to_owned()],
            only: Vec::new(),
            memory: 2048,
            cpus: 2,
            append: String::new(),
            refresh: false,
            quick: false,
            timeout: 600,
            command: Vec::new(),
        }
    }
}

/// The kernels, ready to boot, and reports of those that cannot be had.
fn prepare(args: &Args) -> Result<(Vec<Kernel>, Vec<Report>)> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "a guest runs this machine's programs, and kernels are prepared for x86_64 only: run it on such a machine"
        );
    }
    packages::install_for_staging()?;
    packages::install(&PACKAGES).context("the guests need them")?;
    qemu::install()?;
    let (mut kernels, mut failed) = (Vec::new(), Vec::new());
    for wanted in &args.kernels {
        match Kernel::fetch(wanted, args.refresh) {
            Ok(kernel) if kernels.contains(&kernel) => {}
            Ok(kernel) => kernels.push(kernel),
            Err(error) => failed.push(Report::failed(wanted, &error)),
        }
    }
    Ok((kernels, failed))
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
        if let Some(report) = failed.first() {
            bail!("{}", report.failures.join("; "));
        }
        let ran = run_command(&args, kernels, &self.built)?;
        ran.into_iter().next().context("there was no kernel")
    }
}

/// The release of each kernel, and the folder of its results. A code other than 0 is an error.
fn run_command(args: &Args, kernels: Vec<Kernel>, built: &Built) -> Result<Vec<(String, PathBuf)>> {
    let mut ran = Vec::new();
    let boots = kernels.into_iter().map(|kernel| {
        let steps = vec![Step::command(&args.command, args.timeout)];
        Boot::new(kernel, steps, "")
    });
    let boots = boots.collect::<Result<_>>()?;
    for (boot, run) in run_all(args, boots, built) {
        let release = boot.kernel.release;
        let run = run.with_context(|| format!("kernel {release}"))?;
        match run.steps.first().map(|step| step.ended) {
            Some(Ended::Exited(0)) | None => {}
            Some(Ended::Exited(code)) => bail!(Exited {
                kernel: release,
                code
            }),
            Some(other) => bail!(
                "kernel {release}: {other}; see {}, or allow more with --timeout",
                run.folder.display()
            ),
        }
        ran.push((release, run.folder));
    }
    Ok(ran)
}

/// A kernel with its steps.
struct Boot {
    kernel: Kernel,
    version: Version,
    steps: Vec<Step>,
    /// For the kernel's command line.
    append: &'static str,
}

impl Boot {
    fn new(kernel: Kernel, steps: Vec<Step>, append: &'static str) -> Result<Self> {
        let version = version(&kernel.release);
        Ok(Self {
            version: version
                .with_context(|| format!("{} begins with no version", kernel.release))?,
            kernel,
            steps,
            append,
        })
    }

    /// Each kernel as it is, and once more locked down.
    fn all(kernels: Vec<Kernel>, only: &[Kind], quick: bool, built: &Built) -> Result<Vec<Self>> {
        let mut boots = Vec::new();
        for kernel in kernels {
            let mut boot = Self::new(kernel.clone(), Vec::new(), "")?;
            boot.steps = Step::all(only, quick, boot.version, built);
            boots.push(boot);
            if only.is_empty() || only.contains(&Kind::Refusal) {
                boots.push(Self::new(kernel, vec![Step::lockdown()], LOCKED_DOWN)?);
            }
        }
        boots.retain(|boot| !boot.steps.is_empty());
        Ok(boots)
    }

    /// Of the folder of its results.
    fn name(&self) -> String {
        let name = format!("{} {}", self.kernel.release, self.append);
        name.trim_end().to_owned()
    }

    fn run(&self, args: &Args, built: &Built) -> Result<Run> {
        let machine = Machine {
            kernel: &self.kernel,
            name: &self.name(),
            memory: args.memory,
            cpus: args.cpus,
            append: &format!("{} {}", self.append, args.append),
            program: &built.program,
        };
        machine.run(&self.steps)
    }

    /// Prints what came of it.
    fn report(&self, run: Result<&Run, &anyhow::Error>) -> Report {
        let run = match run {
            Ok(run) => run,
            Err(error) => return Report::failed(&self.name(), error),
        };
        let mut report = Report {
            name: self.name(),
            took: run.boot,
            ..Report::default()
        };
        println!("{}, booted in {:.1} s", report.name, run.boot.as_secs_f64());
        for (step, result) in self.steps.iter().zip(&run.steps) {
            let (cell, failures) = step.judge(result.ended, &run.folder, self.version);
            let verdict = if failures.is_empty() { "ok" } else { "FAILED" };
            let (name, took) = (&step.name, result.took.as_secs_f64());
            println!("  {name:<15} {verdict:<7} {took:>6.1} s  {cell}");
            failures
                .iter()
                .for_each(|failure| println!("    {failure}"));
            report.took += result.took;
            report.tally.passed += u64::from(failures.is_empty());
            report.tally.failed += u64::from(!failures.is_empty());
            let failures = failures.into_iter();
            report
                .failures
                .extend(failures.map(|failure| format!("{name}: {failure}")));
        }
        report
    }
}

/// What came of one boot.
#[derive(Default)]
struct Report {
    name: String,
    /// Each step counts as a test.
    tally: Tally,
    took: Duration,
    failures: Vec<String>,
}

impl Report {
    /// Of a kernel that could not be had, or did not boot.
    fn failed(name: &str, error: &anyhow::Error) -> Self {
        println!("{name}, not booted: {error:#}");
        Self {
            name: name.to_owned(),
            tally: Tally {
                failed: 1,
                ..Tally::default()
            },
            took: Duration::ZERO,
            failures: vec![format!("{error:#}")],
        }
    }
}

/// Runs all of it, one after the other: guests at the same time would take each other's CPUs.
fn run_all(args: &Args, boots: Vec<Boot>, built: &Built) -> Vec<(Boot, Result<Run>)> {
    let run = |boot: Boot| {
        let run = boot.run(args, built);
        (boot, run)
    };
    boots.into_iter().map(run).collect()
}

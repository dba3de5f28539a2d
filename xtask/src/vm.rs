//! `cargo xtask vm`: demo and kernel tests on other kernels.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::{Args as _, FromArgMatches as _};

use crate::{packages, tally::Tally};
use build::Built;
use guest::{Ended, Machine, Run};
use kernel::Kernel;
pub use package::is_version;
pub use step::version;
use step::{CLEANUP, Kind, LOCKED_DOWN, Step, Version};

mod apt;
mod build;
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
    /// Kernels by the beginning of their version, such as 6.1 or 6.12.117; "newest" is the newest available
    #[arg(value_name = "KERNEL", default_values = DEFAULT)]
    pub kernels: Vec<String>,
    /// Run only these steps
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// Parameters to append to the kernel command line, for example lockdown=confidentiality
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub append: String,
    /// Look for newer kernels
    #[arg(long)]
    pub refresh: bool,
    /// Run the part for `cargo xtask test`: some steps, on the kernels that differ most
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

/// The oldest supported kernel, common ones, and the newest.
const DEFAULT: [&str; 4] = ["5.10", "6.1", "6.12", "newest"];

/// Packages for guests, besides those for staging resets.
const PACKAGES: [&str; 4] = ["busybox-static", "ipvsadm", "kmod", "xz-utils"];

/// Kernels for `cargo xtask test`, with all steps or these: the one with the most fallback hooks, the one whose verifier needs the
/// most instructions, and the newest.
const QUICK: [(&str, &[Kind]); 3] = [
    (
        "5.10",
        &[Kind::Hooks, Kind::Demo, Kind::Perf, Kind::Refusal],
    ),
    ("6.1", &[Kind::Hooks]),
    (package::NEWEST, &[]),
];

#[derive(Debug, thiserror::Error)]
#[error("{kernel}: the command ended with exit code {code}")]
pub struct Exited {
    kernel: String,
    pub code: u8,
}

pub fn run(args: &Args) -> Result<()> {
    let reports = if args.quick {
        quick()?
    } else if args.command.is_empty() {
        let has_tests = args.only.is_empty() || args.only.contains(&Kind::Tests);
        let tests = if has_tests { step::tests() } else { Vec::new() };
        let (kernels, mut reports) = prepare(args)?;
        let built = Built::make(&tests, None)?;
        let boots = Boot::all(kernels, &args.only, false, &built)?;
        reports.extend(boots.iter().map(|boot| boot.run_and_report(args, &built)));
        reports
    } else {
        return run_command(args, &Built::make(&[], None)?).map(drop);
    };
    let failed = reports.iter().filter(|report| !report.failures.is_empty());
    let failed: Vec<_> = failed.map(|report| report.name.as_str()).collect();
    if !failed.is_empty() {
        bail!(
            "failed on {}: errors above, output in target/vm/results. \
             `cargo xtask vm KERNEL --only STEP` repeats a step, `cargo xtask vm KERNEL -- COMMAND` runs a command",
            failed.join(", ")
        );
    }
    Ok(())
}

/// The part for `cargo xtask test`: a tally for each boot, by the name of its kernel. A kernel that is not available counts as
/// one failed test.
pub fn run_quick() -> Result<Vec<(String, Tally, Duration)>> {
    let reports = quick()?.into_iter();
    Ok(reports
        .map(|report| (report.name, report.tally, report.took))
        .collect())
}

fn quick() -> Result<Vec<Report>> {
    let built = Built::make(&[CLEANUP], None)?;
    let (mut boots, mut reports) = (Vec::new(), Vec::new());
    for (wanted, only) in QUICK {
        let (kernels, missing) = prepare(&Args::of(wanted)?)?;
        reports.extend(missing);
        boots.extend(Boot::all(kernels, only, true, &built)?);
    }
    // One boot under lockdown suffices.
    let locked = boots.iter().rposition(|boot| !boot.append.is_empty());
    let boots = boots.iter().enumerate();
    let boots = boots.filter(|(at, boot)| boot.append.is_empty() || Some(*at) == locked);
    let args = Args::of(package::NEWEST)?;
    reports.extend(boots.map(|(_, boot)| boot.run_and_report(&args, &built)));
    Ok(reports)
}

impl Args {
    /// The defaults, for one kernel.
    fn of(kernel: &str) -> Result<Self> {
        let parser = Self::augment_args(clap::Command::new("vm"));
        let matches = parser.try_get_matches_from(["vm", kernel])?;
        Ok(Self::from_arg_matches(&matches)?)
    }
}

/// The kernels, ready to boot, and reports of those that are not available.
fn prepare(args: &Args) -> Result<(Vec<Kernel>, Vec<Report>)> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("guests need an x86_64 machine, because they run its programs");
    }
    packages::install_for_staging()?;
    packages::install(&PACKAGES).context("the guests need these packages")?;
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

/// An example of rsttrace that runs in guests, and on this machine.
pub struct Example {
    built: Built,
    pub file: PathBuf,
}

impl Example {
    pub fn build(name: &str) -> Result<Self> {
        let built = Built::make(&[], Some(name))?;
        let file = built.others.get(name).cloned();
        Ok(Self {
            file: file.with_context(|| format!("cargo built no {name}"))?,
            built,
        })
    }

    /// Runs it in a guest. Returns the kernel's release, and the folder that the guest has as /vm.
    pub fn run(&self, kernel: &str, argument: &str, timeout: u64) -> Result<(String, PathBuf)> {
        let args = Args {
            timeout,
            command: vec![self.file.to_string_lossy().into(), argument.to_owned()],
            ..Args::of(kernel)?
        };
        let ran = run_command(&args, &self.built)?;
        ran.into_iter().next().context("no kernel was named")
    }
}

/// The release of each kernel, and the folder of its results. An exit code other than 0 is an error.
fn run_command(args: &Args, built: &Built) -> Result<Vec<(String, PathBuf)>> {
    let (kernels, failed) = prepare(args)?;
    if let Some(report) = failed.first() {
        bail!("{}", report.failures.join("; "));
    }
    let mut ran = Vec::new();
    for kernel in kernels {
        let release = kernel.release.clone();
        let steps = vec![Step::command(&args.command, args.timeout)];
        let run = Boot::new(kernel, steps, "").and_then(|boot| boot.run(args, built));
        let run = run.with_context(|| format!("kernel {release}"))?;
        match run.steps.first().map(|step| step.ended) {
            Some(Ended::Exited(0)) | None => {}
            Some(Ended::Exited(code)) => bail!(Exited {
                kernel: release,
                code
            }),
            Some(other) => bail!(
                "kernel {release}: {other}; see {}, or set a longer --timeout",
                run.folder.display()
            ),
        }
        ran.push((release, run.folder));
    }
    Ok(ran)
}

struct Boot {
    kernel: Kernel,
    version: Version,
    steps: Vec<Step>,
    /// To the kernel command line.
    append: &'static str,
}

impl Boot {
    fn new(kernel: Kernel, steps: Vec<Step>, append: &'static str) -> Result<Self> {
        let version = version(&kernel.release);
        Ok(Self {
            version: version.with_context(|| format!("no version in {}", kernel.release))?,
            kernel,
            steps,
            append,
        })
    }

    /// Each kernel, and each once more with lockdown.
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

    fn name(&self) -> String {
        let name = format!("{} {}", self.kernel.release, self.append);
        name.trim_end().to_owned()
    }

    fn run(&self, args: &Args, built: &Built) -> Result<Run> {
        let machine = Machine {
            kernel: &self.kernel,
            name: &self.name(),
            append: &format!("{} {}", self.append, args.append),
            program: &built.program,
        };
        machine.run(&self.steps)
    }

    fn run_and_report(&self, args: &Args, built: &Built) -> Report {
        let run = match self.run(args, built) {
            Ok(run) => run,
            Err(error) => return Report::failed(&self.name(), &error),
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

#[derive(Default)]
struct Report {
    name: String,
    /// Each step counts as a test.
    tally: Tally,
    took: Duration,
    failures: Vec<String>,
}

impl Report {
    /// A kernel that is not available, or did not boot.
    fn failed(name: &str, error: &anyhow::Error) -> Self {
        println!("{name}, not booted: {error:#}");
        Self {
            name: name.to_owned(),
            tally: Tally::FAILED,
            took: Duration::ZERO,
            failures: vec![format!("{error:#}")],
        }
    }
}

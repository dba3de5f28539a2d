//! `cargo xtask vm`: does it work on other kernels?

use std::{
    collections::VecDeque,
    fmt,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::packages;
use build::Built;
pub use expect::version;
use guest::{Ended, Machine, Run};
use judge::judge;
use kernel::Kernel;
use report::{Report, Row};
use step::{Kind, Step, TESTS};

mod apt;
mod archive;
mod build;
mod exchange;
mod expect;
mod guest;
mod initramfs;
mod judge;
mod kernel;
mod modules;
mod package;
mod report;
mod step;

/// Boot kernels of Debian in qemu, and run demo and kernel tests there, or a command
///
/// A guest is this machine with another kernel: its root is this one's, read-only below a layer in memory, so that programs
/// and this repository are there under the same names, and nothing that happens inside stays. Kernels are downloaded once,
/// through apt with lists of its own, to target/vm or $RSTTRACE_VM_CACHE. No KVM is needed, and no root once the packages
/// are there. What the guests print is kept in target/vm/results.
#[derive(clap::Args)]
pub struct Args {
    /// Kernels by the beginning of their version, such as 6.1 or 6.12.117; "newest" is the newest to be had
    #[arg(value_name = "KERNEL", default_values = DEFAULT)]
    pub kernels: Vec<String>,
    /// Run this only
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// Memory of a guest, in MiB
    #[arg(long, value_name = "MIB", default_value_t = MEMORY)]
    pub memory: u32,
    /// CPUs of a guest
    #[arg(long, value_name = "N", default_value_t = CPUS)]
    pub cpus: u32,
    /// How many guests at once; each needs CPUs of this machine, or its timing is off
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub jobs: usize,
    /// What to add to the kernel's command line, such as lockdown=confidentiality
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub append: String,
    /// Look for newer kernels than those at hand
    #[arg(long)]
    pub refresh: bool,
    /// How long COMMAND may take, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 600,
        requires = "command"
    )]
    pub timeout: u64,
    /// Run this in the guests and nothing else; its exit code is that of the first that failed
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "only")]
    pub command: Vec<String>,
}

/// In MiB.
const MEMORY: u32 = 2048;
/// With fewer, staging and tracing are in each other's way.
const CPUS: u32 = 2;

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

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "a guest runs this machine's programs, and kernels are prepared for x86_64 only: run it on such a machine"
        );
    }
    packages::install_for_staging()?;
    packages::install(&PACKAGES).context("the guests need them")?;
    let mut kernels = Vec::new();
    for wanted in &args.kernels {
        let kernel = Kernel::fetch(wanted, args.refresh)?;
        if !kernels.contains(&kernel) {
            kernels.push(kernel);
        }
    }
    let has_tests =
        args.command.is_empty() && (args.only.is_empty() || args.only.contains(&Kind::Tests));
    let tests: Vec<_> = TESTS.into_iter().map(|(name, _)| name).collect();
    let built = Built::make(if has_tests { &tests } else { &[] })?;
    if args.command.is_empty() {
        let steps = Step::all(&args.only, &built);
        return report(args, kernels, &steps, &built);
    }
    let steps = [Step::command(&args.command, args.timeout)];
    for (kernel, run) in run_all(args, kernels, &steps, &built) {
        succeeded(kernel, run)?;
    }
    Ok(())
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
        let file = built.others.get(name).cloned();
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
        packages::install(&PACKAGES).context("the guests need them")?;
        let kernel = Kernel::fetch(kernel, false)?;
        let program = self.file.to_string_lossy();
        let words: Vec<_> = [&*program]
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect();
        let steps = [Step::command(&words, timeout)];
        let machine = Machine {
            kernel: &kernel,
            memory: MEMORY,
            cpus: CPUS,
            append: "",
            program: &self.built.program,
        };
        let run = machine.run(&steps);
        succeeded(kernel, run)
    }
}

/// The kernel's release and its folder, if what was asked for exited with 0.
fn succeeded(kernel: Kernel, run: Result<Run>) -> Result<(String, PathBuf)> {
    let run = run.with_context(|| format!("kernel {}", kernel.release))?;
    match run.steps.first().map(|step| step.ended) {
        Some(Ended::Exited(0)) | None => Ok((kernel.release, run.folder)),
        Some(Ended::Exited(code)) => bail!(Exited {
            kernel: kernel.release,
            code
        }),
        Some(other) => bail!(
            "kernel {}: {other}; see {}, or allow more with --timeout",
            kernel.release,
            run.folder.display()
        ),
    }
}

fn report(args: &Args, kernels: Vec<Kernel>, steps: &[Step], built: &Built) -> Result<()> {
    let mut rows = Vec::new();
    for (kernel, run) in run_all(args, kernels, steps, built) {
        let version = version(&kernel.release)
            .with_context(|| format!("{} begins with no version", kernel.release))?;
        let mut row = Row {
            release: kernel.release,
            boot: None,
            failure: None,
            steps: Vec::new(),
        };
        match run {
            Ok(run) => {
                row.boot = Some(run.boot);
                for (step, result) in steps.iter().zip(&run.steps) {
                    let judgement = judge(step, result, &run.folder, version);
                    row.steps.push((step.name.clone(), result.took, judgement));
                }
            }
            Err(error) => row.failure = Some(format!("{error:#}")),
        }
        rows.push(row);
    }
    let failed = rows.iter().filter(|row| !row.failures().is_empty());
    let failed: Vec<_> = failed.map(|row| row.release.clone()).collect();
    print!("{}", Report(rows));
    if !failed.is_empty() {
        bail!(
            "not good enough on {}: see above, and what was printed in target/vm/results. \
             `cargo xtask vm KERNEL --only STEP` runs a part of it, `cargo xtask vm KERNEL -- COMMAND` anything",
            failed.join(", ")
        );
    }
    Ok(())
}

/// Boots the kernels, `--jobs` at once; results in the order of the kernels.
fn run_all(
    args: &Args,
    kernels: Vec<Kernel>,
    steps: &[Step],
    built: &Built,
) -> Vec<(Kernel, Result<Run>)> {
    let queue: VecDeque<_> = kernels.into_iter().enumerate().collect();
    let queue = Mutex::new(queue);
    let done = Mutex::new(Vec::new());
    let next = || queue.lock().ok()?.pop_front();
    thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                while let Some((number, kernel)) = next() {
                    let machine = Machine {
                        kernel: &kernel,
                        memory: args.memory,
                        cpus: args.cpus,
                        append: &args.append,
                        program: &built.program,
                    };
                    let run = machine.run(steps);
                    if let Ok(mut done) = done.lock() {
                        done.push((number, kernel, run));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(number, ..)| *number);
    done.into_iter()
        .map(|(_, kernel, run)| (kernel, run))
        .collect()
}

//! `cargo xtask vm`: does it work on other kernels?

use std::{collections::VecDeque, fmt, sync::Mutex, thread};

use anyhow::{Context as _, Result, bail};

use crate::packages;
use guest::{Ended, Machine, Run};
use kernel::Kernel;
use step::Step;

mod apt;
mod archive;
mod build;
mod guest;
mod kernel;
mod modules;
mod step;

/// Boot kernels of Debian in qemu, and run a command there as root
///
/// A guest is this machine with another kernel: its root is this one's, read-only below a layer in memory, so that programs
/// and this repository are there under the same names, and nothing that happens inside stays. Kernels are downloaded once,
/// through apt with lists of its own, to target/vm or $RSTTRACE_VM_CACHE. No KVM is needed, and no root once the packages are there.
#[derive(clap::Args)]
pub struct Args {
    /// Kernels by the beginning of their version, such as 6.1 or 6.12.117; "newest" is the newest to be had
    #[arg(value_name = "KERNEL", default_values = DEFAULT)]
    kernels: Vec<String>,
    /// Memory of a guest, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    memory: u32,
    /// CPUs of a guest
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// How many guests at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// What to add to the kernel's command line, such as lockdown=confidentiality
    #[arg(long, value_name = "WORDS", default_value = "")]
    append: String,
    /// How long the command may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Look for newer kernels than those at hand
    #[arg(long)]
    refresh: bool,
    /// What to run in the guests
    #[arg(last = true, value_name = "COMMAND", required = true)]
    command: Vec<String>,
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

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "the guests are this machine with another kernel, and only x86_64 is prepared: run it on such a machine"
        );
    }
    packages::install_for_staging()?;
    packages::install(&PACKAGES).context("the guests need them")?;
    let steps = [Step::command(&args.command, args.timeout)];
    let program = build::rsttrace()?;
    let mut kernels = Vec::new();
    for wanted in &args.kernels {
        let kernel = Kernel::fetch(wanted, args.refresh)?;
        if !kernels.contains(&kernel) {
            kernels.push(kernel);
        }
    }
    let runs = run_all(args, kernels, &|kernel| {
        Machine {
            kernel,
            memory: args.memory,
            cpus: args.cpus,
            append: &args.append,
            program: &program,
        }
        .run(&steps)
    });
    for (kernel, run) in runs {
        let run = run.with_context(|| format!("kernel {}", kernel.release))?;
        for (step, result) in steps.iter().zip(run.steps) {
            eprintln!(
                "{}: {} after {:.1} s, booted in {:.1} s",
                kernel.release,
                result.ended,
                result.took.as_secs_f64(),
                run.boot.as_secs_f64()
            );
            match result.ended {
                Ended::Exited(0) => {}
                Ended::Exited(code) => bail!(Exited {
                    kernel: kernel.release.clone(),
                    code
                }),
                other => bail!(
                    "kernel {}: {}: {other}; allow more with --timeout, and see {}",
                    kernel.release,
                    step.name,
                    guest::results(&kernel.release).display()
                ),
            }
        }
    }
    Ok(())
}

/// Boots the kernels, `--jobs` at once; results in the order of the kernels.
fn run_all(
    args: &Args,
    kernels: Vec<Kernel>,
    boot: &(dyn Fn(&Kernel) -> Result<Run> + Sync),
) -> Vec<(Kernel, Result<Run>)> {
    let queue: VecDeque<_> = kernels.into_iter().enumerate().collect();
    let queue = Mutex::new(queue);
    let done = Mutex::new(Vec::new());
    let next = || queue.lock().ok()?.pop_front();
    thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                while let Some((number, kernel)) = next() {
                    let run = boot(&kernel);
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

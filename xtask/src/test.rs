//! `cargo xtask test`: the tests of the  then, as root, the kernel tests and the whole demo.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    accuracy, command, packages,
    tally::{self, Tally},
    vm,
};

/// Run all tests: the  then kernel tests and demo as root, then both on other kernels
///
/// Kernel tests are integration tests of rsttrace in files named kernel_*.rs, marked `#[ignore = "needs root"]`. They run one at
/// a time, together with those that need a browser or tshark. As root, missing Debian packages for staging resets are installed
/// first (which may start nginx and haproxy as services), and the programs of real traffic. Everything runs, also after a failure.
#[derive(clap::Args)]
pub struct Args {
    /// Skip kernel tests and demo, which need root
    #[arg(long, conflicts_with = "sudo")]
    no_kernel: bool,
    /// Skip the other kernels in qemu (see `cargo xtask vm`)
    #[arg(long)]
    no_vm: bool,
    /// Build as this user, and run only kernel tests and demo through sudo
    #[arg(long)]
    sudo: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if !args.no_kernel {
        if !command::is_root() && !args.sudo {
            bail!(
                "kernel tests and demo need root: run `cargo xtask test --sudo` (builds as you, runs these two as root), \
                 or skip them with `cargo xtask test --no-kernel`"
            );
        }
        packages::install_for_staging()?;
        packages::install_for_traffic()?;
    }

    let start = Instant::now();
    let mut steps = workspace_tests();
    if !args.no_kernel {
        let kernel = Step::tests("kernel", &mut kernel_tests(args.sudo));
        if let Some(workspace) = steps.first_mut() {
            // These are counted as ignored there.
            workspace.tally.ignored = workspace.tally.ignored.saturating_sub(kernel.tally.ran());
        }
        steps.push(kernel);
        let demo = || accuracy::whole_demo(args.sudo);
        steps.push(Step::other("demo", demo));
        let traffic = || accuracy::real_traffic(args.sudo);
        steps.push(Step::other("real traffic", traffic));
        if !args.no_vm {
            steps.extend(other_kernels());
        }
    }
    summarise(&steps, start.elapsed())
}

fn workspace_tests() -> Vec<Step> {
    if command::output(command::cargo().args(["nextest", "--version"])).is_err() {
        let mut all = command::cargo();
        all.args(["test", "--workspace", "--no-fail-fast"]);
        return vec![Step::tests("workspace", &mut all)];
    }
    let mut nextest = command::cargo();
    nextest.args(["nextest", "run", "--workspace"]);
    nextest.args(["--no-fail-fast", "--no-tests=fail"]);
    // nextest does not run these.
    let doc_tests = || command::run(command::cargo().args(["test", "--workspace", "--doc"]));
    vec![
        Step::tests("workspace", &mut nextest),
        Step::other("doc tests", doc_tests),
    ]
}

/// A step for each boot.
fn other_kernels() -> Vec<Step> {
    let start = Instant::now();
    match vm::run_quick() {
        Ok(kernels) => kernels
            .into_iter()
            .map(|(name, tally, took)| Step { name, tally, took })
            .collect(),
        Err(error) => {
            let error = error.context("`cargo xtask test --no-vm` skips other kernels");
            vec![Step::ended("other kernels", start, Err(error))]
        }
    }
}

/// With cargo test, because it runs one binary after the other, and these tests share one kernel.
fn kernel_tests(sudo: bool) -> Command {
    let mut cargo = command::cargo();
    cargo.args(["test", "--package", "rsttrace", "--test", "kernel_*"]);
    // Other programs that read our files.
    cargo.args(["--test", "browser_*", "--test", "wireshark_*"]);
    if sudo {
        command::with_sudo(&mut cargo);
    }
    cargo.args(["--no-fail-fast", "--", "--ignored", "--test-threads=1"]);
    cargo
}

struct Step {
    name: String,
    tally: Tally,
    took: Duration,
}

impl Step {
    /// Runs tests. A failure without a failed test (a build error, no tests) counts as one.
    fn tests(name: &str, command: &mut Command) -> Self {
        let start = Instant::now();
        Self::ended(name, start, tally::run(command))
    }

    /// Runs something that counts as one test.
    fn other(name: &str, work: impl FnOnce() -> Result<()>) -> Self {
        let start = Instant::now();
        let passed = Tally {
            passed: 1,
            ..Tally::default()
        };
        Self::ended(name, start, work().map(|()| passed))
    }

    fn ended(name: &str, start: Instant, tally: Result<Tally>) -> Self {
        let tally = tally.unwrap_or_else(|error| {
            eprintln!("{name}: {error:#}");
            Tally::FAILED
        });
        Self {
            name: name.into(),
            tally,
            took: start.elapsed(),
        }
    }
}

fn summarise(steps: &[Step], took: Duration) -> Result<()> {
    println!();
    let mut total = Tally::default();
    for Step { name, tally, took } in steps {
        let verdict = if tally.failed == 0 { "ok" } else { "FAILED" };
        println!(
            "{name:<12} {verdict:<7} {:>4} passed {:>4} failed {:>4} ignored {:>7.1} s",
            tally.passed,
            tally.failed,
            tally.ignored,
            took.as_secs_f64()
        );
        total += *tally;
    }
    println!();
    println!("{}", total.closing_line(took));
    if total.failed > 0 {
        let failed: Vec<_> = steps
            .iter()
            .filter(|step| step.tally.failed > 0)
            .map(|step| step.name.as_str())
            .collect();
        bail!(
            "failed: {}. Errors are above; to repeat one test file: \
             `cargo test -p rsttrace --test kernel_NAME -- --ignored --test-threads=1`",
            failed.join(", ")
        );
    }
    Ok(())
}

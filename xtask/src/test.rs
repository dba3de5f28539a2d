//! `cargo xtask test`: the tests of the workspace, then, as root, the kernel tests and the whole demo.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    accuracy, command, packages,
    tally::{self, Tally},
    vm, workspace,
};

/// Run all tests: the workspace, then kernel tests and demo as root, then both on other kernels
///
/// Kernel tests are integration tests of rsttrace in files named kernel_*.rs, marked `#[ignore = "needs root"]`; with them run
/// those that need a browser or tshark. They
/// run one at a time. With root, missing Debian packages that they stage resets with are installed first (which may
/// start nginx and haproxy as services). Everything runs, also after a failure.
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

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if !args.no_kernel {
        if !command::is_root() && !args.sudo {
            bail!(
                "kernel tests and demo need root: run `cargo xtask test --sudo` (builds as you, runs these two as root), \
                 or leave them out with `cargo xtask test --no-kernel`"
            );
        }
        packages::install_for_staging()?;
    }

    let start = Instant::now();
    let mut steps = workspace_tests();
    if !args.no_kernel {
        let kernel = Step::tests("kernel", &mut kernel_tests(args.sudo));
        if let Some(workspace) = steps.first_mut() {
            // Ignored there, and run here.
            workspace.tally.ignored = workspace.tally.ignored.saturating_sub(kernel.tally.ran());
        }
        steps.push(kernel);
        steps.push(Step::other("demo", || {
            accuracy::run(&accuracy::Args::of_release(args.sudo))
        }));
        if !args.no_vm {
            steps.extend(other_kernels());
        }
    }
    summarise(&steps, start.elapsed())
}

fn workspace_tests() -> Vec<Step> {
    let mut nextest = cargo();
    if command::output(nextest.args(["nextest", "--version"])).is_err() {
        return vec![Step::tests(
            "workspace",
            cargo().args(["test", "--workspace", "--no-fail-fast"]),
        )];
    }
    vec![
        Step::tests(
            "workspace",
            cargo().args([
                "nextest",
                "run",
                "--workspace",
                "--no-fail-fast",
                "--no-tests=fail",
            ]),
        ),
        // nextest does not run those.
        Step::other("doc tests", || {
            command::run(cargo().args(["test", "--workspace", "--doc"]))
        }),
    ]
}

/// One step each. What is in the way of all of them fails as one.
fn other_kernels() -> Vec<Step> {
    let start = Instant::now();
    match vm::run_quick() {
        Ok(kernels) => kernels
            .into_iter()
            .map(|(name, tally, took)| Step { name, tally, took })
            .collect(),
        Err(error) => {
            eprintln!("other kernels: {error:#}. `cargo xtask test --no-vm` leaves them out");
            let tally = Tally {
                failed: 1,
                ..Tally::default()
            };
            let took = start.elapsed();
            vec![Step {
                name: "other kernels".into(),
                tally,
                took,
            }]
        }
    }
}

/// Always with cargo test: it runs one binary after the other, and these share one kernel.
fn kernel_tests(sudo: bool) -> Command {
    let mut cargo = cargo();
    cargo.args(["test", "--package", "rsttrace", "--test", "kernel_*"]);
    // What other programs make of our files.
    cargo.args(["--test", "browser_*", "--test", "wireshark_*"]);
    as_root(&mut cargo, sudo);
    cargo.args(["--no-fail-fast", "--", "--ignored", "--test-threads=1"]);
    cargo
}

fn as_root(cargo: &mut Command, sudo: bool) {
    if sudo {
        command::with_sudo(cargo);
    }
}

fn cargo() -> Command {
    let mut cargo = command::cargo();
    cargo.current_dir(workspace::root());
    cargo
}

struct Step {
    name: String,
    tally: Tally,
    took: Duration,
}

impl Step {
    /// Runs tests; a failure that no test accounts for (it did not build, nothing ran) counts as one.
    fn tests(name: &str, command: &mut Command) -> Self {
        let start = Instant::now();
        let tally = tally::run(command).unwrap_or_else(|error| {
            eprintln!("{name}: {error:#}");
            Tally {
                failed: 1,
                ..Tally::default()
            }
        });
        Self {
            name: name.into(),
            tally,
            took: start.elapsed(),
        }
    }

    /// Runs something that succeeds or fails as one.
    fn other(name: &str, work: impl FnOnce() -> Result<()>) -> Self {
        let start = Instant::now();
        let tally = match work() {
            Ok(()) => Tally {
                passed: 1,
                ..Tally::default()
            },
            Err(error) => {
                eprintln!("{name}: {error:#}");
                Tally {
                    failed: 1,
                    ..Tally::default()
                }
            }
        };
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
            "failed: {}. See above, then run that part alone, for instance \
             `cargo test -p rsttrace --test kernel_NAME -- --ignored --test-threads=1`",
            failed.join(", ")
        );
    }
    Ok(())
}

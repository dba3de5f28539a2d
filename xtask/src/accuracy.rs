//! `cargo xtask accuracy`: matrix of staged and reported causes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{command, packages, workspace};
use captures::CaptureTally;
use tally::Tally;

mod captures;
pub mod cases;
pub mod tally;

/// Run the whole demo and print a matrix of staged and reported causes
#[derive(clap::Args)]
pub struct Args {
    /// Evaluate this output of `rsttrace demo --all -o json` instead of running the demo
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sudo", "debug"])]
    file: Option<PathBuf>,
    /// Also capture at each place and analyze the captures alone: all interfaces, single interfaces without packet
    /// directions, started in the middle of connections, with packet loss, and all interfaces merged
    #[arg(long)]
    captures: bool,
    /// Analyze captures of `rsttrace demo --captures DIR` instead of running the demo
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "sudo", "captures"])]
    captured: Option<PathBuf>,
    /// Build as this user, and run only the demo through sudo
    #[arg(long)]
    sudo: bool,
    /// Use the debug build: faster to build, slower to trace
    #[arg(long)]
    debug: bool,
}

impl Args {
    /// A run of the release build; `sudo`: only the demo itself as root.
    pub fn of_release(sudo: bool) -> Self {
        Self {
            file: None,
            captures: false,
            captured: None,
            sudo,
            debug: false,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if let Some(folder) = &args.captured {
        return judged(&judge_captures(args, folder)?, Vec::new());
    }
    let text = match &args.file {
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?
        }
        None => demo(args)?,
    };
    let tally = Tally::of(&cases::read(&text)?);
    print!("{tally}");
    let failures = tally.failures();
    if args.captures {
        return judged(&judge_captures(args, &folder())?, failures);
    }
    end(&failures)
}

fn judged(captures: &CaptureTally, mut failures: Vec<String>) -> Result<()> {
    print!("{captures}");
    failures.extend(captures.failures());
    end(&failures)
}

fn end(failures: &[String]) -> Result<()> {
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

/// Where the captures of a run go.
fn folder() -> PathBuf {
    workspace::target().join("captures")
}

/// What the demo prints. Its exit code tells less than its cases.
fn demo(args: &Args) -> Result<String> {
    if !command::is_root() && !args.sudo {
        bail!(
            "the demo needs root: run `cargo xtask accuracy --sudo` (builds as you, runs it as root)"
        );
    }
    packages::install_for_staging()?;
    let mut cargo = cargo_run(args, &[]);
    if args.sudo {
        command::with_sudo(&mut cargo);
    }
    cargo.args(["--", "demo", "--all", "--output", "json"]);
    if args.captures {
        cargo.arg("--captures").arg(folder());
    }
    output(&mut cargo)
}

fn judge_captures(args: &Args, captures: &Path) -> Result<CaptureTally> {
    let mut cargo = cargo_run(args, &["--example", "captures"]);
    cargo.arg("--").arg(captures);
    CaptureTally::of(&output(&mut cargo)?)
}

fn cargo_run(args: &Args, target: &[&str]) -> Command {
    let mut cargo = command::cargo();
    cargo.current_dir(workspace::root());
    cargo.args(["run", "--quiet", "--package", "rsttrace"]);
    cargo.args(if target.is_empty() {
        &["--bin", "rsttrace"]
    } else {
        target
    });
    if !args.debug {
        cargo.arg("--release");
    }
    cargo
}

fn output(cargo: &mut Command) -> Result<String> {
    let shown = command::announce(cargo);
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start `{shown}`"))?;
    let text = String::from_utf8(output.stdout).context("the demo printed no UTF-8")?;
    if text.trim().is_empty() {
        bail!("`{shown}` staged nothing ({})", output.status);
    }
    Ok(text)
}

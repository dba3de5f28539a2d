//! `cargo xtask accuracy`: explanations compared with what was staged.

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

/// Run the whole demo and list wrong and unknown explanations
#[derive(Default, clap::Args)]
pub struct Args {
    /// Evaluate this output of `rsttrace demo --all -o json` instead of running the demo
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sudo", "debug"])]
    file: Option<PathBuf>,
    /// Also capture at each place and analyze the captures alone: all interfaces, single interfaces without packet
    /// directions, started in the middle of connections, with packet loss, and all interfaces merged
    #[arg(long)]
    captures: bool,
    /// Play scenes of real programs instead of the demo: web servers, databases, relays, NAT
    #[arg(long, conflicts_with_all = ["file", "captures", "captured"])]
    real_traffic: bool,
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

/// Runs the release build.
pub fn whole_demo(sudo: bool) -> Result<()> {
    run(&Args {
        sudo,
        ..Args::default()
    })
}

/// The same with scenes of real programs.
pub fn real_traffic(sudo: bool) -> Result<()> {
    run(&Args {
        sudo,
        real_traffic: true,
        ..Args::default()
    })
}

pub fn run(args: &Args) -> Result<()> {
    if args.real_traffic {
        return play(args);
    }
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

fn folder() -> PathBuf {
    workspace::target().join("captures")
}

/// The output of the demo. Its exit code says less than its cases.
fn demo(args: &Args) -> Result<String> {
    if !command::is_root() && !args.sudo {
        bail!(
            "the demo needs root: run `cargo xtask accuracy --sudo` (builds as you, runs it as root)"
        );
    }
    packages::install_for_staging()?;
    let mut demo = as_root(args, build(args, "--bin", "rsttrace")?);
    demo.args(["demo", "--all", "--output", "json"]);
    if args.captures {
        demo.arg("--captures").arg(folder());
    }
    output(&mut demo)
}

/// Plays the scenes, which judge themselves.
fn play(args: &Args) -> Result<()> {
    if !command::is_root() && !args.sudo {
        bail!(
            "scenes need root: run `cargo xtask accuracy --real-traffic --sudo` (builds as you, plays them as root)"
        );
    }
    packages::install_for_traffic()?;
    let tracer = build(args, "--bin", "rsttrace")?;
    let mut play = as_root(args, build(args, "--example", "real_traffic")?);
    play.arg("--rsttrace").arg(tracer);
    play.arg("--folder")
        .arg(workspace::target().join("real-traffic"));
    command::run(&mut play)
}

fn judge_captures(args: &Args, captures: &Path) -> Result<CaptureTally> {
    let program = build(args, "--example", "captures")?;
    CaptureTally::of(&output(Command::new(program).arg(captures))?)
}

fn build(args: &Args, kind: &str, target: &str) -> Result<PathBuf> {
    command::build_one("rsttrace", kind, target, !args.debug)
}

/// To run as root.
fn as_root(args: &Args, program: PathBuf) -> Command {
    if !args.sudo {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg("-E").arg(program);
    sudo
}

fn output(command: &mut Command) -> Result<String> {
    let shown = command::announce(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start `{shown}`"))?;
    let text = String::from_utf8(output.stdout).context("the output is not UTF-8")?;
    if text.trim().is_empty() {
        bail!("`{shown}` staged nothing ({})", output.status);
    }
    Ok(text)
}

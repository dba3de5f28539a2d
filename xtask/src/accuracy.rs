//! `cargo xtask accuracy`: how often is the demo's tracer right, and what does it take for what?

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{command, packages, workspace};
use tally::Tally;

pub mod cases;
pub mod tally;

/// Run the whole demo and print what was staged against what was explained
#[derive(clap::Args)]
pub struct Args {
    /// Count the cases of this file, as `rsttrace demo --all -o json` wrote it, instead of running the demo
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sudo", "debug"])]
    file: Option<PathBuf>,
    /// Build as this user, and run the demo (nothing else) through sudo
    #[arg(long)]
    sudo: bool,
    /// Run the debug build: sooner built, slower to trace
    #[arg(long)]
    debug: bool,
}

impl Args {
    /// A run of the release build; `sudo`: only the demo itself as root.
    pub fn of_release(sudo: bool) -> Self {
        Self {
            file: None,
            sudo,
            debug: false,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let text = match &args.file {
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?
        }
        None => demo(args)?,
    };
    let tally = Tally::of(&cases::read(&text)?);
    print!("{tally}");
    let failures = tally.failures();
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

/// What the demo prints. Its exit code tells less than its cases.
fn demo(args: &Args) -> Result<String> {
    if !command::is_root() && !args.sudo {
        bail!(
            "the demo needs root: run `cargo xtask accuracy --sudo` (builds as you, runs it as root)"
        );
    }
    packages::install_for_staging()?;
    let mut cargo = command::cargo();
    cargo.current_dir(workspace::root());
    cargo.args(["run", "--quiet", "--package", "rsttrace"]);
    if !args.debug {
        cargo.arg("--release");
    }
    if args.sudo {
        command::with_sudo(&mut cargo);
    }
    cargo.args(["--", "demo", "--all", "--output", "json"]);
    output(&mut cargo)
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

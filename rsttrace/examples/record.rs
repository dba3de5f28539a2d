//! Makes data for tests out of the running kernel: `record FOLDER` (as root; `cargo xtask record` does it for all kernels).
//!
//! The least type information that is needed, and the short demo: its events and what was staged.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use rsttrace::app::{RecordedCase, RecordedDemo, record_demo};
use rsttrace::cli::TracerOptions;
use rsttrace::demo::{ActorArgs, actor_main};
use rsttrace::kernel;

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Hidden>,
    /// Where the files go
    #[arg(required = true)]
    folder: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Hidden {
    #[command(hide = true)]
    DemoActor(ActorArgs),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let folder = match (args.command, args.folder) {
        (Some(Hidden::DemoActor(actor)), _) => return actor_main(&actor),
        (None, folder) => folder.context("name a folder")?,
    };
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let types = kernel::extract_types().context("extract the kernel's types")?;
    fs::write(folder.join("types.btf"), &types).context("write the types")?;

    let RecordedDemo {
        recording,
        head,
        written,
        cases,
        left_out,
    } = record_demo(&TracerOptions::default())?;
    fs::write(folder.join("events.rst"), recording).context("write the events")?;
    let mut file = File::create(folder.join("cases.jsonl")).context("make the file of cases")?;
    for case in &cases {
        writeln!(file, "{}", serde_json::to_string(case)?).context("write the cases")?;
    }
    for left_out in &left_out {
        eprintln!("left out: {left_out}");
    }
    let is_right = |case: &&RecordedCase| case.namespace.is_right() && case.host.is_right();
    let (right, wrong): (Vec<_>, Vec<_>) = cases.iter().partition(is_right);
    for wrong in &wrong {
        eprintln!("not right: {}", serde_json::to_string(wrong)?);
    }
    println!(
        "{}: {} bytes of types, {} events, {} cases right, {} not right, {} not staged",
        head.kernel,
        types.len(),
        written.events,
        right.len(),
        wrong.len(),
        left_out.len()
    );
    Ok(())
}

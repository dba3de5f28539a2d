//! `cargo xtask record`: records data of kernels for tests without these kernels and without root.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    command, packages,
    vm::{self, Example},
    workspace,
};

/// Record types and events of kernels, for tests without these kernels and without root
///
/// Boots each kernel as `cargo xtask vm` does, runs the short demo there, and stores the required types, all events
/// and the staged truth in rsttrace/tests/data/kernels. The running kernel needs no guest, but root.
#[derive(clap::Args)]
pub struct Args {
    /// Kernels by version prefix, for example 6.1 [default: all recorded kernels]
    #[arg(value_name = "KERNEL")]
    kernels: Vec<String>,
}

const RECORDER: &str = "record";
/// In seconds; about four times what it takes in a guest alone on two CPUs.
const LIMIT: u64 = 400;
const FILES: [&str; 3] = ["types.btf", "events.rst", "cases.jsonl"];

pub fn run(args: &Args) -> Result<()> {
    let kernels = match &args.kernels[..] {
        [] => recorded()?,
        named => named.to_vec(),
    };
    packages::install_for_staging()?;
    let recorder = Example::build(RECORDER)?;
    let running = fs::read_to_string("/proc/sys/kernel/osrelease").context("read uname -r")?;
    for kernel in kernels {
        let (release, from) = if vm::is_version(running.trim_end(), &kernel) && command::is_root() {
            let folder = workspace::target().join("vm/results/running");
            command::run(Command::new(&recorder.file).arg(&folder))?;
            (running.clone(), folder)
        } else {
            let (release, folder) = recorder.run(&kernel, "/vm/record", LIMIT)?;
            (release, folder.join("record"))
        };
        let to = data().join(series(&release)?);
        fs::create_dir_all(&to).with_context(|| format!("create {}", to.display()))?;
        for file in FILES {
            fs::copy(from.join(file), to.join(file))
                .with_context(|| format!("copy {file} of {release}"))?;
        }
    }
    Ok(())
}

fn data() -> PathBuf {
    workspace::root().join("rsttrace/tests/data/kernels")
}

/// The kernels with a folder.
fn recorded() -> Result<Vec<String>> {
    let folders = fs::read_dir(data()).context("list recorded kernels")?;
    let names = folders.map(|folder| Ok(folder?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    if names.is_empty() {
        bail!("no kernel is recorded yet: name one");
    }
    names.sort();
    Ok(names)
}

/// The first two numbers of a release.
fn series(release: &str) -> Result<String> {
    let (major, minor) =
        vm::version(release).with_context(|| format!("no version in {release}"))?;
    Ok(format!("{major}.{minor}"))
}

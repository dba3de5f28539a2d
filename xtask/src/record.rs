//! `cargo xtask record`: records data of kernels for tests that need neither these kernels nor root.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    command, packages,
    vm::{self, Example},
    workspace,
};

/// Record types and events of kernels for tests that need neither these kernels nor root
///
/// Boots each kernel as `cargo xtask vm` does, runs the short demo there, and stores the required types, all events
/// and the staged truth in rsttrace/tests/data/kernels. The running kernel needs no guest, but root.
#[derive(clap::Args)]
pub struct Args {
    /// Kernels by version prefix, for example 6.1 [default: all recorded kernels]
    #[arg(value_name = "KERNEL")]
    kernels: Vec<String>,
}

/// What makes a recording; the name of an example.
const RECORDER: &str = "record";
/// Some four times what it takes in a guest alone on two CPUs.
const LIMIT: u64 = 400;
/// What comes back.
const FILES: [&str; 3] = ["types.btf", "events.rst", "cases.jsonl"];

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let kernels = match &args.kernels[..] {
        [] => recorded()?,
        named => named.to_vec(),
    };
    packages::install_for_staging()?;
    let recorder = Example::build(RECORDER)?;
    let running = fs::read_to_string("/proc/sys/kernel/osrelease").context("read uname -r")?;
    for kernel in kernels {
        let (release, from) = if is_of(&kernel, &running) && command::is_root() {
            let folder = workspace::target().join("vm/results/running");
            command::run(Command::new(recorder.file()).arg(&folder))?;
            (running.clone(), folder)
        } else {
            let (release, folder) = recorder.run(&kernel, &["/vm/record"], LIMIT)?;
            (release, folder.join("record"))
        };
        let to = data().join(series(&release)?);
        fs::create_dir_all(&to).with_context(|| format!("make {}", to.display()))?;
        for file in FILES {
            fs::copy(from.join(file), to.join(file))
                .with_context(|| format!("keep {file} of {release}"))?;
        }
    }
    Ok(())
}

fn data() -> PathBuf {
    workspace::root().join("rsttrace/tests/data/kernels")
}

/// By the folders there are.
fn recorded() -> Result<Vec<String>> {
    let folders = fs::read_dir(data()).context("list what was recorded")?;
    let names = folders.map(|folder| Ok(folder?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    if names.is_empty() {
        bail!("nothing was recorded before: name kernels");
    }
    names.sort();
    Ok(names)
}

/// The first two numbers of a release.
fn series(release: &str) -> Result<String> {
    let (major, minor) =
        vm::version(release).with_context(|| format!("{release} begins with no version"))?;
    Ok(format!("{major}.{minor}"))
}

/// Whether a release begins with this version, and not only with its digits.
fn is_of(version: &str, release: &str) -> bool {
    release
        .strip_prefix(version)
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_of_its_series_alone() {
        assert!(is_of("6.1", "6.1.0-56-amd64") && is_of("6.18", "6.18.44"));
        assert!(!is_of("6.1", "6.18.44") && !is_of("6.12", "6.1.0"));
    }
}

//! `cargo xtask dist`: the static binary and its packages.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{command, packages, workspace};

/// Build the static binary, a .deb, an .rpm, checksums and a bill of materials (CycloneDX) in target/dist/out
///
/// Each commit has the same bytes in every folder. Missing packages are installed, and rustup adds the target.
#[derive(clap::Args)]
pub struct Args {
    /// Also install the .deb in an empty root directory, run rsttrace there, and purge it (as root)
    #[arg(long)]
    check: bool,
}

const TARGET: &str = "x86_64-unknown-linux-musl";

pub fn run(args: &Args) -> Result<()> {
    if args.check && !command::is_root() {
        bail!("--check installs a package and traces: run `sudo -E cargo xtask dist --check`");
    }
    packages::install(&["busybox-static", "musl-tools", "rpm"])?;
    command::output(Command::new("rustup").args(["target", "add", TARGET]))
        .with_context(|| format!("no standard library for {TARGET}: install it with rustup"))?;
    let script = |name| Command::new(workspace::root().join("rsttrace/packaging").join(name));
    let folder = workspace::target().join("dist");
    command::run(script("dist.sh").arg(&folder))?;
    if args.check {
        let name = concat!("rsttrace_", env!("CARGO_PKG_VERSION"), "_amd64.deb");
        let root = tempfile::tempdir()?;
        let mut check = script("check-deb.sh");
        command::run(check.arg(folder.join("out").join(name)).arg(root.path()))?;
        println!("{name} installs, runs, and leaves nothing after a purge");
    }
    Ok(())
}

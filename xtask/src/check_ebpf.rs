//! `cargo xtask check-ebpf`: compares the committed object with a fresh build.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{
    bpf_toolchain::{Choice, Toolchain},
    build_ebpf, workspace,
};

/// Build the eBPF object from scratch and compare it byte by byte with the committed one
///
/// Always uses the Debian toolchain. Exits with 1 if the bytes differ.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(Args {}: &Args) -> Result<()> {
    let committed = workspace::object();
    let committed_bytes = fs::read(&committed).with_context(|| {
        format!(
            "cannot read {}: run `cargo xtask build-ebpf --toolchain debian` and commit the result",
            committed.display()
        )
    })?;
    let toolchain = Toolchain::prepare(Choice::Debian)?;
    let scratch = tempfile::tempdir().context("create a temporary folder")?;
    let rebuilt = scratch.path().join("rsttrace.bpf.o");
    build_ebpf::build(&toolchain, &scratch.path().join("target"), &rebuilt)?;
    let rebuilt_bytes = fs::read(&rebuilt).context("read the rebuilt object")?;

    if rebuilt_bytes == committed_bytes {
        println!("the committed object matches the sources");
        return Ok(());
    }
    for (name, object) in [("committed", &committed), ("rebuilt", &rebuilt)] {
        println!("{name}: sha256 {}", build_ebpf::sha256(object)?);
    }
    let note = fs::read_to_string(build_ebpf::built_with(&committed));
    println!("\n{}", note.unwrap_or_default());
    println!("Versions used now:\n{}", toolchain.versions()?);
    bail!(
        "the committed object differs from a build of the sources: run `cargo xtask build-ebpf --toolchain debian` \
         and commit rsttrace/linux/ebpf (if the versions above differ, a compiler update is the reason)"
    )
}

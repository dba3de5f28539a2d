//! `cargo xtask check-ebpf`: compares the committed object with a fresh build.

use std::{fs, path::Path};

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

/// Runs the command.
pub fn run(Args {}: &Args) -> Result<()> {
    let committed = workspace::object();
    let committed_bytes = fs::read(&committed).with_context(|| {
        format!(
            "cannot read {}: run `cargo xtask build-ebpf --toolchain debian` and commit what it writes",
            committed.display()
        )
    })?;
    let toolchain = Toolchain::prepare(Choice::Debian)?;
    let scratch = tempfile::tempdir().context("create a temporary folder")?;
    let rebuilt = scratch.path().join("rsttrace.bpf.o");
    build_ebpf::build(&toolchain, &scratch.path().join("target"), &rebuilt)?;
    let rebuilt_bytes = fs::read(&rebuilt).context("read the rebuilt object")?;

    let committed_line = description(&committed, committed_bytes.len())?;
    if rebuilt_bytes == committed_bytes {
        println!("the committed object is what the sources give: {committed_line}");
        return Ok(());
    }
    println!("committed: {committed_line}");
    println!("rebuilt:   {}", description(&rebuilt, rebuilt_bytes.len())?);
    if let Some(at) = first_difference(&committed_bytes, &rebuilt_bytes) {
        println!("first difference at byte {at}");
    }
    match fs::read_to_string(build_ebpf::built_with(&committed)) {
        Ok(note) => print!("\n{note}"),
        Err(_) => println!("\nnothing says what the committed object was built with"),
    }
    println!("\nWhat was used now:\n{}", toolchain.versions()?.join("\n"));
    bail!(
        "the committed object is not what the sources give: run `cargo xtask build-ebpf --toolchain debian` \
         and commit rsttrace/linux/ebpf (if the versions above differ, the compiler was updated and that is the reason)"
    )
}

fn description(object: &Path, size: usize) -> Result<String> {
    Ok(format!(
        "{size} bytes, sha256 {}",
        build_ebpf::sha256(object)?
    ))
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    match a.iter().zip(b).position(|(a, b)| a != b) {
        Some(at) => Some(at),
        None if a.len() == b.len() => None,
        None => Some(a.len().min(b.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_difference_counts_a_missing_tail() {
        assert_eq!(first_difference(b"same", b"same"), None);
        assert_eq!(first_difference(b"some", b"same"), Some(1));
        assert_eq!(first_difference(b"same", b"same and more"), Some(4));
        assert_eq!(first_difference(b"", b"x"), Some(0));
    }
}

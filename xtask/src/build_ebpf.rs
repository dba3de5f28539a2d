//! `cargo xtask build-ebpf`: builds the object that rsttrace embeds from rsttrace-ebpf.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{
    bpf_toolchain::{self, Choice, TARGET, Toolchain},
    command, rustc_wrapper, workspace,
};

/// Build the eBPF object that rsttrace embeds
///
/// The object is committed, so building rsttrace needs stable Rust only. Commit a build by the Debian toolchain only:
/// `cargo xtask check-ebpf` compares bytes.
#[derive(clap::Args)]
pub struct Args {
    /// Compiler to use
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    toolchain: Choice,
}

pub fn run(args: &Args) -> Result<()> {
    let toolchain = Toolchain::prepare(args.toolchain)?;
    let object = &workspace::object();
    build(&toolchain, &workspace::target().join("ebpf"), object)?;

    let size = object.metadata().map(|metadata| metadata.len())?;
    let sha256 = sha256(object)?;
    let (name, versions) = (toolchain.name, toolchain.versions()?);
    let note = format!(
        "What rsttrace.bpf.o was built with, by `cargo xtask build-ebpf`.\ntoolchain: {name}\n{versions}\nsha256: {sha256}\n"
    );
    let note_file = built_with(object);
    fs::write(&note_file, &note).with_context(|| format!("write {}", note_file.display()))?;

    println!("{}: {size} bytes", object.display());
    print!("{note}");
    if !toolchain.is_debian() {
        eprintln!(
            "warning: for testing only; do not commit it, because CI compares with a build by the Debian toolchain"
        );
    }
    Ok(())
}

/// The file next to an object with the versions of its toolchain.
pub fn built_with(object: &Path) -> PathBuf {
    object.with_extension("txt")
}

/// Builds below `target_dir`, strips debug sections and writes `object`.
pub fn build(toolchain: &Toolchain, target_dir: &Path, object: &Path) -> Result<()> {
    let linked = target_dir.join(TARGET).join("release/rsttrace-ebpf");
    let mut cargo = toolchain.cargo("build");
    cargo
        .args(["--release", "--target-dir"])
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags()?);
    rustc_wrapper::install(&mut cargo)?;
    command::run(&mut cargo).with_context(|| {
        format!(
            "rsttrace-ebpf does not build ({} toolchain)",
            toolchain.name
        )
    })?;

    let folder = object
        .parent()
        .context("the object needs a folder to go to")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    bpf_toolchain::strip_debug(&linked, object)
}

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256(file: &Path) -> Result<String> {
    let printed = command::output(Command::new("sha256sum").arg(file))?;
    let sum = printed.split_whitespace().next();
    Ok(sum.context("sha256sum printed nothing")?.to_owned())
}

/// Compiler flags for building and linting. Paths are remapped, so that no folder of this machine gets into the object.
pub fn rustflags() -> Result<String> {
    let mut flags = vec![
        "-Clink-arg=--btf".to_owned(),
        // The layout of pt_regs for kprobes, which are used on this architecture only. Everything else is the same on any
        // little-endian machine.
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        format!(
            "--remap-path-prefix={}=/rsttrace",
            workspace::root().display()
        ),
    ];
    let mut metadata = command::cargo();
    bpf_toolchain::without_overrides(&mut metadata);
    let metadata = command::output(
        metadata
            .args(["metadata", "--format-version=1", "--locked"])
            .current_dir(workspace::ebpf()),
    )
    .context("rsttrace-ebpf/Cargo.lock does not match its Cargo.toml: run `cargo update --workspace` in rsttrace-ebpf")?;
    flags.extend(
        dependency_folders(&metadata)?
            .into_iter()
            .map(|(folder, name)| format!("--remap-path-prefix={folder}=/cargo/{name}")),
    );
    Ok(flags.join("\x1f"))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    /// Absent for our own crates.
    source: Option<String>,
    manifest_path: PathBuf,
}

/// The folder and `name-version` of each package from a registry.
fn dependency_folders(metadata: &str) -> Result<Vec<(String, String)>> {
    let metadata: Metadata =
        serde_json::from_str(metadata).context("read the output of cargo metadata")?;
    let packages = metadata.packages.into_iter();
    let packages = packages.filter(|package| package.source.is_some());
    let folders = packages.filter_map(|package| {
        let folder = package.manifest_path.parent()?.display().to_string();
        Some((folder, format!("{}-{}", package.name, package.version)))
    });
    Ok(folders.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_packages_are_remapped_and_our_own_are_not() {
        let metadata = r#"{"packages": [
            {"name": "a", "version": "1.0.0", "source": "registry+x", "manifest_path": "/home/me/src/a-1.0.0/Cargo.toml"},
            {"name": "own", "version": "0.1.0", "source": null, "manifest_path": "/home/me/own/Cargo.toml"}
        ]}"#;
        let folders = dependency_folders(metadata).expect("valid metadata");
        assert_eq!(
            folders,
            [("/home/me/src/a-1.0.0".to_owned(), "a-1.0.0".to_owned())]
        );
    }

    #[test]
    fn metadata_without_packages_is_an_error() {
        assert!(dependency_folders("{}").is_err());
        assert!(dependency_folders("no JSON").is_err());
    }

    #[test]
    fn sha256_of_an_empty_file_is_the_known_one() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        assert_eq!(
            sha256(file.path()).expect("sha256sum runs"),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}

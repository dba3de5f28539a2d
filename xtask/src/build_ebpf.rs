//! `cargo xtask build-ebpf`: builds the object that rsttrace embeds from rsttrace-ebpf.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    bpf_toolchain::{self, Choice, TARGET, Toolchain},
    command, rustc_wrapper, workspace,
};

/// Build the eBPF object that rsttrace embeds
///
/// The object is committed, so that building rsttrace needs stable Rust only. Commit what the Debian toolchain
/// built: `cargo xtask check-ebpf` compares bytes.
#[derive(clap::Args)]
pub struct Args {
    /// Compiler to use
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    toolchain: Choice,
    /// Output file [default: rsttrace/linux/ebpf/rsttrace.bpf.o]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let toolchain = Toolchain::prepare(args.toolchain)?;
    let committed = workspace::object();
    let object = args.output.as_deref().unwrap_or(&committed);
    build(&toolchain, &workspace::target().join("ebpf"), object)?;

    let size = object.metadata().map(|metadata| metadata.len())?;
    let sha256 = sha256(object)?;
    let mut note = format!(
        "What rsttrace.bpf.o was built with, by `cargo xtask build-ebpf`.\ntoolchain: {toolchain}\n"
    );
    for version in toolchain.versions()? {
        note += &version;
        note.push('\n');
    }
    note += &format!("sha256: {sha256}\n");
    let note_file = built_with(object);
    fs::write(&note_file, &note).with_context(|| format!("write {}", note_file.display()))?;

    println!("{}: {size} bytes", object.display());
    print!("{note}");
    if matches!(toolchain, Toolchain::Nightly { .. }) && object == committed {
        eprintln!(
            "warning: good for trying, but do not commit it: CI compares with what the Debian toolchain builds"
        );
    }
    Ok(())
}

/// The note beside an object that says what it was built with.
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
    command::run(&mut cargo)
        .with_context(|| format!("rsttrace-ebpf does not build ({toolchain} toolchain)"))?;

    let folder = object
        .parent()
        .context("the object needs a folder to go to")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    bpf_toolchain::strip_debug(&linked, object)
}

/// The hexadecimal SHA-256 of a file.
pub fn sha256(file: &Path) -> Result<String> {
    let printed = command::output(Command::new("sha256sum").arg("--").arg(file))
        .context("sha256sum is part of coreutils")?;
    match printed.split_whitespace().next() {
        Some(sum) => Ok(sum.trim_start_matches('\\').to_owned()),
        None => bail!("sha256sum printed nothing for {}", file.display()),
    }
}

/// Flags for the compiler, the same for building and linting. Paths are remapped so that no folder of this machine
/// gets into the object.
pub fn rustflags() -> Result<String> {
    let mut flags = vec![
        "-Clink-arg=--btf".to_owned(),
        // Picks the layout of pt_regs, which only the kprobes touch; they are used on this architecture alone, all else serves any
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
    .context("rsttrace-ebpf/Cargo.lock does not fit its Cargo.toml: run `cargo update --workspace` in rsttrace-ebpf")?;
    flags.extend(
        dependency_folders(&metadata)?
            .into_iter()
            .map(|(folder, name)| format!("--remap-path-prefix={folder}=/cargo/{name}")),
    );
    Ok(flags.join("\x1f"))
}

/// The folder and `name-version` of each package that comes from a registry.
fn dependency_folders(metadata: &str) -> Result<Vec<(String, String)>> {
    let metadata: Value =
        serde_json::from_str(metadata).context("cargo metadata printed no JSON")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    packages
        .iter()
        .filter(|package| package["source"].is_string())
        .map(|package| {
            let field = |key: &str| {
                package[key]
                    .as_str()
                    .with_context(|| format!("cargo metadata leaves out {key} of a package"))
            };
            let folder = Path::new(field("manifest_path")?)
                .parent()
                .context("a manifest is in a folder")?;
            Ok((
                folder.display().to_string(),
                format!("{}-{}", field("name")?, field("version")?),
            ))
        })
        .collect()
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

//! `cargo xtask lint`: formatting, clippy on both targets, layers, licences and sources of dependencies.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    bpf_toolchain::{self, Choice, Toolchain},
    build_ebpf, command, fuzz, workspace,
};

const CARGO_DENY: &str = "0.20.2";

/// Check formatting, run clippy on both targets, check licences and sources of dependencies
///
/// Everything runs, also after a failure; warnings are failures. The eBPF crate is linted for the BPF target, with
/// Debian's rustc-web and rust-web-clippy if available, else with clippy of nightly. cargo-deny is built
/// in target/tools the first time, which takes one or two minutes. It does not check advisories, so lint needs
/// only crates from the network.
#[derive(clap::Args)]
pub struct Args {
    /// Toolchain whose clippy lints the eBPF crate
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    toolchain: Choice,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let steps: [(&str, &dyn Fn() -> Result<()>); 5] = [
        ("format", &format),
        ("clippy", &clippy),
        ("clippy for BPF", &|| clippy_ebpf(args.toolchain)),
        ("layers", &layers),
        ("licences and sources", &deny),
    ];
    let mut failed = Vec::new();
    for (name, step) in steps {
        if let Err(error) = step() {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!(
            "lint failed: {}. Mend what is shown above",
            failed.join(", ")
        );
    }
    println!("lint: nothing to complain about");
    Ok(())
}

fn format() -> Result<()> {
    let next = "run `cargo fmt --all`, and the same in rsttrace-ebpf and rsttrace/fuzz";
    for folder in [
        workspace::root().to_owned(),
        workspace::ebpf(),
        fuzz::folder(),
    ] {
        command::run(
            command::cargo()
                .args(["fmt", "--all", "--check"])
                .current_dir(folder),
        )
        .context(next)?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    command::run(
        command::cargo()
            .args(["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"])
            .current_dir(workspace::root()),
    )
}

fn clippy_ebpf(choice: Choice) -> Result<()> {
    let toolchain = Toolchain::prepare(choice)?;
    let mut cargo = match toolchain {
        // cargo-clippy would take the driver of rustup's toolchain.
        Toolchain::Debian { .. } => {
            let mut cargo = toolchain.cargo("check");
            cargo.env("RUSTC_WORKSPACE_WRAPPER", bpf_toolchain::debian_clippy()?);
            cargo
        }
        Toolchain::Nightly { .. } => toolchain.cargo("clippy"),
    };
    cargo
        .args(["--release", "--target-dir"])
        .arg(workspace::target().join("ebpf-lint"))
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("{}\x1f-Dwarnings", build_ebpf::rustflags()?),
        );
    command::run(&mut cargo).with_context(|| format!("rsttrace-ebpf, {toolchain} toolchain"))
}

/// The core does no input or output, which its dependencies show. libc comes in by the keys of its hash tables (getrandom), so
/// it is looked for among its own dependencies only.
fn layers() -> Result<()> {
    let tree = |depth: &str| -> Result<Vec<String>> {
        let mut cargo = command::cargo();
        cargo
            .args(["tree", "--edges", "normal", "--prefix", "none"])
            .args(["--format", "{p}", "--depth", depth])
            .args(["--package", "rsttrace-core", "--package", "rsttrace-model"])
            .current_dir(workspace::root());
        let lines = command::output(&mut cargo)?;
        let names = lines.lines().filter_map(|line| line.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    };
    let (all, own) = (tree("99")?, tree("1")?);
    let edges = ["aya", "clap", "nix", "tokio"].into_iter();
    let found: Vec<_> = edges
        .filter(|name| all.iter().any(|it| it == name))
        .chain(own.iter().any(|it| it == "libc").then_some("libc"))
        .collect();
    if !found.is_empty() {
        bail!(
            "rsttrace-core or rsttrace-model depends on {}: what needs that belongs into a crate around them",
            found.join(", ")
        );
    }
    Ok(())
}

fn deny() -> Result<()> {
    let deny = cargo_deny()?;
    for folder in [workspace::root().to_owned(), workspace::ebpf()] {
        command::run(
            std::process::Command::new(&deny)
                .arg("--config")
                .arg(workspace::root().join("deny.toml"))
                .arg("--manifest-path")
                .arg(folder.join("Cargo.toml"))
                .args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]),
        )
        .context("a dependency breaks a rule of deny.toml: choose another, or argue for the exception there")?;
    }
    Ok(())
}

/// A cargo-deny of the version above, below target/ so that `cargo clean` and a newer version replace it.
fn cargo_deny() -> Result<PathBuf> {
    let root = workspace::target().join(format!("tools/cargo-deny-{CARGO_DENY}"));
    let deny = root.join(format!("bin/cargo-deny{}", env::consts::EXE_SUFFIX));
    if deny.is_file() {
        return Ok(deny);
    }
    let mut install = command::cargo();
    install
        .args([
            "install",
            "cargo-deny",
            "--locked",
            "--no-default-features",
            "--version",
            CARGO_DENY,
        ])
        .arg("--root")
        .arg(&root)
        .current_dir(workspace::root());
    bpf_toolchain::without_overrides(&mut install);
    // It reads a few hundred manifests: compile time matters, speed does not.
    install
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    command::run(&mut install)
        .context("could not build cargo-deny: it needs a C compiler and the crates registry; `apt-get install gcc` and try again")?;
    Ok(deny)
}

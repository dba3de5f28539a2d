//! `cargo xtask lint`: formatting, clippy on both targets, layers, licenses and sources of dependencies.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    bpf_toolchain::{self, Choice, Toolchain},
    build_ebpf, command, fuzz, workspace,
};

const CARGO_DENY: &str = "0.20.2";

/// Check formatting, run clippy on both targets, check licenses and sources of dependencies
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

pub fn run(args: &Args) -> Result<()> {
    let steps: [(&str, &dyn Fn() -> Result<()>); 5] = [
        ("format", &format),
        ("clippy", &clippy),
        ("clippy for BPF", &|| clippy_ebpf(args.toolchain)),
        ("layers", &layers),
        ("licenses and sources", &deny),
    ];
    let mut failed = Vec::new();
    for (name, step) in steps {
        if let Err(error) = step() {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint failed: {}. Errors are above", failed.join(", "));
    }
    println!("lint: no problems");
    Ok(())
}

fn format() -> Result<()> {
    let root = workspace::root();
    for folder in [root, &workspace::ebpf(), &fuzz::folder()] {
        let mut fmt = command::cargo();
        fmt.args(["fmt", "--all", "--check"]).current_dir(folder);
        command::run(&mut fmt)
            .context("run `cargo fmt --all`, and the same in rsttrace-ebpf and rsttrace/fuzz")?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    command::run(command::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-Dwarnings",
    ]))
}

fn clippy_ebpf(choice: Choice) -> Result<()> {
    let toolchain = Toolchain::prepare(choice)?;
    let mut cargo = toolchain.cargo("clippy");
    if toolchain.is_debian() {
        // cargo-clippy would use the driver of rustup's toolchain.
        cargo = toolchain.cargo("check");
        cargo.env("RUSTC_WORKSPACE_WRAPPER", bpf_toolchain::debian_clippy()?);
    }
    cargo
        .args(["--release", "--target-dir"])
        .arg(workspace::target().join("ebpf-lint"))
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("{}\x1f-Dwarnings", build_ebpf::rustflags()?),
        );
    command::run(&mut cargo).with_context(|| format!("rsttrace-ebpf, {} toolchain", toolchain.name))
}

/// The core has no I/O, so it must not depend on crates for it. Hash tables bring libc (getrandom), so libc is forbidden as a direct
/// dependency only.
fn layers() -> Result<()> {
    let tree = |depth: &str| -> Result<Vec<String>> {
        let mut cargo = command::cargo();
        cargo
            .args(["tree", "--edges", "normal", "--prefix", "none"])
            .args(["--format", "{p}", "--depth", depth])
            .args(["--package", "rsttrace-core", "--package", "rsttrace-model"]);
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
            "rsttrace-core or rsttrace-model depends on {}: move the code that needs it to a crate around them",
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
        .context("a dependency breaks a rule of deny.toml: use another one, or add an exception with its reason there")?;
    }
    Ok(())
}

/// Below target/, so that `cargo clean` removes it.
fn cargo_deny() -> Result<PathBuf> {
    let root = workspace::target().join(format!("tools/cargo-deny-{CARGO_DENY}"));
    let deny = root.join(format!("bin/cargo-deny{}", env::consts::EXE_SUFFIX));
    if deny.is_file() {
        return Ok(deny);
    }
    let mut install = bpf_toolchain::install("cargo-deny", CARGO_DENY, &root);
    // It reads a few hundred manifests: compile time matters more than speed.
    install
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    command::run(&mut install)
        .context("cannot build cargo-deny: it needs a C compiler and the crates registry; `apt-get install gcc` and try again")?;
    Ok(deny)
}

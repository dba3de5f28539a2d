//! `cargo xtask fuzz`: fuzzes the readers of files and the core.
//!
//! Stable Rust and a C++ compiler: libFuzzer comes as a crate, and rustc's LLVM puts the coverage in. A target is a file in
//! `rsttrace/fuzz/src/bin`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

/// Feed generated input to the readers of files, and keep input that makes them fail
///
/// Inputs with new coverage stay in target/fuzz/corpus for the next run. Crashing inputs are written to rsttrace/tests/data/crashes, where the
/// regular tests read them. Exit code 1 if anything crashed.
#[derive(clap::Args)]
pub struct Args {
    /// Minutes per target
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Run only this target; can be repeated
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
}

/// Folders with the first inputs of a target, below rsttrace/tests/data; other targets start with their corpus only.
const SEEDS: &[(&str, &str)] = &[
    ("capture", "captures"),
    ("judged", "captures"),
    ("recording", "kernels/6.18"),
    ("inputs", "kernels/6.18"),
];

/// The flags that cargo-fuzz passes to rustc: counters at every edge, and the operands of comparisons.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    // Some crates skip checksums with it, which a fuzzer cannot guess.
    "--cfg=fuzzing",
];

/// Memory limit of a target, in MiB.
const MEMORY: u32 = 512;
/// Time limit of one input.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of an input, in bytes.
const LONGEST: u32 = 16 << 10;

pub fn run(args: &Args) -> Result<()> {
    let source = |name: &String| folder().join(format!("src/bin/{name}.rs"));
    if let Some(unknown) = args.target.iter().find(|name| !source(name).is_file()) {
        bail!("no target `{unknown}`: targets are the files in rsttrace/fuzz/src/bin");
    }
    let programs = build()?;
    let mut failed = Vec::new();
    for (name, program) in &programs {
        let is_wanted = args.target.is_empty() || args.target.contains(name);
        if is_wanted && let Err(error) = fuzz(program, name, args.minutes) {
            eprintln!("{name}: {error:#}");
            failed.push(name.as_str());
        }
    }
    if !failed.is_empty() {
        bail!(
            "failed: {}. Fix the reader, and commit the fix with the new files in rsttrace/tests/data/crashes",
            failed.join(", ")
        );
    }
    Ok(())
}

/// A workspace of its own.
pub fn folder() -> PathBuf {
    workspace::root().join("rsttrace/fuzz")
}

/// Builds all targets; returns the programs by target.
fn build() -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = command::cargo();
    cargo
        // With --target, the coverage flags do not apply to build scripts and macros.
        .args(["build", "--release", "--target", "host-tuple"])
        .arg("--manifest-path")
        .arg(folder().join("Cargo.toml"))
        .arg("--target-dir")
        .arg(workspace::target().join("fuzz/build"))
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    command::build(&mut cargo)
        .context("cannot build the targets; without a C++ compiler, `apt-get install g++`")
}

/// Runs one target; libFuzzer ends at the first crash.
fn fuzz(program: &Path, name: &str, minutes: u32) -> Result<()> {
    let data = workspace::root().join("rsttrace/tests/data");
    let corpus = workspace::target().join("fuzz/corpus").join(name);
    let crashes = data.join("crashes").join(name);
    for folder in [&corpus, &crashes] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let seeds = SEEDS.iter().find(|(target, _)| *target == name);
    let mut fuzzer = Command::new(program);
    fuzzer
        .args(["-verbosity=0", "-print_final_stats=1"])
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-timeout={}", TIMEOUT.as_secs()))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        // New inputs go to the first folder.
        .args([&corpus, &crashes])
        .args(seeds.map(|(_, folder)| data.join(folder)));
    let ran = command::run(&mut fuzzer);
    // Empty unless there ever was a crash.
    let _ = fs::remove_dir(&crashes);
    ran
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_with_seeds_exists() {
        for (name, seeds) in SEEDS {
            let target = folder().join(format!("src/bin/{name}.rs"));
            assert!(target.is_file(), "{name}");
            let seeds = workspace::root().join("rsttrace/tests/data").join(seeds);
            assert!(seeds.is_dir(), "{name}");
        }
    }
}

//! `cargo xtask fuzz`: fuzzes the readers of files and the core.
//!
//! Stable Rust and a C++ compiler: libFuzzer comes as a crate, and rustc's LLVM puts the coverage in. A target is a file in
//! `rsttrace/fuzz/src/bin`.

use std::{
    fs::{self, File},
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

/// Where a target's first inputs are, below rsttrace/tests/data; one that is not here begins with nothing but its corpus.
const SEEDS: &[(&str, &str)] = &[
    ("capture", "captures"),
    ("judged", "captures"),
    ("recording", "kernels/6.18"),
    ("inputs", "kernels/6.18"),
];

/// What cargo-fuzz gives to rustc: counters at every edge, and what is compared with what.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    // Leaves out checksums where a crate knows of it, which no fuzzer guesses.
    "--cfg=fuzzing",
];

/// Memory that a target may take, in MiB.
const MEMORY: u32 = 512;
/// Time that one input may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an input at most.
const LONGEST: u32 = 16 << 10;

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let known = targets()?;
    if let Some(unknown) = args.target.iter().find(|name| !known.contains(name)) {
        bail!("no target `{unknown}`: there are {}", known.join(", "));
    }
    let wanted = known
        .iter()
        .filter(|name| args.target.is_empty() || args.target.contains(name));
    let programs = build()?;
    let mut crashed = Vec::new();
    let mut failed = Vec::new();
    for name in wanted {
        let place = Place::of(name)?;
        let outcome = fuzz(&programs.join(name), &place, args.minutes);
        crashed.extend(place.keep_crashes()?);
        match outcome {
            Ok(figures) => println!("{name}: {figures}"),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                failed.push(name.as_str());
            }
        }
    }
    for file in &crashed {
        eprintln!("crashes: {}", file.display());
    }
    if !failed.is_empty() {
        bail!(
            "{} failed, {} inputs crash: mend what reads them, and commit them with it; what they said is in target/fuzz/*.log",
            failed.join(", "),
            crashed.len()
        );
    }
    Ok(())
}

/// The workspace of the fuzzers.
pub fn folder() -> PathBuf {
    workspace::root().join("rsttrace/fuzz")
}

/// Their names, sorted.
fn targets() -> Result<Vec<String>> {
    let sources = folder().join("src/bin");
    let mut names = Vec::new();
    for entry in fs::read_dir(&sources).with_context(|| format!("read {}", sources.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all targets; returns the folder of the programs.
fn build() -> Result<PathBuf> {
    let host = host()?;
    let target = workspace::target().join("fuzz/build");
    let mut cargo = command::cargo();
    // With --target, coverage stays out of build scripts and macros.
    cargo
        .args([
            "build",
            "--quiet",
            "--release",
            "--target",
            &host,
            "--target-dir",
        ])
        .arg(&target)
        .current_dir(folder())
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    command::run(&mut cargo)
        .context("could not build the fuzzers: libFuzzer needs a C++ compiler; `apt-get install g++` and try again")?;
    Ok(target.join(host).join("release"))
}

fn host() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("`rustc -vV` names no host")
}

/// Where the files of a target are.
struct Place {
    corpus: PathBuf,
    seeds: Option<PathBuf>,
    /// Crashes of this run.
    found: PathBuf,
    /// Crashes of all times, read by the usual tests.
    kept: PathBuf,
    log: PathBuf,
}

impl Place {
    fn of(name: &str) -> Result<Self> {
        let data = workspace::root().join("rsttrace/tests/data");
        let work = workspace::target().join("fuzz");
        let seeds = SEEDS.iter().find(|(target, _)| *target == name);
        let place = Self {
            corpus: work.join("corpus").join(name),
            seeds: seeds.map(|(_, folder)| data.join(folder)),
            found: work.join("crashes").join(name),
            kept: data.join("crashes").join(name),
            log: work.join(format!("{name}.log")),
        };
        for folder in [&place.corpus, &place.found] {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        Ok(place)
    }

    /// Moves what was found to what is kept.
    fn keep_crashes(&self) -> Result<Vec<PathBuf>> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.found)? {
            let entry = entry?;
            fs::create_dir_all(&self.kept)?;
            let to = self.kept.join(entry.file_name());
            fs::copy(entry.path(), &to).with_context(|| format!("write {}", to.display()))?;
            fs::remove_file(entry.path())?;
            kept.push(to);
        }
        kept.sort();
        Ok(kept)
    }
}

/// Runs one target; libFuzzer ends at the first crash.
fn fuzz(program: &Path, place: &Place, minutes: u32) -> Result<String> {
    let log =
        File::create(&place.log).with_context(|| format!("create {}", place.log.display()))?;
    let mut fuzzer = Command::new(program);
    fuzzer
        .arg(format!("-max_total_time={}", u64::from(minutes) * 60))
        .arg(format!("-timeout={}", TIMEOUT.as_secs()))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-artifact_prefix={}/", place.found.display()))
        .arg(&place.corpus);
    // What crashed once is tried first.
    let others = [place.seeds.as_deref(), Some(place.kept.as_path())];
    fuzzer.args(
        others
            .into_iter()
            .flatten()
            .filter(|folder| folder.is_dir()),
    );
    command::announce(&fuzzer);
    let status = fuzzer
        .stderr(log)
        .status()
        .with_context(|| format!("start {}", program.display()))?;
    let log = fs::read_to_string(&place.log)?;
    match (done(&log), status.success()) {
        (Some(done), true) => Ok(done),
        _ => bail!("ended with {status}, see {}", place.log.display()),
    }
}

/// What libFuzzer's last line says: `#281474 DONE cov: 1206 ft: 4821 corp: 512/98Kb lim: 16384 exec/s: 9382 rss: 61Mb`.
fn done(log: &str) -> Option<String> {
    let line = log.lines().rev().find(|line| line.contains("\tDONE "))?;
    let words: Vec<_> = line.split_whitespace().collect();
    let after = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1).copied()
    };
    let runs = words.first()?.trim_start_matches('#');
    Some(format!(
        "{runs} inputs, {} edges covered, {} kept, {} a second, {}",
        after("cov:")?,
        after("corp:")?,
        after("exec/s:")?,
        after("rss:")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_taken_from_the_last_line() {
        let log = "INFO: seed corpus\n#281474\tDONE   cov: 1206 ft: 4821 corp: 512/98Kb lim: 16384 exec/s: 9382 rss: 61Mb\nDone 281474 runs in 30 second(s)\n";
        assert_eq!(
            done(log).as_deref(),
            Some("281474 inputs, 1206 edges covered, 512/98Kb kept, 9382 a second, 61Mb")
        );
        assert_eq!(done("==1== ERROR: libFuzzer: deadly signal"), None);
    }

    #[test]
    fn every_target_with_seeds_exists() {
        let targets = targets().unwrap();
        for (name, seeds) in SEEDS {
            assert!(targets.iter().any(|target| target == name), "{name}");
            assert!(
                workspace::root()
                    .join("rsttrace/tests/data")
                    .join(seeds)
                    .is_dir()
            );
        }
    }
}

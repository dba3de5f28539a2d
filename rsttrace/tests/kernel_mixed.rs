//! An hour of a balancer, compressed: the default table and the metrics show its three problems, and not its noise.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kernel::{Watch, eventually, rsttrace};
use nix::sys::signal::Signal;
use rsttrace::demo::Namespace;
use rsttrace::demo::traffic::{Stage, scenes};

/// Entries of the table that are none of the problems, at most.
const OTHER_LINES: usize = 10;

/// What each problem's line says.
const PROBLEMS: [&str; 3] = ["keep-alive race", "killed by SIGKILL", "] closed with "];

#[test]
#[ignore = "needs root"]
fn the_table_of_a_mixed_hour_shows_its_three_problems() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let scenes = scenes(&stage.scripts.join("mixed")).unwrap();
    let metrics = folder.path().join("metrics.prom");
    let metrics = metrics.to_str().unwrap();
    let watch = Watch::spawn(&mut rsttrace(&["watch", "-v", "--metrics-file", metrics]));
    let ready = |host: &Namespace| {
        host.enter(|| {
            for interface in nix::net::if_::if_nameindex()?.iter() {
                watch.await_classifiers(&interface.name().to_string_lossy());
            }
            Ok(())
        })?
    };
    let over = || {
        watch.signal(Signal::SIGINT);
        // Its summary comes last.
        eventually("the summary", || {
            watch.has_said("no events lost").then_some(())
        });
    };
    let played = stage.play(&scenes[0], 251, ready, over).unwrap();
    assert_eq!(played.trouble, None);
    let ended = watch.await_end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<_> = ended.lines.iter().map(|line| line.text.as_str()).collect();
    let table = lines.join("\n");
    for problem in PROBLEMS {
        let count = lines.iter().filter(|line| line.contains(problem)).count();
        assert_eq!(count, 1, "{problem}:\n{table}");
    }
    // Long ones are wrapped, and begin with a time.
    let entries = lines
        .iter()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    assert!(entries.count() <= PROBLEMS.len() + OTHER_LINES, "{table}");
    let metrics = fs::read_to_string(metrics).unwrap();
    let faults = metrics
        .lines()
        .filter(|line| {
            line.starts_with("rsttrace_resets_total{") && line.contains(r#"severity="fault""#)
        })
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap());
    assert_eq!(faults.sum::<u64>(), 3, "{table}\n{metrics}");
}

/// With what the scene needs: a certificate and a file to download.
fn stage(folder: &Path) -> Stage {
    let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("lab/scenes");
    let shared = folder.join("shared");
    fs::create_dir(&shared).unwrap();
    let mut prepare = Command::new("sh");
    prepare.arg(scripts.join("prepare.sh")).arg("web");
    let status = prepare.current_dir(&shared).status().unwrap();
    assert!(status.success());
    Stage {
        folder: folder.to_path_buf(),
        shared,
        scripts,
    }
}

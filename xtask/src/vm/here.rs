//! How are steps run on this machine's own kernel?

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    exchange,
    guest::{Ended, Run, StepResult},
    step::Step,
};
use crate::{command, workspace};

/// Stands for this machine, where a kernel is named.
pub const HERE: &str = "here";

/// As `uname -r` tells it.
pub fn release() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("read the release of this kernel")?;
    Ok(release.trim().to_owned())
}

/// Runs the steps one after the other, as root: through sudo if need be.
pub fn run(name: &str, steps: &[Step], program: &Path) -> Result<Run> {
    let folder = exchange::folder(name, steps, "", program)?;
    let mut results = Vec::new();
    for step in steps {
        let begin = Instant::now();
        let result = run_step(step, &folder)?;
        let took = begin.elapsed();
        eprintln!(
            "{name}: {}: {result} after {:.1} s",
            step.name,
            took.as_secs_f64()
        );
        results.push(StepResult {
            ended: result,
            took,
        });
    }
    Ok(Run {
        boot: Duration::ZERO,
        steps: results,
        folder,
    })
}

fn run_step(step: &Step, folder: &Path) -> Result<Ended> {
    let mut root = if command::is_root() {
        Command::new("env")
    } else {
        Command::new("sudo")
    };
    if !command::is_root() {
        root.arg("env");
    }
    let assignment = |name: &str, value: OsString| {
        let mut assignment = OsString::from(format!("{name}="));
        assignment.push(value);
        assignment
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(
        [folder.to_owned()]
            .into_iter()
            .chain(env::split_paths(&path)),
    );
    root.arg(assignment("step", step.name.clone().into()))
        .arg(assignment("vm", folder.into()))
        .arg(assignment(
            "PATH",
            path.context("a folder in PATH has a colon")?,
        ))
        .args([
            "timeout",
            "-k",
            "5",
            &step.limit.as_secs().to_string(),
            "sh",
        ])
        .arg(folder.join(format!("{}.step", step.name)));
    let file = |extension: &str| {
        let file = folder.join(format!("{}.{extension}", step.name));
        File::create(&file).with_context(|| format!("make {}", file.display()))
    };
    let status = root
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .stdout(file("out")?)
        .stderr(file("err")?)
        .status()
        .context("start a step as root")?;
    let ended = match status.code().map(u8::try_from) {
        Some(Ok(code)) => Ended::Exited(code),
        _ => Ended::Lost,
    };
    if let Ended::Exited(code) = ended {
        fs::write(folder.join(format!("{}.code", step.name)), code.to_string())
            .context("keep the exit code")?;
    }
    Ok(ended)
}

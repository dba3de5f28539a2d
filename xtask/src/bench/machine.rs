//! What do figures depend on: machine, kernel, versions?

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use procfs::{CpuInfo, Current as _, Meminfo};

use super::report::Machine;
use crate::{command, workspace};

/// Programs, and what makes them tell their version.
const PROGRAMS: [(&str, &str); 8] = [
    ("bpftool", "version"),
    ("bpftrace", "--version"),
    ("iperf3", "--version"),
    ("nginx", "-v"),
    ("rustc", "--version"),
    ("tcpdump", "--version"),
    ("tshark", "--version"),
    ("wrk", "-v"),
];

/// Of packages whose programs do not tell their version.
const PACKAGES: [&str; 3] = ["bpfcc-tools", "libbpf-tools", "python3-scapy"];

/// Asks.
pub fn read() -> Result<Machine> {
    let cpus = CpuInfo::current().context("read /proc/cpuinfo")?;
    let memory = Meminfo::current().context("read /proc/meminfo")?;
    let mut tools: BTreeMap<String, String> = PROGRAMS
        .into_iter()
        .filter_map(|(program, argument)| Some((program.to_owned(), version(program, argument)?)))
        .collect();
    for package in PACKAGES {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat=${Version}", package]);
        if let Ok(version) = command::output(&mut query) {
            tools.insert(package.to_owned(), version);
        }
    }
    Ok(Machine {
        cpu: cpus.model_name(0).unwrap_or("unknown").to_owned(),
        cpus: cpus.num_cores(),
        memory: memory.mem_total,
        kernel: line_of("/proc/sys/kernel/osrelease").context("read the release of the kernel")?,
        system: system().unwrap_or_else(|| "unknown".to_owned()),
        date: Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        commit: commit().unwrap_or_else(|| "unknown".to_owned()),
        tools,
    })
}

fn system() -> Option<String> {
    let text = line_of("/etc/os-release")?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        command::output(git.arg("-C").arg(workspace::root()).args(arguments)).ok()
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let mark = if changed.trim().is_empty() { "" } else { "+" };
    Some(format!("{}{mark}", commit.trim()))
}

/// First line of what a program says of its version; `None` if it is not there.
fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let first = text.lines().find(|line| !line.trim().is_empty())?;
    Some(first.trim().to_owned())
}

/// A trimmed file.
fn line_of(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

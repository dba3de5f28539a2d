//! The programs that run in guests. A guest has the files of this machine, so it finds them, and their libraries, under the same paths.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{command, workspace};

pub struct Built {
    /// rsttrace, the release build.
    pub program: PathBuf,
    /// Test binaries (debug builds) and examples (release builds), by target.
    pub others: BTreeMap<String, PathBuf>,
}

impl Built {
    /// Builds rsttrace, and these integration tests and this example of it.
    pub fn make(tests: &[&str], example: Option<&str>) -> Result<Self> {
        let mut release = command::cargo();
        release.args(["build", "--release", "--bin", "rsttrace"]);
        release.args(example.into_iter().flat_map(|name| ["--example", name]));
        let mut others = built_by(release)?;
        let program = others.remove("rsttrace");
        if !tests.is_empty() {
            let mut debug = command::cargo();
            debug.args(["test", "--no-run"]);
            debug.args(tests.iter().flat_map(|test| ["--test", test]));
            others.extend(built_by(debug)?);
        }
        Ok(Self {
            program: program.context("cargo built no rsttrace")?,
            others,
        })
    }
}

fn built_by(mut cargo: Command) -> Result<BTreeMap<String, PathBuf>> {
    cargo.args(["--quiet", "--package", "rsttrace"]);
    let shown = command::announce(&cargo);
    let output = cargo
        .current_dir(workspace::root())
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})", output.status);
    }
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// The executables among cargo's messages, by target.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let executable = |line| -> Option<(String, PathBuf)> {
        let message: Value = serde_json::from_str(line).ok()?;
        let name = message["target"]["name"].as_str()?;
        Some((name.into(), message["executable"].as_str()?.into()))
    };
    messages.lines().filter_map(executable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_the_messages() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"anyhow"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"kernel_wire"},"executable":"/b/deps/kernel_wire-1"}
{"reason":"build-finished","success":true}
"#;
        let found = executables(messages);
        assert_eq!(found.len(), 1);
        assert_eq!(found["kernel_wire"], PathBuf::from("/b/deps/kernel_wire-1"));
    }
}

//! Static programs for the guests: they start on any of them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::kernel;
use crate::{command, workspace};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What was built, and where it is. Guests find it under the same names.
pub struct Built {
    /// rsttrace.
    pub program: PathBuf,
    /// Test binaries, or an example, by the names of their targets.
    pub tests: BTreeMap<String, PathBuf>,
}

impl Built {
    /// Builds rsttrace, and these integration tests of it.
    pub fn make(tests: &[&str]) -> Result<Self> {
        let mut cargo = cargo(if tests.is_empty() { "build" } else { "test" });
        if tests.is_empty() {
            cargo.args(["--bin", "rsttrace"]);
        } else {
            cargo.arg("--no-run");
            cargo.args(tests.iter().flat_map(|test| ["--test", test]));
        }
        let mut tests = built_by(cargo)?;
        let program = tests.remove("rsttrace");
        Ok(Self {
            program: program.context("cargo built no rsttrace")?,
            tests,
        })
    }

    /// Builds rsttrace, and this example of it.
    pub fn with_example(name: &str) -> Result<Self> {
        let mut cargo = cargo("build");
        cargo.args(["--bin", "rsttrace", "--example", name]);
        let mut examples = built_by(cargo)?;
        let program = examples.remove("rsttrace");
        Ok(Self {
            program: program.context("cargo built no rsttrace")?,
            tests: examples,
        })
    }

    /// The release build of rsttrace and the debug build of this test of it, which are there when all tests have been run.
    /// Not static, which suffices where the guest's files are this machine's.
    pub fn reuse(test: &str) -> Result<Self> {
        let mut release = command::cargo();
        release.args(["build", "--quiet", "--release", "--package", "rsttrace"]);
        let mut debug = command::cargo();
        debug.args(["test", "--quiet", "--no-run", "--package", "rsttrace"]);
        debug.args(["--test", test]);
        let program = built_by(release)?.remove("rsttrace");
        let mut tests = built_by(debug)?;
        tests.retain(|name, _| name == test);
        Ok(Self {
            program: program.context("cargo built no rsttrace")?,
            tests,
        })
    }
}

fn built_by(mut cargo: Command) -> Result<BTreeMap<String, PathBuf>> {
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
    let output = String::from_utf8(output.stdout).context("cargo printed no UTF-8")?;
    Ok(executables(&output))
}

/// Names of targets and files, of what cargo says that it built.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let executable = |line| -> Option<(String, PathBuf)> {
        let message: Value = serde_json::from_str(line).ok()?;
        let name = message["target"]["name"].as_str()?;
        Some((name.into(), message["executable"].as_str()?.into()))
    };
    messages.lines().filter_map(executable).collect()
}

/// The release build, without what takes time to build and changes nothing that a guest would show.
fn cargo(what: &str) -> Command {
    let mut cargo = command::cargo();
    cargo
        .args([what, "--quiet", "--release", "--package", "rsttrace"])
        .arg("--config")
        .arg(format!(
            "target.{TARGET}.rustflags=['-Ctarget-feature=+crt-static']"
        ))
        .env("CARGO_BUILD_TARGET", TARGET)
        .env("CARGO_TARGET_DIR", kernel::cache().join("build"))
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_among_what_cargo_says() {
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

//! Runs other programs. A failure is an error with the command line.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::workspace;

/// Cargo, for this workspace.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root());
    cargo
}

/// Makes this cargo run programs through sudo.
pub fn with_sudo(cargo: &mut Command) {
    cargo.args(["--config", "target.'cfg(all())'.runner='sudo -E'"]);
}

/// Runs to the end with output shown; an exit code other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = announce(command);
    let status = command
        .status()
        .with_context(|| format!("start {}", name(command)))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs `cargo build` or `cargo test --no-run`, and returns the executables by target.
pub fn build(cargo: &mut Command) -> Result<BTreeMap<String, PathBuf>> {
    cargo.args(["--quiet", "--message-format=json-render-diagnostics"]);
    let shown = announce(cargo);
    let output = cargo.stderr(Stdio::inherit()).output();
    let output = output.context("start cargo")?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})", output.status);
    }
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// The executable of a target: `kind` is `--bin` or `--example`.
pub fn build_one(package: &str, kind: &str, target: &str, release: bool) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--package", package, kind, target]);
    cargo.args(release.then_some("--release"));
    let built = build(&mut cargo)?.remove(target);
    built.with_context(|| format!("cargo built no {target}"))
}

/// The executables in cargo's messages, by target.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let executable = |line| -> Option<(String, PathBuf)> {
        let message: Value = serde_json::from_str(line).ok()?;
        let name = message["target"]["name"].as_str()?;
        Some((name.into(), message["executable"].as_str()?.into()))
    };
    messages.lines().filter_map(executable).collect()
}

/// Prints the command line on stderr, and returns it.
pub fn announce(command: &Command) -> String {
    let shown = shown(command);
    eprintln!("$ {shown}");
    shown
}

/// Runs silently and returns stdout; an exit code other than 0 is an error with stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", name(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("the output of `{}` is not UTF-8", shown(command)))
}

pub fn find_in_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

pub fn is_root() -> bool {
    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|metadata| metadata.uid() == 0)
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// The command line for messages, without the folder of the program.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_an_error_that_names_it() {
        let error = run(Command::new("/bin/false").arg("x")).expect_err("false fails");
        assert!(error.to_string().starts_with("`false x` failed"), "{error}");
    }

    #[test]
    fn output_carries_stderr_of_a_failure() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"]))
            .expect_err("exit code 3");
        assert!(error.to_string().ends_with(": why"), "{error}");
    }

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

//! What of this repository goes into the guests: static, so that it starts on any of them.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::kernel;
use crate::{command, workspace};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds rsttrace.
pub fn rsttrace() -> Result<PathBuf> {
    command::run(cargo().args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "rsttrace",
        "--bin",
        "rsttrace",
    ]))
    .context("build it for the guests")?;
    Ok(folder().join(TARGET).join("release/rsttrace"))
}

/// The release build, without what costs time to build and changes nothing that a guest would show.
fn cargo() -> Command {
    let mut cargo = command::cargo();
    cargo
        .current_dir(workspace::root())
        .arg("--config")
        .arg(format!(
            "target.{TARGET}.rustflags=['-Ctarget-feature=+crt-static']"
        ))
        .env("CARGO_BUILD_TARGET", TARGET)
        .env("CARGO_TARGET_DIR", folder())
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    cargo
}

fn folder() -> PathBuf {
    kernel::cache().join("build")
}

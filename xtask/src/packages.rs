//! Debian packages: which are there, and installing by name what is missing.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command;

/// What kernel tests and demo stage resets with, and what others read our files with, by the names of Debian.
const STAGING: [&str; 13] = [
    "chromium",
    "conntrack",
    "ethtool",
    "haproxy",
    "iproute2",
    "ipvsadm",
    "libnginx-mod-stream",
    "nftables",
    "nginx-light",
    "procps",
    "python3",
    "tcpdump",
    "tshark",
];

/// Whether this system is managed by dpkg and apt.
pub fn is_debian() -> bool {
    command::find_in_path("apt-get").is_some() && command::find_in_path("dpkg-query").is_some()
}

/// Those of `names` that are not installed.
pub fn missing<'a>(names: &[&'a str]) -> Vec<&'a str> {
    names
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect()
}

/// Installs what resets are staged with; says what it is where there is no apt-get.
pub fn install_for_staging() -> Result<()> {
    if is_debian() {
        return install(&STAGING);
    }
    eprintln!(
        "note: no apt-get here; some cases may not be staged for want of {}",
        STAGING.join(", ")
    );
    Ok(())
}

/// Installs what is missing of `names`, and nothing else; never removes a package to make room.
pub fn install(names: &[&str]) -> Result<()> {
    let missing = missing(names);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_debian() {
        bail!(
            "this system has no apt-get: install what Debian calls {list} with your package manager"
        );
    }
    if !command::is_root() {
        bail!(
            "packages are missing and only root may install them: \
             run `sudo apt-get install --no-install-recommends {list}`, then this command again"
        );
    }
    // Stale lists are no reason to fail: the packages may be in them all the same.
    if let Err(error) = command::run(apt().args(["update", "-qq"])) {
        eprintln!("warning: {error:#}; trying with the package lists at hand");
    }
    command::run(
        apt()
            .args(["install", "-y", "-qq", "--no-install-recommends", "--no-remove"])
            .args(&missing),
    )
    .with_context(|| {
        format!("could not install {list}: run `apt-get install {list}` by hand to see what is in the way")
    })
}

/// The files that an installed package brought.
pub fn files(name: &str) -> Result<String> {
    command::output(Command::new("dpkg-query").args(["--listfiles", name]))
}

fn is_installed(name: &str) -> bool {
    command::output(Command::new("dpkg-query").args([
        "--show",
        "--showformat=${db:Status-Status}\n",
        name,
    ]))
    .is_ok_and(|status| status.lines().any(|line| line == "installed"))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

//! Installs missing Debian packages.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command;

/// For scenes of real traffic.
const TRAFFIC: [&str; 17] = [
    "conntrack",
    "curl",
    "gunicorn",
    "haproxy",
    "mariadb-server",
    "nftables",
    "nginx-light",
    "nmap",
    "nodejs",
    "openssh-client",
    "openssh-server",
    "openssl",
    "postgresql",
    "procps",
    "redis-server",
    "socat",
    "uvicorn",
];

/// Keeps packages from starting their services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// For staging resets in kernel tests and demo, for reading our files with other programs, and for the limits of the systemd unit.
const STAGING: [&str; 15] = [
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
    "strace",
    "systemd",
    "tcpdump",
    "tshark",
];

pub fn is_debian() -> bool {
    command::find_in_path("apt-get").is_some() && command::find_in_path("dpkg-query").is_some()
}

pub fn missing<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let missing = names.iter().filter(|name| !is_installed(name));
    missing.copied().collect()
}

/// Installs the packages for staging resets; without apt-get, prints their names.
pub fn install_for_staging() -> Result<()> {
    if is_debian() {
        return install(&STAGING);
    }
    eprintln!(
        "note: no apt-get; some cases may not be staged without {}",
        STAGING.join(", ")
    );
    Ok(())
}

/// Installs the programs of the scenes of real traffic, and starts none of them.
pub fn install_for_traffic() -> Result<()> {
    let has_policy = Path::new(POLICY).exists();
    if !has_policy && is_debian() && command::is_root() && !missing(&TRAFFIC).is_empty() {
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(POLICY, Permissions::from_mode(0o755))?;
    }
    let installed = install(&TRAFFIC);
    if !has_policy {
        // Fails if it was not needed.
        let _ = fs::remove_file(POLICY);
    }
    installed
}

/// Installs those of `names` that are missing, and removes nothing.
pub fn install(names: &[&str]) -> Result<()> {
    let missing = missing(names);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_debian() {
        bail!(
            "this system has no apt-get: install {list} (Debian names) with your package manager"
        );
    }
    if !command::is_root() {
        bail!(
            "packages are missing: run `sudo apt-get install --no-install-recommends {list}`, then this command again"
        );
    }
    // The packages may be in old lists, too.
    if let Err(error) = command::run(apt().args(["update", "-qq"])) {
        eprintln!("warning: {error:#}; continuing with the existing package lists");
    }
    command::run(
        apt()
            .args([
                "install",
                "-y",
                "-qq",
                "--no-install-recommends",
                "--no-remove",
            ])
            .args(&missing),
    )
    .with_context(|| format!("cannot install {list}: run `apt-get install {list}` to see why"))
}

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

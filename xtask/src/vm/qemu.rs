//! Installs qemu, from backports if another package of qemu is from there, because their versions must match.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::{apt::Apt, kernel};
use crate::{command, packages};

const PACKAGE: &str = "qemu-system-x86";
/// Packages that must be of the same version.
const WITH_IT: [&str; 4] = [PACKAGE, "qemu-system-common", "qemu-system-data", "seabios"];

pub fn install() -> Result<()> {
    let Err(error) = packages::install(&[PACKAGE]) else {
        return Ok(());
    };
    if !packages::is_debian() || !packages::missing(&["qemu-utils"]).is_empty() {
        return Err(error);
    }
    eprintln!(
        "note: {PACKAGE} of this release may not match the installed qemu-utils; trying backports"
    );
    let release = release()?;
    let backports = format!("{release}-backports");
    let apt = Apt::open(
        kernel::cache().join("apt-backports"),
        &[&release, &backports],
        false,
    )?;
    apt.install(&WITH_IT.map(|name| format!("{name}/{backports}")))
        .with_context(|| format!("cannot install {PACKAGE} from {backports} either"))
}

/// The name of this Debian, such as "bookworm".
fn release() -> Result<String> {
    let script = ". /etc/os-release && printf %s \"${VERSION_CODENAME:?is missing}\"";
    command::output(Command::new("sh").args(["-c", script]))
        .with_context(|| format!("install {PACKAGE} by hand"))
}

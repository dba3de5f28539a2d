//! Installs qemu, from backports if another package of qemu is from there, because their versions must match.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::{apt::Apt, kernel};
use crate::packages;

const PACKAGE: &str = "qemu-system-x86";
/// Packages that must be of the same version.
const WITH_IT: [&str; 4] = [PACKAGE, "qemu-system-common", "qemu-system-data", "seabios"];

/// Installs qemu if it is missing.
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
    let text = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let Some(name) = codename(&text) else {
        bail!("/etc/os-release has no VERSION_CODENAME: install {PACKAGE} by hand");
    };
    Ok(name.to_owned())
}

fn codename(os_release: &str) -> Option<&str> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codename_is_read_with_and_without_quotes() {
        assert_eq!(
            codename("ID=debian\nVERSION_CODENAME=bookworm\n"),
            Some("bookworm")
        );
        assert_eq!(codename("VERSION_CODENAME=\"trixie\"\n"), Some("trixie"));
        assert_eq!(codename("ID=arch\n"), None);
    }
}

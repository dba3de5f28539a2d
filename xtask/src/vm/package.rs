//! The Debian package of a kernel such as "6.1", and its contents.

use std::{cmp::Reverse, collections::BTreeSet, path::Path, process::Command};

use anyhow::Result;

use crate::command;

/// Stands for the newest available kernel.
pub const NEWEST: &str = "newest";
/// The flavour with drivers for everything; the cloud flavour has no 9p.
const FLAVOUR: &str = "-amd64";
/// Not needed in a guest.
const NOT_UNPACKED: [&str; 9] = [
    "./usr/share",
    "*/kernel/sound",
    "*/drivers/gpu",
    "*/drivers/infiniband",
    "*/drivers/media",
    "*/drivers/net/ethernet",
    "*/drivers/net/wireless",
    "*/drivers/scsi",
    "*/drivers/usb",
];

#[derive(Debug, PartialEq, Eq)]
pub struct Package<'a> {
    pub name: &'a str,
    /// Of the kernel, as in `uname -r`.
    pub release: &'a str,
}

impl<'a> Package<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let rest = PREFIXES
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))?;
        let release = rest.strip_suffix("-unsigned").unwrap_or(rest);
        let version = release.strip_suffix(FLAVOUR)?;
        let plain = version.starts_with(|first: char| first.is_ascii_digit())
            && !["-cloud", "-rt"]
                .iter()
                .any(|other| version.ends_with(other));
        plain.then_some(Self { name, release })
    }

    /// From 6.19 on a package with the kernel alone; modules are in another.
    pub fn is_binary(&self) -> bool {
        self.name.starts_with("linux-binary-")
    }

    /// Every number in the version.
    fn version(&self) -> Vec<u64> {
        let version = self.release.trim_end_matches(FLAVOUR);
        let numbers = version.split(|letter: char| !letter.is_ascii_digit());
        numbers.filter_map(|number| number.parse().ok()).collect()
    }
}

/// Whether a release is of this version: 6.1 is not the beginning of 6.18.
pub fn is_version(release: &str, wanted: &str) -> bool {
    let rest = release.strip_prefix(wanted);
    rest.is_some_and(|rest| rest.starts_with(['.', '+', '-']) || rest.is_empty())
}

/// In order of preference: with modules apart there is nothing in linux-image.
const PREFIXES: [&str; 3] = ["linux-binary-unsigned-", "linux-binary-", "linux-image-"];

/// Packages to try for a kernel, newest first.
pub fn candidates<'a>(names: &'a str, wanted: &str) -> Vec<Package<'a>> {
    let mut packages: Vec<_> = names
        .lines()
        .filter_map(Package::of)
        .filter(|package| wanted == NEWEST || is_version(package.release, wanted))
        .collect();
    packages.sort_by_key(|package| {
        let binary = package.is_binary();
        let unsigned = package.name.contains("-unsigned");
        (Reverse(package.version()), Reverse(binary), unsigned)
    });
    packages
}

/// Versions of the kernels, such as "6.1", oldest first.
pub fn versions(names: &str) -> Vec<String> {
    let packages = names.lines().filter_map(Package::of);
    let versions: BTreeSet<_> = packages.map(|package| package.version()).collect();
    let mut versions: Vec<_> = versions
        .iter()
        .filter_map(|version| Some(format!("{}.{}", version.first()?, version.get(1)?)))
        .collect();
    versions.dedup();
    versions
}

/// Unpacks the parts that guests need.
pub fn unpack(package: &Path, into: &Path) -> Result<()> {
    let pipe =
        r#"set -o pipefail; dpkg-deb --fsys-tarfile "$0" | tar --extract --no-same-owner "$@""#;
    let mut bash = Command::new("bash");
    bash.args(["-c", pipe]).arg(package);
    bash.args(NOT_UNPACKED.map(|path| format!("--exclude={path}")));
    command::output(bash.arg("--directory").arg(into)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "\
linux-image-6.1-amd64
linux-image-6.1.0-56-amd64
linux-image-6.1.0-56-amd64-unsigned
linux-image-6.1.0-9-amd64
linux-image-6.1.0-0.deb11.52-amd64
linux-image-6.1.0-56-cloud-amd64
linux-image-6.1.0-56-rt-amd64
linux-image-6.1.0-56-amd64-dbg
linux-image-6.12.117+deb13-amd64
linux-image-7.3.4+deb13-amd64
linux-binary-7.3.4+deb13-amd64
linux-binary-unsigned-7.3.4+deb13-amd64
linux-binary-7.3-amd64
linux-image-amd64
linux-headers-6.1.0-56-amd64
";

    fn chosen(wanted: &str) -> Vec<&'static str> {
        let packages = candidates(NAMES, wanted);
        packages.iter().map(|package| package.name).collect()
    }

    #[test]
    fn newest_comes_first_and_other_flavours_never() {
        assert_eq!(
            chosen("6.1"),
            [
                "linux-image-6.1.0-56-amd64",
                "linux-image-6.1.0-56-amd64-unsigned",
                "linux-image-6.1.0-9-amd64",
                "linux-image-6.1.0-0.deb11.52-amd64",
                "linux-image-6.1-amd64",
            ]
        );
        assert_eq!(chosen("6.12.117"), ["linux-image-6.12.117+deb13-amd64"]);
        assert!(chosen("6.11").is_empty());
    }

    #[test]
    fn a_kernel_apart_from_its_modules_comes_before_an_empty_package() {
        assert_eq!(
            chosen(NEWEST)[..4],
            [
                "linux-binary-7.3.4+deb13-amd64",
                "linux-binary-unsigned-7.3.4+deb13-amd64",
                "linux-image-7.3.4+deb13-amd64",
                "linux-binary-7.3-amd64",
            ]
        );
    }

    #[test]
    fn each_version_is_listed_once_and_in_order() {
        assert_eq!(versions(NAMES), ["6.1", "6.12", "7.3"]);
    }
}

//! Packages of other Debian releases, without changing the machine's own apt.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::command;

/// apt with its own lists, of old and new releases.
pub struct Apt {
    folder: PathBuf,
}

/// The suites with old and new kernels. A suite that the mirror no longer has is skipped.
pub const KERNEL_SUITES: [&str; 10] = [
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
    "sid",
    "experimental",
    "bullseye-security",
    "bookworm-security",
    "trixie-security",
];
/// From the package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

impl Apt {
    /// Lists of these suites below `folder`, fetched with `refresh` or if they are older than 24 hours.
    pub fn open(folder: PathBuf, suites: &[&str], refresh: bool) -> Result<Self> {
        let apt = Self { folder };
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = apt.folder.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        }
        fs::write(
            apt.folder.join("sources.list"),
            sources(&repositories()?, suites)?,
        )
        .context("write the list of sources")?;
        if refresh || !apt.is_fresh() {
            // It fails if the mirror no longer has one of the suites; the others suffice.
            command::announce(Command::new("apt-get").arg("update"));
            if let Err(error) = command::output(apt.command("apt-get").arg("update")) {
                eprintln!("warning: {error:#}; continuing with the lists that were fetched");
            }
            let done = apt.folder.join("updated");
            fs::write(&done, "").with_context(|| format!("write {}", done.display()))?;
        }
        Ok(apt)
    }

    fn is_fresh(&self) -> bool {
        let updated = fs::metadata(self.folder.join("updated")).and_then(|file| file.modified());
        updated.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < FRESH))
    }

    /// Names of packages that begin with `prefix`, one per line.
    pub fn names(&self, prefix: &str) -> Result<String> {
        command::output(self.command("apt-cache").args(["pkgnames", prefix]))
    }

    /// Downloads a package into `folder`, and returns its file there.
    pub fn download(&self, name: &str, folder: &Path) -> Result<PathBuf> {
        let mut apt = self.command("apt-get");
        command::announce(Command::new("apt-get").args(["download", name]));
        command::output(apt.args(["download", name]).current_dir(folder))?;
        let prefix = format!("{name}_");
        fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(&prefix) && name.ends_with(".deb")
            })
            .with_context(|| format!("apt-get downloaded no file of {name}"))
    }

    /// Installs packages on this machine, each as "name/suite", with dependencies from the machine's release. Removes
    /// none.
    pub fn install(&self, names: &[String]) -> Result<()> {
        let mut apt = self.command("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt.args(["install", "-y", "--no-install-recommends", "--no-remove"]);
        command::announce(Command::new("apt-get").arg("install").args(names));
        command::output(apt.args(names)).map(drop)
    }

    fn command(&self, program: &str) -> Command {
        let folder = self.folder.display();
        let mut apt = Command::new(program);
        apt.arg("-qq");
        for option in [
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=/nonexistent".into(),
            "Dir::Etc::preferencesparts=/nonexistent".into(),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
            // Names and files of packages are enough.
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".into(),
            // Downloads go where the user may write, which the user _apt may not.
            "APT::Sandbox::User=".into(),
        ] {
            apt.args(["-o", &option]);
        }
        apt
    }
}

/// The repositories that apt of this machine uses.
fn repositories() -> Result<BTreeSet<String>> {
    let uris = command::output(Command::new("apt-get").args(["update", "--print-uris"]))?;
    Ok(bases(&uris))
}

/// `'http://a.example/debian/dists/sid/InRelease' a.example_debian_dists_sid_InRelease 0`
fn bases(uris: &str) -> BTreeSet<String> {
    let base = |line: &str| {
        let (base, _) = line.strip_prefix('\'')?.split_once("/dists/")?;
        Some(base.to_owned())
    };
    uris.lines().filter_map(base).collect()
}

fn sources(repositories: &BTreeSet<String>, suites: &[&str]) -> Result<String> {
    let named = |name: &str| {
        repositories.iter().find(|uri| {
            let uri = uri.trim_end_matches(".list");
            uri.rsplit('/').next() == Some(name)
        })
    };
    let Some(debian) = named("debian") else {
        bail!(
            "apt has no Debian mirror, which kernels come from: run this on Debian, or add one to /etc/apt/sources.list.d"
        );
    };
    let security = named("debian-security");
    Ok(suites
        .iter()
        .filter_map(|suite| {
            let uri = match suite.ends_with("-security") {
                true => security?,
                false => debian,
            };
            Some(format!("deb [signed-by={KEYRING}] {uri} {suite} main\n"))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suite_comes_from_the_mirror_that_has_it() -> Result<()> {
        let mirrors = bases(
            "'http://a.example/debian/dists/x/InRelease' a.example_debian_dists_x_InRelease 0\n\
            'http://a.example/debian/dists/x/main/binary-all/Packages.xz' a.example_debian 0\n\
            'http://b.example/debian-security/dists/x/InRelease' b.example_debian-security 0\n\
            'http://c.example/ubuntu/dists/x/InRelease' c.example_ubuntu 0\n",
        );
        assert_eq!(mirrors.len(), 3);
        let text = sources(&mirrors, &KERNEL_SUITES)?;
        assert_eq!(text.lines().count(), KERNEL_SUITES.len());
        assert!(
            text.contains("] http://a.example/debian sid main\n"),
            "{text}"
        );
        assert!(
            text.contains("] http://b.example/debian-security trixie-security main\n"),
            "{text}"
        );
        assert!(sources(&BTreeSet::new(), &KERNEL_SUITES).is_err());
        Ok(())
    }

    #[test]
    fn a_list_of_mirrors_is_a_mirror() -> Result<()> {
        let mirrors = ["mirror+file:/etc/apt/mirrors/debian.list".to_owned()].into();
        let text = sources(&mirrors, &["sid", "bookworm-security"])?;
        assert_eq!(text.lines().count(), 1, "no mirror has the other");
        Ok(())
    }
}

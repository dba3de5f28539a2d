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

/// Lists of its own, over releases old and new.
pub struct Apt {
    folder: PathBuf,
}

/// Where kernels old and new are. A suite that a mirror no longer has is left out.
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
/// Of the package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

impl Apt {
    /// Lists of these suites below `folder`, fetched with `refresh` or if they are not of the last 24 hours.
    pub fn open(folder: PathBuf, suites: &[&str], refresh: bool) -> Result<Self> {
        let apt = Self { folder };
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = apt.folder.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        }
        fs::write(
            apt.folder.join("sources.list"),
            sources(&mirrors(), suites)?,
        )
        .context("write the list of sources")?;
        if refresh || !apt.is_fresh() {
            // Suites that are gone from the mirror make it fail; those that are there suffice.
            command::announce(Command::new("apt-get").arg("update"));
            if let Err(error) = command::output(apt.command("apt-get").arg("update")) {
                eprintln!("warning: {error:#}; going on with the lists that came");
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

    /// Names of packages that begin with `prefix`.
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
            .with_context(|| format!("apt-get left no file of {name}"))
    }

    /// Installs packages on this machine, each as "name/suite", with what they depend on from the machine's release. Removes
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

/// Mirrors that this machine's apt is set to.
fn mirrors() -> BTreeSet<String> {
    let etc = Path::new("/etc/apt");
    let parts = fs::read_dir(etc.join("sources.list.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()));
    parts
        .chain([etc.join("sources.list")])
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| uris(&text))
        .collect()
}

/// The URIs of a file in either format of sources.list(5).
fn uris(text: &str) -> Vec<String> {
    let words = text.lines().flat_map(|line| {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("URIs:") => words.collect(),
            // deb [options] URI suite component...
            Some("deb") => words.find(|word| word.contains(":/")).into_iter().collect(),
            _ => Vec::new(),
        }
    });
    words.map(str::to_owned).collect()
}

fn sources(mirrors: &BTreeSet<String>, suites: &[&str]) -> Result<String> {
    let named = |name: &str| {
        mirrors.iter().find(|uri| {
            let uri = uri.trim_end_matches('/').trim_end_matches(".list");
            uri.rsplit('/').next() == Some(name)
        })
    };
    let Some(debian) = named("debian") else {
        bail!(
            "no Debian mirror in /etc/apt/sources.list or sources.list.d, which are asked where kernels are to be had: \
             run this on Debian, or add a mirror there"
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
    fn mirrors_are_read_from_both_formats() {
        let deb822 = "Types: deb\nURIs: http://a.example/debian\nSuites: x\n";
        assert_eq!(uris(deb822), ["http://a.example/debian"]);
        let lines = "# deb http://no.example/debian x main\n\
            deb [arch=amd64 signed-by=/k.gpg] http://b.example/debian-security/ x main\n\
            deb-src http://no.example/debian x main\n";
        assert_eq!(uris(lines), ["http://b.example/debian-security/"]);
    }

    #[test]
    fn each_suite_comes_from_the_mirror_that_has_it() -> Result<()> {
        let mirrors = [
            "http://c.example/ubuntu",
            "http://a.example/debian/",
            "http://b.example/debian-security",
        ];
        let mirrors = mirrors.map(str::to_owned).into();
        let text = sources(&mirrors, &KERNEL_SUITES)?;
        assert_eq!(text.lines().count(), KERNEL_SUITES.len());
        assert!(
            text.contains("] http://a.example/debian/ sid main\n"),
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

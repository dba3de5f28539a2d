//! Kernels that are ready to boot, and where they are stored.

use std::{
    fs,
    path::{self, Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{
    apt::{Apt, KERNEL_SUITES},
    package::{NEWEST, Package, candidates, unpack, versions},
};
use crate::{command, workspace};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As in `uname -r`, such as "6.12.117+deb13-amd64".
    pub release: String,
    /// Contains lib/modules/RELEASE.
    pub folder: PathBuf,
}

impl Kernel {
    /// The newest kernel whose version begins with `wanted`: from the cache, or (always with `refresh`) from the mirror.
    pub fn fetch(wanted: &str, refresh: bool) -> Result<Self> {
        let cache = cache();
        let note = cache.join("newest-of").join(wanted);
        let noted = fs::read_to_string(&note).ok();
        if let Some(release) = noted.filter(|_| !refresh) {
            let kernel = Self::at(&cache, &release);
            if kernel.is_there() {
                return Ok(kernel);
            }
        }
        let kernel = Self::download(wanted, &cache, refresh)
            .with_context(|| format!("cannot get kernel {wanted}"))?;
        fs::create_dir_all(note.parent().unwrap_or(&cache))?;
        fs::write(&note, &kernel.release).with_context(|| format!("write {}", note.display()))?;
        Ok(kernel)
    }

    pub fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The guest has it as /lib/modules/RELEASE.
    pub fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release)
    }

    fn at(cache: &Path, release: &str) -> Self {
        Self {
            release: release.to_owned(),
            folder: cache.join("kernels").join(release),
        }
    }

    fn is_there(&self) -> bool {
        self.image().is_file()
    }

    fn download(wanted: &str, cache: &Path, refresh: bool) -> Result<Self> {
        let apt = Apt::open(cache.join("apt"), &KERNEL_SUITES, refresh)?;
        let names = apt.names("linux-")?;
        let packages = candidates(&names, wanted);
        fs::create_dir_all(cache.join("kernels")).context("create the folder of kernels")?;
        let mut tried = 0;
        for package in packages.iter().take(TRIES) {
            let kernel = Self::at(cache, package.release);
            if kernel.is_there() {
                return Ok(kernel);
            }
            // A mirror may list packages that it no longer has.
            match kernel.prepare(&apt, package, cache) {
                Ok(()) => return Ok(kernel),
                Err(error) => {
                    eprintln!("{}: {error:#}", package.name);
                    tried += 1;
                }
            }
        }
        bail!(
            "none of {tried} packages for it can be used (errors above). Try `cargo xtask vm --refresh`, \"{NEWEST}\", or one of {}",
            versions(&names).join(", ")
        )
    }

    /// The cache gets everything or nothing.
    fn prepare(&self, apt: &Apt, package: &Package, cache: &Path) -> Result<()> {
        let scratch = TempDir::new_in(cache).context("create a folder for unpacking")?;
        let root = scratch.path().join("root");
        fs::create_dir(&root)?;
        unpack(&apt.download(package.name, scratch.path())?, &root)?;
        if package.is_binary() {
            let modules = format!("linux-modules-{}", package.release);
            unpack(&apt.download(&modules, scratch.path())?, &root)?;
        }
        let ready = scratch.path().join("ready");
        let modules = move_modules(&root, &ready, &self.release)?;
        let image = find_image(&root, &modules, &self.release)?;
        fs::rename(image, ready.join("vmlinuz")).context("keep the kernel")?;
        let mut depmod = Command::new(tool("depmod"));
        command::output(depmod.arg("-b").arg(&ready).arg(&self.release))?;
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::rename(ready, &self.folder)
            .with_context(|| format!("move to {}", self.folder.display()))
    }
}

/// Kernels and package lists stay here between runs.
pub fn cache() -> PathBuf {
    let set = std::env::var_os("RSTTRACE_VM_CACHE").and_then(|set| path::absolute(set).ok());
    set.unwrap_or_else(|| workspace::target().join("vm"))
}

/// A program of kmod, which is in the path of root only.
pub fn tool(name: &str) -> PathBuf {
    command::find_in_path(name).unwrap_or_else(|| Path::new("/sbin").join(name))
}

/// A few packages may be missing while the mirror is updated; if more are, there is no mirror.
const TRIES: usize = 6;

/// Modules are below /lib in older packages, below /usr/lib in newer ones.
fn move_modules(root: &Path, ready: &Path, release: &str) -> Result<PathBuf> {
    let from = ["lib/modules", "usr/lib/modules"].map(|path| root.join(path).join(release));
    let from = from.iter().find(|path| path.is_dir());
    let from = from.context("the package has no modules")?;
    let to = ready.join("lib/modules");
    fs::create_dir_all(&to)?;
    let to = to.join(release);
    fs::rename(from, &to).context("keep the modules")?;
    Ok(to)
}

fn find_image(root: &Path, modules: &Path, release: &str) -> Result<PathBuf> {
    let boot = root.join("boot").join(format!("vmlinuz-{release}"));
    let image = [boot, modules.join("vmlinuz")];
    let image = image.into_iter().find(|path| path.is_file());
    image.context("the package has no kernel")
}

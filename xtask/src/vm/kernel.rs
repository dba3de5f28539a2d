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
    initramfs,
    package::{NEWEST, Package, candidates, unpack, versions},
};
use crate::{command, workspace};

/// A kernel that is ready to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As `uname -r` tells it, such as "6.12.117+deb13-amd64".
    pub release: String,
    folder: PathBuf,
}

impl Kernel {
    /// The newest kernel whose version begins with `wanted`: one at hand, or else (or with `refresh`) from the mirror.
    pub fn fetch(wanted: &str, refresh: bool) -> Result<Self> {
        let cache = cache();
        let note = cache.join("newest-of").join(wanted);
        let noted = fs::read_to_string(&note).ok();
        if let Some(release) = noted.filter(|_| !refresh) {
            let kernel = Self::at(&cache, &release);
            if kernel.is_there() {
                kernel.renew_initramfs()?;
                return Ok(kernel);
            }
        }
        let kernel = Self::download(wanted, &cache, refresh)
            .with_context(|| format!("kernel {wanted} could not be had"))?;
        kernel.renew_initramfs()?;
        fs::create_dir_all(note.parent().unwrap_or(&cache))?;
        fs::write(&note, &kernel.release).with_context(|| format!("write {}", note.display()))?;
        Ok(kernel)
    }

    /// Compressed, as qemu takes it.
    pub fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// Finds the root of the guest, and hands over to it.
    pub fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs.cpio")
    }

    /// What the guest has as /lib/modules/RELEASE.
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

    fn renew_initramfs(&self) -> Result<()> {
        let recipe = self.folder.join("recipe");
        if fs::read_to_string(&recipe).is_ok_and(|recipe| recipe == initramfs::recipe()) {
            return Ok(());
        }
        initramfs::make(&self.folder, &self.release, &self.initramfs())?;
        fs::write(&recipe, initramfs::recipe())
            .with_context(|| format!("write {}", recipe.display()))
    }

    fn download(wanted: &str, cache: &Path, refresh: bool) -> Result<Self> {
        let apt = Apt::open(cache.join("apt"), &KERNEL_SUITES, refresh)?;
        let names = apt.names("linux-")?;
        let packages = candidates(&names, wanted);
        if packages.is_empty() {
            bail!(
                "no Debian package on this mirror has such a kernel; there are {}. Name one of them, or \"{NEWEST}\"",
                versions(&names).join(", ")
            );
        }
        fs::create_dir_all(cache.join("kernels")).context("make the folder of kernels")?;
        let mut tried = Vec::new();
        for package in packages.iter().take(TRIES) {
            let kernel = Self::at(cache, package.release);
            if kernel.is_there() {
                return Ok(kernel);
            }
            // A mirror may list what it no longer has.
            match kernel.prepare(&apt, package, cache) {
                Ok(()) => return Ok(kernel),
                Err(error) => {
                    eprintln!("{}: {error:#}", package.name);
                    tried.push(package.name);
                }
            }
        }
        bail!(
            "none of these packages: {}. See above what is in the way; `cargo xtask vm --refresh` asks the mirror anew, \
             and another version may do: there are {}",
            tried.join(", "),
            versions(&names).join(", ")
        )
    }

    /// Everything or nothing appears in the cache.
    fn prepare(&self, apt: &Apt, package: &Package, cache: &Path) -> Result<()> {
        let scratch = TempDir::new_in(cache).context("make a folder to unpack in")?;
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
        command::output(
            Command::new(tool("depmod"))
                .arg("-b")
                .arg(&ready)
                .arg(&self.release),
        )?;
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::rename(ready, &self.folder)
            .with_context(|| format!("move to {}", self.folder.display()))
    }
}

/// Between runs, kernels and package lists stay here.
pub fn cache() -> PathBuf {
    let set = std::env::var_os("RSTTRACE_VM_CACHE").and_then(|set| path::absolute(set).ok());
    set.unwrap_or_else(|| workspace::target().join("vm"))
}

/// Of kmod, which is not in the path of those who are not root.
pub fn tool(name: &str) -> PathBuf {
    command::find_in_path(name).unwrap_or_else(|| Path::new("/sbin").join(name))
}

/// A few fail if the mirror is being updated; more fail if there is no mirror.
const TRIES: usize = 6;

/// They are below /lib or /usr/lib, by the age of the package.
fn move_modules(root: &Path, ready: &Path, release: &str) -> Result<PathBuf> {
    let from = ["lib/modules", "usr/lib/modules"].map(|path| root.join(path).join(release));
    let from = from.iter().find(|path| path.is_dir());
    let from = from.context("there are no modules in the package")?;
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
    image.context("there is no kernel in the package")
}

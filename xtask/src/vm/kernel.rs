//! Which kernel package is meant by "6.1", and what is kept of it?

use std::{
    cmp::Reverse,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{
    apt::Apt,
    archive::Archive,
    modules::{self, Dependencies},
};
use crate::{command, workspace};

/// A kernel that is ready to boot.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As `uname -r` tells it, such as "6.12.117+deb13-amd64".
    pub release: String,
    folder: PathBuf,
}

/// Stands for the newest kernel to be had.
pub const NEWEST: &str = "newest";
/// The flavour with drivers for everything; the cloud flavour has no 9p.
const FLAVOUR: &str = "-amd64";
/// Only what runs in a guest is unpacked.
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

impl Kernel {
    /// The newest kernel whose version begins with `wanted`: one at hand, or else (or with `refresh`) from the mirror.
    pub fn fetch(wanted: &str, refresh: bool) -> Result<Self> {
        let cache = cache();
        let note = cache.join("newest-of").join(wanted);
        let noted = fs::read_to_string(&note).ok();
        if let Some(release) = noted.filter(|_| !refresh) {
            let kernel = Self::at(&cache, &release);
            if kernel.is_ready() {
                return Ok(kernel);
            }
        }
        let kernel = Self::download(wanted, &cache)
            .with_context(|| format!("kernel {wanted} could not be had"))?;
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

    fn is_ready(&self) -> bool {
        self.image().is_file() && self.initramfs().is_file()
    }

    fn download(wanted: &str, cache: &Path) -> Result<Self> {
        let apt = Apt::open(cache.join("apt"))?;
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
            if kernel.is_ready() {
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
            Command::new("depmod")
                .arg("-b")
                .arg(&ready)
                .arg(&self.release),
        )?;
        fs::write(ready.join("initramfs.cpio"), initramfs(&modules)?)
            .context("write the initramfs")?;
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::rename(ready, &self.folder)
            .with_context(|| format!("move to {}", self.folder.display()))
    }
}

/// Between runs, kernels and package lists stay here.
pub fn cache() -> PathBuf {
    std::env::var_os("RSTTRACE_VM_CACHE")
        .map_or_else(|| workspace::target().join("vm"), PathBuf::from)
}

/// A few fail if the mirror is being updated; more fail if there is no mirror.
const TRIES: usize = 6;

/// A package with a kernel.
#[derive(Debug, PartialEq, Eq)]
struct Package<'a> {
    name: &'a str,
    release: &'a str,
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
    fn is_binary(&self) -> bool {
        self.name.starts_with("linux-binary-")
    }

    /// Every number in the version.
    fn version(&self) -> Vec<u64> {
        let version = self.release.trim_end_matches(FLAVOUR);
        let numbers = version.split(|letter: char| !letter.is_ascii_digit());
        numbers.filter_map(|number| number.parse().ok()).collect()
    }

    /// Whether the version is `wanted`, or begins with it and goes on after a separator.
    fn is(&self, wanted: &str) -> bool {
        wanted == NEWEST
            || self
                .release
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.starts_with(['.', '+', '-']) || rest.is_empty())
    }
}

/// In order of preference: with modules apart there is nothing in linux-image.
const PREFIXES: [&str; 3] = ["linux-binary-unsigned-", "linux-binary-", "linux-image-"];

/// Packages to try for a kernel, newest first.
fn candidates<'a>(names: &'a str, wanted: &str) -> Vec<Package<'a>> {
    let mut packages: Vec<_> = names
        .lines()
        .filter_map(Package::of)
        .filter(|package| package.is(wanted))
        .collect();
    packages.sort_by_key(|package| {
        let binary = package.is_binary();
        let unsigned = package.name.contains("-unsigned");
        (Reverse(package.version()), Reverse(binary), unsigned)
    });
    packages
}

/// Versions to choose from, such as "6.1", oldest first.
fn versions(names: &str) -> Vec<String> {
    let mut versions: Vec<_> = names
        .lines()
        .filter_map(Package::of)
        .map(|package| package.version().into_iter().take(2).collect::<Vec<_>>())
        .collect();
    versions.sort();
    versions.dedup();
    let written = |version: &Vec<u64>| {
        let numbers: Vec<_> = version.iter().map(u64::to_string).collect();
        numbers.join(".")
    };
    versions.iter().map(written).collect()
}

fn unpack(package: &Path, into: &Path) -> Result<()> {
    let mut contents = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("start dpkg-deb")?;
    let pipe = contents.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--no-same-owner"]);
    tar.args(NOT_UNPACKED.map(|path| format!("--exclude={path}")));
    let tar = tar.arg("--directory").arg(into).stdin(pipe).status();
    let tar = tar.context("start tar")?;
    let contents = contents.wait().context("wait for dpkg-deb")?;
    if !tar.success() || !contents.success() {
        bail!(
            "{} could not be unpacked ({contents}, {tar})",
            package.display()
        );
    }
    Ok(())
}

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

/// Busybox, the modules, and a script that mounts the guest's root.
fn initramfs(modules: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folder("bin");
    let busybox = command::find_in_path("busybox").context("busybox is not installed")?;
    archive.file("bin/busybox", &read(&busybox)?);
    archive.file("init", include_bytes!("guest/init.sh"));
    let dependencies = modules.join("modules.dep");
    let dependencies = fs::read_to_string(&dependencies)
        .with_context(|| format!("read {}", dependencies.display()))?;
    let dependencies = Dependencies::read(&dependencies);
    let wanted: Vec<_> = modules::BOOT.into_iter().chain(modules::LAB).collect();
    archive.folder("modules");
    for (number, file) in dependencies.closure(&wanted).into_iter().enumerate() {
        let contents = unpacked(&modules.join(file))?;
        let name = file.rsplit('/').next().unwrap_or(file);
        let name = name.split_once(".ko").map_or(name, |(name, _)| name);
        // The shell lists them in the order of their names.
        archive.file(&format!("modules/{number:03}-{name}.ko"), &contents);
    }
    Ok(archive.finish())
}

/// Unpacked here, once, and not at each boot.
fn unpacked(module: &Path) -> Result<Vec<u8>> {
    let program = match module.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return read(module),
    };
    let output = Command::new(program)
        .arg("-dc")
        .arg(module)
        .output()
        .with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!("{program} could not unpack {}", module.display());
    }
    Ok(output.stdout)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {}", file.display()))
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
    fn versions_to_choose_from_are_told_once_and_in_order() {
        assert_eq!(versions(NAMES), ["6.1", "6.12", "7.3"]);
    }
}

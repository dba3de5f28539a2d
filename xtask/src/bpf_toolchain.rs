//! The compiler, linker and objcopy for rsttrace-ebpf, and how to get them.
//!
//! Debian packages a stable rustc with a `core` for bpfel-unknown-none: only bpf-linker has to be built, and the object is the same
//! on each machine. The usual setup of aya, nightly with rust-src, works anywhere, but its bytes depend on the nightly version.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{command, packages, workspace};

/// The only target that rsttrace's eBPF programs are built for.
pub const TARGET: &str = "bpfel-unknown-none";

const BPF_LINKER: &str = "0.13.0";
/// Versions of LLVM that this bpf-linker can be built for.
const BPF_LINKER_LLVM: [u32; 3] = [21, 22, 23];

const DEBIAN: &str = "debian";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The proc macros of zerocopy and aya need the host's std as well: rustc-web depends on it.
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// Debian's rustc-web with its prebuilt `core`; reproducible
    Debian,
    /// rustup's nightly with rust-src, and bpf-linker from $PATH; not reproducible
    Nightly,
    /// Debian's if it is installed or root can install it, else nightly
    Auto,
}

pub struct Toolchain {
    /// "debian" or "nightly".
    pub name: &'static str,
    /// bpf-linker for the LLVM of this rustc.
    linker: PathBuf,
}

impl Toolchain {
    /// Installs what is missing if possible; otherwise the error names it.
    pub fn prepare(choice: Choice) -> Result<Self> {
        match choice {
            Choice::Debian => debian(),
            Choice::Nightly => nightly(),
            Choice::Auto if debian_is_available() => debian(),
            Choice::Auto => nightly().context(
                "Debian's rustc-web is not installed and cannot be installed by this user, and nightly is not ready either",
            ),
        }
    }

    pub fn is_debian(&self) -> bool {
        self.name == DEBIAN
    }

    /// `cargo SUBCOMMAND` for the eBPF crate. The caller sets the compiler flags.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = command::cargo();
        if self.is_debian() {
            without_overrides(cargo.arg(subcommand));
            cargo.env("RUSTC", DEBIAN_RUSTC);
            // aya-ebpf uses asm_experimental_arch; no other crate gets unstable features.
            cargo.env("RUSTC_BOOTSTRAP", "aya_ebpf");
        } else {
            cargo = Command::new("rustup");
            cargo.args(["run", "nightly", "cargo", subcommand, "-Zbuild-std=core"]);
            without_overrides(&mut cargo);
            cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        }
        cargo
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            .current_dir(workspace::ebpf())
            .args(["--locked", "--target", TARGET]);
        cargo
    }

    /// The versions of rustc, its LLVM and bpf-linker, a line each.
    pub fn versions(&self) -> Result<String> {
        let mut rustc = Command::new(DEBIAN_RUSTC);
        if !self.is_debian() {
            rustc = Command::new("rustup");
            rustc.args(["run", "nightly", "rustc"]);
        }
        let rustc = command::output(rustc.arg("-vV"))?;
        let linker = command::output(Command::new(&self.linker).arg("--version"))?;
        let llvm = rustc.lines().find(|line| line.starts_with("LLVM version"));
        let lines = [rustc.lines().next(), llvm, linker.lines().next()];
        Ok(lines.map(Option::unwrap_or_default).join("\n"))
    }
}

/// Debian's clippy for this rustc, installed when missing.
pub fn debian_clippy() -> Result<&'static str> {
    packages::install(&["rust-web-clippy"])?;
    Ok("/usr/bin/clippy-driver")
}

/// Removes debug sections, with the objcopy of rustup or LLVM: GNU strip does not support BPF.
pub fn strip_debug(from: &Path, to: &Path) -> Result<()> {
    let sysroot = command::output(Command::new("rustc").args(["--print", "sysroot"]))
        .map(|path| PathBuf::from(path.trim()));
    let shipped = sysroot.ok().and_then(|sysroot| {
        fs::read_dir(sysroot.join("lib/rustlib"))
            .ok()?
            .flatten()
            .map(|host| host.path().join("bin/rust-objcopy"))
            .find(|objcopy| objcopy.is_file())
            .map(|objcopy| (objcopy, sysroot.join("lib")))
    });
    let mut objcopy = match shipped {
        Some((objcopy, libraries)) => {
            let mut objcopy = Command::new(objcopy);
            objcopy.env("LD_LIBRARY_PATH", libraries);
            objcopy
        }
        None => Command::new(llvm_objcopy().context(
            "no objcopy that knows BPF: install rustup's stable toolchain (it ships rust-objcopy) or the package llvm",
        )?),
    };
    command::run(objcopy.arg("--strip-debug").args([from, to]))
}

fn llvm_objcopy() -> Option<PathBuf> {
    command::find_in_path("llvm-objcopy").or_else(|| {
        (14..=30)
            .rev()
            .find_map(|version| command::find_in_path(&format!("llvm-objcopy-{version}")))
    })
}

fn debian_is_available() -> bool {
    packages::is_debian() && (packages::missing(&DEBIAN_PACKAGES).is_empty() || command::is_root())
}

fn debian() -> Result<Toolchain> {
    packages::install(&DEBIAN_PACKAGES)
        .context("no Debian toolchain (`--toolchain nightly` is the other way)")?;
    refuse_library_sources()?;
    let version = command::output(Command::new(DEBIAN_RUSTC).arg("-vV"))?;
    let llvm = llvm_major(&version).with_context(|| {
        format!(
            "{DEBIAN_RUSTC} does not name its LLVM: reinstall the package rustc-web. Output:\n{version}"
        )
    })?;
    Ok(Toolchain {
        name: DEBIAN,
        linker: own_bpf_linker(llvm)?,
    })
}

/// LLVM copies source lines of `core` into .BTF when it can read them: the bytes would differ from machine to machine.
fn refuse_library_sources() -> Result<()> {
    let Ok(sources) = fs::read_dir("/usr/src") else {
        return Ok(());
    };
    for folder in sources.flatten() {
        let library = folder.path().join("library");
        if folder.file_name().to_string_lossy().starts_with("rustc-") && library.exists() {
            bail!(
                "{} makes the object differ from the one that others build: remove the package \
                 rust-web-src, or hide the folder: \
                 `unshare -m sh -c 'mount -t tmpfs none /usr/src && cargo xtask build-ebpf'`",
                library.display()
            );
        }
    }
    Ok(())
}

/// A bpf-linker for this LLVM below target/, built when it is not there.
fn own_bpf_linker(llvm: u32) -> Result<PathBuf> {
    if !BPF_LINKER_LLVM.contains(&llvm) {
        bail!(
            "Debian's rustc uses LLVM {llvm}, and bpf-linker {BPF_LINKER} can be built for {BPF_LINKER_LLVM:?} only: \
             set a newer BPF_LINKER in xtask/src/bpf_toolchain.rs, or use `--toolchain nightly`"
        );
    }
    let root =
        workspace::target().join(format!("bpf-toolchain/bpf-linker-{BPF_LINKER}-llvm-{llvm}"));
    let linker = root.join("bin/bpf-linker");
    if command::output(Command::new(&linker).arg("--version")).is_ok() {
        return Ok(linker);
    }

    let package = format!("libllvm{llvm}");
    let library = llvm_library(&packages::files(&package)?, llvm)
        .with_context(|| format!("the package {package} has no libLLVM.so.{llvm}: reinstall it"))?;
    // In place of llvm-NN-dev: the build of bpf-linker needs the library under its development name only.
    let lib = root.join("llvm/lib");
    fs::create_dir_all(&lib).with_context(|| format!("create {}", lib.display()))?;
    let link = lib.join("libLLVM.so");
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link).with_context(|| format!("replace {}", link.display()))?;
    }
    std::os::unix::fs::symlink(&library, &link)
        .with_context(|| format!("link {} to {}", link.display(), library.display()))?;

    let mut install = install("bpf-linker", BPF_LINKER, &root);
    install
        .args(["--force", "--features", &format!("llvm-{llvm}")])
        .env("LLVM_PREFIX", root.join("llvm"));
    command::run(&mut install).context(
        "cannot build bpf-linker: it needs a C++ toolchain and the crates registry; \
         `apt-get install g++` and try again",
    )?;
    Ok(linker)
}

fn nightly() -> Result<Toolchain> {
    let sysroot = command::output(
        Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]),
    )
    .context("no nightly: run `rustup toolchain install nightly --component rust-src`")?;
    if !Path::new(sysroot.trim())
        .join("lib/rustlib/src/rust/library/core")
        .exists()
    {
        bail!("nightly has no rust-src: run `rustup component add rust-src --toolchain nightly`");
    }
    let linker = command::find_in_path("bpf-linker").context(
        "no bpf-linker in $PATH: run `cargo install bpf-linker`, with the feature llvm-NN that `rustc +nightly -vV` names",
    )?;
    Ok(Toolchain {
        name: "nightly",
        linker,
    })
}

/// `cargo install` below `root`, without optional features, link-time optimization and debug information.
pub fn install(name: &str, version: &str, root: &Path) -> Command {
    let mut install = command::cargo();
    install
        .args(["install", name, "--version", version])
        .args(["--locked", "--no-default-features", "--root"])
        .arg(root);
    without_overrides(&mut install);
    install
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off");
    install
}

/// Removes settings that change a build from the environment: profiles, flags, wrappers, target folders.
pub fn without_overrides(cargo: &mut Command) {
    for (key, _) in env::vars_os() {
        let key = key.to_string_lossy();
        if ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_"]
            .iter()
            .any(|prefix| key.starts_with(prefix))
        {
            cargo.env_remove(&*key);
        }
    }
    for key in [
        "RUSTC",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_INCREMENTAL",
    ] {
        cargo.env_remove(key);
    }
    // Empty, not absent: this also overrides a wrapper in the user's cargo configuration.
    cargo.env("RUSTC_WRAPPER", "");
}

/// The major version of LLVM in what `rustc -vV` prints.
fn llvm_major(version: &str) -> Option<u32> {
    version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// The shared library of this LLVM in a package's list of files: `libLLVM.so.22.1`.
fn llvm_library(files: &str, llvm: u32) -> Option<PathBuf> {
    let exact = format!("libLLVM.so.{llvm}");
    files.lines().map(Path::new).find_map(|file| {
        let rest = file.file_name()?.to_str()?.strip_prefix(&exact)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| file.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_version_is_read_from_rustc() {
        let version = "rustc 1.96.0 (ac68faa20 2026-05-25)\nrelease: 1.96.0\n";
        assert_eq!(
            llvm_major(&format!("{version}LLVM version: 22.1.8\n")),
            Some(22)
        );
        assert_eq!(llvm_major(version), None);
        assert_eq!(llvm_major("LLVM version: unknown\n"), None);
    }

    #[test]
    fn llvm_library_is_the_one_of_this_version() {
        let files = "/usr/share/doc/libllvm22\n/usr/lib/x/libLLVM.so.2\n/usr/lib/x/libLLVM.so.221\n\
                     /usr/lib/x/libLLVM.so.22.1\n";
        assert_eq!(
            llvm_library(files, 22).as_deref(),
            Some(Path::new("/usr/lib/x/libLLVM.so.22.1"))
        );
        assert_eq!(llvm_library(files, 21), None);
    }
}

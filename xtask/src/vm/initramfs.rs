//! What does a guest start with, before it has the host's files?

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{
    archive::Archive,
    modules::{self, Dependencies},
};
use crate::command;

const INIT: &str = include_str!("guest/init.sh");

/// What it is made of, apart from the kernel; another recipe means that it has to be made anew.
pub fn recipe() -> String {
    let modules: Vec<_> = modules::BOOT.into_iter().chain(modules::LAB).collect();
    format!("{}\n{INIT}", modules.join(" "))
}

/// Busybox, the modules, and a script that mounts the guest's root.
pub fn make(modules: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folder("bin");
    let busybox = command::find_in_path("busybox").context("busybox is not installed")?;
    archive.file("bin/busybox", &read(&busybox)?);
    archive.file("init", INIT.as_bytes());
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

//! Paths in this repository.

use std::path::{Path, PathBuf};

/// The folder that holds the root `Cargo.toml`.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the repository")
}

/// A workspace of its own.
pub fn ebpf() -> PathBuf {
    root().join("rsttrace-ebpf")
}

/// The object that the `rsttrace` crate embeds.
pub fn object() -> PathBuf {
    root().join("rsttrace/linux/ebpf/rsttrace.bpf.o")
}

/// For build products of xtask; `cargo clean` removes them.
pub fn target() -> PathBuf {
    root().join("target")
}

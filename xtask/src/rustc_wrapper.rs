//! A wrapper of rustc for the eBPF crate, so that symbols do not depend on the folder.
//!
//! Cargo derives `-C metadata`, which is part of each symbol's hash, from the absolute path of a crate outside of the workspace,
//! such as rsttrace-common. The wrapper sets it to a constant for our own crates.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    process::Command,
};

use anyhow::{Context as _, Result, anyhow};

/// Set together with `RUSTC_WRAPPER`: this program runs as the wrapper.
const SWITCH: &str = "RSTTRACE_XTASK_IS_RUSTC_WRAPPER";

const OWN_CRATES: [&str; 2] = ["rsttrace_common", "rsttrace_ebpf"];

/// Makes this cargo use the wrapper.
pub fn install(cargo: &mut Command) -> Result<()> {
    let xtask = env::current_exe().context("find the path of this program")?;
    cargo.env("RUSTC_WRAPPER", xtask).env(SWITCH, "1");
    Ok(())
}

/// Whether cargo called this program as rustc.
pub fn is_wanted() -> bool {
    env::var_os(SWITCH).is_some()
}

/// Becomes rustc; returns only if that fails.
pub fn run() -> Result<()> {
    let mut args = env::args_os().skip(1);
    let rustc = args
        .next()
        .context("no rustc named: this mode is for `cargo xtask build-ebpf` only")?;
    let error = Command::new(&rustc).args(rewritten(args.collect())).exec();
    Err(anyhow!(error).context(format!("start {}", rustc.display())))
}

fn rewritten(mut args: Vec<OsString>) -> Vec<OsString> {
    let own = args
        .windows(2)
        .find(|pair| pair[0] == "--crate-name")
        .and_then(|pair| OWN_CRATES.into_iter().find(|name| pair[1] == *name));
    if let Some(name) = own {
        let metadata = |arg: &OsStr| arg.as_encoded_bytes().starts_with(b"metadata=");
        for arg in args.iter_mut().filter(|arg| metadata(arg)) {
            *arg = format!("metadata={name}").into();
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        rewritten(args)
            .join(OsStr::new(" "))
            .into_string()
            .expect("ASCII")
    }

    #[test]
    fn only_own_crates_get_constant_metadata() {
        assert_eq!(
            rewrite("--crate-name rsttrace_common x.rs -C metadata=0123 -C extra-filename=-0123"),
            "--crate-name rsttrace_common x.rs -C metadata=rsttrace_common -C extra-filename=-0123"
        );
        let other = "--crate-name zerocopy x.rs -C metadata=0123";
        for line in [other, "-vV", "--crate-name"] {
            assert_eq!(rewrite(line), line);
        }
    }
}

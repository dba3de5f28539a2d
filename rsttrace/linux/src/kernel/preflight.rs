//! Checks of privileges and kernel support before tracing.

use std::path::Path;

use caps::{CapSet, Capability};

use super::btf;
use super::privileges::SETCAP;

/// Why tracing cannot start; `Display` ends with the next step.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Rights are missing (exit code 3).
    #[error("not permitted: {} missing. Run as root (sudo rsttrace …), or add capabilities to the binary: setcap {SETCAP} FILE (docs/PERMISSIONS.md says what each is for)", missing.join(", "))]
    NotPermitted {
        /// Names of the capabilities.
        missing: Vec<String>,
    },
    /// The kernel lacks what the tool cannot do without (exit code 4).
    #[error("this kernel is not supported: {missing}. {advice}")]
    NotSupported {
        missing: String,
        advice: &'static str,
    },
    /// Too few files may be open (exit code 1).
    #[error(
        "cannot start tracing: only {limit} open files are allowed, {LEAST_FILES} are required, and 2 for each interface. Raise the limit: `ulimit -n 4096`, or LimitNOFILE= of the systemd unit"
    )]
    TooFewFiles { limit: u64 },
    /// Something else went wrong (exit code 1).
    #[error("cannot start tracing: {0}. Run again with RUST_LOG=debug and report what it prints")]
    Failed(String),
}

/// Programs, maps and links of a start take about 80.
const LEAST_FILES: u64 = 192;
const BTF_ADVICE: &str = "Use Linux 5.10 or newer with CONFIG_DEBUG_INFO_BTF=y (the default in current distributions); in a container, mount /sys";
const LOCKDOWN_ADVICE: &str = "Boot with lockdown=integrity or without lockdown; lockdown=confidentiality forbids BPF programs to read kernel memory";
/// What to do where no hook at all could be used.
pub const HOOKS_ADVICE: &str = "The warnings above give the reasons; run again with -v for details";

/// Checks rights first, then the kernel.
pub fn check() -> Result<(), StartError> {
    let missing = missing_capabilities(|capability| {
        caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
    });
    if !missing.is_empty() {
        return Err(StartError::NotPermitted { missing });
    }
    if std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !is_initial(&map)) {
        let missing = vec![
            "CAP_BPF in the initial user namespace (this process runs in another one)".to_owned(),
        ];
        return Err(StartError::NotPermitted { missing });
    }
    if let Some(limit) = rsttrace_sys::file_limit().filter(|limit| *limit < LEAST_FILES) {
        return Err(StartError::TooFewFiles { limit });
    }
    if !has_btf() {
        return Err(no_btf(format!("no BTF at {}", btf::VMLINUX)));
    }
    if is_locked_down(
        std::fs::read_to_string("/sys/kernel/security/lockdown").ok(),
        std::fs::read_to_string("/proc/cmdline").ok(),
    ) {
        return Err(StartError::NotSupported {
            missing: "lockdown mode is confidentiality".to_owned(),
            advice: LOCKDOWN_ADVICE,
        });
    }
    Ok(())
}

/// Whether BPF may not read kernel memory: by the mode that securityfs shows, else by what the kernel was booted with.
fn is_locked_down(mode: Option<String>, command_line: Option<String>) -> bool {
    match (mode, command_line) {
        (Some(mode), _) => mode.contains("[confidentiality]"),
        (None, Some(line)) => line
            .split_whitespace()
            .any(|word| word == "lockdown=confidentiality"),
        (None, None) => false,
    }
}

/// Whether the kernel describes its own types, which tracing needs.
pub fn has_btf() -> bool {
    Path::new(btf::VMLINUX).exists()
}

/// Type information is missing or cannot be used.
pub fn no_btf(missing: String) -> StartError {
    StartError::NotSupported {
        missing,
        advice: BTF_ADVICE,
    }
}

/// CAP_SYS_ADMIN includes all that was split off from it: CAP_BPF and CAP_PERFMON (5.8), and BPF's part of CAP_NET_ADMIN.
fn missing_capabilities(has: impl Fn(Capability) -> bool) -> Vec<String> {
    if has(Capability::CAP_SYS_ADMIN) {
        return Vec::new();
    }
    [
        Capability::CAP_BPF,
        Capability::CAP_PERFMON,
        Capability::CAP_NET_ADMIN,
    ]
    .into_iter()
    .filter(|capability| !has(*capability))
    .map(|capability| capability.to_string())
    .collect()
}

/// The initial user namespace maps all ids to themselves.
fn is_initial(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_capability_is_named() {
        assert_eq!(
            missing_capabilities(|_| false),
            ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]
        );
        assert_eq!(
            missing_capabilities(|c| c != Capability::CAP_PERFMON && c != Capability::CAP_SYS_ADMIN),
            ["CAP_PERFMON"]
        );
        assert!(missing_capabilities(|c| c == Capability::CAP_SYS_ADMIN).is_empty());
    }

    #[test]
    fn lockdown_is_known_without_securityfs() {
        let text = |text: &str| Some(text.to_owned());
        assert!(is_locked_down(
            text("none integrity [confidentiality]\n"),
            None
        ));
        assert!(!is_locked_down(
            text("none [integrity] confidentiality\n"),
            text("quiet lockdown=confidentiality")
        ));
        assert!(is_locked_down(
            None,
            text("quiet lockdown=confidentiality\n")
        ));
        assert!(!is_locked_down(None, text("quiet lockdown=integrity\n")));
        assert!(!is_locked_down(None, None));
    }

    #[test]
    fn a_mapped_root_is_not_root() {
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0       1000          1\n"));
    }

    #[test]
    fn each_error_ends_with_the_next_step() {
        let error = StartError::NotPermitted {
            missing: vec!["CAP_BPF".to_owned()],
        };
        assert!(error.to_string().contains("sudo"));
        assert!(
            no_btf("x".to_owned())
                .to_string()
                .contains("CONFIG_DEBUG_INFO_BTF")
        );
    }
}

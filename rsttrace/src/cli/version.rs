//! What `rsttrace --version` prints.

use rsttrace_common::WIRE_VERSION;

use crate::record::SCHEMA;

/// Version, commit, and the formats that other tools depend on. `-V` prints the version alone.
pub(super) fn long() -> String {
    format!(
        "{version}\ncommit {commit}\nrecords {SCHEMA}\nrecordings version {WIRE_VERSION} (events of the eBPF programs)",
        version = env!("CARGO_PKG_VERSION"),
        commit = option_env!("RSTTRACE_COMMIT").unwrap_or("unknown"),
    )
}

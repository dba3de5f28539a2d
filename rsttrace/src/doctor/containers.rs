//! Whether processes outside of a container can be described.

use super::{Finding, Severity};

/// What a PID namespace of its own costs.
pub const COST: &str = "rsttrace runs in a PID namespace of its own: processes outside of it have the IDs of the host, and no command line, unit, container or pod; packets in their network namespaces are not seen";
/// How to have it in that of the host.
pub const ADVICE: &str =
    "start the container with --pid=host (Docker, Podman), or the pod with hostPID: true";

pub fn judge(has_own_pids: bool) -> Option<Finding> {
    let finding = || {
        Finding::new(
            Severity::Warning,
            "pid_namespace",
            COST.to_owned(),
            ADVICE.to_owned(),
        )
    };
    has_own_pids.then(finding)
}

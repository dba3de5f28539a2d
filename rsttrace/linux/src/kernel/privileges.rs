//! Capabilities given up: most of root's before anything is read, those of the start once the hooks are attached.
//!
//! Capabilities belong to threads, and a new thread has those of the one that creates it: the first step has to come before the first
//! thread. Nothing is ever executed, so no later program can get back what is given up.

use caps::{CapSet, Capability, CapsHashSet};
use log::warn;
use nix::sys::prctl;

/// For as long as it traces: interfaces and namespaces come later, and every process can be named.
const TRACING: [Capability; 7] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_NET_ADMIN,
    // Events of other network namespaces.
    Capability::CAP_NET_BROADCAST,
    // To enter other network namespaces.
    Capability::CAP_SYS_ADMIN,
    // Files and sockets of other users' processes.
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
];

/// The same, as setcap(8) takes them.
pub const SETCAP: &str = "cap_bpf,cap_perfmon,cap_net_admin,cap_net_broadcast,cap_sys_admin,cap_sys_ptrace,cap_dac_read_search=ep";

/// Files in folders of other users, such as the metrics file.
const WRITING: Capability = Capability::CAP_DAC_OVERRIDE;

/// For the start.
const STARTING: [Capability; 4] = [
    // Limits of locked memory and of open files.
    Capability::CAP_SYS_RESOURCE,
    // Memory of perf event arrays beyond the limit.
    Capability::CAP_IPC_LOCK,
    // To load without the kernel's own types at hand.
    Capability::CAP_SYS_CHROOT,
    // Metrics at a port below 1024.
    Capability::CAP_NET_BIND_SERVICE,
];

/// Gives up what tracing never needs. To be called while this process has one thread.
pub fn keep_for_start() {
    // What is executed gets nothing of it; without CAP_SETPCAP it gets what it gets.
    for capability in caps::all() {
        let _ = caps::drop(None, CapSet::Bounding, capability);
    }
    let done = prctl::set_no_new_privs()
        .map_err(|error| error.to_string())
        .and_then(|()| keep(TRACING.into_iter().chain(STARTING).chain([WRITING])));
    if let Err(error) = done {
        warn!("cannot give up capabilities: {error}; they stay");
    }
}

/// Gives up what only the start needed, in the calling thread. `writes`: files may have to be written in other users' folders.
pub fn keep_for_tracing(writes: bool) {
    if let Err(error) = keep(TRACING.into_iter().chain(writes.then_some(WRITING))) {
        warn!("cannot give up capabilities: {error}; they stay");
    }
}

/// Keeps these, as far as they are there.
fn keep(wanted: impl Iterator<Item = Capability>) -> Result<(), String> {
    let wanted: CapsHashSet = wanted.collect();
    let text = |error: caps::errors::CapsError| error.to_string();
    let permitted = caps::read(None, CapSet::Permitted).map_err(text)?;
    let effective = caps::read(None, CapSet::Effective).map_err(text)?;
    let none = CapsHashSet::new();
    caps::set(None, CapSet::Inheritable, &none).map_err(text)?;
    let kept = |had: &CapsHashSet| had.intersection(&wanted).copied().collect::<CapsHashSet>();
    caps::set(None, CapSet::Effective, &kept(&effective)).map_err(text)?;
    caps::set(None, CapSet::Permitted, &kept(&permitted)).map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_users_are_told_to_grant() {
        let names = TRACING.map(|capability| capability.to_string().to_lowercase());
        assert_eq!(SETCAP, format!("{}=ep", names.join(",")));
    }
}

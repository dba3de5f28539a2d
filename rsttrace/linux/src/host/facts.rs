//! Host facts that are constant during a trace.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::Context;

use super::{clock, environment};
use crate::event::{BootTime, Coverage, HostFacts};

/// The host as of now. `started` is when the hooks were attached, `coverage` what they can see.
pub fn host_facts(started: BootTime, coverage: Coverage) -> anyhow::Result<HostFacts> {
    Ok(HostFacts {
        host: clock::hostname().map(Into::into),
        boot_id: clock::boot_id()
            .context("cannot read /proc/sys/kernel/random/boot_id")?
            .into(),
        realtime_offset_ns: clock::realtime_offset_ns().context("cannot read the clocks")?,
        started,
        coverage,
        environment: environment::of_this_host(),
    })
}

/// `uname -r`; absent if it cannot be read.
pub fn kernel_release() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(text.trim().to_owned())
}

/// Inode of this process's network namespace; absent if it cannot be read.
pub fn own_netns() -> Option<u32> {
    let file = fs::metadata("/proc/self/ns/net").ok()?;
    file.ino().try_into().ok()
}

/// Inode of this process's pid namespace, if it is another one than the initial: `/proc` shows a part of the processes then,
/// with ids of their own. Absent in the initial one, and if it cannot be read.
pub fn foreign_pid_namespace() -> Option<u32> {
    /// `PROC_PID_INIT_INO`, include/linux/proc_ns.h.
    const INITIAL: u64 = 0xeffffffc;
    let inode = fs::metadata("/proc/self/ns/pid").ok()?.ino();
    u32::try_from(inode).ok().filter(|_| inode != INITIAL)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_facts() {
        let coverage = Coverage {
            sent: true,
            sent_stateless: true,
            received: true,
            packets: false,
            lifecycle: true,
        };
        let facts = host_facts(BootTime(5), coverage).unwrap();
        assert_eq!((facts.started, facts.coverage), (BootTime(5), coverage));
    }
}

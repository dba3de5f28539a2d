//! What does not change while the tool runs?

use anyhow::Context;

use super::{clock, environment};
use crate::event::{BootTime, Coverage, HostFacts};

/// The host as of now. `started` is when the hooks were attached, `coverage` what they can see.
pub fn host_facts(started: BootTime, coverage: Coverage) -> anyhow::Result<HostFacts> {
    Ok(HostFacts {
        host: clock::hostname(),
        boot_id: clock::boot_id().context("read /proc/sys/kernel/random/boot_id")?,
        realtime_offset_ns: clock::realtime_offset_ns().context("read the clocks")?,
        started,
        coverage,
        environment: environment::of_this_host(),
    })
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

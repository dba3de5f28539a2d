//! What does not change while the tool runs?

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::clock;
use crate::event::{BootTime, Coverage, HostFacts, KeepaliveDefaults};

/// The host as of now. `started` is when the hooks were attached, `coverage` what they can see.
pub fn host_facts(started: BootTime, coverage: Coverage) -> anyhow::Result<HostFacts> {
    Ok(HostFacts {
        host: clock::hostname(),
        boot_id: clock::boot_id().context("read /proc/sys/kernel/random/boot_id")?,
        realtime_offset_ns: clock::realtime_offset_ns().context("read the clocks")?,
        started,
        coverage,
    })
}

/// `net.ipv4.tcp_keepalive_*` of the network namespace this thread is in; absent if one cannot be read.
pub fn keepalive_defaults() -> Option<KeepaliveDefaults> {
    let read = |name: &str| -> Option<u32> {
        let path = Path::new("/proc/sys/net/ipv4").join(name);
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    Some(KeepaliveDefaults {
        time: Duration::from_secs(read("tcp_keepalive_time")?.into()),
        interval: Duration::from_secs(read("tcp_keepalive_intvl")?.into()),
        probes: read("tcp_keepalive_probes")?,
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
        assert!(keepalive_defaults().is_some_and(|it| it.time > Duration::ZERO && it.probes > 0));
    }
}

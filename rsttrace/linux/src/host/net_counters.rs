//! Counters of what a network namespace dropped before a connection came about.

use std::fs;

use super::full::counter;
use super::settings::sysctl;
use crate::sockets::{NetCounters, Tracking};

/// Those of the network namespace that the calling thread is in.
pub fn of_this_namespace() -> NetCounters {
    // Of the thread's namespace; /proc/net would be the process's.
    let netstat = fs::read_to_string("/proc/thread-self/net/netstat").unwrap_or_default();
    NetCounters {
        listen_overflows: counter(&netstat, "ListenOverflows"),
        listen_drops: counter(&netstat, "ListenDrops"),
        somaxconn: sysctl("core/somaxconn"),
        tracking: tracking(),
    }
}

pub(super) fn tracking() -> Option<Tracking> {
    let entries = sysctl("netfilter/nf_conntrack_count")?;
    let most = sysctl("netfilter/nf_conntrack_max")?;
    let stat = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").ok();
    let sum = |name| sum_of(stat.as_deref()?, name);
    Some(Tracking {
        entries,
        most,
        dropped: sum("drop"),
        early_dropped: sum("early_drop"),
        not_inserted: sum("insert_failed"),
        invalid: sum("invalid"),
    })
}

/// Packets dropped because the table was full; absent without connection tracking.
pub(super) fn dropped_by_tracking() -> Option<u64> {
    let stat = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").ok()?;
    sum_of(&stat, "drop")
}

/// A column of `/proc/net/stat/nf_conntrack`: a line of names, then a line of hexadecimal numbers for each CPU.
fn sum_of(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let place = lines.next()?.split_whitespace().position(|it| it == name)?;
    lines
        .map(|line| u64::from_str_radix(line.split_whitespace().nth(place)?, 16).ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_summed_over_all_cpus() {
        let text = "entries found invalid drop\n0000000a 00 0000000f 00\n0000000a 00 00000001 02\n";
        assert_eq!(sum_of(text, "invalid"), Some(16));
        assert_eq!(sum_of(text, "drop"), Some(2));
        assert_eq!(sum_of(text, "early_drop"), None);
        assert_eq!(sum_of("drop\nx\n", "drop"), None);
        assert_eq!(sum_of("", "drop"), None);
    }

    #[test]
    fn this_namespace_counts_overflows() {
        let counters = of_this_namespace();
        assert!(counters.listen_overflows.is_some() && counters.somaxconn.is_some());
    }
}

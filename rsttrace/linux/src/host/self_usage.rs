//! CPU time and memory of this process.

use std::time::{Duration, SystemTime};

use procfs::process::Process;

use crate::self_stats::ProcessVitals;

/// CPU time and memory until now; absent if /proc cannot be read.
pub fn process() -> Option<ProcessVitals> {
    let own = Process::myself().ok()?;
    let (stat, status) = (own.stat().ok()?, own.status().ok()?);
    let resident = status.vmrss? * 1024;
    Some(ProcessVitals {
        cpu: ticks(stat.utime.saturating_add(stat.stime)),
        resident,
        most_resident: status.vmhwm.map_or(resident, |kib| kib * 1024),
        started: procfs::boot_time_secs().ok().and_then(|boot| {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(boot) + ticks(stat.starttime))
        }),
    })
}

fn ticks(number: u64) -> Duration {
    let a_second = procfs::ticks_per_second().max(1);
    let rest = Duration::from_secs(number % a_second) / u32::try_from(a_second).unwrap_or(u32::MAX);
    Duration::from_secs(number / a_second) + rest
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_began_before_now() {
        let own = process().unwrap();
        assert!(own.resident > 0 && own.most_resident >= own.resident);
        let age = SystemTime::now().duration_since(own.started.unwrap());
        assert!(age.unwrap() < Duration::from_secs(24 * 3600));
    }

    #[test]
    fn ticks_are_fractions_of_a_second() {
        let a_second = procfs::ticks_per_second();
        assert_eq!(ticks(a_second * 5 / 2), Duration::from_millis(2500));
        assert!(ticks(u64::MAX) > Duration::ZERO);
    }
}

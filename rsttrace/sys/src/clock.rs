//! Clocks, boot id and host name.

use nix::time::{ClockId, clock_gettime};

use crate::event::BootTime;

/// `CLOCK_BOOTTIME` now: the clock of all events.
pub fn boottime() -> nix::Result<BootTime> {
    let ns = nanoseconds(ClockId::CLOCK_BOOTTIME)?;
    Ok(BootTime(u64::try_from(ns).unwrap_or(0)))
}

/// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME` in nanoseconds. It changes when somebody sets the clock.
pub fn realtime_offset_ns() -> nix::Result<i128> {
    let before = nanoseconds(ClockId::CLOCK_BOOTTIME)?;
    let real = nanoseconds(ClockId::CLOCK_REALTIME)?;
    let after = nanoseconds(ClockId::CLOCK_BOOTTIME)?;
    Ok(real - (before + after) / 2)
}

/// `CLOCK_MONOTONIC` now in microseconds; absent if it cannot be read.
pub fn monotonic_usec() -> Option<u64> {
    let ns = nanoseconds(ClockId::CLOCK_MONOTONIC).ok()?;
    u64::try_from(ns / 1_000).ok()
}

/// `/proc/sys/kernel/random/boot_id`: a UUID made at each boot.
pub fn boot_id() -> procfs::ProcResult<String> {
    procfs::sys::kernel::random::boot_id().map(|id| id.trim().to_owned())
}

/// This host's name; absent if it cannot be read or is empty.
pub fn hostname() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?;
    Some(name.to_string_lossy().into_owned()).filter(|name| !name.is_empty())
}

fn nanoseconds(clock: ClockId) -> nix::Result<i128> {
    let time = clock_gettime(clock)?;
    Ok(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn boottime_and_offset_give_the_time_of_day() {
        let offset = realtime_offset_ns().unwrap();
        let real = offset + i128::from(boottime().unwrap().0);
        let now = jiff::Timestamp::now().as_nanosecond();
        assert!((now - real).abs() < 1_000_000_000, "{now} {real}");
    }

    #[test]
    fn a_boot_id_is_a_uuid() {
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}

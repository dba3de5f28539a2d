//! Statistics of the tracer itself: events, losses, cost, fill levels.
//!
//! A snapshot, cheap to take: nothing is scanned for it. Absent means not known, see each field.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Everything at one moment; counts are since the start of the trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// What became of the kernel's events, by kind: sent, received, on the wire, timed out. While tracing, what is still in
    /// the buffer was seen and is in none of the parts. Empty if the kernel side's counters cannot be read.
    pub events: Vec<KernelTotal>,
    /// Resets as the kernel's hooks counted them, by what the kernel said; those without one are left out. Empty if that
    /// cannot be read.
    pub resets: Vec<KernelResets>,
    /// What could not be done; no event is missing by it.
    pub shortfalls: Shortfalls,
    /// The eBPF programs that are loaded, by name.
    pub programs: Vec<ProgramVitals>,
    /// The buffer between kernel and tool.
    pub buffer: BufferVitals,
    /// Tables of the kernel side and of user space.
    pub tables: Vec<TableVitals>,
    /// How each fact is had.
    pub hooks: Vec<HookVitals>,
    /// This process; absent if /proc cannot be read.
    pub process: Option<ProcessVitals>,
    /// The store of records; absent if none are kept.
    pub store: Option<StoreVitals>,
    /// Lines of standard output or entries of the journal that were dropped because the reader was too slow; absent where they are not counted.
    pub lines_dropped: Option<u64>,
}

/// One kind of event as counted in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelTotal {
    /// What: "sent".
    pub name: String,
    /// All that happened.
    pub seen: u64,
    /// Those that came up with every detail.
    pub detailed: u64,
    /// Those that were counted only, on purpose.
    pub suppressed: u64,
    /// Those that found no room.
    pub lost: u64,
}

/// Resets of one kind as the kernel's hooks counted them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelResets {
    /// The tracepoint, or the one that stands for others of older kernels.
    pub hook: &'static str,
    /// What was there: a `connection`, a `listener`, `nothing` for a SYN that asked for one (`nothing_for_syn`).
    pub socket: &'static str,
    /// The kernel's reason, or the socket's state where it gives none; `none` without either.
    pub reason: String,
    /// Those that were described, or found no room.
    pub detailed: u64,
    /// Those that were counted only, on purpose.
    pub suppressed: u64,
}

/// What could not be done for want of room, time or rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfalls {
    /// Events whose bytes made no sense; each counts as lost for the verdicts around it.
    pub undecodable: u64,
    /// Resets judged before their window was over.
    pub judged_early: u64,
    /// Observations that fitted several resets and were joined to none.
    pub ambiguous: u64,
    /// Questions for a socket's holder that were not asked.
    pub holders_not_asked: u64,
    /// Questions about the network around a reset (its entry in connection tracking, its route) that were skipped because of the rate
    /// limit.
    pub network_not_asked: u64,
    /// Sockets without a recorded owner, as the kernel had no memory for it; absent if its counters cannot be read.
    pub without_owner: Option<u64>,
    /// Interfaces and network namespaces without classifiers now; absent where none are attached at all.
    pub unwatched: Option<u64>,
}

/// The store of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreVitals {
    /// Records that were stored since the start.
    pub stored: u64,
    /// Records that could not be.
    pub lost: u64,
    /// Bytes on the disk now, all files of the store together.
    pub bytes: u64,
}

/// One eBPF program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramVitals {
    /// Its name in the object.
    pub name: String,
    /// What it cost; absent unless the kernel counts that (`kernel.bpf_stats_enabled`).
    pub cost: Option<ProgramCost>,
    /// Times the kernel skipped it because it was interrupted by itself; absent before 5.12, which does not count them.
    pub missed: Option<u64>,
}

/// What a program cost since the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramCost {
    /// Time it ran, all CPUs together.
    pub time: Duration,
    /// Times it ran.
    pub runs: u64,
}

/// The buffer between kernel and tool, all CPUs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferVitals {
    /// Bytes it holds.
    pub capacity: u64,
    /// The most bytes that were read in a row, until it was found empty: at least what was ever found waiting, at most
    /// `capacity`.
    pub most_read: u64,
}

/// One table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableVitals {
    /// A name that stays, for machines.
    pub name: &'static str,
    /// Entries in use; absent for the kernel's tables, where only a scan would tell.
    pub entries: Option<u64>,
    /// Entries it has room for; absent where time alone bounds it.
    pub capacity: Option<u64>,
    /// Entries that were overwritten by those of others; absent where that is not counted.
    pub evictions: Option<u64>,
}

/// One fact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookVitals {
    /// Its name.
    pub fact: &'static str,
    /// The way it is had; absent: it is not.
    pub way: Option<&'static str>,
}

/// This process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessVitals {
    /// CPU time, user and system, to the clock tick.
    pub cpu: Duration,
    /// Bytes of memory that are resident now. A ring buffer counts twice in it.
    pub resident: u64,
    /// The most that ever was resident since the process began, bytes (`VmHWM`).
    pub most_resident: u64,
    /// When it began, wall clock to the second; absent if the kernel's boot time cannot be read.
    pub started: Option<SystemTime>,
}

impl Vitals {
    /// What all programs together cost; absent unless the kernel counts that.
    pub fn program_cost(&self) -> Option<ProgramCost> {
        let mut costs = self.programs.iter().filter_map(|program| program.cost);
        let first = costs.next()?;
        Some(costs.fold(first, |sum, cost| ProgramCost {
            time: sum.time + cost.time,
            runs: sum.runs + cost.runs,
        }))
    }
}

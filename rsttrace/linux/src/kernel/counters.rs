//! Counters and cost of the eBPF programs.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use aya::programs::Program;
use rsttrace_common::counters;

use super::object::take_map;

/// Name of the map in the object.
const MAP: &str = "COUNTERS";

/// Sums over all CPUs since the start; see [`rsttrace_common::counters`] for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the names are the constants' names, documented there"
)]
pub struct Counters {
    pub sent_seen: u64,
    pub sent_suppressed: u64,
    pub sent_lost: u64,
    pub received_seen: u64,
    pub received_suppressed: u64,
    pub received_suppressed_alone: u64,
    pub received_lost: u64,
    pub packet_seen: u64,
    pub packet_suppressed: u64,
    pub packet_suppressed_alone: u64,
    pub packet_lost: u64,
    pub decided_anew: u64,
    pub failed_seen: u64,
    pub failed_suppressed: u64,
    pub failed_lost: u64,
    pub owner_evicted: u64,
    pub listener_lost: u64,
    pub tombstone_evicted: u64,
    pub baseline_evicted: u64,
    pub translation_evicted: u64,
    pub seeded: u64,
}

impl Counters {
    fn from_fn(mut get: impl FnMut(u32) -> Option<u64>) -> Option<Self> {
        Some(Self {
            // Two programs share the work where the tracepoint hides resets without a socket.
            sent_seen: get(counters::SENT_SEEN)? + get(counters::STATELESS_SEEN)?,
            sent_lost: get(counters::SENT_LOST)? + get(counters::STATELESS_LOST)?,
            sent_suppressed: get(counters::SENT_SUPPRESSED)? + get(counters::STATELESS_SUPPRESSED)?,
            received_seen: get(counters::RECEIVED_SEEN)?,
            received_lost: get(counters::RECEIVED_LOST)?,
            received_suppressed: get(counters::RECEIVED_SUPPRESSED)?,
            received_suppressed_alone: get(counters::RECEIVED_SUPPRESSED_ALONE)?,
            packet_seen: get(counters::PACKET_SEEN)?,
            packet_lost: get(counters::PACKET_LOST)?,
            packet_suppressed: get(counters::PACKET_SUPPRESSED)?,
            packet_suppressed_alone: get(counters::PACKET_SUPPRESSED_ALONE)?,
            decided_anew: get(counters::DECIDED_ANEW)?,
            failed_seen: get(counters::FAILED_SEEN)?,
            failed_suppressed: get(counters::FAILED_SUPPRESSED)?,
            failed_lost: get(counters::FAILED_LOST)?,
            owner_evicted: get(counters::OWNER_EVICTED)?,
            listener_lost: get(counters::LISTENER_LOST)?,
            tombstone_evicted: get(counters::TOMBSTONE_EVICTED)?,
            baseline_evicted: get(counters::BASELINE_EVICTED)?,
            translation_evicted: get(counters::TRANSLATION_EVICTED)?,
            seeded: get(counters::SEEDED)?,
        })
    }
}

/// Reads the counters; outlives the object it was taken from.
pub(super) struct CounterMap(PerCpuArray<MapData, [u64; counters::COUNT as usize]>);

impl CounterMap {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, String> {
        take_map(ebpf, MAP).map(Self)
    }

    /// `None` if the map cannot be read.
    pub(super) fn read(&self) -> Option<Counters> {
        let of_cpus = self.0.get(&0, 0).ok()?;
        Counters::from_fn(|index| {
            let index = usize::try_from(index).ok()?;
            of_cpus.iter().map(|counts| counts.get(index)).sum()
        })
    }
}

/// What the kernel knows of one program that is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramStats {
    /// Its name in the object.
    pub name: String,
    /// Instructions that the verifier went through, on all paths; it stops at a million. Absent before 5.16.
    pub verified_instructions: Option<u64>,
    /// Times the kernel skipped it because it was interrupted by itself: events that no counter saw. Absent before 5.12.
    pub missed: Option<u64>,
    /// Nanoseconds it ran; 0 unless `kernel.bpf_stats_enabled` is on.
    pub run_time_ns: u64,
    /// Times it ran; 0 unless `kernel.bpf_stats_enabled` is on.
    pub runs: u64,
}

/// One entry a program that is loaded, in the order of their names.
pub(super) fn programs(ebpf: &Ebpf) -> Vec<ProgramStats> {
    let mut all: Vec<_> = ebpf
        .programs()
        .filter_map(|(name, program)| program_stats(name, program.fd().ok()?.as_fd()))
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Runs that the kernel skipped, of all programs that it may skip: it does not skip classifiers.
pub(super) fn missed(ebpf: &Ebpf) -> u64 {
    ebpf.programs()
        .filter(|(_, program)| !matches!(program, Program::SchedClassifier(_)))
        .filter_map(|(name, program)| program_stats(name, program.fd().ok()?.as_fd())?.missed)
        .sum()
}

/// Of one program; `None` if /proc does not have it.
pub(super) fn program_stats(name: &str, program: BorrowedFd<'_>) -> Option<ProgramStats> {
    let file = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    let text = std::fs::read_to_string(file).ok()?;
    Some(parse_fdinfo(name, &text))
}

/// Lines are `key:<tab>value` (kernel/bpf/syscall.c, `bpf_prog_show_fdinfo`).
fn parse_fdinfo(name: &str, text: &str) -> ProgramStats {
    let value = |key: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(key)?
                .strip_prefix(':')?
                .trim()
                .parse()
                .ok()
        })
    };
    ProgramStats {
        name: name.to_owned(),
        verified_instructions: value("verified_insns"),
        missed: value("recursion_misses"),
        run_time_ns: value("run_time_ns").unwrap_or(0),
        runs: value("run_cnt").unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_a_field_of_its_own() {
        // A bit for each, so that sums show their parts.
        let counted = Counters::from_fn(|index| Some(1 << index)).unwrap_or_default();
        let bit = |counter: u32| 1_u64 << counter;
        assert_eq!(
            (counted.sent_seen, counted.sent_lost, counted.seeded),
            (
                bit(counters::SENT_SEEN) | bit(counters::STATELESS_SEEN),
                bit(counters::SENT_LOST) | bit(counters::STATELESS_LOST),
                bit(counters::SEEDED)
            )
        );
        let text = format!("{counted:?}");
        let values = text
            .split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|number| number.parse::<u64>().ok());
        assert_eq!(values.sum::<u64>(), bit(counters::COUNT) - 1, "{text}");
        assert_eq!(Counters::from_fn(|_| None), None);
    }

    #[test]
    fn program_statistics_come_from_fdinfo() {
        let text = "pos:\t0\nprog_type:\t26\nrun_time_ns:\t512\nrun_cnt:\t4\nrecursion_misses:\t3\nverified_insns:\t907\n";
        let expected = ProgramStats {
            name: "p".to_owned(),
            verified_instructions: Some(907),
            missed: Some(3),
            run_time_ns: 512,
            runs: 4,
        };
        assert_eq!(parse_fdinfo("p", text), expected);
        let old = parse_fdinfo("p", "pos:\t0\n");
        assert_eq!((old.missed, old.verified_instructions), (None, None));
    }
}

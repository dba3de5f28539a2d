//! BPF programs and maps of processes, from /proc.

use std::{collections::BTreeMap, fs};

/// By their numbers, so that what is held twice counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Programs.
    pub programs: BTreeMap<u32, Program>,
    /// Maps.
    pub maps: BTreeMap<u32, Map>,
}

/// A program that is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// 0 unless `kernel.bpf_stats_enabled` is on.
    pub run_time_ns: u64,
    /// Of its code.
    pub memory: u64,
}

/// A map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a value.
    pub value_size: u64,
    /// Bytes in all, as far as the kernel counts them.
    pub memory: u64,
}

/// `BPF_MAP_TYPE_SK_STORAGE` (include/uapi/linux/bpf.h).
pub const SOCKET_STORAGE: u32 = 24;

impl Held {
    /// Nanoseconds that programs ran since `before`.
    pub fn run_time_since(&self, before: &Self) -> u64 {
        let of = |held: &Self, id| {
            held.programs
                .get(id)
                .map_or(0, |program| program.run_time_ns)
        };
        self.programs
            .keys()
            .map(|id| of(self, id).saturating_sub(of(before, id)))
            .sum()
    }

    /// Takes one descriptor's text in.
    fn add(&mut self, text: &str) {
        let value = |key: &str| -> Option<u64> {
            text.lines().find_map(|line| {
                let value = line.strip_prefix(key)?.strip_prefix(':')?.trim();
                value.parse().ok()
            })
        };
        let number = |key: &str| value(key).and_then(|id| u32::try_from(id).ok());
        // A link names its program, too, but has no statistics of it.
        if let (Some(id), true) = (number("prog_id"), value("link_id").is_none()) {
            self.programs.insert(
                id,
                Program {
                    run_time_ns: value("run_time_ns").unwrap_or(0),
                    memory: value("memlock").unwrap_or(0),
                },
            );
        } else if let (Some(id), Some(kind)) = (number("map_id"), number("map_type")) {
            self.maps.insert(
                id,
                Map {
                    kind,
                    value_size: value("value_size").unwrap_or(0),
                    memory: value("memlock").unwrap_or(0),
                },
            );
        }
    }
}

/// Of these processes; of one that is gone, nothing.
pub fn held(processes: impl IntoIterator<Item = i32>) -> Held {
    let mut held = Held::default();
    for process in processes {
        let descriptors = fs::read_dir(format!("/proc/{process}/fdinfo"));
        for descriptor in descriptors.into_iter().flatten().flatten() {
            if let Ok(text) = fs::read_to_string(descriptor.path()) {
                held.add(&text);
            }
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "pos:\t0\nprog_type:\t3\nprog_jited:\t1\nmemlock:\t8192\nprog_id:\t77\nrun_time_ns:\t1500\nrun_cnt:\t3\n";

    #[test]
    fn programs_and_maps_are_told_from_links() {
        let mut held = Held::default();
        held.add(PROGRAM);
        held.add("pos:\t0\nlink_type:\ttcx\nlink_id:\t5\nprog_id:\t78\n");
        held.add(
            "pos:\t0\nmap_type:\t24\nkey_size:\t4\nvalue_size:\t40\nmap_id:\t9\nmemlock:\t512\n",
        );
        held.add("pos:\t0\nflags:\t02\n");
        assert_eq!(held.programs.len(), 1);
        assert_eq!(
            held.programs.get(&77).map(|program| program.memory),
            Some(8192)
        );
        let map = held.maps.get(&9).copied().unwrap_or_default();
        assert_eq!(
            (map.kind, map.value_size, map.memory),
            (SOCKET_STORAGE, 40, 512)
        );
    }

    #[test]
    fn run_time_is_a_difference() {
        let (mut before, mut after) = (Held::default(), Held::default());
        before.add(PROGRAM);
        after.add(PROGRAM);
        // Held by another descriptor as well.
        after.add(&PROGRAM.replace("1500", "2500"));
        assert_eq!(after.run_time_since(&before), 1000);
        assert_eq!(before.run_time_since(&after), 0);
    }
}

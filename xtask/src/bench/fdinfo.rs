//! BPF programs and maps of a process, from /proc.

use std::{collections::BTreeMap, fs};

/// By ID, so that an object with two descriptors counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub programs: BTreeMap<u64, Program>,
    pub maps: BTreeMap<u64, Map>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// 0 unless `kernel.bpf_stats_enabled` is on.
    pub run_time_ns: u64,
    /// Bytes.
    pub memory: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Map {
    pub kind: u64,
    /// Bytes.
    pub value_size: u64,
    /// Bytes, as far as the kernel counts them.
    pub memory: u64,
}

/// `BPF_MAP_TYPE_SK_STORAGE` (include/uapi/linux/bpf.h).
pub const SOCKET_STORAGE: u64 = 24;

/// Empty for a process that has ended.
pub fn held(process: u32) -> Held {
    let mut held = Held::default();
    let descriptors = fs::read_dir(format!("/proc/{process}/fdinfo"));
    for descriptor in descriptors.into_iter().flatten().flatten() {
        if let Ok(text) = fs::read_to_string(descriptor.path()) {
            held.add(&text);
        }
    }
    held
}

impl Held {
    /// Run time of the programs since `before`, in nanoseconds.
    pub fn run_time_since(&self, before: &Self) -> u64 {
        let programs = self.programs.iter().map(|(id, program)| {
            let before = before.programs.get(id).copied().unwrap_or_default();
            program.run_time_ns.saturating_sub(before.run_time_ns)
        });
        programs.sum()
    }

    fn add(&mut self, text: &str) {
        let value = |key: &str| -> Option<u64> {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(name, _)| *name == key)?.1.trim().parse().ok()
        };
        let number = |key: &str| value(key).unwrap_or(0);
        // A link names its program, but not its statistics.
        if let (Some(id), None) = (value("prog_id"), value("link_id")) {
            let program = Program {
                run_time_ns: number("run_time_ns"),
                memory: number("memlock"),
            };
            self.programs.insert(id, program);
        } else if let (Some(id), Some(kind)) = (value("map_id"), value("map_type")) {
            let map = Map {
                kind,
                value_size: number("value_size"),
                memory: number("memlock"),
            };
            self.maps.insert(id, map);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_maps_are_told_from_links_and_run_time_is_a_difference() {
        let program = "pos:\t0\nprog_type:\t3\nmemlock:\t8192\nprog_id:\t77\nrun_time_ns:\t1500\n";
        let mut before = Held::default();
        before.add(program);
        before.add("pos:\t0\nlink_type:\ttcx\nlink_id:\t5\nprog_id:\t78\n");
        before.add("map_type:\t24\nvalue_size:\t40\nmap_id:\t9\nmemlock:\t512\n");
        before.add("pos:\t0\nflags:\t02\n");
        assert_eq!(before.programs.len(), 1);
        assert_eq!(before.programs[&77].memory, 8192);
        let map = before.maps[&9];
        assert_eq!((map.kind, map.value_size, map.memory), (24, 40, 512));
        let mut after = before.clone();
        after.add(&program.replace("1500", "2500"));
        assert_eq!(after.run_time_since(&before), 1000);
        assert_eq!(before.run_time_since(&after), 0);
    }
}

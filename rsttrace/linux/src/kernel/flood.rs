//! Counts of resets that the eBPF programs suppressed.

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use rsttrace_common::flood::{BUCKETS, Bucket, CLASSES, REFUSALS, REFUSALS_EACH, hash_of};
use zerocopy::{FromBytes, IntoBytes};

use super::object::take_map;
use crate::flood::{Kind, Refused};

/// A bucket as whole words.
type Words = [u64; size_of::<Bucket>() / 8];

/// The maps of `rsttrace_common::flood`; outlives the object it was taken from.
pub struct FloodMaps {
    buckets: Array<MapData, Words>,
    refusals: PerCpuArray<MapData, [u64; REFUSALS_EACH as usize]>,
    classes: PerCpuArray<MapData, [u64; 2]>,
    /// What each bucket had refused when it was last read.
    read: Vec<u64>,
}

/// What was counted of a class since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassTotal {
    /// Below `rsttrace_common::flood::CLASSES`.
    pub class: u16,
    pub seen: u64,
    /// Those of them that were not described on purpose.
    pub suppressed: u64,
}

impl FloodMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, String> {
        Ok(Self {
            buckets: take_map(ebpf, "BUCKETS")?,
            refusals: take_map(ebpf, "REFUSALS")?,
            classes: take_map(ebpf, "CLASS_COUNTS")?,
            read: vec![0; REFUSALS as usize],
        })
    }

    /// What each bucket has refused since the start, in the order of their places; only those that have refused more since
    /// this was last asked. Costs a system call for each of them and some thirty more.
    pub fn refused(&mut self) -> Vec<Refused> {
        let mut all = Vec::new();
        for part in 0..REFUSALS.div_ceil(REFUSALS_EACH) {
            let Ok(of_cpus) = self.refusals.get(&part, 0) else {
                continue;
            };
            for place in part * REFUSALS_EACH..(part + 1) * REFUSALS_EACH {
                let at = (place % REFUSALS_EACH) as usize;
                let count: u64 = of_cpus.iter().filter_map(|counts| counts.get(at)).sum();
                let is_more = self
                    .read
                    .get(place as usize)
                    .is_some_and(|&before| count > before);
                if is_more && let Some(kind) = self.kind(place) {
                    if let Some(before) = self.read.get_mut(place as usize) {
                        *before = count;
                    }
                    all.push(Refused { place, kind, count });
                }
            }
        }
        all
    }

    fn kind(&self, place: u32) -> Option<Kind> {
        if place >= BUCKETS {
            return u16::try_from(place - BUCKETS).ok().map(Kind::Class);
        }
        let words = self.buckets.get(&place, 0).ok()?;
        let bucket = Bucket::read_from_bytes(words.as_bytes()).ok()?;
        // Two CPUs may have written it at once.
        Some(if hash_of(&bucket.key) == bucket.check {
            Kind::Bucket(bucket.key)
        } else {
            Kind::Unclear
        })
    }

    /// What was counted of each class since the start; those without a reset are left out. `None` if the map cannot be
    /// read.
    pub fn classes(&self) -> Option<Vec<ClassTotal>> {
        let mut totals = Vec::new();
        for class in 0..CLASSES {
            let counts = self.classes.get(&class, 0).ok()?;
            let sum = |which: usize| counts.iter().map(|count| count[which]).sum();
            let total = ClassTotal {
                class: u16::try_from(class).ok()?,
                seen: sum(0),
                suppressed: sum(1),
            };
            if total.seen > 0 {
                totals.push(total);
            }
        }
        Some(totals)
    }
}

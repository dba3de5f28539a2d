//! BPF ring buffer, shared by all CPUs (since 5.8).

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};

use super::super::object::take_map;
use super::{EventSource, PAGE, RING};

pub(super) struct Ring {
    ring: RingBuf<MapData>,
    capacity: u64,
}

impl Ring {
    /// `bytes`: as asked for; the loader has sized the map by it.
    pub(super) fn open(ebpf: &mut Ebpf, bytes: u32) -> Result<Self, String> {
        Ok(Self {
            ring: take_map(ebpf, RING)?,
            capacity: u64::from(bytes.max(PAGE as u32).next_power_of_two()),
        })
    }
}

impl EventSource for Ring {
    fn drain(&mut self, limit: usize, each: &mut dyn FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit
            && let Some(event) = self.ring.next()
        {
            each(&event);
            count += 1;
        }
        count
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.ring.as_fd()]
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }
}

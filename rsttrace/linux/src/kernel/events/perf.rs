//! Perf event array, one buffer per CPU.

use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, BorrowedFd};

use aya::Ebpf;
use aya::maps::perf::PerfEvent;
use aya::maps::{MapData, PerfEventArray, perf::PerfEventArrayBuffer};
use bytes::BytesMut;

use super::super::object::take_map;
use super::{EventSource, PAGE, PERF};

pub(super) struct Perf {
    buffers: Vec<PerfEventArrayBuffer<MapData>>,
    /// The CPU to begin with.
    next: usize,
    capacity: u64,
    /// For a sample that wraps around its buffer.
    scratch: BytesMut,
}

impl Perf {
    /// Registers buffers of `bytes` together for each online CPU: events sent earlier would be lost.
    pub(super) fn open(ebpf: &mut Ebpf, bytes: u32) -> Result<Self, String> {
        let mut array: PerfEventArray<_> = take_map(ebpf, PERF)?;
        let cpus = aya::util::online_cpus().map_err(|(path, error)| format!("{path}: {error}"))?;
        let pages = (bytes as usize / cpus.len().max(1) / PAGE)
            .max(1)
            .next_power_of_two();
        let buffers = cpus.into_iter().map(|cpu| {
            array
                .open(cpu, Some(pages))
                .map_err(|error| format!("perf buffer of CPU {cpu}: {error}"))
        });
        let buffers = buffers.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            next: 0,
            capacity: (buffers.len() * pages * PAGE) as u64,
            buffers,
            scratch: BytesMut::new(),
        })
    }
}

impl EventSource for Perf {
    fn drain(&mut self, limit: usize, each: &mut dyn FnMut(&[u8])) -> usize {
        let total = self.buffers.len().max(1);
        let mut count = 0;
        for step in 0..total {
            let Some(buffer) = self.buffers.get_mut((self.next + step) % total) else {
                break;
            };
            count = drain(buffer, count, limit, &mut self.scratch, each);
        }
        // Begin with another CPU next time, or the first would starve the others.
        self.next = (self.next + 1) % total;
        count
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.buffers.iter().map(|buffer| buffer.as_fd()).collect()
    }

    /// A perf buffer reports its data to epoll once, and registering uses that up.
    fn is_unreported(&self) -> bool {
        self.buffers.iter().any(PerfEventArrayBuffer::readable)
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }
}

fn drain(
    buffer: &mut PerfEventArrayBuffer<MapData>,
    already: usize,
    limit: usize,
    scratch: &mut BytesMut,
    each: &mut dyn FnMut(&[u8]),
) -> usize {
    if already >= limit {
        return already;
    }
    let end = buffer.try_fold(already, |count, event| {
        let (head, tail) = match event {
            // The probes noticed, and count them as lost.
            PerfEvent::Lost { .. } => return ControlFlow::Continue(count),
            PerfEvent::Sample { head, tail } => (head, tail),
        };
        let len = trimmed(head.len() + tail.len());
        if tail.is_empty() {
            each(head.get(..len).unwrap_or(head));
        } else {
            scratch.clear();
            scratch.extend_from_slice(head);
            scratch.extend_from_slice(tail);
            scratch.truncate(len);
            each(scratch);
        }
        if count + 1 >= limit {
            ControlFlow::Break(count + 1)
        } else {
            ControlFlow::Continue(count + 1)
        }
    });
    match end {
        ControlFlow::Break(count) | ControlFlow::Continue(count) => count,
    }
}

/// The kernel pads a sample so that it and its 4-byte length fill whole words of 8 bytes: our events, all of them
/// multiples of 8, come with 4 bytes too many (kernel/events/core.c, `perf_prepare_sample`).
fn trimmed(len: usize) -> usize {
    len & !7
}

#[cfg(test)]
mod tests {
    use rsttrace_common::lifecycle::Failed;
    use rsttrace_common::packet::RstPacket;
    use rsttrace_common::reset::{ResetReceived, ResetSent, ResetSentStateless};

    use super::*;

    #[test]
    fn a_perf_sample_is_cut_to_the_event() {
        for size in [
            size_of::<ResetSent>(),
            size_of::<ResetSentStateless>(),
            size_of::<ResetReceived>(),
            size_of::<RstPacket>(),
            size_of::<Failed>(),
        ] {
            let padded = (size + 4).next_multiple_of(8) - 4;
            assert_eq!(trimmed(padded), size);
        }
    }
}

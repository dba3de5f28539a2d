//! Event transport from the kernel: ring buffer or perf event array.
//!
//! Both transports hand out the same bytes. While nothing happens the reader is registered with epoll and nothing
//! wakes it. The first event wakes it; from then on it reads once in a batching delay, unregistered, so that a
//! storm costs one wake-up a delay and not one an event, until a read finds nothing.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::perf::PerfEvent;
use aya::maps::{MapData, PerfEventArray, RingBuf, perf::PerfEventArrayBuffer};
use bytes::BytesMut;
use tokio::time::Instant;

use super::sys;
use super::tracer::Options;
use crate::vitals::BufferVitals;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// BPF ring buffer, shared by all CPUs.
    #[default]
    Ring,
    /// Perf event array, one buffer a CPU.
    Perf,
}

/// Name of the ring buffer in the object.
pub(super) const RING: &str = "EVENTS";
/// A page, as far as sizes of buffers go: on machines with larger ones they get larger.
const PAGE: usize = 4096;
/// What the kernel puts before an event, bytes: in the ring 8, in a perf buffer 12; then whole words.
const HEADER: usize = 8;
/// Name of the perf event array in the object.
pub(super) const PERF: &str = "EVENTS_PERF";

/// Reads events, whichever transport carries them.
pub struct EventReader {
    buffers: Buffers,
    delay: Duration,
    state: State,
    lost: u64,
    capacity: u64,
    /// Bytes read since the buffers were last found empty, and the most there ever were.
    in_a_row: u64,
    most_in_a_row: u64,
    /// Where a sample that wraps around its buffer is put together.
    scratch: BytesMut,
}

enum Buffers {
    Ring(Box<RingBuf<MapData>>),
    Perf {
        buffers: Vec<PerfEventArrayBuffer<MapData>>,
        next: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The last read found nothing: wait for the kernel to wake us.
    Idle,
    /// Something came: read at this moment.
    Due(Instant),
    /// The last read was cut short by its limit: go on at once.
    More,
}

impl EventReader {
    /// Takes the transport's map out of `ebpf`. With `Perf`, buffers for each online CPU are registered here, before
    /// any program can send: events sent earlier would be lost.
    pub(super) fn new(ebpf: &mut Ebpf, options: &Options) -> Result<Self, String> {
        let (transport, delay) = (options.transport, options.batching_delay);
        let name = match transport {
            Transport::Ring => RING,
            Transport::Perf => PERF,
        };
        let map = ebpf
            .take_map(name)
            .ok_or_else(|| format!("the eBPF object has no map {name}"))?;
        let (buffers, capacity) = match transport {
            Transport::Ring => {
                let ring = RingBuf::try_from(map).map_err(|e| format!("map {name}: {e}"))?;
                let bytes = options.buffer_bytes.max(PAGE as u32).next_power_of_two();
                (Buffers::Ring(Box::new(ring)), u64::from(bytes))
            }
            Transport::Perf => {
                let (buffers, bytes) = open_perf(map, options.buffer_bytes as usize)?;
                (Buffers::Perf { buffers, next: 0 }, bytes as u64)
            }
        };
        Ok(Self {
            buffers,
            delay,
            state: State::Idle,
            lost: 0,
            capacity,
            in_a_row: 0,
            most_in_a_row: 0,
            scratch: BytesMut::new(),
        })
    }

    /// Waits for events and gives each to `each`, at most `limit` of them; the number given. Zero events never end the
    /// wait. Nothing is lost if the future is dropped while it waits. Events of one CPU come in order; across CPUs
    /// they may be out of order by as much as the batching delay. Must be called inside a tokio runtime with I/O and
    /// time enabled.
    pub async fn next(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> io::Result<usize> {
        loop {
            match self.state {
                State::Idle => {
                    self.buffers.wait().await?;
                    self.state = State::Due(Instant::now() + self.delay);
                }
                State::Due(when) => {
                    tokio::time::sleep_until(when).await;
                    self.state = State::More;
                }
                State::More => {
                    let count = self.drain(limit, &mut each);
                    self.state = match count {
                        0 => State::Idle,
                        count if count >= limit => State::More,
                        _ => State::Due(Instant::now() + self.delay),
                    };
                    if count > 0 {
                        return Ok(count);
                    }
                }
            }
        }
    }

    /// Gives what is there now, at most `limit` events, without waiting: for the last events at the end.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let Self {
            buffers,
            lost,
            scratch,
            ..
        } = self;
        let mut bytes = 0;
        let mut each = |event: &[u8]| {
            bytes += (event.len() + HEADER).next_multiple_of(8) as u64;
            each(event);
        };
        let count = match buffers {
            Buffers::Ring(ring) => {
                let mut count = 0;
                while count < limit
                    && let Some(event) = ring.next()
                {
                    each(&event);
                    count += 1;
                }
                count
            }
            Buffers::Perf { buffers, next } => {
                let total = buffers.len().max(1);
                let mut count = 0;
                for step in 0..total {
                    let Some(buffer) = buffers.get_mut((*next + step) % total) else {
                        break;
                    };
                    count = drain_perf(buffer, count, limit, lost, scratch, &mut each);
                }
                // Begin with another CPU next time, or the first would starve the others.
                *next = (*next + 1) % total;
                count
            }
        };
        self.in_a_row += bytes;
        self.most_in_a_row = self.most_in_a_row.max(self.in_a_row);
        if count < limit {
            self.in_a_row = 0;
        }
        count
    }

    /// How large the buffers are, and how full they were found. How much waits at this moment only the kernel knows: the
    /// positions that tell lie in memory that aya maps and keeps to itself.
    pub fn vitals(&self) -> BufferVitals {
        BufferVitals {
            capacity: self.capacity,
            most_read: self.most_in_a_row.min(self.capacity),
        }
    }

    /// Events that a perf buffer had no room for. The probes count the same events as lost where they noticed, so
    /// this is not to be added to their counters. Always 0 with the ring.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Buffers {
    /// Until the kernel has something in any buffer. Registered for the time of the wait only; registering reports
    /// what is there already, so nothing falls between a read and this wait.
    async fn wait(&self) -> io::Result<()> {
        match self {
            Self::Ring(ring) => sys::watch(ring.as_fd())?.readable().await.map(drop),
            Self::Perf { buffers, .. } => {
                let registered = buffers
                    .iter()
                    .map(|buffer| sys::watch(buffer.as_fd()))
                    .collect::<io::Result<Vec<_>>>()?;
                // A perf buffer tells epoll of its data once, and being registered uses that up.
                if buffers.iter().any(PerfEventArrayBuffer::readable) {
                    return Ok(());
                }
                let mut waits: Vec<_> = registered
                    .iter()
                    .map(|fd| Box::pin(fd.readable()))
                    .collect();
                std::future::poll_fn(|context| {
                    for wait in &mut waits {
                        if let std::task::Poll::Ready(result) = wait.as_mut().poll(context) {
                            return std::task::Poll::Ready(result.map(drop));
                        }
                    }
                    std::task::Poll::Pending
                })
                .await
            }
        }
    }
}

fn open_perf(
    map: aya::maps::Map,
    bytes: usize,
) -> Result<(Vec<PerfEventArrayBuffer<MapData>>, usize), String> {
    let mut array = PerfEventArray::try_from(map).map_err(|e| format!("map {PERF}: {e}"))?;
    let cpus = aya::util::online_cpus().map_err(|(path, e)| format!("{path}: {e}"))?;
    let pages = (bytes / cpus.len().max(1) / PAGE)
        .max(1)
        .next_power_of_two();
    let buffers = cpus.into_iter().map(|cpu| {
        array
            .open(cpu, Some(pages))
            .map_err(|e| format!("perf buffer of CPU {cpu}: {e}"))
    });
    let buffers = buffers.collect::<Result<Vec<_>, _>>()?;
    let bytes = buffers.len() * pages * PAGE;
    Ok((buffers, bytes))
}

fn drain_perf(
    buffer: &mut PerfEventArrayBuffer<MapData>,
    already: usize,
    limit: usize,
    lost: &mut u64,
    scratch: &mut BytesMut,
    each: &mut impl FnMut(&[u8]),
) -> usize {
    if already >= limit {
        return already;
    }
    let end = buffer.try_fold(already, |count, event| {
        match event {
            PerfEvent::Lost { count: more } => *lost += more,
            PerfEvent::Sample { head, tail } => {
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
                let count = count + 1;
                return if count >= limit {
                    ControlFlow::Break(count)
                } else {
                    ControlFlow::Continue(count)
                };
            }
        }
        ControlFlow::Continue(count)
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
    use super::*;
    use rsttrace_common::lifecycle::TimedOut;
    use rsttrace_common::packet::RstPacket;
    use rsttrace_common::reset::{ResetReceived, ResetSent, ResetSentStateless};

    #[test]
    fn a_perf_sample_is_cut_to_the_event() {
        for size in [
            size_of::<ResetSent>(),
            size_of::<ResetSentStateless>(),
            size_of::<ResetReceived>(),
            size_of::<RstPacket>(),
            size_of::<TimedOut>(),
        ] {
            let padded = (size + 4).next_multiple_of(8) - 4;
            assert_eq!(trimmed(padded), size);
        }
    }
}

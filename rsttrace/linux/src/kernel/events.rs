//! Event transport from the kernel: ring buffer or perf event array.
//!
//! Both transports hand out the same bytes. While nothing happens the reader is registered with epoll and nothing
//! wakes it. The first event wakes it; from then on it reads once in a batching delay, unregistered, so that a
//! storm costs one wake-up a delay and not one an event, until a read finds nothing.

mod perf;
mod ring;

use std::future::poll_fn;
use std::io;
use std::os::fd::BorrowedFd;
use std::task::Poll;
use std::time::Duration;

use aya::Ebpf;
use tokio::time::Instant;

use self::perf::Perf;
use self::ring::Ring;
use super::sys;
use super::tracer::Options;
use crate::self_stats::BufferVitals;

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
/// Name of the perf event array in the object.
pub(super) const PERF: &str = "EVENTS_PERF";
/// A page, as far as sizes of buffers go: on machines with larger ones they get larger.
const PAGE: usize = 4096;
/// What the kernel puts before an event, bytes: in the ring 8, in a perf buffer 12; then whole words.
const HEADER: usize = 8;

/// A transport's end in user space.
trait EventSource: Send {
    /// Gives what is there now, at most `limit` events, without waiting; the number given.
    fn drain(&mut self, limit: usize, each: &mut dyn FnMut(&[u8])) -> usize;

    /// What becomes readable when there is something.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// Whether there is something that a descriptor registered with epoll does not report any more.
    fn is_unreported(&self) -> bool {
        false
    }

    /// Bytes that fit, all buffers together.
    fn capacity(&self) -> u64;
}

/// Reads events, whichever transport carries them.
pub struct EventReader {
    source: Box<dyn EventSource>,
    delay: Duration,
    state: State,
    /// Bytes read since the buffers were last found empty, and the most there ever were.
    in_a_row: u64,
    most_in_a_row: u64,
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
    /// Takes the transport's map out of `ebpf`, before any program can send.
    pub(super) fn new(ebpf: &mut Ebpf, options: &Options) -> Result<Self, String> {
        let bytes = options.buffer_bytes;
        let source: Box<dyn EventSource> = match options.transport {
            Transport::Ring => Box::new(Ring::open(ebpf, bytes)?),
            Transport::Perf => Box::new(Perf::open(ebpf, bytes)?),
        };
        Ok(Self {
            source,
            delay: options.batching_delay,
            state: State::Idle,
            in_a_row: 0,
            most_in_a_row: 0,
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
                    wait(&*self.source).await?;
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
        let mut bytes = 0;
        let count = self.source.drain(limit, &mut |event| {
            bytes += (event.len() + HEADER).next_multiple_of(8) as u64;
            each(event);
        });
        self.in_a_row += bytes;
        self.most_in_a_row = self.most_in_a_row.max(self.in_a_row);
        if count < limit {
            self.in_a_row = 0;
        }
        count
    }

    /// How large the buffers are, and how full they were found. How much waits now is known to the kernel only: aya keeps
    /// the mapping with the positions private.
    pub fn vitals(&self) -> BufferVitals {
        let capacity = self.source.capacity();
        BufferVitals {
            capacity,
            most_read: self.most_in_a_row.min(capacity),
        }
    }
}

/// Until the kernel has something in any buffer. Registered for the time of the wait only; registering reports
/// what is there already, so nothing falls between a read and this wait.
async fn wait(source: &dyn EventSource) -> io::Result<()> {
    let registered = source
        .descriptors()
        .into_iter()
        .map(sys::watch)
        .collect::<io::Result<Vec<_>>>()?;
    if source.is_unreported() {
        return Ok(());
    }
    let mut waits: Vec<_> = registered
        .iter()
        .map(|fd| Box::pin(fd.readable()))
        .collect();
    poll_fn(|context| {
        for wait in &mut waits {
            if let Poll::Ready(result) = wait.as_mut().poll(context) {
                return Poll::Ready(result.map(drop));
            }
        }
        Poll::Pending
    })
    .await
}

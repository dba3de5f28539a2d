//! Notifications of threads that enter network namespaces (perf events).
//!
//! `PERF_RECORD_NAMESPACES`: written when a thread is created, and when it calls unshare(2) or setns(2) (`perf_event_fork`,
//! `perf_event_namespaces`, kernel/events/core.c). There is no filter, so every fork is reported, which costs it some
//! microseconds: do not keep it open while there are many forks.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

use perf_event::events::Software;
use perf_event::{Builder, Sampler};

use super::netns::Inode;

/// `PERF_RECORD_NAMESPACES` (include/uapi/linux/perf_event.h).
const NAMESPACES: u32 = 16;
/// Rounded up to a page, which holds some 30 records: what does not fit is as good as many.
const BUFFER: usize = 4096;

/// Records of all CPUs that were online when it was opened, until it is dropped.
pub(super) struct Movements {
    online: Vec<u32>,
    cpus: Vec<Sampler>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Threads that were made or moved.
    pub movements: usize,
    /// One of them is in a namespace that is not known.
    pub is_new: bool,
    /// There were more than the buffers could hold.
    pub is_cut: bool,
}

impl Movements {
    /// Opens a buffer on each CPU that is online; needs CAP_PERFMON.
    pub(super) fn open() -> io::Result<Self> {
        let online = aya::util::online_cpus().map_err(|(_, error)| error)?;
        let cpus = online.iter().map(|&cpu| {
            let mut builder = Builder::new(Software::DUMMY);
            // The kernel looks for listeners of a whole CPU among those only that ask for another of these kinds of
            // record (`is_sb_event`); this one stands for none by itself.
            builder.namespaces(true).comm_exec(true);
            builder.any_pid().one_cpu(cpu as usize).wakeup_watermark(1);
            builder.enabled(true).build()?.sampled(BUFFER)
        });
        let cpus = cpus.collect::<io::Result<_>>()?;
        Ok(Self { online, cpus })
    }

    /// Whether CPUs came or went since.
    pub(super) fn is_outdated(&self) -> bool {
        aya::util::online_cpus().is_ok_and(|online| online != self.online)
    }

    /// Ready to be read once something moves.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.cpus.iter().map(|cpu| cpu.as_raw_fd())
    }

    /// Takes what is there. Movements of this process itself do not count.
    pub(super) fn read(&mut self, is_known: impl Fn(Inode) -> bool) -> Seen {
        let own = std::process::id();
        let mut seen = Seen::default();
        for cpu in &mut self.cpus {
            while let Some(record) = cpu.next_record() {
                let moved = (record.ty() == NAMESPACES)
                    .then(|| moved(&record.to_contiguous()))
                    .flatten();
                match moved {
                    Some((process, _)) if process == own => {}
                    Some((_, namespace)) => {
                        seen.movements += 1;
                        seen.is_new |= !is_known(namespace);
                    }
                    // `PERF_RECORD_LOST`
                    None => seen.is_cut = true,
                }
            }
        }
        seen
    }
}

/// Process and network namespace of a record: two ids, a count, and for each kind of namespace device and inode,
/// the network's (`NET_NS_INDEX`) first.
fn moved(record: &[u8]) -> Option<(u32, Inode)> {
    let inode: [u8; 8] = record.get(24..32)?.try_into().ok()?;
    let process = u32::from_ne_bytes(*record.first_chunk()?);
    Some((process, u64::from_ne_bytes(inode) as Inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_process_and_namespace() {
        let mut record = Vec::new();
        record.extend_from_slice(&412u32.to_ne_bytes());
        record.extend_from_slice(&413u32.to_ne_bytes());
        for word in [7, 4, 4_026_531_840, 4, 4_026_531_838u64] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        assert_eq!(moved(&record), Some((412, 4_026_531_840)));
        for len in 0..32 {
            assert_eq!(moved(&record[..len]), None, "{len}");
        }
    }
}

//! Accept queues and connection tracking tables that are full, so that handshakes are dropped.
//!
//! No hook of the kernel reports that without a cost for each packet, so the counters are read every [`INTERVAL`]: `ListenOverflows` of
//! each namespace and, where it has grown, the drops of its listeners (`tcp_listendrop()`,
//! <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp.h>); `drop` of connection tracking.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::debug;
use nix::sched::{CloneFlags, setns};

use super::net_counters::{dropped_by_tracking, tracking};
use super::socket_holder::{Holder, find_at_leisure};
use super::sockets::listeners_of_this_namespace;
use crate::event::{FullQueue, FullTable, NetnsCookie};
use crate::sockets::AcceptQueue;
use crate::sys::clock;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(10);
/// Records that wait for the event loop.
const MOST: usize = 256;

/// What was full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Full {
    /// And who listens.
    Queue(FullQueue, Holder),
    Table(FullTable),
}

/// A network namespace to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub netns: NetnsCookie,
    pub inode: u32,
    /// A file that leads there; absent for the namespace of this process.
    pub path: Option<PathBuf>,
}

/// The thread that looks; it ends with this.
#[derive(Debug)]
pub struct FullTables {
    found: tokio::sync::mpsc::Receiver<Full>,
    thread: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl FullTables {
    /// Starts the thread. `places` is asked before each look.
    pub fn start(places: impl Fn() -> Vec<Place> + Send + 'static) -> io::Result<Self> {
        let (report, found) = tokio::sync::mpsc::channel(MOST);
        let (stop, stopped) = mpsc::channel();
        let work = move || {
            let mut looker = Looker::new();
            let mut goes_on = true;
            while goes_on {
                for full in looker.look(&places()) {
                    // The loop is behind: the next look says so again if it goes on.
                    let _ = report.try_send(full);
                }
                let left = INTERVAL.saturating_sub(looker.last.elapsed());
                goes_on = stopped.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout);
            }
            for full in looker.look(&places()) {
                let _ = report.try_send(full);
            }
        };
        let thread = std::thread::Builder::new()
            .name("rsttrace-queues".to_owned())
            .spawn(work)?;
        Ok(Self {
            found,
            thread: Some((stop, thread)),
        })
    }

    /// The next queue that was full; absent once the thread has ended. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Full> {
        self.found.recv().await
    }

    /// Looks once more, and gives what has not been taken.
    pub fn finish(mut self) -> Vec<Full> {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            if thread.join().is_err() {
                debug!("the thread that reads accept queues has panicked");
            }
        }
        std::iter::from_fn(|| self.found.try_recv().ok()).collect()
    }
}

/// What was read of a namespace the last time.
#[derive(Debug, Default)]
struct Counters {
    /// Packets that connection tracking dropped.
    untracked: u64,
    /// `ListenOverflows`.
    overflows: u64,
    /// Drops of listeners by inode of the socket; those without any are left out.
    drops: HashMap<u64, u32>,
}

struct Looker {
    home: io::Result<File>,
    known: HashMap<u32, Counters>,
    last: Instant,
    is_first: bool,
}

impl Looker {
    fn new() -> Self {
        Self {
            home: File::open("/proc/thread-self/ns/net"),
            known: HashMap::new(),
            last: Instant::now(),
            is_first: true,
        }
    }

    fn look(&mut self, places: &[Place]) -> Vec<Full> {
        let within = self.last.elapsed();
        self.last = Instant::now();
        let mut found = Vec::new();
        for place in places {
            match self.visit(place, within) {
                Ok(full) => found.extend(full),
                Err(error) => debug!(
                    "cannot read the accept queues of network namespace {}: {error}",
                    place.inode
                ),
            }
        }
        let there: HashSet<u32> = places.iter().map(|place| place.inode).collect();
        self.known.retain(|inode, _| there.contains(inode));
        // At the start, the namespaces may not be known yet.
        self.is_first &= places.is_empty();
        found
    }

    fn visit(&mut self, place: &Place, within: Duration) -> io::Result<Vec<Full>> {
        let Some(path) = &place.path else {
            return self.read(place, within);
        };
        let there = File::open(path)?;
        if there.metadata()?.ino() != u64::from(place.inode) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let home = match &self.home {
            Ok(home) => home.try_clone()?,
            Err(error) => return Err(error.kind().into()),
        };
        setns(there, CloneFlags::CLONE_NEWNET)?;
        let full = self.read(place, within);
        setns(home, CloneFlags::CLONE_NEWNET)?;
        full
    }

    /// In the namespace that this thread is in.
    fn read(&mut self, place: &Place, within: Duration) -> io::Result<Vec<Full>> {
        let text = fs::read_to_string("/proc/thread-self/net/netstat")?;
        let overflows = counter(&text, "ListenOverflows").unwrap_or(0);
        let untracked = dropped_by_tracking().unwrap_or(0);
        let known = self.known.entry(place.inode).or_default();
        let more = untracked.saturating_sub(known.untracked);
        known.untracked = untracked;
        let has_overflowed = known.overflows != overflows;
        let time = clock::boottime()?;
        let mut full = Vec::new();
        if more > 0
            && let Some(tracking) = tracking()
        {
            full.push(Full::Table(FullTable {
                time,
                netns_inode: (place.inode != 0).then_some(place.inode),
                entries: tracking.entries,
                limit: tracking.most,
                dropped: more,
                within,
            }));
        }
        if has_overflowed {
            known.overflows = overflows;
            let listeners = listeners_of_this_namespace()?;
            let dropped = |queue: AcceptQueue| queue.dropped.filter(|dropped| *dropped > 0);
            let drops = listeners
                .iter()
                .filter_map(|(_, inode, queue)| Some((*inode, dropped(*queue)?)))
                .collect();
            let before = std::mem::replace(&mut known.drops, drops);
            full.extend(listeners.into_iter().filter_map(|(local, inode, queue)| {
                let before = before.get(&inode).copied().unwrap_or(0);
                let dropped = dropped(queue)?.wrapping_sub(before);
                (dropped > 0).then(|| {
                    let queue = FullQueue {
                        time,
                        netns: place.netns,
                        local,
                        length: queue.length,
                        limit: queue.limit,
                        dropped,
                        within,
                    };
                    Full::Queue(queue, find_at_leisure(inode))
                })
            }));
        }
        // What had been dropped before the start is nothing new.
        if self.is_first {
            full.clear();
        }
        Ok(full)
    }
}

/// A counter in the text of `/proc/net/netstat`: a line of names, then a line of values, for each group.
pub(super) fn counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let place = names.split_whitespace().position(|it| it == name);
        if let Some(place) = place {
            return values.split_whitespace().nth(place)?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name_in_any_group() {
        let text =
            "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 1 22\nIpExt: InNoRoutes\nIpExt: 3\n";
        assert_eq!(counter(text, "ListenOverflows"), Some(22));
        assert_eq!(counter(text, "InNoRoutes"), Some(3));
        assert_eq!(counter(text, "Nothing"), None);
        assert_eq!(counter("TcpExt: A\nTcpExt:", "A"), None);
    }

    #[test]
    fn this_namespace_can_be_read_and_nothing_is_found_at_first() {
        let mut looker = Looker::new();
        let here = Place {
            netns: NetnsCookie(1),
            inode: 1,
            path: None,
        };
        assert_eq!(looker.look(std::slice::from_ref(&here)), []);
        assert!(looker.known.contains_key(&1));
        // The file leads to another namespace.
        let elsewhere = Place {
            path: Some(PathBuf::from("/proc/self/ns/net")),
            ..here
        };
        assert_eq!(looker.look(&[elsewhere]), []);
    }
}

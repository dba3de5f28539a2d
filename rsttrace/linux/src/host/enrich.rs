//! Adds host facts (processes, names, settings) to an event.
//!
//! Cost: an event that names no process reads nothing; one that does reads `/proc` once for each process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::event_tasks::{acceptor, named, question};
use super::network::{Handshakes, Network};
use super::process::{Living, Processes};
use super::program_timers::TimerReader;
use super::settings::{self, KnownSettings};
use super::socket_holder::{Forkers, Holder as Found, Search, SocketHolders};
use crate::event::{
    Attempt, Body, BootTime, Event, FullQueue, Holder, HostContext, NetFact, NetFinding,
    NetSettings, NetnsCookie, OwnerNow, ProgramTimers, Task,
};
use crate::hash::{self, LruCache};
use crate::record::Word;
use crate::self_stats::TableVitals;

/// Names within network namespaces, as the kernel edge keeps them.
pub trait NetnsNames {
    /// Inode number of a namespace (`/proc/PID/ns/net`); absent if it was never seen.
    fn inode(&self, netns: NetnsCookie) -> Option<u32>;
    /// Name of an interface; absent if it was never seen or has gone.
    fn interface(&self, netns: NetnsCookie, ifindex: u32) -> Option<String>;
    /// A file that leads to a namespace and the inode it must have; absent if it was never seen or has ended.
    fn way(&self, netns: NetnsCookie) -> Option<(PathBuf, u32)>;
}

/// Knows no names.
impl NetnsNames for () {
    fn inode(&self, _: NetnsCookie) -> Option<u32> {
        None
    }

    fn interface(&self, _: NetnsCookie, _: u32) -> Option<String> {
        None
    }

    fn way(&self, _: NetnsCookie) -> Option<(PathBuf, u32)> {
        None
    }
}

impl<T: NetnsNames + ?Sized> NetnsNames for Arc<T> {
    fn inode(&self, netns: NetnsCookie) -> Option<u32> {
        (**self).inode(netns)
    }

    fn interface(&self, netns: NetnsCookie, ifindex: u32) -> Option<String> {
        (**self).interface(netns, ifindex)
    }

    fn way(&self, netns: NetnsCookie) -> Option<(PathBuf, u32)> {
        (**self).way(netns)
    }
}

/// Finds out the facts for events.
#[derive(Debug)]
pub struct Enricher<N> {
    names: N,
    own_netns: Option<NetnsCookie>,
    settings: KnownSettings,
    processes: Processes,
    timers: TimerReader,
    living: Living,
    holders: SocketHolders,
    forkers: Forkers,
    /// By namespace and index: the name, and when it was asked for.
    interfaces: LruCache<(NetnsCookie, u32), (Word, BootTime)>,
    network: Network,
}

impl<N: NetnsNames> Enricher<N> {
    /// An enricher for a daemon in the namespace `own_netns` (absent: not known).
    pub fn new(names: N, own_netns: Option<NetnsCookie>) -> Self {
        let own_netns = own_netns.filter(|&cookie| cookie != NetnsCookie(0));
        Self {
            names,
            own_netns,
            network: Network::new(own_netns),
            settings: KnownSettings::default(),
            processes: Processes::default(),
            timers: TimerReader::default(),
            living: Living::default(),
            holders: SocketHolders::default(),
            forkers: Forkers::default(),
            interfaces: hash::lru(INTERFACES),
        }
    }

    /// Gives it the kernel side's memory of handshakes.
    pub fn remember(&mut self, handshakes: Box<dyn Handshakes>) {
        self.network.remember(handshakes);
    }

    /// What the verdict on an event needs of the network around it, mostly nothing. Processes found on the way join its facts.
    pub fn network(&mut self, event: &Event, facts: &mut HostContext) -> Vec<NetFinding> {
        let mut found = self.network.around(event, &self.names);
        if let Body::Sent(sent) = &event.body
            && let Some(own) = self.network.own_syn(event, &self.names)
        {
            let holder = own.inode.and_then(|inode| {
                let search = Search::Everyone(None);
                match self.holders.find(inode, search, event.time) {
                    Found::One(task) => Some((task, false)),
                    Found::Eldest(task) => Some((task, true)),
                    Found::Several | Found::Nobody | Found::NotAsked => None,
                }
            });
            if let Some((task, _)) = &holder {
                facts
                    .processes
                    .extend(self.processes.describe(task, event.time));
            }
            found.push(NetFinding {
                netns: event.netns,
                flow: sent.flow,
                fact: NetFact::Attempt(Attempt {
                    to: own.to,
                    sent: own.sent,
                    holder: holder.map(|(task, shares)| Holder { task, shares }),
                }),
            });
        }
        found
    }

    /// What is known now. To be asked as soon as the event arrives: processes go.
    pub fn facts(&mut self, event: &Event) -> HostContext {
        let (owner, holder) = self.whereabouts(event);
        let mut facts = HostContext {
            processes: SmallVec::new(),
            netns_inode: event.netns_inode.or_else(|| self.names.inode(event.netns)),
            interface: match &event.body {
                Body::Packet(packet) => self.interface(event, packet.ifindex),
                Body::Received(received) => received
                    .segment
                    .filter(|segment| segment.ifindex != 0)
                    .and_then(|segment| self.interface(event, segment.ifindex)),
                Body::Sent(_) | Body::Failed(_) => None,
            },
            settings: self.settings(event.netns, event.time),
            owner,
            holder: None,
        };
        let named = named(&event.body);
        let tasks = named
            .iter()
            .flatten()
            .copied()
            .filter(|task| !task.outside)
            .chain(holder.as_ref().map(|holder| &holder.task));
        for (index, task) in tasks.clone().enumerate() {
            let same_pid = |other: &&Task| other.pid == task.pid;
            // A description goes by its pid: where an event names two that had the same one, neither is described.
            let reused = tasks
                .clone()
                .filter(same_pid)
                .any(|other| !is_same_process(task, other));
            if !reused && !tasks.clone().take(index).any(|other| same_pid(&other)) {
                let described = self.processes.describe(task, event.time);
                if let Some(process) = &described {
                    self.timers.ask(task, process);
                }
                facts.processes.extend(described);
            }
        }
        facts.holder = holder;
        facts
    }

    /// What is known about a listener and its holder.
    pub fn listener(&mut self, queue: &FullQueue, found: Found) -> HostContext {
        let holder = match found {
            Found::One(task) => Some((task, false)),
            Found::Eldest(task) => Some((task, true)),
            Found::Several | Found::Nobody | Found::NotAsked => None,
        };
        let holder = holder.map(|(task, shares)| Holder { task, shares });
        let described = holder
            .as_ref()
            .and_then(|holder| self.processes.describe(&holder.task, queue.time));
        HostContext {
            processes: described.into_iter().collect(),
            holder,
            netns_inode: self.names.inode(queue.netns),
            ..HostContext::default()
        }
    }

    /// Idle timers of a process that was named, as its configuration sets them; each process once.
    pub fn timers(&mut self) -> Option<ProgramTimers> {
        self.timers.poll()
    }

    /// Name of an interface; a name that is known is not asked for again for a moment.
    fn interface(&mut self, event: &Event, ifindex: u32) -> Option<Word> {
        let key = (event.netns, ifindex);
        if let Some((name, asked)) = self.interfaces.get(&key)
            && event.time.since(*asked) < NAMED_FOR
        {
            return Some(name.clone());
        }
        let name = Word::from(self.names.interface(event.netns, ifindex)?);
        self.interfaces.put(key, (name.clone(), event.time));
        Some(name)
    }

    /// The current state of the recorded owner, and other holders of the socket.
    fn whereabouts(&mut self, event: &Event) -> (OwnerNow, Option<Holder>) {
        let living = &mut self.living;
        let mut owner = OwnerNow::Lives;
        let asked = question(&event.body, |task| {
            let lives = living.has(task, event.time);
            if !lives {
                owner = OwnerNow::Gone;
            }
            lives
        });
        let Some((inode, search)) = asked else {
            return (owner, None);
        };
        let confirmed = match search {
            Search::Confirm(pid) => Some(pid),
            Search::Family(_) | Search::Everyone(_) => None,
        };
        let found = match self.holders.find(inode, search, event.time) {
            Found::One(task) if confirmed == Some(task.pid) => None,
            Found::One(task) => Some((task, false)),
            Found::Eldest(task) => Some((task, true)),
            Found::Several => {
                if confirmed.is_some() {
                    owner = OwnerNow::HandedOn;
                }
                None
            }
            Found::Nobody | Found::NotAsked => {
                if confirmed.is_some()
                    && acceptor(&event.body).is_some_and(|task| self.forkers.has(task, event.time))
                {
                    owner = OwnerNow::MayHaveHandedOn;
                }
                None
            }
        };
        (owner, found.map(|(task, shares)| Holder { task, shares }))
    }

    /// What the namespace is set to: its own are read in place, others' by a thread that goes there.
    fn settings(&mut self, netns: NetnsCookie, now: BootTime) -> Option<Arc<NetSettings>> {
        let (names, own) = (&self.names, self.own_netns);
        self.settings.get(netns, now, || {
            if own == Some(netns) {
                return Some(settings::of_this_namespace());
            }
            let (path, inode) = names.way(netns)?;
            settings::of_namespace(&path, Some(inode)).ok()
        })
    }

    /// Inode number of a namespace; absent if it was never seen.
    pub fn inode(&self, netns: NetnsCookie) -> Option<u32> {
        self.names.inode(netns)
    }

    /// How full the tables are.
    pub fn tables(&self) -> [TableVitals; 1] {
        [TableVitals {
            name: "processes",
            entries: Some(self.processes.entries() as u64),
            capacity: Some(Processes::CAPACITY as u64),
            evictions: None,
        }]
    }

    /// Questions about the network skipped because of the rate limit.
    pub fn network_not_asked(&self) -> u64 {
        self.network.not_asked()
    }

    /// Lookups of socket holders skipped because of the rate or the time limit.
    pub fn holders_not_asked(&self) -> u64 {
        self.holders.not_asked()
    }
}

/// Names of interfaces kept.
const INTERFACES: usize = 4096;
/// An interface that was renamed since is called so for this long.
const NAMED_FOR: Duration = Duration::from_millis(100);

/// Starts of a holder are exact to a clock tick only.
fn is_same_process(one: &Task, other: &Task) -> bool {
    const TICKS_NS: u64 = 20_000_000;
    one.pid == other.pid && one.start.0.abs_diff(other.start.0) <= TICKS_NS
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use super::super::event_tasks::tests::{event, owned_by, socket};
    use super::super::process::tests::{task_of, unless_lent};
    use super::*;
    use crate::event::{
        BootTime, Closer, CurrentTask, Flow, Received, Segment, TcpFlags, TcpState, Tombstone,
    };

    struct Names;

    impl NetnsNames for Names {
        fn inode(&self, netns: NetnsCookie) -> Option<u32> {
            (netns == NetnsCookie(7)).then_some(4026531840)
        }

        fn interface(&self, _: NetnsCookie, ifindex: u32) -> Option<String> {
            Some(format!("eth{ifindex}"))
        }

        fn way(&self, _: NetnsCookie) -> Option<(PathBuf, u32)> {
            Some((PathBuf::from("/proc/self/ns/net"), 1))
        }
    }

    #[test]
    fn settings_are_those_of_the_events_namespace_or_absent() {
        let mut enricher = Enricher::new(Names, Some(NetnsCookie(7)));
        let ours = enricher.facts(&event(7, |_| {}));
        assert!(ours.settings.is_some_and(|it| it.keepalive.is_some()));
        assert_eq!(ours.netns_inode, Some(4026531840));
        // The way leads to a namespace of another inode by now.
        let other = enricher.facts(&event(8, |_| {}));
        assert_eq!((other.settings, other.netns_inode), (None, None));
        // Neither side known is not the same namespace.
        assert_eq!(
            Enricher::new((), Some(NetnsCookie(0))).facts(&event(0, |_| {})),
            HostContext::default()
        );
    }

    #[test]
    fn an_accepted_segment_has_its_interface() {
        // (the segment's interface index, the interface)
        let cases = [(None, None), (Some(0), None), (Some(3), Some("eth3"))];
        for (ifindex, interface) in cases {
            let mut event = event(7, |_| {});
            let end = std::net::SocketAddr::from(([10, 0, 0, 1], 80));
            event.body = Body::Received(Arc::new(Received {
                flow: Flow {
                    local: end,
                    remote: end,
                },
                socket: socket(0),
                ownership: None,
                segment: ifindex.map(|ifindex| Segment {
                    seq: 1,
                    ack: 0,
                    payload_len: 0,
                    window: 0,
                    ip_id: None,
                    flags: TcpFlags(TcpFlags::RST),
                    ttl: 64,
                    ifindex,
                }),
            }));
            let facts = Enricher::new(Names, None).facts(&event);
            assert_eq!(facts.interface.as_deref(), interface);
        }
    }

    #[test]
    fn a_former_owner_is_described_once_and_a_bystander_never() {
        let us = task_of(std::process::id());
        let tombstone = Tombstone {
            ownership: owned_by(Some(us.clone()), false),
            died: BootTime(1),
            cookie: None,
            error: 0,
            unread: 0,
            last_state: TcpState::Established,
            fin_sent: true,
        };
        let mut enricher = Enricher::new((), None);
        let facts = enricher.facts(&event(0, |sent| {
            sent.former_connection = Some(Box::new(tombstone.clone()));
            sent.former_listener = Some(Box::new(tombstone));
        }));
        assert_eq!(facts.processes.len(), 1);
        let facts = enricher.facts(&event(0, |sent| {
            sent.current = Some(CurrentTask {
                task: us,
                exiting: false,
                kernel_thread: false,
                signal: None,
            });
        }));
        assert_eq!(facts, HostContext::default());
    }

    #[test]
    fn two_processes_of_one_pid_are_not_described() {
        let us = task_of(std::process::id());
        let before = Task {
            start: BootTime(us.start.0 - 1_000_000_000),
            ..us.clone()
        };
        let facts = Enricher::new((), None).facts(&event(0, |sent| {
            let mut ownership = owned_by(Some(before), false);
            ownership.closer = Some(Closer {
                task: us,
                time: None,
                exiting: false,
                kernel_thread: false,
                quiet: Duration::ZERO,
                signal: None,
            });
            sent.ownership = Some(ownership);
        }));
        assert_eq!(facts.processes[..], []);
    }

    #[test]
    fn an_inherited_or_missing_owner_is_looked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::from(listener.as_fd().try_clone_to_owned().unwrap());
        let inode = file.metadata().unwrap().ino();
        let us = task_of(std::process::id());
        // (owner, inherited, found)
        let cases = [
            (Some(us.clone()), true, true),
            (None, false, true),
            (Some(us.clone()), false, false),
        ];
        for (owner, inherited, found) in cases {
            let event = event(0, |sent| {
                sent.socket = Some(socket(inode));
                sent.ownership = Some(owned_by(owner, inherited));
            });
            let expected = found.then(|| Holder {
                task: us.clone(),
                shares: false,
            });
            let ask = || Enricher::new((), None).facts(&event);
            let may_be_lent = |facts: &HostContext| {
                let holder = facts.holder.as_ref();
                found && holder.is_none_or(|holder| holder.shares)
            };
            let facts = unless_lent(ask, may_be_lent);
            assert_eq!(facts.holder, expected);
            assert_eq!(facts.processes.len(), 1);
        }
    }
}

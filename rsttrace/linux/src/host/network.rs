//! The network around a reset: translations by this host, attempts that an answer belongs to, next hops, ways into namespaces.
//!
//! Only resets whose verdict needs it are asked for, so the common ones cost nothing. What another namespace has to be asked for is
//! asked by a thread that goes there, so many times a second at most.

mod conntrack;
mod request;
mod route;
mod socket;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::enrich::NetnsNames;
use super::process;
use super::settings;
use crate::event::{
    Body, BootTime, Event, Flow, NamespaceWay, NetFact, NetFinding, NetnsCookie, Packet, Route,
    SenderSocket, Sent, TcpFlags, TcpState, Tracked, Translated,
};
use crate::hash::{self, LruCache};
use crate::record::Word;

/// Handshakes that the kernel side remembers.
pub trait Handshakes: Send + std::fmt::Debug {
    /// Addresses (source, destination) that the handshake from the flow's remote to its local end left with, and when.
    fn translation(
        &self,
        netns: NetnsCookie,
        flow: Flow,
    ) -> Option<(SocketAddr, SocketAddr, BootTime)>;

    /// Source and destination of the last SYN with this sequence number, and when it passed. Absent if several had it.
    fn syn(&self, netns: NetnsCookie, seq: u32) -> Option<(SocketAddr, SocketAddr, BootTime)>;
}

/// Finds out what an event needs.
#[derive(Debug)]
pub struct Network {
    handshakes: Option<Box<dyn Handshakes>>,
    own_netns: Option<NetnsCookie>,
    routes: LruCache<(NetnsCookie, IpAddr), (Option<Route>, BootTime)>,
    ways: LruCache<NetnsCookie, (Option<NamespaceWay>, BootTime)>,
    /// The start of the second that `questions` belongs to.
    second: BootTime,
    questions: u32,
    not_asked: u64,
}

/// Answers remembered.
const CAPACITY: usize = 4096;
/// A route or a process may change.
const FRESH: Duration = Duration::from_secs(5);
/// Questions to the kernel a second, some 0.1 ms each.
const RATE: u32 = 100;

/// A connection whose attempt was answered by another address, and what is known of the attempt.
pub(super) struct OwnSyn {
    pub to: SocketAddr,
    pub sent: BootTime,
    /// Inode of the socket; absent if it was not found.
    pub inode: Option<u64>,
}

impl Network {
    pub fn new(own_netns: Option<NetnsCookie>) -> Self {
        Self {
            handshakes: None,
            own_netns,
            routes: hash::lru(CAPACITY),
            ways: hash::lru(CAPACITY),
            second: BootTime(0),
            questions: 0,
            not_asked: 0,
        }
    }

    /// Gives it the kernel side's memory.
    pub fn remember(&mut self, handshakes: Box<dyn Handshakes>) {
        self.handshakes = Some(handshakes);
    }

    /// Questions that were not asked because of the rate limit.
    pub fn not_asked(&self) -> u64 {
        self.not_asked
    }

    /// What is known around the event now; [`Self::own_syn`] is asked apart.
    pub fn around(&mut self, event: &Event, names: &impl NetnsNames) -> Vec<NetFinding> {
        let mut found = Vec::new();
        let netns = event.netns;
        let mut add = |flow, fact| found.push(NetFinding { netns, flow, fact });
        match &event.body {
            Body::Sent(sent) if belongs_to_nobody(sent) && !answers_syn(sent) => {
                if let Some(translated) = self.translated(event, sent.flow, names) {
                    add(sent.flow, NetFact::Translated(translated));
                }
            }
            Body::Packet(packet) if packet.loopback => {}
            Body::Packet(packet) if packet.egress => {
                let flow = Flow {
                    local: packet.source,
                    remote: packet.destination,
                };
                if packet.sender_socket != SenderSocket::None {
                    return found;
                }
                if let Some(translated) = self.translated(event, flow, names) {
                    add(flow, NetFact::Translated(translated));
                }
                if packet.ingress_ifindex.is_none()
                    && let Some(way) = self.way(event, names)
                {
                    add(flow, NetFact::Namespace(way));
                }
            }
            Body::Packet(packet) if has_passed_no_router(packet) => {
                if let Some(route) = self.route(event, packet.source.ip(), names) {
                    let flow = Flow {
                        local: packet.destination,
                        remote: packet.source,
                    };
                    add(flow, NetFact::Route(route));
                }
            }
            Body::Sent(_) | Body::Packet(_) | Body::Received(_) | Body::Failed(_) => {}
        }
        found
    }

    /// The SYN to another address that the SYN-ACK of this event answers.
    pub(super) fn own_syn(&mut self, event: &Event, names: &impl NetnsNames) -> Option<OwnSyn> {
        let Body::Sent(sent) = &event.body else {
            return None;
        };
        let synack = TcpFlags::SYN | TcpFlags::ACK;
        let cause = sent.cause.filter(|cause| cause.flags.has(synack))?;
        if !belongs_to_nobody(sent) {
            return None;
        }
        let handshakes = self.handshakes.as_ref()?;
        let (source, to, at) = handshakes.syn(event.netns, cause.ack.wrapping_sub(1))?;
        if source != sent.flow.local || to == sent.flow.remote {
            return None;
        }
        let inode = self.ask(event, names, move || socket::inode(source, to));
        Some(OwnSyn {
            to,
            sent: at,
            inode: inode.flatten(),
        })
    }

    fn translated(
        &mut self,
        event: &Event,
        flow: Flow,
        names: &impl NetnsNames,
    ) -> Option<Translated> {
        let handshakes = self.handshakes.as_ref()?;
        let (source, destination, seen) = handshakes.translation(event.netns, flow)?;
        let Flow { local, remote } = flow;
        let tracked: Option<Option<Tracked>> =
            self.ask(event, names, move || conntrack::entry(remote, local));
        Some(Translated {
            source,
            destination,
            seen,
            tracked: tracked.flatten(),
        })
    }

    fn route(&mut self, event: &Event, host: IpAddr, names: &impl NetnsNames) -> Option<Route> {
        let key = (event.netns, host);
        if let Some((route, asked)) = self.routes.get(&key)
            && event.time.since(*asked) < FRESH
        {
            return *route;
        }
        let route = self.ask(event, names, move || route::to(host))?;
        self.routes.put(key, (route, event.time));
        route
    }

    /// How to get into the namespace of an event, if it is another one than this program's.
    fn way(&mut self, event: &Event, names: &impl NetnsNames) -> Option<NamespaceWay> {
        if self.own_netns == Some(event.netns) {
            return None;
        }
        if let Some((way, asked)) = self.ways.get(&event.netns)
            && event.time.since(*asked) < FRESH
        {
            return way.clone();
        }
        let way = names.way(event.netns);
        let way = way.filter(|(_, inode)| own_inode() != Some((*inode).into()));
        let way = way.map(|(path, _)| described(&path));
        self.ways.put(event.netns, (way.clone(), event.time));
        way
    }

    /// Asks in the namespace of the event; absent if it may not be entered, or too much was asked.
    fn ask<T: Send + 'static>(
        &mut self,
        event: &Event,
        names: &impl NetnsNames,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if event.time.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.questions) = (event.time, 0);
        }
        if self.questions >= RATE {
            self.not_asked += 1;
            return None;
        }
        self.questions += 1;
        if self.own_netns == Some(event.netns) {
            return Some(question());
        }
        let (path, inode) = names.way(event.netns)?;
        settings::visit(&path, Some(inode), question).ok()
    }
}

/// The kernel answered a segment of a connection that no socket here has or had.
fn belongs_to_nobody(sent: &Sent) -> bool {
    let has_socket = sent
        .socket
        .as_ref()
        .is_some_and(|socket| socket.state != TcpState::Listen);
    sent.passive && !has_socket && sent.minisock.is_none() && sent.former_connection.is_none()
}

fn answers_syn(sent: &Sent) -> bool {
    sent.cause
        .is_none_or(|cause| cause.flags.has(TcpFlags::SYN))
}

/// By its TTL, which starts at one of these.
fn has_passed_no_router(packet: &Packet) -> bool {
    matches!(packet.segment.ttl, 64 | 128 | 255)
}

/// Of this program's namespace, which need not be one that is traced.
fn own_inode() -> Option<u64> {
    fs::metadata("/proc/self/ns/net")
        .ok()
        .map(|file| file.ino())
}

fn described(path: &Path) -> NamespaceWay {
    let process = path
        .strip_prefix("/proc")
        .ok()
        .and_then(|rest| rest.iter().next()?.to_str()?.parse().ok());
    let ids = process.map(process::ids_of).unwrap_or_default();
    NamespaceWay {
        path: Word::from(path.to_string_lossy().into_owned()),
        container_id: ids.container_id.map(Word::from),
        pod_uid: ids.pod_uid.map(Word::from),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::event_tasks::tests::event;
    use super::*;
    use crate::event::Segment;

    #[derive(Debug)]
    struct Memory(Flow, u32);

    impl Handshakes for Memory {
        fn translation(
            &self,
            _: NetnsCookie,
            flow: Flow,
        ) -> Option<(SocketAddr, SocketAddr, BootTime)> {
            (flow == self.0).then(|| (flow.remote, at("203.0.113.3:8080"), BootTime(5)))
        }

        fn syn(&self, _: NetnsCookie, seq: u32) -> Option<(SocketAddr, SocketAddr, BootTime)> {
            (seq == self.1).then(|| (self.0.local, at("198.51.100.2:80"), BootTime(5)))
        }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn answer(flags: u8, ack: u32) -> Event {
        event(0, |sent| {
            sent.flow = flow();
            sent.cause = Some(Segment {
                seq: 1,
                ack,
                payload_len: 0,
                window: 0,
                ip_id: None,
                flags: TcpFlags(flags),
                ttl: 64,
                ifindex: 0,
            });
        })
    }

    fn flow() -> Flow {
        Flow {
            local: at("192.0.2.1:4000"),
            remote: at("203.0.113.9:80"),
        }
    }

    #[test]
    fn memory_is_asked_for_what_no_socket_has_only() {
        let mut network = Network::new(None);
        network.remember(Box::new(Memory(flow(), 99)));
        let found = |network: &mut Network, event: &Event| network.around(event, &()).len();
        assert_eq!(found(&mut network, &answer(TcpFlags::ACK, 7)), 1);
        assert_eq!(found(&mut network, &answer(TcpFlags::SYN, 0)), 0);
        let other = event(0, |_| {});
        assert_eq!(found(&mut network, &other), 0);
        // The namespace cannot be entered: that is no answer.
        let [NetFinding { fact, .. }] = &network.around(&answer(TcpFlags::ACK, 7), &())[..] else {
            unreachable!("one was found above");
        };
        assert!(matches!(fact, NetFact::Translated(it) if it.tracked.is_none()));
    }

    #[test]
    fn an_answer_belongs_to_the_attempt_with_its_number_and_another_address() {
        let mut network = Network::new(None);
        network.remember(Box::new(Memory(flow(), 99)));
        let synack = TcpFlags::SYN | TcpFlags::ACK;
        let own = network.own_syn(&answer(synack, 100), &());
        assert_eq!(own.map(|own| own.to), Some(at("198.51.100.2:80")));
        assert!(network.own_syn(&answer(synack, 101), &()).is_none());
        assert!(network.own_syn(&answer(TcpFlags::ACK, 100), &()).is_none());
    }

    struct Leads(u32);

    impl NetnsNames for Leads {
        fn inode(&self, _: NetnsCookie) -> Option<u32> {
            None
        }

        fn interface(&self, _: NetnsCookie, _: u32) -> Option<String> {
            None
        }

        fn way(&self, _: NetnsCookie) -> Option<(std::path::PathBuf, u32)> {
            Some(("/proc/self/ns/net".into(), self.0))
        }
    }

    #[test]
    fn nobody_has_to_enter_the_own_namespace() {
        let own = u32::try_from(own_inode().unwrap()).unwrap();
        let way = |own_netns, inode| {
            let mut network = Network::new(own_netns);
            network.way(&event(7, |_| {}), &Leads(inode))
        };
        assert_eq!(way(Some(NetnsCookie(7)), own), None);
        assert_eq!(way(None, own), None, "not traced, so without a cookie");
        let found = way(None, own + 1).unwrap();
        assert_eq!(found.path, "/proc/self/ns/net");
    }

    #[test]
    fn questions_are_limited_and_counted() {
        let mut network = Network::new(Some(NetnsCookie(7)));
        let event = event(7, |_| {});
        let asked = (0..RATE + 20).filter_map(|_| network.ask(&event, &(), || ()));
        assert_eq!(asked.count(), RATE as usize);
        assert_eq!(network.not_asked(), 20);
    }
}

//! What is known of one reset: everything this host saw of it, namespace by namespace.

use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::index::Key;
use super::numbers::{self, Numbers};
use crate::event::{
    BootTime, HostContext, NetnsCookie, Packet, Received, SenderSocket, Sent, SocketCookie, Target,
};

/// Sightings kept in one namespace: a device stack deeper than this adds nothing.
const MAX_SIGHTINGS: usize = 12;
/// Namespaces kept of one chain.
const MAX_PARTS: usize = 16;

/// An observation with its time and what the edge found out about it.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// When the hook ran.
    pub time: BootTime,
    /// What it saw.
    pub event: Arc<T>,
    /// What the edge knew.
    pub facts: HostContext,
}

/// What one namespace saw of a reset.
#[derive(Clone, Debug)]
pub struct NamespaceView {
    /// The namespace.
    pub netns: NetnsCookie,
    /// Its inode, if any event told it.
    pub netns_inode: Option<u32>,
    /// The kernel sent it here.
    pub sent: Option<Seen<Sent>>,
    /// A socket here accepted it.
    pub received: Option<Seen<Received>>,
    /// Sightings on devices, in order of arrival.
    pub packets: Vec<Seen<Packet>>,
}

/// One reset on this host.
#[derive(Clone, Debug)]
pub struct ResetGroup {
    /// When it was first seen.
    pub first: BootTime,
    /// What each namespace saw.
    pub parts: Vec<NamespaceView>,
    /// The accepted reset is the kernel's own tidying up: the segment it rests on is no reset or, where that is not known,
    /// it came together with a reset we sent for the same socket because of late data and no reset was seen to come.
    pub echo: bool,
    /// The accepted reset is here only because its number lay in the window: a segment that fits better takes it.
    pub(super) loosely_received: bool,
    /// Its entries in the index.
    pub(super) keys: SmallVec<[Key; 6]>,
}

/// How well an observation fits a chain, best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Only the address pair; the numbers could have been acceptable.
    Window,
    /// Only the numbers: addresses were translated.
    Numbers,
    /// The socket.
    Cookie,
    /// Address pair and numbers.
    Exact,
}

impl ResetGroup {
    /// An empty one.
    pub fn new(first: BootTime) -> Self {
        Self {
            first,
            parts: Vec::with_capacity(1),
            echo: false,
            loosely_received: false,
            keys: SmallVec::new(),
        }
    }

    /// The part of a namespace, made if there is none. Namespace 0 is not known: the only part is taken for it.
    pub fn part(&mut self, netns: NetnsCookie, inode: Option<u32>) -> &mut NamespaceView {
        let known = self.parts.iter().position(|part| part.netns == netns);
        let position = match known {
            Some(position) => position,
            None if !self.parts.is_empty()
                && (netns.0 == 0 && self.parts.len() == 1 || self.parts.len() >= MAX_PARTS) =>
            {
                0
            }
            None => {
                let only_unknown = self.parts.len() == 1 && self.parts[0].netns.0 == 0;
                if only_unknown {
                    self.parts[0].netns = netns;
                    0
                } else {
                    self.parts.push(NamespaceView {
                        netns,
                        netns_inode: None,
                        sent: None,
                        received: None,
                        packets: Vec::new(),
                    });
                    self.parts.len() - 1
                }
            }
        };
        let part = &mut self.parts[position];
        part.netns_inode = part.netns_inode.or(inode);
        part
    }

    /// The sending event, wherever it was.
    pub fn sent(&self) -> Option<&Seen<Sent>> {
        self.parts.iter().find_map(|part| part.sent.as_ref())
    }

    /// The accepting event, wherever it was.
    pub fn received(&self) -> Option<&Seen<Received>> {
        self.parts.iter().find_map(|part| part.received.as_ref())
    }

    /// The accepting event with its namespace.
    pub fn accepted(&self) -> Option<(NetnsCookie, &Seen<Received>)> {
        self.parts
            .iter()
            .find_map(|part| Some((part.netns, part.received.as_ref()?)))
    }

    fn packets(&self) -> impl Iterator<Item = (&NamespaceView, &Packet)> {
        self.parts
            .iter()
            .flat_map(|part| part.packets.iter().map(move |seen| (part, &*seen.event)))
    }

    /// Gives up an accepted reset that this segment fits better, with the namespace it was accepted in.
    pub(super) fn release_received(
        &mut self,
        packet: &Packet,
    ) -> Option<(NetnsCookie, Seen<Received>)> {
        let received = self.received().filter(|_| self.loosely_received)?;
        if packet.egress || !numbers::packet_is_received(packet, &received.event) {
            return None;
        }
        self.loosely_received = false;
        self.parts.iter_mut().find_map(|part| {
            let netns = part.netns;
            part.received.take().map(|received| (netns, received))
        })
    }

    /// How this sent reset fits: one reset has one sender.
    pub fn fit_sent(&self, sent: &Sent) -> Option<Fit> {
        if self.sent().is_some() {
            return None;
        }
        let pair = (sent.flow.local, sent.flow.remote);
        let mut best = None;
        for (_, packet) in self.packets() {
            let cookie = socket_of(packet)
                .filter(|_| !sent.passive)
                .is_some_and(|cookie| sent.socket.as_ref().is_some_and(|s| s.cookie == cookie));
            if numbers::packet_is_sent(packet, sent, cookie) {
                let numbers = Numbers::of_packet(packet);
                best = best.max(fit(pair, pair_of(packet), cookie, numbers));
            }
        }
        if let Some(received) = self.received()
            && best.is_none()
            && numbers::sent_is_received(sent, &received.event)
        {
            let other = (received.event.flow.remote, received.event.flow.local);
            let numbers = Numbers::of_sent(sent).unwrap_or(Numbers { seq: 0, ack: None });
            best = fit(pair, other, false, numbers);
        }
        best
    }

    /// How this accepted reset fits: one reset is accepted by one socket.
    pub fn fit_received(&self, netns: NetnsCookie, received: &Received) -> Option<Fit> {
        if self.received().is_some() {
            return None;
        }
        let pair = (received.flow.remote, received.flow.local);
        let mut best = None;
        for (part, packet) in self.packets() {
            let cookie = target_of(packet) == Some(received.socket.cookie);
            if numbers::packet_is_received(packet, received) {
                let numbers = Numbers::of_packet(packet);
                best = best.max(fit(pair, pair_of(packet), cookie, numbers));
            } else if received.segment.is_none()
                && (cookie || pair == pair_of(packet))
                && !packet.egress
                && part.netns == netns
                && received.socket.state.is_synchronized()
                && numbers::is_in_window(
                    received.socket.rcv_nxt,
                    received.socket.rcv_wnd,
                    packet.segment.seq,
                )
            {
                // The right edge of selectively acknowledged data is accepted too (tcp_validate_incoming).
                best = best.max(Some(Fit::Window));
            }
        }
        if let Some(sent) = self.sent()
            && best.is_none_or(|fit| fit == Fit::Window)
            && numbers::sent_is_received(&sent.event, received)
        {
            let other = (sent.event.flow.local, sent.event.flow.remote);
            let numbers = Numbers::of_sent(&sent.event).unwrap_or(Numbers { seq: 0, ack: None });
            best = best.max(fit(pair, other, false, numbers));
        }
        best
    }

    /// How this sighting fits. The same device in the same direction sees a reset once: the second is another reset.
    pub fn fit_packet(&self, netns: NetnsCookie, packet: &Packet) -> Option<Fit> {
        let mut best = None;
        let numbers = Numbers::of_packet(packet);
        let pair = pair_of(packet);
        for (part, other) in self.packets() {
            if part.netns == netns
                && other.egress == packet.egress
                && other.ifindex == packet.ifindex
            {
                return None;
            }
            if Numbers::of_packet(other) == numbers {
                best = best.max(fit(pair, pair_of(other), false, numbers));
            }
        }
        if let Some(sent) = self.sent() {
            let cookie = socket_of(packet)
                .filter(|_| !sent.event.passive)
                .is_some_and(|cookie| {
                    sent.event
                        .socket
                        .as_ref()
                        .is_some_and(|s| s.cookie == cookie)
                });
            if numbers::packet_is_sent(packet, &sent.event, cookie) {
                let other = (sent.event.flow.local, sent.event.flow.remote);
                best = best.max(fit(pair, other, cookie, numbers));
            }
        }
        if let Some(received) = self.received()
            && numbers::packet_is_received(packet, &received.event)
        {
            let other = (received.event.flow.remote, received.event.flow.local);
            let cookie = target_of(packet) == Some(received.event.socket.cookie);
            best = best.max(fit(pair, other, cookie, numbers));
        }
        best
    }
}

impl NamespaceView {
    /// Keeps a sighting, as long as there is room.
    pub fn add_packet(&mut self, seen: Seen<Packet>) {
        if self.packets.len() < MAX_SIGHTINGS {
            if self.packets.is_empty() {
                // Loopback shows it twice, a device once.
                self.packets.reserve_exact(2);
            }
            self.packets.push(seen);
        }
    }

    /// First sighting on its way in: nearest to whoever sent it.
    pub fn first_ingress(&self) -> Option<&Seen<Packet>> {
        self.packets
            .iter()
            .filter(|seen| !seen.event.egress)
            .min_by_key(|seen| seen.time)
    }

    /// Last sighting on its way out: as it left.
    pub fn last_egress(&self) -> Option<&Seen<Packet>> {
        self.packets
            .iter()
            .filter(|seen| seen.event.egress)
            .max_by_key(|seen| seen.time)
    }

    /// It came in by a device other than loopback.
    pub fn came_in(&self) -> bool {
        self.packets
            .iter()
            .any(|seen| !seen.event.egress && !seen.event.loopback)
    }

    /// It went out after it had come in.
    pub fn was_forwarded(&self) -> bool {
        let mut leaving = self
            .packets
            .iter()
            .filter(|seen| seen.event.egress)
            .peekable();
        leaving.peek().is_some()
            && (self.came_in() || leaving.any(|seen| seen.event.ingress_ifindex.is_some()))
    }

    /// It went out and had not come in.
    pub fn was_made_here(&self) -> bool {
        !self.was_forwarded() && self.packets.iter().any(|seen| seen.event.egress)
    }
}

/// Addresses as the segment has them.
fn pair_of(packet: &Packet) -> (SocketAddr, SocketAddr) {
    (packet.source, packet.destination)
}

fn socket_of(packet: &Packet) -> Option<SocketCookie> {
    match packet.sender_socket {
        SenderSocket::Some(cookie) => (packet.egress && cookie.is_known()).then_some(cookie),
        SenderSocket::None | SenderSocket::Raw { .. } => None,
    }
}

fn target_of(packet: &Packet) -> Option<SocketCookie> {
    match packet.target {
        Target::Socket { cookie, .. } => {
            cookie.filter(|cookie| !packet.egress && cookie.is_known())
        }
        Target::NotLookedUp | Target::None | Target::Stateless(_) => None,
    }
}

/// Grades two observations whose numbers agree. Translated addresses need numbers that tell, or an end in common.
fn fit(
    one: (SocketAddr, SocketAddr),
    other: (SocketAddr, SocketAddr),
    cookie: bool,
    numbers: Numbers,
) -> Option<Fit> {
    if one == other {
        Some(Fit::Exact)
    } else if cookie {
        Some(Fit::Cookie)
    } else if numbers.seq != 0 || one.0 == other.0 || one.1 == other.1 {
        Some(Fit::Numbers)
    } else {
        None
    }
}

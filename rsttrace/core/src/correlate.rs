//! Correlation of observations of the same reset.
//!
//! A reset shows up to a dozen times: the tracepoint that sent it, each device it passes in each namespace, the
//! tracepoint that accepted it, in nearly any order. All of it becomes one [`ResetGroup`]. An observation joins the chain
//! it fits best: by address pair and numbers, else by socket, else (translated addresses) by numbers alone, and then
//! only if a single chain fits.

mod chain;
mod index;
mod numbers;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use chain::{Fit, NamespaceView, ResetGroup, Seen};
pub use numbers::{Numbers, accepts, is_in_window, is_passive_form};

use crate::event::{
    BootTime, Flow, HostContext, NetnsCookie, Packet, Received, ResetReason, SenderSocket, Sent,
    Socket, Target, TcpState,
};
use index::{ChainId, Index, Key};

/// Observations of one reset lie within this time.
pub const WINDOW: Duration = Duration::from_millis(150);

/// A reset accepted this close to our answer to late data was not received: the kernel resets its own side first.
const ECHO: Duration = Duration::from_millis(1);

/// Chains that are still open.
#[derive(Default)]
pub struct Correlator {
    chains: Vec<Option<ResetGroup>>,
    free: Vec<ChainId>,
    deadlines: BinaryHeap<Reverse<(BootTime, ChainId)>>,
    index: Index,
    ambiguous: u64,
}

/// Where and when something was observed.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// When.
    pub time: BootTime,
    /// Where.
    pub netns: NetnsCookie,
    /// Inode of that namespace.
    pub inode: Option<u32>,
}

impl Correlator {
    /// Takes in a sent reset.
    pub fn sent(&mut self, at: Origin, event: Arc<Sent>, facts: HostContext) {
        let mut keys = Keys::default();
        let numbers = Numbers::of_sent(&event);
        keys.add(
            self.index
                .segment(event.flow.local, event.flow.remote, None),
        );
        if let Some(numbers) = numbers {
            keys.add(self.index.numbers(numbers));
        }
        if let Some(socket) = &event.socket {
            keys.add(self.own(socket, event.flow));
        }
        let (id, _) = self.choose(at, &keys, |chain| chain.fit_sent(&event));
        if is_late_data(&event)
            && let Some(socket) = &event.socket
        {
            let key = self.own(socket, event.flow);
            self.mark_echo(key, |chain| {
                chain.received().is_some_and(|received| {
                    is_echo(at.time, &event, received.time, &received.event)
                })
            });
        }
        self.add(id, at, &keys).sent = Some(Seen {
            time: at.time,
            event,
            facts,
        });
    }

    /// Takes in an accepted reset.
    pub fn received(&mut self, at: Origin, event: Arc<Received>, facts: HostContext) {
        let mut keys = Keys::default();
        let cookie = event.socket.cookie;
        keys.add(
            self.index
                .segment(event.flow.remote, event.flow.local, None),
        );
        if cookie.is_known() {
            keys.add(self.index.target(cookie));
        }
        for numbers in Numbers::of_received(&event) {
            keys.add(self.index.numbers(numbers));
        }
        let (id, fit) = self.choose(at, &keys, |chain| chain.fit_received(at.netns, &event));
        // The tidying up of a socket that got late data is found by the socket, whose own reset goes the other way.
        let own = self.own(&event.socket, event.flow);
        let echo = event.reset_came() == Some(false)
            || self.index.get(own).any(|other| {
                self.get(other)
                    .and_then(ResetGroup::sent)
                    .is_some_and(|sent| is_echo(sent.time, &sent.event, at.time, &event))
            });
        // What fits exactly is found by what the chain is indexed under already.
        if fit == Some(Fit::Exact) {
            keys = Keys::default();
        }
        keys.add(own);
        self.add(id, at, &keys).received = Some(Seen {
            time: at.time,
            event,
            facts,
        });
        if let Some(chain) = self.get_mut(id) {
            chain.echo |= echo;
            chain.loosely_received = fit == Some(Fit::Window);
        }
    }

    /// Takes in a sighting on a device.
    pub fn packet(&mut self, at: Origin, event: Arc<Packet>, facts: HostContext) {
        let mut keys = Keys::default();
        keys.add(self.index.segment(event.source, event.destination, None));
        keys.add(self.index.numbers(Numbers::of_packet(&event)));
        match (&event.sender_socket, &event.target) {
            (SenderSocket::Some(cookie), _)
                if event.egress && cookie.is_known() && !is_passive_form(&event) =>
            {
                keys.add(self.index.sender(*cookie));
            }
            (
                _,
                Target::Socket {
                    cookie: Some(cookie),
                    ..
                },
            ) if !event.egress && cookie.is_known() => keys.add(self.index.target(*cookie)),
            _ => {}
        }
        let id = self
            .choose(at, &keys, |chain| chain.fit_packet(at.netns, &event))
            .0;
        self.take_over(id, &keys, &event);
        self.add(id, at, &keys).add_packet(Seen {
            time: at.time,
            event,
            facts,
        });
    }

    /// How many chains are open.
    pub fn open_chains(&self) -> usize {
        self.chains.len() - self.free.len()
    }

    /// How many of them are of resets between two ends, in either direction.
    pub fn open_between(&self, one: SocketAddr, other: SocketAddr) -> usize {
        let count = |from, to| self.index.count(self.index.segment(from, to, None));
        count(one, other) + count(other, one)
    }

    /// When the oldest chain closes.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.deadlines.peek().map(|Reverse((time, _))| *time)
    }

    /// Closes the oldest chain if its window is over by `now`; `None` for `now` closes it in any case.
    pub fn close(&mut self, now: Option<BootTime>) -> Option<ResetGroup> {
        loop {
            let deadline = self.next_deadline()?;
            if now.is_some_and(|now| deadline > now) {
                return None;
            }
            let Reverse((_, id)) = self.deadlines.pop()?;
            // A chain that turned out to have begun earlier has two deadlines; the second finds it gone, or another.
            let is_due = |chain: &ResetGroup| chain.first.plus(WINDOW) <= deadline;
            if !self.get(id).is_some_and(is_due) {
                continue;
            }
            let chain = self.chains.get_mut(id as usize)?.take()?;
            for &key in &chain.keys {
                self.index.remove(key, id);
            }
            self.free.push(id);
            return Some(chain);
        }
    }

    /// Gives back the room that a flood took, if it is over.
    pub fn rest(&mut self) {
        if self.open_chains() == 0 {
            self.chains = Vec::new();
            self.free = Vec::new();
            self.deadlines = BinaryHeap::new();
            self.index.rest();
        }
    }

    /// Observations that fitted several chains by their numbers and so joined none.
    pub fn ambiguous(&self) -> u64 {
        self.ambiguous
    }

    /// The key a socket's own events share: its cookie or, on kernels that have none, its addresses.
    fn own(&self, socket: &Socket, flow: Flow) -> Key {
        if socket.cookie.is_known() {
            self.index.sender(socket.cookie)
        } else {
            self.index.segment(flow.local, flow.remote, None)
        }
    }

    fn get(&self, id: ChainId) -> Option<&ResetGroup> {
        self.chains.get(id as usize)?.as_ref()
    }

    fn get_mut(&mut self, id: ChainId) -> Option<&mut ResetGroup> {
        self.chains.get_mut(id as usize)?.as_mut()
    }

    /// The chain that an observation belongs to; a new one if it fits none, or several equally badly.
    fn choose(
        &mut self,
        at: Origin,
        keys: &Keys,
        mut fit: impl FnMut(&ResetGroup) -> Option<Fit>,
    ) -> (ChainId, Option<Fit>) {
        let mut best: Option<(Fit, ChainId)> = None;
        let mut rivals = false;
        for &key in keys.as_slice() {
            for id in self.index.get(key) {
                let Some(chain) = self.get(id) else { continue };
                let apart = at.time.since(chain.first).max(chain.first.since(at.time));
                if apart > WINDOW || best.is_some_and(|(_, known)| known == id) {
                    continue;
                }
                let Some(grade) = fit(chain) else { continue };
                match best {
                    Some((known, _)) if known > grade => {}
                    Some((known, _)) if known == grade => rivals = true,
                    _ => {
                        best = Some((grade, id));
                        rivals = false;
                    }
                }
            }
            if best.is_some_and(|(grade, _)| grade == Fit::Exact) {
                break;
            }
        }
        match best {
            // Of several exact ones (a repeated reset) the oldest is meant: its keys were listed first.
            Some((grade, id)) if grade == Fit::Exact || !rivals => (id, Some(grade)),
            found => {
                self.ambiguous += u64::from(found.is_some());
                (self.start(at.time), None)
            }
        }
    }

    /// A segment that comes late may fit an accepted reset better than the one it was joined to.
    fn take_over(&mut self, id: ChainId, keys: &Keys, packet: &Packet) {
        if self.get(id).is_some_and(|chain| chain.received().is_some()) {
            return;
        }
        let others: Vec<ChainId> = keys
            .as_slice()
            .iter()
            .flat_map(|&key| self.index.get(key))
            .filter(|&other| self.get(other).is_some_and(|chain| chain.loosely_received))
            .collect();
        let taken = others
            .into_iter()
            .find_map(|other| self.get_mut(other)?.release_received(packet));
        if let Some((netns, received)) = taken {
            let at = Origin {
                time: received.time,
                netns,
                inode: None,
            };
            self.add(id, at, keys).received = Some(received);
        }
    }

    fn start(&mut self, time: BootTime) -> ChainId {
        let chain = Some(ResetGroup::new(time));
        let id = if let Some(id) = self.free.pop() {
            self.chains[id as usize] = chain;
            id
        } else {
            self.chains.push(chain);
            u32::try_from(self.chains.len() - 1).unwrap_or(ChainId::MAX)
        };
        self.deadlines.push(Reverse((time.plus(WINDOW), id)));
        id
    }

    /// The part of chain `id` an observation goes into, the chain indexed by its keys.
    fn add(&mut self, id: ChainId, at: Origin, keys: &Keys) -> &mut NamespaceView {
        let Self {
            chains,
            index,
            deadlines,
            ..
        } = self;
        let chain = chains[id as usize].get_or_insert_with(|| ResetGroup::new(at.time));
        for &key in keys.as_slice() {
            if !chain.keys.contains(&key) {
                chain.keys.push(key);
                index.insert(key, id);
            }
        }
        if at.time < chain.first {
            chain.first = at.time;
            deadlines.push(Reverse((at.time.plus(WINDOW), id)));
        }
        chain.part(at.netns, at.inode)
    }

    fn mark_echo(&mut self, key: Key, is_meant: impl Fn(&ResetGroup) -> bool) {
        let found = self
            .index
            .get(key)
            .find(|&id| self.get(id).is_some_and(&is_meant));
        if let Some(chain) = found.and_then(|id| self.get_mut(id)) {
            chain.echo = true;
        }
    }

    #[cfg(test)]
    pub(crate) fn index_is_empty(&self) -> bool {
        self.index.is_empty()
    }
}

/// The keys of one observation, the most telling first.
#[derive(Default)]
struct Keys {
    keys: [Key; 6],
    len: usize,
}

impl Keys {
    fn add(&mut self, key: Key) {
        if self.len < self.keys.len() && !self.as_slice().contains(&key) {
            self.keys[self.len] = key;
            self.len += 1;
        }
    }

    fn as_slice(&self) -> &[Key] {
        &self.keys[..self.len]
    }
}

/// The application had closed and data came: the kernel aborts its own socket, then answers.
fn is_late_data(sent: &Sent) -> bool {
    let closed = sent.socket.as_ref().is_some_and(|socket| {
        socket.state == TcpState::Close || socket.orphaned || socket.receive_shutdown
    });
    let has_data = sent.cause.is_none_or(|cause| cause.payload_len > 0);
    match sent.given_reason() {
        Some(ResetReason::AbortOnData) => sent.passive,
        None => sent.passive && closed && has_data,
        Some(_) => false,
    }
}

/// The accepted reset is the kernel's own doing while it sent this one for the same socket. Where the segment is known it
/// tells by itself, whatever was sent and when.
fn is_echo(sent_at: BootTime, sent: &Sent, received_at: BootTime, received: &Received) -> bool {
    if let Some(reset_came) = received.reset_came() {
        return !reset_came;
    }
    let apart = sent_at.since(received_at).max(received_at.since(sent_at));
    let same_socket = sent.socket.as_ref().is_some_and(|socket| {
        socket.cookie == received.socket.cookie
            && (socket.cookie.is_known() || sent.flow == received.flow)
    });
    is_late_data(sent) && same_socket && apart <= ECHO
}

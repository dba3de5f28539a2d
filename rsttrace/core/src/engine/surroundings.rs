//! What the edge found of the network around connections, until their resets are judged.
//!
//! A finding comes just before its event, and the event is judged some hundred milliseconds later.

use crate::event::{
    Attempt, Flow, NamespaceWay, NetFact, NetFinding, NetnsCookie, Route, Translated,
};
use crate::hash::{self, LruCache};

/// Entries of each kind.
const MOST: usize = 4_096;

type Connection = (NetnsCookie, Flow);

/// See the module.
#[derive(Debug)]
pub struct Surroundings {
    translated: LruCache<Connection, Translated>,
    attempts: LruCache<Connection, Attempt>,
    routes: LruCache<Connection, Route>,
    ways: LruCache<NetnsCookie, NamespaceWay>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            translated: hash::lru(MOST),
            attempts: hash::lru(MOST),
            routes: hash::lru(MOST),
            ways: hash::lru(MOST),
        }
    }
}

impl Surroundings {
    /// Takes notice of a finding.
    pub fn found(&mut self, finding: NetFinding) {
        let NetFinding { netns, flow, fact } = finding;
        match fact {
            NetFact::Translated(translated) => drop(self.translated.put((netns, flow), translated)),
            NetFact::Attempt(attempt) => drop(self.attempts.put((netns, flow), attempt)),
            NetFact::Route(route) => drop(self.routes.put((netns, flow), route)),
            NetFact::Namespace(way) => drop(self.ways.put(netns, way)),
        }
    }

    /// How this host translated the handshake from `flow.remote` to `flow.local`.
    pub fn translated(&self, netns: NetnsCookie, flow: Flow) -> Option<Translated> {
        self.translated.peek(&(netns, flow)).copied()
    }

    /// The attempt to another address that a SYN-ACK of this flow answers.
    pub fn attempt(&self, netns: NetnsCookie, flow: Flow) -> Option<&Attempt> {
        self.attempts.peek(&(netns, flow))
    }

    /// The next hop from `flow.local` to `flow.remote`.
    pub fn route(&self, netns: NetnsCookie, flow: Flow) -> Option<Route> {
        self.routes.peek(&(netns, flow)).copied()
    }

    /// How to get into a namespace.
    pub fn way(&self, netns: NetnsCookie) -> Option<&NamespaceWay> {
        self.ways.peek(&netns)
    }

    /// Names of the tables, entries in use, most entries.
    pub fn tables(&self) -> [(&'static str, usize, Option<usize>); 4] {
        [
            ("translated", self.translated.len(), Some(MOST)),
            ("attempts", self.attempts.len(), Some(MOST)),
            ("routes", self.routes.len(), Some(MOST)),
            ("ways", self.ways.len(), Some(MOST)),
        ]
    }
}

//! TCP sockets of a host, as inspected by `doctor`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// TCP sockets of a network namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sockets {
    pub listeners: Vec<Listener>,
    /// Those that are established.
    pub connections: Vec<Connection>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub local: SocketAddr,
    /// SO_KEEPALIVE, which accepted connections inherit; absent if its holder may not be asked.
    pub keepalive: Option<bool>,
    pub queue: AcceptQueue,
    /// Processes that have it, in the order of their ids; none if they are not ours to see.
    pub holders: Vec<Program>,
}

/// The accept queue of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptQueue {
    /// Connections that wait for accept().
    pub length: u32,
    /// Backlog of listen(), limited by net.core.somaxconn.
    pub limit: u32,
    /// SYNs and last ACKs of handshakes that were dropped since listen(), with wrap-around (`sk_drops`); absent if the kernel
    /// does not tell.
    pub dropped: Option<u32>,
}

impl AcceptQueue {
    /// As `sk_acceptq_is_full()`.
    pub fn is_full(self) -> bool {
        self.length > self.limit
    }
}

/// Counters of a network namespace since it was made; absent where they cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NetCounters {
    /// Handshakes dropped because an accept queue was full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_overflows: Option<u64>,
    /// Handshakes dropped by listeners for any reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_drops: Option<u64>,
    /// `net.core.somaxconn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub somaxconn: Option<u64>,
    /// Absent without connection tracking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking: Option<Tracking>,
}

/// Connection tracking: its table, and packets since the namespace was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tracking {
    pub entries: u64,
    /// `nf_conntrack_max`.
    pub most: u64,
    /// Packets dropped because the table was full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// Entries evicted to make room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_dropped: Option<u64>,
    /// Entries that were not inserted, their packets dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_inserted: Option<u64>,
    /// Packets of no connection that could be tracked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid: Option<u64>,
}

/// An established connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Its keepalive timer runs.
    pub keepalive: bool,
    /// Until that timer fires, if it runs. The first probe is sent then, or later if there is data until then.
    pub next_probe: Option<Duration>,
    /// Since data was last sent or received, milliseconds; absent while something is on its way.
    pub quiet: Option<Duration>,
    /// Since anything was last heard or sent, answers to keepalive probes too; absent as `quiet`.
    pub silent: Option<Duration>,
    /// As of a listener.
    pub holders: Vec<Program>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Program {
    /// Its id, as this process sees it.
    pub pid: u32,
    pub comm: String,
}

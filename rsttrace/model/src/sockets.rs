//! TCP sockets of a host, as inspected by `doctor`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

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
    /// Processes that have it, in the order of their ids; none if they are not ours to see.
    pub holders: Vec<Program>,
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

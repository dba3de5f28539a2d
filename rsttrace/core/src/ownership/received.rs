//! Owners of connections that received a reset.

use super::{closer, describe, holder, holding};
use crate::event::{Failed, HostContext, Received, Task, TcpState};
use crate::record::{Process, Quality, Role};

/// The process behind the socket that accepted a reset: who holds it or, once nobody does, who closed it.
pub fn received(received: &Received, facts: &HostContext) -> Option<Process> {
    receiver(received, facts).map(|(task, role, quality)| describe(task, role, quality, facts))
}

/// The same without what the edge found out about the process.
pub fn receiver<'a>(
    received: &'a Received,
    facts: &'a HostContext,
) -> Option<(&'a Task, Role, Quality)> {
    let ownership = received.ownership.as_ref();
    let socket = &received.socket;
    if socket.orphaned {
        return closer(ownership)
            .map(|task| (task, Quality::Recorded))
            .or_else(|| holder(ownership, facts))
            .map(|(task, quality)| (task, Role::FormerOwner, quality));
    }
    // Who connects waits for the answer: if it is gone now, it went after it got it.
    let role = if socket.state == TcpState::SynSent {
        Role::Owner
    } else {
        holding(Role::Owner, facts)
    };
    holder(ownership, facts).map(|(task, quality)| (task, role, quality))
}

/// Who listens on a socket that was looked up.
pub fn listens(facts: &HostContext) -> Option<Process> {
    holder(None, facts).map(|(task, quality)| describe(task, Role::Listener, quality, facts))
}

/// Who had the connection that failed, or gave the connect up.
pub fn failed(event: &Failed, facts: &HostContext) -> Option<Process> {
    let ownership = event.ownership.as_ref();
    if let Some(task) = closer(ownership) {
        let role = if event.last_state == TcpState::SynSent {
            Role::Closer
        } else {
            Role::FormerOwner
        };
        return Some(describe(task, role, Quality::Recorded, facts));
    }
    holder(ownership, facts).map(|(task, quality)| describe(task, Role::Owner, quality, facts))
}

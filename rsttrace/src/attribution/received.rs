//! Who had the connection that a reset ended?

use super::{closer, describe, holder, holding};
use crate::event::{Facts, Received, TimedOut};
use crate::record::{Process, Quality, Role};

/// The process behind the socket that accepted a reset: who holds it or, once nobody does, who closed it.
pub fn received(received: &Received, facts: &Facts) -> Option<Process> {
    let ownership = received.ownership.as_ref();
    let socket = &received.socket;
    if socket.orphaned {
        return closer(ownership)
            .map(|task| (task, Quality::Recorded))
            .or_else(|| holder(ownership, facts))
            .map(|(task, quality)| describe(task, Role::FormerOwner, quality, facts));
    }
    let role = holding(Role::Owner, facts);
    holder(ownership, facts).map(|(task, quality)| describe(task, role, quality, facts))
}

/// Who had the connection that died of silence.
pub fn timed_out(event: &TimedOut, facts: &Facts) -> Option<Process> {
    let ownership = event.ownership.as_ref();
    if let Some(task) = closer(ownership) {
        return Some(describe(task, Role::FormerOwner, Quality::Recorded, facts));
    }
    holder(ownership, facts).map(|(task, quality)| describe(task, Role::Owner, quality, facts))
}

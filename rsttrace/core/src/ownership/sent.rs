//! Processes that sent a reset, or had the connection it was sent for.

use super::{Who, closer, describe, former, holder, holding};
use crate::event::{Attempt, CurrentTask, HostContext, Sent, Task, TcpState};
use crate::record::{Process, Quality, Role};

/// Which process a reset of the TCP stack is put down to, and named for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Nobody's.
    Nobody,
    /// Who acted on the socket, else who has it.
    Closer,
    /// Who closed the listening socket.
    ListenerCloser,
    /// Who destroyed the socket, and whom it was taken from.
    Destroyer,
    /// Who had closed the socket before.
    LastCloser,
    /// Who had the connection that is gone.
    Former,
    /// Who has the socket, else who had the connection.
    Holder,
}

/// The processes behind a reset this host's kernel sent, once its cause is known.
pub fn sent(sent: &Sent, whose: Whose, facts: &HostContext) -> Who {
    let former = || {
        let tombstone = sent.former_connection.as_ref();
        Who::only(tombstone.and_then(|tombstone| former(tombstone, facts)))
    };
    let is_gone = sent.socket.is_none();
    match whose {
        Whose::Nobody => Who::default(),
        Whose::Closer => Who::only(acting(sent, facts)),
        Whose::ListenerCloser => Who::only(listener_closer(sent, facts)),
        Whose::Destroyer => destroyed(sent, facts),
        Whose::LastCloser if is_gone => former(),
        Whose::LastCloser => Who::only(recorded_closer(sent, facts).or_else(|| owner(sent, facts))),
        Whose::Former => former(),
        Whose::Holder if is_gone => former(),
        Whose::Holder if !sent.passive && actor(sent).is_some() => Who::only(acting(sent, facts)),
        Whose::Holder => Who::only(owner(sent, facts)),
    }
}

/// Whose connection attempt it was.
pub fn attempting(attempt: &Attempt, facts: &HostContext) -> Option<Process> {
    let holder = attempt.holder.as_ref()?;
    let quality = if holder.shares {
        Quality::Inherited
    } else {
        Quality::LookedUp
    };
    Some(describe(&holder.task, Role::Owner, quality, facts))
}

/// Who put a segment on the wire with a raw socket: the running task if the socket's file confirms it, else
/// whoever has the file.
pub fn raw_sender(current: Option<&CurrentTask>, facts: &HostContext) -> Option<Process> {
    let found = facts.holder.as_ref().filter(|found| !found.shares)?;
    let found = &found.task;
    let confirmed = current.filter(|current| current.task.id() == found.id());
    Some(match confirmed {
        Some(current) => describe(&current.task, Role::Owner, Quality::Certain, facts),
        None => describe(found, Role::Owner, Quality::LookedUp, facts),
    })
}

/// The running task where it acted on the socket; a kernel thread only finishes what a process began.
fn actor(sent: &Sent) -> Option<&Task> {
    sent.actor()
        .filter(|current| !current.kernel_thread)
        .map(|current| &current.task)
}

/// Who acted on the socket: seen at it, else written down, else the holder.
fn acting(sent: &Sent, facts: &HostContext) -> Option<Process> {
    actor(sent)
        .map(|task| describe(task, Role::Closer, Quality::Certain, facts))
        .or_else(|| recorded_closer(sent, facts))
        .or_else(|| owner(sent, facts))
}

fn recorded_closer(sent: &Sent, facts: &HostContext) -> Option<Process> {
    closer(sent.ownership.as_ref())
        .map(|task| describe(task, Role::Closer, Quality::Recorded, facts))
}

fn owner(sent: &Sent, facts: &HostContext) -> Option<Process> {
    let listens = sent
        .socket
        .as_ref()
        .is_some_and(|socket| socket.state == TcpState::Listen);
    let role = if listens { Role::Listener } else { Role::Owner };
    holder(sent.ownership.as_ref(), facts)
        .map(|(task, quality)| describe(task, holding(role, facts), quality, facts))
}

/// A listener's unaccepted children die in the context of whoever closes it, though nobody holds their locks
/// (`inet_csk_listen_stop`). Only a deferred close runs in a kernel thread.
fn listener_closer(sent: &Sent, facts: &HostContext) -> Option<Process> {
    sent.current
        .as_ref()
        .filter(|current| !current.kernel_thread && !sent.passive)
        .map(|current| describe(&current.task, Role::Closer, Quality::Certain, facts))
        .or_else(|| recorded_closer(sent, facts))
        .or_else(|| {
            holder(sent.ownership.as_ref(), facts)
                .map(|(task, quality)| describe(task, Role::Listener, quality, facts))
        })
}

/// Destroyed from outside: who destroyed it, and whom it was taken from.
fn destroyed(sent: &Sent, facts: &HostContext) -> Who {
    let owner = owner(sent, facts);
    match actor(sent) {
        Some(task) => {
            let process = describe(task, Role::Closer, Quality::Certain, facts);
            Who {
                owner: owner.filter(|owner| owner.id() != process.id()),
                process: Some(process),
            }
        }
        None => Who::only(owner),
    }
}

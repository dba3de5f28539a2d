//! Which process, and how well is that known?
//!
//! The running task is a bystander unless it held the socket: in softirq it may be anybody. So there are two sources:
//! what was written down when the socket connected, listened or closed, and the open file found at the event.

mod received;
mod sent;

pub use received::{received, timed_out};
pub use sent::{raw_sender, sent};

use crate::event::{Facts, OwnerSource, Ownership, Task, Tombstone};
use crate::record::{Process, Quality, Role};

/// Who had to do with a reset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Who {
    /// The process that did it or, if nobody here did, the one that had the connection.
    pub process: Option<Process>,
    /// The process that had the connection, where it is another one.
    pub owner: Option<Process>,
}

impl Who {
    /// Only `process`.
    pub fn only(process: Option<Process>) -> Self {
        Self {
            process,
            owner: None,
        }
    }
}

/// Who holds the socket. The process found with the file goes before what was written down: it is looked for only where the
/// record came from a listener, is missing, or names a process that is gone.
fn holder<'a>(ownership: Option<&'a Ownership>, facts: &'a Facts) -> Option<(&'a Task, Quality)> {
    let recorded = ownership.and_then(|ownership| {
        let quality = match ownership.source {
            _ if ownership.inherited => Quality::Inherited,
            Some(OwnerSource::Seeded) => Quality::LookedUp,
            Some(OwnerSource::Connect | OwnerSource::Listen | OwnerSource::Accept) | None => {
                Quality::Recorded
            }
        };
        ownership.owner.as_ref().map(|task| (task, quality))
    });
    let found = facts
        .holder
        .as_ref()
        .map(|found| (found, Quality::LookedUp));
    found.or(recorded)
}

/// Who closed or shut down; never a kernel thread, which only finishes what a process began.
fn closer(ownership: Option<&Ownership>) -> Option<&Task> {
    ownership
        .and_then(|ownership| ownership.closer.as_ref())
        .filter(|closer| !closer.kernel_thread)
        .map(|closer| &closer.task)
}

/// Who had a connection that is gone: who closed it, else who held it.
pub fn former(tombstone: &Tombstone, facts: &Facts) -> Option<Process> {
    let ownership = Some(&tombstone.ownership);
    let (task, quality) = closer(ownership)
        .map(|task| (task, Quality::Recorded))
        .or_else(|| recorded(ownership))?;
    Some(describe(task, Role::FormerOwner, quality, facts))
}

/// The recorded holder alone: a file found now has nothing to do with a socket that is gone.
fn recorded(ownership: Option<&Ownership>) -> Option<(&Task, Quality)> {
    const NOTHING: &Facts = &Facts {
        processes: Vec::new(),
        owner_is_gone: false,
        holder: None,
        netns_inode: None,
        interface: None,
        settings: None,
    };
    holder(ownership, NOTHING)
}

/// The role of whoever holds a socket, or did until the process ended: a file may outlive it in a child not found.
fn holding(role: Role, facts: &Facts) -> Role {
    if role == Role::Owner && facts.owner_is_gone && facts.holder.is_none() {
        Role::FormerOwner
    } else {
        role
    }
}

/// A process with what the edge found out about it.
fn describe(task: &Task, role: Role, quality: Quality, facts: &Facts) -> Process {
    let known = facts.processes.iter().find(|known| known.pid == task.pid);
    Process {
        pid: task.pid,
        comm: task.comm.clone(),
        exe: known.and_then(|known| known.exe.clone()),
        cmdline: known.and_then(|known| known.cmdline.clone()),
        uid: Some(task.uid),
        container_id: known.and_then(|known| known.container_id.clone()),
        unit: known.and_then(|known| known.unit.clone()),
        pod_uid: known.and_then(|known| known.pod_uid.clone()),
        cgroup: known.and_then(|known| known.cgroup.clone()),
        role,
        quality,
    }
}

//! Processes behind a reset, and how they were identified.
//!
//! The running task is a bystander unless it held the socket: in softirq it may be anybody. So there are two sources:
//! what was written down when the socket connected, listened or closed, and the open file found at the event.

mod received;
mod sent;

pub use received::{failed, listens, received, receiver};
pub use sent::{Whose, attempting, raw_sender, sent};

use std::fmt;

use crate::event::{BootTime, HostContext, OwnerNow, OwnerSource, Ownership, Task, Tombstone};
use crate::record::{Process, Quality, Role, Word};
use crate::silence::software::{self, Program};
use crate::words::{self, span};

/// Who had to do with a reset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Who {
    /// The process that did it or, if nobody here did, the one that had the connection.
    pub process: Option<Process>,
    /// The process that had the connection, where it is another one.
    pub owner: Option<Process>,
}

/// A process in a sentence: `nginx[87]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessName {
    /// `/proc/PID/comm`.
    pub comm: Word,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// What it has to do with the connection.
    pub role: Role,
    /// What it runs; absent if the tables do not know it.
    pub program: Option<&'static Program>,
}

impl From<&Process> for ProcessName {
    fn from(process: &Process) -> Self {
        Self {
            program: software::program(
                &process.comm,
                process.exe.as_deref(),
                process.cmdline.as_deref(),
            ),
            comm: process.comm.clone(),
            pid: process.pid,
            role: process.role,
        }
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&words::name(&self.comm, self.pid))
    }
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

/// Who holds the socket. The only process found with the file goes before what was written down: it is looked for where the
/// record came from a listener, is missing, or names a process that is gone or has the file no more. Who has shut the
/// connection down goes before those who might have had it.
fn holder<'a>(
    ownership: Option<&'a Ownership>,
    facts: &'a HostContext,
) -> Option<(&'a Task, Quality)> {
    let found = |shares: bool, quality| {
        let holder = facts
            .holder
            .as_ref()
            .filter(move |it| it.shares == shares)?;
        Some((&holder.task, quality))
    };
    let is_guess = ownership.is_none_or(|it| it.inherited || it.owner.is_none());
    let shut_down = || {
        closer(ownership)
            .filter(|_| is_guess)
            .map(|task| (task, Quality::Recorded))
    };
    found(false, Quality::LookedUp)
        .or_else(shut_down)
        .or_else(|| found(true, Quality::Inherited))
        .or_else(|| recorded(ownership, facts.owner))
}

/// The recorded holder alone.
fn recorded(ownership: Option<&Ownership>, now: OwnerNow) -> Option<(&Task, Quality)> {
    let ownership = ownership?;
    let quality = match ownership.source {
        _ if ownership.inherited => Quality::Inherited,
        Some(OwnerSource::Accept) if now == OwnerNow::MayHaveHandedOn => Quality::Inherited,
        Some(OwnerSource::Seeded) => Quality::LookedUp,
        Some(OwnerSource::Connect | OwnerSource::Listen | OwnerSource::Accept) | None => {
            Quality::Recorded
        }
    };
    ownership.owner.as_ref().map(|task| (task, quality))
}

/// Who closed or shut down; never a kernel thread, which only finishes what a process began.
fn closer(ownership: Option<&Ownership>) -> Option<&Task> {
    ownership
        .and_then(|ownership| ownership.closer.as_ref())
        .filter(|closer| !closer.kernel_thread)
        .map(|closer| &closer.task)
}

/// Who had a connection that is gone: who closed it, else who held it. A file found now has nothing to do with it.
fn former(tombstone: &Tombstone, facts: &HostContext) -> Option<Process> {
    let (task, quality) = former_task(tombstone)?;
    Some(describe(task, Role::FormerOwner, quality, facts))
}

fn former_task(tombstone: &Tombstone) -> Option<(&Task, Quality)> {
    let ownership = Some(&tombstone.ownership);
    closer(ownership)
        .map(|task| (task, Quality::Recorded))
        .or_else(|| recorded(ownership, OwnerNow::Lives))
}

/// `nginx[87] had closed this connection; it ended 40.0 s earlier, from FIN_WAIT2`.
pub fn connection_end(tombstone: &Tombstone, at: BootTime) -> String {
    let who = name_or_unknown(former_task(tombstone).map(|(task, _)| task));
    let ago = span(at.since(tombstone.died));
    let state = tombstone.last_state;
    match (tombstone.error, tombstone.last_state.is_synchronized()) {
        (0, true) if tombstone.fin_sent || tombstone.ownership.closer.is_some() => {
            let how = match words::ended(tombstone.ownership.closer.as_ref()).as_str() {
                "closed" => "closed this connection".to_owned(),
                how => format!("{how} with this connection open"),
            };
            format!("{who} had {how}; it ended {ago} earlier, from {state}")
        }
        (0, _) => format!("{who} had this connection; it ended {ago} earlier, from {state}"),
        (error, _) => format!(
            "{who} had this connection; it ended {ago} earlier with {}, from {state}",
            words::errno(error)
        ),
    }
}

/// Who listened: the process that called listen().
pub fn listener(ownership: &Ownership) -> String {
    name_or_unknown(ownership.owner.as_ref())
}

fn name_or_unknown(task: Option<&Task>) -> String {
    task.map_or_else(
        || "an unknown process".to_owned(),
        |task| words::name(&task.comm, task.pid),
    )
}

/// The role of whoever holds a socket, or did until the process ended or handed it on: a file may outlive it in a child not
/// found.
fn holding(role: Role, facts: &HostContext) -> Role {
    let had = matches!(facts.owner, OwnerNow::Gone | OwnerNow::HandedOn);
    if role == Role::Owner && had && facts.holder.is_none() {
        Role::FormerOwner
    } else {
        role
    }
}

/// A process with what the edge found out about it.
fn describe(task: &Task, role: Role, quality: Quality, facts: &HostContext) -> Process {
    let known = facts.processes.iter().find(|known| known.is_of(task));
    Process {
        pid: task.pid,
        outside: task.outside,
        comm: task.comm.clone(),
        exe: known.and_then(|known| known.exe.clone()),
        cmdline: known.and_then(|known| known.cmdline.clone()),
        uid: Some(task.uid),
        container_id: known.and_then(|known| known.container_id.clone()),
        unit: known.and_then(|known| known.unit.clone()),
        pod_uid: known.and_then(|known| known.pod_uid.clone()),
        workload: known.and_then(|known| known.workload.clone()),
        cgroup: known.and_then(|known| known.cgroup.clone()),
        role,
        quality,
    }
}

//! The tasks of a wire event: who had the socket, who closed it, who was running.

use rsttrace_common::socket::{
    CLOSER_EXITING, CLOSER_KERNEL_THREAD, OWNERSHIP_INHERITED, OWNERSHIP_ISN, SOURCE_ACCEPT,
    SOURCE_CONNECT, SOURCE_LISTEN, SOURCE_NONE, SOURCE_SEEDED,
};
use rsttrace_common::task::{COMM_LEN, PF_EXITING, PF_KTHREAD, PID_OUTSIDE};
use rsttrace_common::{lifecycle, socket, task as wire};
use zerocopy::IntoBytes;

use super::DecodeError;
use super::address::{optional_state, state};
use super::jiffies::Jiffies;
use crate::event::{
    BootTime, Closer, CurrentTask, OwnerSource, Ownership, PeerFinish, SocketCookie, Task,
    Tombstone,
};
use crate::record::Word;

/// What was remembered of a socket; absent (all zero) if nothing was.
pub(super) fn ownership(
    wire: &socket::Ownership,
    clock: Jiffies,
) -> Result<Option<Ownership>, DecodeError> {
    if wire.as_bytes().iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    known_ownership(wire, clock).map(Some)
}

/// What is left of a socket; absent if there is no tombstone.
pub(super) fn tombstone(
    wire: &lifecycle::Tombstone,
    clock: Jiffies,
) -> Result<Option<Tombstone>, DecodeError> {
    let end = &wire.end;
    if end.died_ns == 0 {
        return Ok(None);
    }
    Ok(Some(Tombstone {
        ownership: known_ownership(&wire.ownership, clock)?,
        died: BootTime(end.died_ns),
        cookie: (end.cookie != 0).then_some(SocketCookie(end.cookie)),
        error: end.error,
        unread: end.unread,
        last_state: state(end.last_state)?,
        fin_sent: end.fin_sent != 0,
    }))
}

/// The running task; absent in the idle task, which is no process.
pub(super) fn current(wire: &wire::CurrentTask) -> Option<CurrentTask> {
    let exiting = wire.flags & PF_EXITING != 0;
    let signal = u8::try_from(wire.exit_code & 0x7f).unwrap_or(0);
    Some(CurrentTask {
        task: task(&wire.task)?,
        exiting,
        kernel_thread: wire.flags & PF_KTHREAD != 0,
        signal: (exiting && signal != 0).then_some(signal),
    })
}

fn known_ownership(wire: &socket::Ownership, clock: Jiffies) -> Result<Ownership, DecodeError> {
    let owner = task(&wire.owner);
    let source = match wire.source {
        SOURCE_NONE => None,
        SOURCE_CONNECT => Some(OwnerSource::Connect),
        SOURCE_LISTEN => Some(OwnerSource::Listen),
        SOURCE_SEEDED => Some(OwnerSource::Seeded),
        SOURCE_ACCEPT => Some(OwnerSource::Accept),
        number => return Err(DecodeError::OwnerSource(number)),
    };
    Ok(Ownership {
        source: source.filter(|_| owner.is_some()),
        owner,
        inherited: wire.flags & OWNERSHIP_INHERITED != 0,
        closer: closer(wire, clock),
        peer_finish: time(wire.peer_finished_ns).map(|time| PeerFinish {
            time,
            quiet: clock.elapsed(wire.peer_finished_quiet),
        }),
        established: time(wire.established_ns),
        isn: (wire.flags & OWNERSHIP_ISN != 0).then_some((wire.local_isn, wire.remote_isn)),
        state_before_close: optional_state(wire.state_before_close)?,
    })
}

fn closer(wire: &socket::Ownership, clock: Jiffies) -> Option<Closer> {
    (wire.closer_pid != 0).then(|| Closer {
        task: Task {
            pid: wire.closer_pid & !PID_OUTSIDE,
            outside: is_outside(wire.closer_pid),
            start: BootTime(wire.closer_start_boottime_ns),
            uid: wire.closer_uid,
            cgroup_id: 0,
            comm: comm(&wire.closer_comm),
        },
        time: time(wire.closed_ns),
        quiet: clock.elapsed(wire.closed_quiet),
        exiting: wire.closer_flags & CLOSER_EXITING != 0,
        kernel_thread: wire.closer_flags & CLOSER_KERNEL_THREAD != 0,
        signal: (wire.closer_signal != 0).then_some(wire.closer_signal),
    })
}

fn task(wire: &wire::Task) -> Option<Task> {
    (wire.pid != 0).then(|| Task {
        pid: wire.pid & !PID_OUTSIDE,
        outside: is_outside(wire.pid),
        start: BootTime(wire.start_boottime_ns),
        uid: wire.uid,
        cgroup_id: wire.cgroup_id,
        comm: comm(&wire.comm),
    })
}

fn is_outside(pid: u32) -> bool {
    pid & PID_OUTSIDE != 0
}

fn time(ns: u64) -> Option<BootTime> {
    (ns != 0).then_some(BootTime(ns))
}

fn comm(bytes: &[u8; COMM_LEN]) -> Word {
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into()
}

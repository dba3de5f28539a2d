//! iter/task_file: gives an owner to the sockets that are older than the tool.
//!
//! Run once at start. `struct bpf_iter__task_file`: <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/task_iter.c>.
//! Tasks come in order of their pids, so of several holders the first one is kept: the master of a prefork server.

use aya_ebpf::helpers::generated::bpf_sock_from_file;
use rsttrace_common::counters::{SEEDED, STORAGE_FAILED};
use rsttrace_common::socket::SOURCE_SEEDED;

use crate::kernel::{Typed, load, task_of, tcp_sock};
use crate::knobs::offset;
use crate::maps::{SOCKETS, count};
use crate::snapshot::cookie;

/// What the iterator hands over, pointers null at its end.
#[repr(C)]
struct TaskFile {
    meta: Typed,
    task: Typed,
    fd: u32,
    padding: u32,
    file: Typed,
}

#[unsafe(link_section = "iter/task_file")]
#[unsafe(no_mangle)]
extern "C" fn seed_sockets(ctx: *const TaskFile) -> i32 {
    // SAFETY: the kernel hands over such a struct.
    let TaskFile { task, file, .. } = *unsafe { &*ctx };
    if task.is_null() || file.is_null() {
        return 0;
    }
    // SAFETY: the verifier knows `file` as a file.
    let socket: Typed = unsafe { bpf_sock_from_file(file.cast_mut().cast()) }
        .cast_const()
        .cast();
    if socket.is_null() {
        return 0;
    }
    let Some(sk) = load::<Typed>(socket, offset!(socket_sk)) else {
        return 0;
    };
    if sk.is_null() || tcp_sock(sk).is_none() {
        return 0;
    }
    let Some(ownership) = SOCKETS.get_or_create(sk) else {
        count(STORAGE_FAILED);
        return 0;
    };
    if ownership.owner.pid == 0 {
        ownership.owner = task_of(task).task;
        ownership.source = SOURCE_SEEDED;
        ownership.cookie = cookie(sk);
        count(SEEDED);
    }
    0
}

//! iter/task_file: gives an owner to the sockets that are older than the tool.
//!
//! Run once at start. `struct bpf_iter__task_file`: <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/task_iter.c>.
//! Tasks come in order of their pids, so of several holders the first one is kept: the master of a prefork server.

use aya_ebpf::helpers::generated::bpf_sock_from_file;
use rsttrace_common::counters::SEEDED;
use rsttrace_common::knobs::{HELPER_FILE_SOCKET, HELPER_TYPED_TASK};
use rsttrace_common::socket::{SOURCE_SEEDED, TCP_CLOSE, TCP_LISTEN};

use crate::kernel::{Copied, Netns, Typed, load, read_member, task_at, task_of, tcp_sock};
use crate::knobs::{has, offset};
use crate::listeners;
use crate::maps::count;
use crate::owners;
use crate::snapshot::{self, cookie};

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
    let sk: Typed = if has(HELPER_FILE_SOCKET) {
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
        cookie(sk);
        sk
    } else {
        socket_at(file as u64) as Typed
    };
    // The rest by copying, as not every kernel knows the type.
    let address = sk as u64;
    if address == 0 {
        return 0;
    }
    let state: u8 = read_member(address, offset!(skc_state));
    // It may have closed before this process did.
    if state == TCP_CLOSE {
        return 0;
    }
    if state != TCP_LISTEN && owners::is_known(sk) {
        return 0;
    }
    let owner = if has(HELPER_TYPED_TASK) {
        task_of(task).task
    } else {
        task_at(task as u64).task
    };
    if state == TCP_LISTEN {
        let flow = snapshot::flow_by::<Copied>(sk, sk);
        let netns = Netns::of::<Copied>(sk, offset!(skc_net));
        let key = listeners::key(&flow, netns);
        if listeners::is_known(sk, &key) {
            return 0;
        }
        listeners::add(sk, &key, &owner);
    } else if let Some(record) = owners::begin(sk) {
        record.owner = owner;
        record.source = SOURCE_SEEDED;
    }
    count(SEEDED);
    0
}

/// Address of the TCP socket behind a file, 0: it is none. As sock_from_file() does it, but told by the file's inode and
/// by the socket pointing back, as the operations of sockets have no address here.
#[inline(always)]
fn socket_at(file: u64) -> u64 {
    let inode: u64 = read_member(file, offset!(f_inode));
    let mode: u16 = read_member(inode, offset!(i_mode));
    if mode & S_IFMT != S_IFSOCK {
        return 0;
    }
    let socket: u64 = read_member(file, offset!(private_data));
    if socket == 0 || read_member::<u64>(socket, offset!(socket_file)) != file {
        return 0;
    }
    let sk: u64 = read_member(socket, offset!(socket_sk));
    let family: u16 = read_member(sk, offset!(skc_family));
    let protocol: u16 = read_member(sk, offset!(sk_protocol));
    if sk == 0 || (family != AF_INET && family != AF_INET6) || protocol != IPPROTO_TCP {
        return 0;
    }
    sk
}

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// sk_protocol has 16 bits from 5.6 on (include/net/sock.h).
const IPPROTO_TCP: u16 = 6;

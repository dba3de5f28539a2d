//! Who listens: processes by the end that they listen at.
//!
//! Several sockets may listen at one end (SO_REUSEPORT). All but the first have their owner in their socket storage, which the
//! kernel copies to their children; where it lends none to tracing programs (before 5.11), connections of an end that processes
//! share have no owner until they are accepted.

use core::ffi::c_void;

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_SK_STORAGE;
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use rsttrace_common::counters::LISTENER_LOST;
use rsttrace_common::knobs::HELPER_SOCKET_STORAGE;
use rsttrace_common::socket::{OWNERSHIP_INHERITED, Ownership, SOURCE_LISTEN};
use rsttrace_common::task::Task;
use rsttrace_common::{Flow, FlowKey};

use crate::kernel::{Netns, Typed};
use crate::knobs::has;
use crate::maps::{LISTENING, count};
use crate::owners;
use crate::words;

/// The sockets that listen at one end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Listener {
    /// Address of the socket that listened first.
    first: u64,
    /// The process that called listen() for it.
    owner: Task,
    /// Sockets.
    sockets: u32,
    /// Whether all are of one process: a `SHARED_` constant.
    shared: u32,
}

/// All are of one process.
const SHARED_NO: u32 = 0;
/// Some are of other processes; all but the first have storage.
const SHARED_YES: u32 = 1;
/// The same, but for some there was no memory for storage: one without may be any.
const SHARED_UNKNOWN: u32 = 2;

/// The owner of a listener; the kernel copies it to its children (`BPF_F_CLONE`).
#[repr(C)]
struct SocketStorage {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    map_flags: *const [i32; SOCKET_STORAGE_FLAGS],
    max_entries: *const [i32; 0],
    key: *const i32,
    value: *const Task,
}

/// `BPF_F_NO_PREALLOC | BPF_F_CLONE`.
const SOCKET_STORAGE_FLAGS: usize = 1 | (1 << 9);
const BPF_SK_STORAGE_GET_F_CREATE: u64 = 1;
/// Insert only what is not there.
const BPF_NOEXIST: u64 = 1;

// SAFETY: the fields are null for good: they exist for their types, which the loader reads from BTF.
unsafe impl Sync for SocketStorage {}

/// See [`SocketStorage`].
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "SOCKETS")]
static SOCKETS: SocketStorage = SocketStorage {
    r#type: core::ptr::null(),
    map_flags: core::ptr::null(),
    max_entries: core::ptr::null(),
    key: core::ptr::null(),
    value: core::ptr::null(),
};

/// The key of a listener.
#[inline(always)]
pub fn key(flow: &Flow, netns: Netns) -> FlowKey {
    FlowKey {
        flow: Flow {
            local_address: flow.local_address,
            remote_address: [0; 16],
            local_port: flow.local_port,
            remote_port: 0,
            reserved: 0,
        },
        netns_cookie: netns.cookie,
    }
}

/// A socket listens from now on; `false`: there is no room for it.
#[inline(always)]
pub fn add(sk: Typed, key: &FlowKey, owner: &Task) -> bool {
    // The kernel chooses a port after this, if the socket has none.
    if key.flow.local_port == 0 {
        return keep_with_socket(sk, owner);
    }
    if let Some(listener) = get(key) {
        return join(sk, listener, owner);
    }
    let listener = Listener {
        first: owners::number(sk).unwrap_or(0),
        owner: *owner,
        sockets: 1,
        shared: SHARED_NO,
    };
    if LISTENING.insert(key, listener, BPF_NOEXIST).is_ok() {
        return true;
    }
    // Another one was first, on another CPU.
    if let Some(listener) = get(key) {
        return join(sk, listener, owner);
    }
    count(LISTENER_LOST);
    false
}

/// A further socket at an end.
#[inline(always)]
fn join(sk: Typed, listener: &mut Listener, owner: &Task) -> bool {
    listener.sockets += 1;
    let is_other = !is_of(listener, owner);
    if is_other && listener.shared == SHARED_NO {
        listener.shared = SHARED_YES;
    }
    // Also without need, so that `is_known` knows it.
    let is_kept = keep_with_socket(sk, owner);
    if is_other && !is_kept {
        listener.shared = SHARED_UNKNOWN;
    }
    is_kept
}

#[inline(always)]
fn keep_with_socket(sk: Typed, owner: &Task) -> bool {
    if let Some(own) = storage(sk, BPF_SK_STORAGE_GET_F_CREATE) {
        words::copy(owner, own);
        return true;
    }
    if has(HELPER_SOCKET_STORAGE) {
        count(LISTENER_LOST);
    }
    false
}

/// Whether a socket is known to listen at an end. Without socket storage only the first one is.
#[inline(always)]
pub fn is_known(sk: Typed, key: &FlowKey) -> bool {
    get(key).is_some_and(|listener| Some(listener.first) == owners::number(sk))
        || storage(sk, 0).is_some()
}

/// A socket listens no more.
#[inline(always)]
pub fn remove(key: &FlowKey) {
    let Some(listener) = get(key) else { return };
    if listener.sockets > 1 {
        listener.sockets -= 1;
    } else {
        let _ = LISTENING.remove(key);
    }
}

/// Makes the process that listens the owner of a child, which has the listener's end or its own already.
#[inline(always)]
pub fn copy_to_child(sk: Typed, key: &mut FlowKey, into: &mut Ownership) {
    let found = match get(key) {
        Some(listener) => Some(listener),
        None => {
            key.flow.local_address = [0; 16];
            get(key)
        }
    };
    copy_owner(sk, found, into);
    into.flags |= OWNERSHIP_INHERITED;
}

/// The same for the listener itself.
#[inline(always)]
pub fn copy(sk: Typed, key: &FlowKey, into: &mut Ownership) {
    copy_owner(sk, get(key), into);
}

#[inline(always)]
fn copy_owner(sk: Typed, listener: Option<&mut Listener>, into: &mut Ownership) {
    let shared = listener.as_ref().map_or(SHARED_UNKNOWN, |it| it.shared);
    if shared != SHARED_NO
        && let Some(own) = storage(sk, 0)
    {
        words::copy(own, &mut into.owner);
        into.source = SOURCE_LISTEN;
        return;
    }
    let is_first = shared == SHARED_NO || (shared == SHARED_YES && has(HELPER_SOCKET_STORAGE));
    if let Some(listener) = listener.filter(|_| is_first) {
        words::copy(&listener.owner, &mut into.owner);
        into.source = SOURCE_LISTEN;
    }
}

#[inline(always)]
fn is_of(listener: &Listener, owner: &Task) -> bool {
    listener.owner.pid == owner.pid && listener.owner.start_boottime_ns == owner.start_boottime_ns
}

#[inline(always)]
fn get(key: &FlowKey) -> Option<&'static mut Listener> {
    // SAFETY: a value of the map.
    unsafe { LISTENING.get_ptr_mut(key)?.as_mut() }
}

/// A socket's own storage; `None`: it has none.
#[inline(always)]
fn storage(sk: Typed, flags: u64) -> Option<&'static mut Task> {
    if !has(HELPER_SOCKET_STORAGE) {
        return None;
    }
    let map = (&raw const SOCKETS).cast_mut().cast::<c_void>();
    // SAFETY: the loader replaces `map`; the verifier checks `sk`; the storage lives as long as the socket does.
    let record = unsafe { bpf_sk_storage_get(map, sk.cast_mut(), core::ptr::null_mut(), flags) };
    // SAFETY: null or a record of this type.
    unsafe { record.cast::<Task>().as_mut() }
}

//! Who owns a socket: a record that lives as long as the socket does.
//!
//! Kept in the socket's own storage where the kernel lends it to tracing programs (5.11), which also copies a listener's
//! record to its children. Elsewhere in a hash by the socket's address: `closed` takes a record out when the socket is
//! destroyed, and `cloned` does the copying.

use core::ffi::c_void;

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_SK_STORAGE;
use aya_ebpf::helpers::generated::{bpf_map_update_elem, bpf_sk_storage_get};
use rsttrace_common::knobs::HELPER_SOCKET_STORAGE;
use rsttrace_common::socket::Ownership;

use crate::kernel::Typed;
use crate::knobs::has;
use crate::maps::{NO_OWNER, OWNERS};

/// A record for each socket; the kernel copies a listener's to its children (`BPF_F_CLONE`).
#[repr(C)]
struct SocketStorage {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    map_flags: *const [i32; SOCKET_STORAGE_FLAGS],
    max_entries: *const [i32; 0],
    key: *const i32,
    value: *const Ownership,
}

/// `BPF_F_NO_PREALLOC | BPF_F_CLONE`.
const SOCKET_STORAGE_FLAGS: usize = 1 | (1 << 9);

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

/// The record of a socket, which must be a pointer the verifier knows as one.
#[inline(always)]
pub fn get(sk: Typed) -> Option<&'static mut Ownership> {
    if has(HELPER_SOCKET_STORAGE) {
        storage(sk, 0)
    } else {
        at(sk as u64)
    }
}

/// The same, made of zeroes if there was none; `None`: there is no memory for it.
#[inline(always)]
pub fn get_or_create(sk: Typed) -> Option<&'static mut Ownership> {
    if has(HELPER_SOCKET_STORAGE) {
        storage(sk, BPF_SK_STORAGE_GET_F_CREATE)
    } else {
        get_or_create_at(sk as u64)
    }
}

/// [`get_or_create`] by address, for programs that know no types; only without socket storage.
#[inline(always)]
pub fn get_or_create_at(address: u64) -> Option<&'static mut Ownership> {
    if let Some(record) = at(address) {
        return Some(record);
    }
    put(address, NO_OWNER.get_ptr(0)?);
    at(address)
}

/// A socket came to be as a copy of another one, a listener; only without socket storage.
#[inline(always)]
pub fn cloned(listener: u64, child: u64) {
    if let Some(record) = at(listener) {
        put(child, record);
    } else {
        // The address may have been another socket's.
        destroyed(child);
    }
}

/// A socket ceases to be; only without socket storage.
#[inline(always)]
pub fn destroyed(address: u64) {
    let _ = OWNERS.remove(address);
}

const BPF_SK_STORAGE_GET_F_CREATE: u64 = 1;
const BPF_ANY: u64 = 0;

#[inline(always)]
fn storage(sk: Typed, flags: u64) -> Option<&'static mut Ownership> {
    let map = (&raw const SOCKETS).cast_mut().cast::<c_void>();
    // SAFETY: the loader replaces `map`; the verifier checks `sk`; the storage lives as long as the socket does.
    let record = unsafe { bpf_sk_storage_get(map, sk.cast_mut(), core::ptr::null_mut(), flags) };
    // SAFETY: null or a record of this type, exclusive enough: the socket's lock or its softirq holds off others.
    unsafe { record.cast::<Ownership>().as_mut() }
}

#[inline(always)]
fn at(address: u64) -> Option<&'static mut Ownership> {
    // SAFETY: as for the storage.
    unsafe { OWNERS.get_ptr_mut(address)?.as_mut() }
}

#[inline(always)]
fn put(address: u64, record: *const Ownership) {
    let map = (&raw const OWNERS).cast_mut().cast::<c_void>();
    let key = (&raw const address).cast_mut().cast::<c_void>();
    // SAFETY: `key` is on the stack, `record` a value of a map; both have the sizes that the map was made with.
    let _ = unsafe { bpf_map_update_elem(map, key, record.cast_mut().cast(), BPF_ANY) };
}

//! The maps: what outlives a program's run.

use core::ffi::c_void;

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_SK_STORAGE;
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, PerfEventByteArray, RingBuf};
use rsttrace_common::counters;
use rsttrace_common::knobs::DEFAULT_SLOTS;
use rsttrace_common::lifecycle::Tombstone;
use rsttrace_common::packet::Baseline;
use rsttrace_common::socket::Ownership;

use crate::table::Entry;

/// Events, `TRANSPORT_RING`. User space sets the size.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
/// Events, `TRANSPORT_PERF`.
#[map]
pub static EVENTS_PERF: PerfEventByteArray = PerfEventByteArray::new(0);
/// Room for the largest event.
pub type Scratch = [u64; 80];
/// Where an event is put together for `EVENTS_PERF`: a slot for each program, as one may interrupt another.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(8, 0);
/// See `rsttrace_common::counters`.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counters::COUNT, 0);
/// Connections and listeners that closed.
#[map]
pub static TOMBSTONES: Array<Entry<Tombstone>> = Array::with_max_entries(DEFAULT_SLOTS, 0);
/// SYNs and SYN-ACKs that came in.
#[map]
pub static BASELINES: Array<Entry<Baseline>> = Array::with_max_entries(DEFAULT_SLOTS, 0);
/// Entry 0: `[jiffies64, CLOCK_MONOTONIC]`, written by the program `clock`.
#[map]
pub static CLOCK: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// What is remembered of each socket; the kernel copies a listener's record to its children (`BPF_F_CLONE`).
#[repr(C)]
pub struct SocketStorage {
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
pub static SOCKETS: SocketStorage = SocketStorage {
    r#type: core::ptr::null(),
    map_flags: core::ptr::null(),
    max_entries: core::ptr::null(),
    key: core::ptr::null(),
    value: core::ptr::null(),
};

impl SocketStorage {
    /// The record of a socket, which must be a pointer the verifier knows as one.
    #[inline(always)]
    pub fn get(&'static self, sk: *const c_void) -> Option<&'static mut Ownership> {
        self.call(sk, 0)
    }

    /// The same, made of zeroes if there was none.
    #[inline(always)]
    pub fn get_or_create(&'static self, sk: *const c_void) -> Option<&'static mut Ownership> {
        self.call(sk, 1)
    }

    #[inline(always)]
    #[expect(
        clippy::mut_from_ref,
        reason = "the record is the socket's, not the map's"
    )]
    fn call(&'static self, sk: *const c_void, flags: u64) -> Option<&'static mut Ownership> {
        let map = core::ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: the loader replaces `map`; the verifier checks `sk`; the storage lives as long as the socket does.
        let record =
            unsafe { bpf_sk_storage_get(map, sk.cast_mut(), core::ptr::null_mut(), flags) };
        // SAFETY: null or a record of this type, exclusive enough: the socket's lock or its softirq holds off others.
        unsafe { record.cast::<Ownership>().as_mut() }
    }
}

/// Adds one to a counter of this CPU.
///
/// A plain addition is exact: each counter belongs to one program, the kernel does not run a tracing program inside
/// itself on one CPU (it counts a miss instead), and classifiers run with softirqs off.
#[inline(always)]
pub fn count(counter: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: this CPU's own element.
        unsafe { *value += 1 };
    }
}

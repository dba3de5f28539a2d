//! The maps: what outlives a program's run.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, PerfEventByteArray, RingBuf};
use rsttrace_common::FlowKey;
use rsttrace_common::counters;
use rsttrace_common::flood::{self, Bucket, BucketKey, ClassCount};
use rsttrace_common::handshake::{SYN_SLOTS, Syn, TRANSLATION_SLOTS, Translation};
use rsttrace_common::knobs::{DEFAULT_SLOTS, LISTENER_SLOTS};
use rsttrace_common::lifecycle::Tombstone;
use rsttrace_common::packet::Baseline;
use rsttrace_common::reset::Segment;
use rsttrace_common::socket::Ownership;

use crate::listeners::Listener;
use crate::packet;
use crate::table::{Entry, Hashes};

/// Values begin at a page, so that a slot takes no more cache lines than it must.
const MMAPABLE: u32 = BPF_F_MMAPABLE;

/// Events, `TRANSPORT_RING`. User space sets the size.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
/// Events, `TRANSPORT_PERF`.
#[map]
pub static EVENTS_PERF: PerfEventByteArray = PerfEventByteArray::new(0);
/// Room for the largest event.
pub type Scratch = [u64; 80];
/// Where an event is put together for `EVENTS_PERF`: a slot for each program, as one may interrupt another. (On 5.10 one may
/// interrupt itself, which then mixes two events: the ring is the default.)
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(8, 0);
/// See `rsttrace_common::counters`. One element, so that user space reads all of them in one call.
#[map]
pub static COUNTERS: PerCpuArray<[u64; counters::COUNT as usize]> =
    PerCpuArray::with_max_entries(1, 0);
/// Of each class, see `rsttrace_common::flood`.
#[map]
pub static CLASS_COUNTS: PerCpuArray<ClassCount> = PerCpuArray::with_max_entries(flood::CLASSES, 0);
/// Room for details by class: nanoseconds as in `Bucket::ready_ns`.
#[map]
pub static CLASS_BUCKETS: Array<u64> = Array::with_max_entries(flood::CLASSES, 0);
/// Room for details, by class and port or network or both.
#[map]
pub static BUCKETS: Array<Bucket> = Array::with_max_entries(flood::BUCKETS, 0);
/// Room for failures without a reset: nanoseconds as in `Bucket::ready_ns`.
#[map]
pub static FAILURES_READY: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// What each bucket refused, so many to an element: user space reads each in one call.
#[map]
pub static REFUSALS: PerCpuArray<[u64; flood::REFUSALS_EACH as usize]> =
    PerCpuArray::with_max_entries(flood::REFUSALS.div_ceil(flood::REFUSALS_EACH), 0);
/// The key that a program is looking for, for want of stack: a slot for each program, as one may interrupt another.
#[map]
pub static KEYS: PerCpuArray<BucketKey> = PerCpuArray::with_max_entries(8, 0);
/// What a reset answers.
#[repr(C)]
pub struct Cause {
    /// A run is at work on it.
    pub busy: u64,
    /// The segment, all zero if there is none.
    pub segment: Segment,
    /// The connection.
    pub key: FlowKey,
}
/// What a tracing program looks at, in memory that the verifier does not keep track of: a slot for each program, by `Slot`.
#[map]
pub static CAUSES: PerCpuArray<Cause> = PerCpuArray::with_max_entries(8, 0);
/// The segment that a classifier looks at, for want of stack: a slot for each direction, by `Slot`.
#[map]
pub static SEGMENTS: PerCpuArray<packet::Segment> = PerCpuArray::with_max_entries(8, 0);
/// Whether a flow's reset was described where it was first seen, see `flood`.
#[map]
pub static DECISIONS: Array<u64> = Array::with_max_entries(flood::DECISIONS, 0);
/// Listeners that closed. A table of their own: connections close too often to share one.
#[map]
pub static LISTENERS: Array<Entry<Tombstone>> = Array::with_max_entries(LISTENER_SLOTS, MMAPABLE);
/// Of `LISTENERS`.
#[map]
pub static LISTENER_HASHES: Hashes = Array::with_max_entries(LISTENER_SLOTS / 2, MMAPABLE);
/// Connections that closed.
#[map]
pub static TOMBSTONES: Array<Entry<Tombstone>> = Array::with_max_entries(DEFAULT_SLOTS, MMAPABLE);
/// Of `TOMBSTONES`.
#[map]
pub static TOMBSTONE_HASHES: Hashes = Array::with_max_entries(DEFAULT_SLOTS / 2, MMAPABLE);
/// SYNs and SYN-ACKs that came in.
#[map]
pub static BASELINES: Array<Entry<Baseline>> = Array::with_max_entries(DEFAULT_SLOTS, MMAPABLE);
/// Of `BASELINES`.
#[map]
pub static BASELINE_HASHES: Hashes = Array::with_max_entries(DEFAULT_SLOTS / 2, MMAPABLE);
/// SYNs and SYN-ACKs by their sequence number, for as long as they are on their way.
#[map]
pub static SYNS: Array<Entry<Syn>> = Array::with_max_entries(SYN_SLOTS, 0);
/// Handshakes that left with other addresses than they came in with.
#[map]
pub static TRANSLATIONS: Array<Entry<Translation>> = Array::with_max_entries(TRANSLATION_SLOTS, 0);
/// Of `TRANSLATIONS`.
#[map]
pub static TRANSLATION_HASHES: Hashes = Array::with_max_entries(TRANSLATION_SLOTS / 2, 0);
/// Entry 0: `[jiffies64, CLOCK_MONOTONIC]`, written by the program `clock`.
#[map]
pub static CLOCK: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// What is remembered of sockets, see `owners`. User space sets the size.
#[map]
pub static OWNERS: Array<Ownership> = Array::with_max_entries(DEFAULT_SLOTS, MMAPABLE);
/// Who listens, by the end that they listen at. What is too many is counted as `LISTENER_LOST`.
#[map]
pub static LISTENING: HashMap<FlowKey, Listener> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);
/// Entry 0: where `owners` makes a number of an address.
#[map]
pub static ADDRESS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// The namespace of a device.
#[repr(C)]
pub struct DeviceNetns {
    /// Over the device, the jiffy, and what follows; 0: nothing yet.
    pub check: u64,
    /// `net.net_cookie`, or the inode.
    pub cookie: u64,
    /// `net.ns.inum`.
    pub inode: u32,
    /// Zero.
    pub reserved: u32,
}
/// Entry 0: that of the last packet on this CPU.
#[map]
pub static DEVICE: PerCpuArray<DeviceNetns> = PerCpuArray::with_max_entries(1, 0);

/// The segment that tcp_reset() is called for, and its socket: what the tracepoint inside it does not say.
#[repr(C)]
pub struct Arrival {
    /// Address of the socket; 0: taken.
    pub socket: u64,
    /// The segment.
    pub segment: Segment,
}
/// Entry 0: the last one on this CPU.
#[map]
pub static ARRIVAL: PerCpuArray<Arrival> = PerCpuArray::with_max_entries(1, 0);

/// Takes memory that a program keeps for itself on this CPU; `false`: a run that this one interrupts is at work on it. The
/// kernel does not let a program interrupt itself, but for tracing programs before 6.1, and for classifiers where softirqs
/// may be preempted (PREEMPT_RT).
#[inline(always)]
pub fn begin(busy: &mut u64) -> bool {
    let place = core::ptr::from_mut(busy);
    // SAFETY: this CPU's own memory. Volatile, as another run may look at it in between.
    if unsafe { place.read_volatile() } != 0 {
        return false;
    }
    // SAFETY: as above.
    unsafe { place.write_volatile(1) };
    true
}

/// Gives it back.
#[inline(always)]
pub fn end(busy: &mut u64) {
    // SAFETY: as in [`begin`].
    unsafe { core::ptr::from_mut(busy).write_volatile(0) };
}

/// Adds one to a counter of this CPU.
///
/// A plain addition is exact: each counter belongs to one program, the kernel does not run a tracing program inside
/// itself on one CPU (it counts a miss instead), and classifiers run with softirqs off. Kernels before 6.1 do run it inside itself, if
/// a softirq's reset interrupts a process's in these few instructions: then one is not counted. The same holds for `OWNER_EVICTED` and
/// `LISTENER_LOST`, which several programs count.
#[inline(always)]
pub fn count(counter: u32) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: this CPU's own element.
        let counters = unsafe { &mut *counters };
        if let Some(value) = counters.get_mut(counter as usize) {
            *value += 1;
        }
    }
}

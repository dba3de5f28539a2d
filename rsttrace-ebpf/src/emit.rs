//! How an event leaves: reserve, fill, submit; what does not fit is counted.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_F_CURRENT_CPU;
use aya_ebpf::helpers::generated::{
    bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_boot_ns, bpf_perf_event_output,
    bpf_ringbuf_reserve, bpf_ringbuf_submit,
};
use rsttrace_common::knobs::TRANSPORT_RING;
use rsttrace_common::{Header, WIRE_VERSION};

use crate::knobs::{TRANSPORT, get};
use crate::maps::{EVENTS, EVENTS_PERF, SCRATCH, Scratch, count};

/// The scratch slot of a program.
#[derive(Clone, Copy)]
pub enum Slot {
    /// `tcp_send_reset`.
    Sent,
    /// `tcp_receive_reset`.
    Received,
    /// Classifiers at ingress.
    Ingress,
    /// Classifiers at egress.
    Egress,
    /// `inet_sock_set_state`.
    State,
    /// The functions that send resets.
    Stateless,
}

/// Which counters an event adds to.
#[derive(Clone, Copy)]
pub struct Tally {
    /// Counted always.
    pub seen: u32,
    /// Counted if it could not be handed over.
    pub lost: u32,
    /// Counted if it is not described on purpose.
    pub suppressed: u32,
}

impl Tally {
    /// Counts an event that there was no room for.
    #[inline(always)]
    pub fn lose(self) {
        count(self.seen);
        count(self.lost);
    }

    /// Counts an event that is not described on purpose.
    #[inline(always)]
    pub fn suppress(self) {
        count(self.seen);
        count(self.suppressed);
    }
}

/// An event that is being put together. Every byte must be set, padding too; then [`Draft::submit`].
pub struct Draft<T: 'static> {
    /// The event.
    pub event: &'static mut T,
    tally: Tally,
}

impl<T> Draft<T> {
    /// Counts an event and finds room for it; `None`: there is none, which is counted.
    #[inline(always)]
    pub fn begin(slot: Slot, tally: Tally) -> Option<Self> {
        const { assert!(size_of::<T>() <= size_of::<Scratch>() && align_of::<T>() <= 8) };
        count(tally.seen);
        let place = if is_ring() {
            // SAFETY: the map is a ring buffer.
            unsafe { bpf_ringbuf_reserve(ring_buffer(), size_of::<T>() as u64, 0) }.cast::<T>()
        } else {
            SCRATCH
                .get_ptr_mut(slot as u32)
                .map_or(core::ptr::null_mut(), |slot| slot.cast::<T>())
        };
        // SAFETY: null, or memory of this size and alignment that nobody else writes until it is handed over.
        let Some(event) = (unsafe { place.as_mut() }) else {
            count(tally.lost);
            return None;
        };
        Some(Self { event, tally })
    }

    /// Hands the event over. `ctx` is the program's own context.
    #[inline(always)]
    pub fn submit(self, ctx: *mut c_void) {
        let place = core::ptr::from_mut(self.event).cast::<c_void>();
        if is_ring() {
            // SAFETY: `place` came from `bpf_ringbuf_reserve`.
            unsafe { bpf_ringbuf_submit(place, 0) };
            return;
        }
        // SAFETY: `ctx` is the program's own context, `place` holds an event of this size.
        let status = unsafe {
            bpf_perf_event_output(
                ctx,
                perf_array(),
                u64::from(BPF_F_CURRENT_CPU as u32),
                place,
                size_of::<T>() as u64,
            )
        };
        if status != 0 {
            count(self.tally.lost);
        }
    }
}

#[inline(always)]
fn is_ring() -> bool {
    get(&TRANSPORT) == TRANSPORT_RING
}

/// What every event starts with.
#[inline(always)]
pub fn header(kind: u16, netns: crate::kernel::Netns) -> Header {
    Header {
        time_ns: now(),
        netns_cookie: netns.cookie,
        netns_inode: netns.inode,
        jiffies: jiffies(),
        kind,
        version: WIRE_VERSION,
        // SAFETY: takes nothing.
        cpu: unsafe { bpf_get_smp_processor_id() },
    }
}

/// Nanoseconds of `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Low 32 bits of the kernel's tick counter, which a socket's clocks are kept in.
#[inline(always)]
pub fn jiffies() -> u32 {
    // SAFETY: takes nothing.
    unsafe { bpf_jiffies64() as u32 }
}

#[inline(always)]
fn ring_buffer() -> *mut c_void {
    (&raw const EVENTS).cast_mut().cast()
}

#[inline(always)]
fn perf_array() -> *mut c_void {
    (&raw const EVENTS_PERF).cast_mut().cast()
}

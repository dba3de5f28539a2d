//! The read-only globals that user space sets before loading: constants to the verifier, which drops what is off.

use rsttrace_common::knobs::{DEFAULT_SLOTS, Offsets, TRANSPORT_RING};

/// Offsets of the kernel's members, see `rsttrace_common::knobs`.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::absent();
/// Which way events go.
#[unsafe(no_mangle)]
pub static TRANSPORT: u32 = TRANSPORT_RING;
/// Slots of `TOMBSTONES`, a power of two.
#[unsafe(no_mangle)]
pub static TOMBSTONE_SLOTS: u32 = DEFAULT_SLOTS;
/// Slots of `OWNERS`, a power of two.
#[unsafe(no_mangle)]
pub static OWNER_SLOTS: u32 = DEFAULT_SLOTS;
/// Slots of `BASELINES`, a power of two.
#[unsafe(no_mangle)]
pub static BASELINE_SLOTS: u32 = DEFAULT_SLOTS;
/// The `HELPER_` flags.
#[unsafe(no_mangle)]
pub static HELPERS: u32 = 0;
/// Between details of one class, port and network; 0: each reset is described.
#[unsafe(no_mangle)]
pub static DETAIL_INTERVAL_NS: u64 = 0;
/// 1: rare paths are logged.
#[unsafe(no_mangle)]
pub static DEBUG: u32 = 0;
/// Inode of the tracer's pid namespace, 0 for the initial one.
#[unsafe(no_mangle)]
pub static PID_NAMESPACE: u32 = 0;

/// 1: programs return at once.
#[unsafe(no_mangle)]
pub static EMPTY: u32 = 0;

/// Whether programs do nothing, to measure what their calls alone cost.
#[inline(always)]
pub fn is_empty() -> bool {
    get(&EMPTY) != 0
}

/// Reads a knob. Volatile, as the value in the object is not the one that runs.
#[inline(always)]
pub fn get<T: Copy>(knob: &'static T) -> T {
    // SAFETY: a reference to a static is valid and aligned.
    unsafe { core::ptr::read_volatile(knob) }
}

/// Whether the kernel grants a helper: one of the `HELPER_` flags.
#[inline(always)]
pub fn has(helper: u32) -> bool {
    get(&HELPERS) & helper != 0
}

/// The offset of a member, `None` where the kernel has none.
macro_rules! offset {
    ($field:ident) => {
        match $crate::knobs::get(&$crate::knobs::OFFSETS.$field) {
            ::rsttrace_common::knobs::ABSENT => None,
            offset => Some(offset as usize),
        }
    };
}
pub(crate) use offset;

/// Logs a rare path through aya-log; with `DEBUG` unset the verifier drops it, arguments and all.
macro_rules! debug {
    ($ctx:expr, $($message:tt)+) => {
        if $crate::knobs::get(&$crate::knobs::DEBUG) != 0 {
            ::aya_log_ebpf::debug!($ctx, $($message)+);
        }
    };
}
pub(crate) use debug;

//! How jiffies and nanoseconds go together: run once by BPF_PROG_TEST_RUN.

use aya_ebpf::bindings::TC_ACT_UNSPEC;
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

use crate::maps::CLOCK;

#[classifier]
fn clock(_ctx: TcContext) -> i32 {
    if let Some(entry) = CLOCK.get_ptr_mut(0) {
        // SAFETY: takes nothing.
        let jiffies = unsafe { bpf_jiffies64() };
        // SAFETY: takes nothing.
        let nanoseconds = unsafe { bpf_ktime_get_ns() };
        // SAFETY: a map value, written by this program alone.
        unsafe { *entry = [jiffies, nanoseconds] };
    }
    TC_ACT_UNSPEC
}

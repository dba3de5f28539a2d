//! How many failures without a reset are described: the others are counted.
//!
//! A backend that is gone fails each connect of a busy proxy, and its events must not push resets out of the ring. Each CPU has a
//! token bucket of its own, in the form of `rsttrace_common::flood`; nothing else is to be told apart here.

use rsttrace_common::flood::WIDE;

use crate::emit::now;
use crate::knobs::{DETAIL_INTERVAL_NS, get};
use crate::maps::FAILURES_READY;

/// Whether another failure is described; if so, it takes a token.
#[inline(always)]
pub fn has_room() -> bool {
    let interval = get(&DETAIL_INTERVAL_NS) >> WIDE.share;
    if interval == 0 {
        return true;
    }
    let Some(ready) = FAILURES_READY.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: this CPU's own element.
    let ready = unsafe { &mut *ready };
    let now = now();
    let from = if *ready > now { *ready } else { now };
    if from - now > WIDE.burst * interval {
        return false;
    }
    *ready = from + interval;
    true
}

//! Handshakes that pass: a SYN that leaves with other addresses than it came in with is translated by this host.
//!
//! No translation changes a sequence number, so a table by that number connects both ends of the way. A number of two flows at once
//! (scanners send such SYNs) identifies neither.

use rsttrace_common::counters::TRANSLATION_EVICTED;
use rsttrace_common::handshake::{SYN_SLOTS, Syn, SynKey, TRANSLATION_SLOTS, Translation};

use crate::emit::now;
use crate::maps::{SYNS, TRANSLATION_HASHES, TRANSLATIONS};
use crate::packet::{ACK, SYN, Segment};
use crate::table;

/// Two flows with one number are told apart after this long.
const SHARED_NS: u64 = 1_000_000_000;
/// A SYN that waits for the link-layer address of its next hop leaves this late at most.
const ON_ITS_WAY_NS: u64 = 5_000_000_000;

/// It comes in or, if it is this host's own, leaves.
#[inline(always)]
pub fn note(segment: &Segment, seen_ns: u64) {
    let mut syn = Syn {
        seen_ns,
        came: segment.key,
        is_shared: 0,
        reserved: 0,
    };
    let resolve = |before: &Syn, syn: &mut Syn| {
        let recent = syn.seen_ns.wrapping_sub(before.seen_ns) < SHARED_NS;
        if recent && (before.is_shared != 0 || !table::is_same(&before.came, &syn.came)) {
            syn.is_shared = 1;
        }
    };
    table::write_single(&SYNS, SYN_SLOTS, &key(segment), &mut syn, resolve);
}

/// It came in by another device and leaves now.
#[inline(always)]
pub fn passed(segment: &Segment) {
    let mut came = Syn {
        seen_ns: 0,
        came: segment.key,
        is_shared: 0,
        reserved: 0,
    };
    if !table::read_single(&SYNS, SYN_SLOTS, &key(segment), &mut came) {
        return;
    }
    let seen_ns = now();
    let late = seen_ns.wrapping_sub(came.seen_ns) > ON_ITS_WAY_NS;
    if came.is_shared != 0 || late || table::is_same(&came.came, &segment.key) {
        return;
    }
    let translation = Translation {
        seen_ns,
        flow: segment.key.flow,
    };
    let slots = TRANSLATION_SLOTS;
    table::write(
        (&TRANSLATIONS, &TRANSLATION_HASHES),
        slots,
        &came.came,
        &translation,
        TRANSLATION_EVICTED,
    );
}

#[inline(always)]
fn key(segment: &Segment) -> SynKey {
    SynKey {
        netns_cookie: segment.key.netns_cookie,
        seq: segment.seq,
        flags: u32::from(segment.flags & (SYN | ACK)),
    }
}

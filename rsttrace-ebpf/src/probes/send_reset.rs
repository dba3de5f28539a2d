//! tcp:tcp_send_reset: the kernel sends a reset, and says why.
//!
//! (sk, skb) up to 6.9, (sk, skb, reason) from 6.10 on: include/trace/events/tcp.h,
//! <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/tcp.h#L101>. skb is the segment it answers, null
//! for an active reset. sk is null or a minisock without a full socket (never before 6.10).

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use rsttrace_common::counters::{SENT_LOST, SENT_SEEN};
use rsttrace_common::header::{KIND_RESET_SENT, KIND_RESET_SENT_STATELESS};
use rsttrace_common::lifecycle::Tombstone;
use rsttrace_common::reset::{REASON_NONE, ResetSent, ResetSentStateless, Segment};
use rsttrace_common::socket::OWNERSHIP_RESET_SENT;
use rsttrace_common::{Flow, FlowKey};

use crate::emit::{Slot, Tally, emit, header};
use crate::kernel::{Netns, Typed, argument, current, load, tcp_sock};
use crate::knobs::{debug, offset};
use crate::maps::{SOCKETS, TOMBSTONES};
use crate::snapshot::{self, NO_OWNERSHIP, NO_SEGMENT};

const TALLY: Tally = Tally {
    seen: SENT_SEEN,
    lost: SENT_LOST,
};
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

#[btf_tracepoint(function = "tcp_send_reset")]
fn tcp_send_reset(ctx: BtfTracePointContext) -> i32 {
    let reason = ctx.arg::<u32>(2);
    sent(&ctx, reason);
    0
}

#[btf_tracepoint(function = "tcp_send_reset")]
fn tcp_send_reset_no_reason(ctx: BtfTracePointContext) -> i32 {
    sent(&ctx, REASON_NONE);
    0
}

#[inline(always)]
fn sent(ctx: &BtfTracePointContext, reason: u32) {
    let sk = ctx.arg::<Typed>(0);
    let skb = ctx.arg::<Typed>(1);
    // Compared as numbers: before 6.12 the verifier takes both arguments for never null and drops a check of the
    // pointers themselves; from then on it insists on one.
    let has_sk = argument(ctx.as_ptr(), 0) != 0 && !sk.is_null();
    let has_skb = argument(ctx.as_ptr(), 1) != 0 && !skb.is_null();
    let cause = if has_skb {
        snapshot::segment(skb)
    } else {
        None
    };
    if has_sk {
        if let Some(tcp) = tcp_sock(sk) {
            return with_socket(ctx, sk, tcp, has_skb, cause, reason);
        }
    }
    let Some((segment, flow)) = cause else {
        // Neither a socket nor a segment: nothing to say, but the count must add up.
        crate::maps::count(SENT_SEEN);
        crate::maps::count(SENT_LOST);
        debug!(ctx, "reset without socket and segment, reason {}", reason);
        return;
    };
    let (netns, state, cookie) = if has_sk {
        (
            Netns::of(sk, offset!(skc_net)),
            load(sk, offset!(skc_state)).unwrap_or(0),
            load(sk, offset!(skc_cookie)).unwrap_or(0),
        )
    } else {
        let netns = match load::<Typed>(skb, offset!(skb_dev)) {
            Some(device) => Netns::of(device, offset!(dev_net)),
            None => Netns::UNKNOWN,
        };
        (netns, 0, 0)
    };
    without_socket(
        ctx,
        Stateless {
            netns,
            state,
            cookie,
            segment,
            flow,
        },
        reason,
    );
}

#[inline(always)]
fn with_socket(
    ctx: &BtfTracePointContext,
    sk: Typed,
    tcp: Typed,
    passive: bool,
    cause: Option<(Segment, Flow)>,
    reason: u32,
) {
    let ownership = SOCKETS.get(sk);
    let netns = Netns::of(sk, offset!(skc_net));
    emit::<ResetSent>(ctx.as_ptr(), Slot::Sent, TALLY, |event| {
        event.header = header(KIND_RESET_SENT, netns);
        match cause {
            Some((segment, flow)) => {
                event.cause = segment;
                event.flow = flow;
            }
            None => {
                event.cause = NO_SEGMENT;
                event.flow = snapshot::flow(sk, tcp);
            }
        }
        snapshot::socket(sk, tcp, &mut event.socket);
        match ownership {
            Some(ownership) => {
                event.ownership = *ownership;
                ownership.flags |= OWNERSHIP_RESET_SENT;
            }
            None => event.ownership = NO_OWNERSHIP,
        }
        event.current = current();
        event.reason = reason;
        event.passive = u32::from(passive);
    });
}

/// What is known of a reset without a full socket.
struct Stateless {
    netns: Netns,
    state: u8,
    cookie: u64,
    segment: Segment,
    flow: Flow,
}

#[inline(always)]
fn without_socket(ctx: &BtfTracePointContext, what: Stateless, reason: u32) {
    let mut key = FlowKey {
        flow: what.flow,
        netns_cookie: what.netns.cookie,
    };
    let connection = tombstone_of(&key);
    let opens = what.segment.flags & (SYN | ACK) == SYN;
    key.flow.remote_address = [0; 16];
    key.flow.remote_port = 0;
    let mut listener = if opens { tombstone_of(&key) } else { None };
    if opens && listener.is_none() {
        key.flow.local_address = [0; 16];
        listener = tombstone_of(&key);
    }
    emit::<ResetSentStateless>(ctx.as_ptr(), Slot::Sent, TALLY, |event| {
        event.header = header(KIND_RESET_SENT_STATELESS, what.netns);
        event.flow = what.flow;
        event.cause = what.segment;
        copy(connection, &mut event.connection);
        copy(listener, &mut event.listener);
        event.cookie = what.cookie;
        event.reason = reason;
        event.state = what.state;
        event.reserved = [0; 3];
    });
}

/// The tombstone of a flow.
#[inline(always)]
fn tombstone_of(key: &FlowKey) -> Option<*const Tombstone> {
    TOMBSTONES.get_ptr(key)
}

#[inline(always)]
fn copy(from: Option<*const Tombstone>, into: &mut Tombstone) {
    match from {
        // SAFETY: a map value stays mapped while the program runs. An eviction at this very moment may mix two
        // tombstones; the flow of the mix is this one's, so user space checks the cookie where it has one.
        Some(tombstone) => *into = unsafe { *tombstone },
        None => {
            *into = Tombstone {
                ownership: NO_OWNERSHIP,
                died_ns: 0,
                cookie: 0,
                error: 0,
                unread: 0,
                last_state: 0,
                fin_sent: 0,
                reserved: [0; 6],
            }
        }
    }
}

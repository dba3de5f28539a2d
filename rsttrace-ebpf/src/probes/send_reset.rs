//! tcp:tcp_send_reset: the kernel sends a reset, and says why.
//!
//! (sk, skb) up to 6.9, (sk, skb, reason) from 6.10 on: include/trace/events/tcp.h,
//! <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/tcp.h#L101>. skb is the segment it answers, null
//! for an active reset. sk is null or a minisock without a full socket (never before 6.10).

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use rsttrace_common::FlowKey;
use rsttrace_common::counters::{SENT_LOST, SENT_SEEN};
use rsttrace_common::header::{
    KIND_RESET_SENT, KIND_RESET_SENT_BY_LISTENER, KIND_RESET_SENT_STATELESS,
};
use rsttrace_common::knobs::LISTENER_SLOTS;
use rsttrace_common::lifecycle::Tombstone;
use rsttrace_common::reset::{REASON_NONE, ResetSent, ResetSentByListener, ResetSentStateless};
use rsttrace_common::socket::{OWNERSHIP_RESET_SENT, TCP_LISTEN};

use crate::emit::{Slot, Tally, emit, header};
use crate::kernel::{Netns, Typed, argument, current, load, tcp_sock};
use crate::knobs::{BASELINE_SLOTS, TOMBSTONE_SLOTS, debug, get, offset};
use crate::maps::{BASELINES, LISTENERS, SOCKETS, TOMBSTONES};
use crate::snapshot::{self, NO_BASELINE, NO_FLOW, NO_OWNERSHIP, NO_SEGMENT};
use crate::table;

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
    let cause = if argument(ctx.as_ptr(), 1) != 0 && !skb.is_null() {
        Some(skb)
    } else {
        None
    };
    if !has_sk {
        let device: Option<Typed> = cause.and_then(|skb| load(skb, offset!(skb_dev)));
        let netns = match device {
            Some(device) => Netns::of(device, offset!(dev_net)),
            None => Netns::UNKNOWN,
        };
        return without_socket(ctx, cause, netns, (0, 0), reason);
    }
    let netns = Netns::of(sk, offset!(skc_net));
    let state: u8 = load(sk, offset!(skc_state)).unwrap_or(0);
    let Some(tcp) = tcp_sock(sk) else {
        let cookie = load(sk, offset!(skc_cookie)).unwrap_or(0);
        return without_socket(ctx, cause, netns, (state, cookie), reason);
    };
    if state == TCP_LISTEN {
        emit::<ResetSentByListener>(ctx.as_ptr(), Slot::Sent, TALLY, |event| {
            event.sent.header = header(KIND_RESET_SENT_BY_LISTENER, netns);
            with_socket(sk, tcp, cause, reason, &mut event.sent);
            let key = FlowKey {
                flow: event.sent.flow,
                netns_cookie: netns.cookie,
            };
            tombstone_of(&key, &mut event.connection);
        });
    } else {
        emit::<ResetSent>(ctx.as_ptr(), Slot::Sent, TALLY, |event| {
            event.header = header(KIND_RESET_SENT, netns);
            with_socket(sk, tcp, cause, reason, event);
        });
    }
}

#[inline(always)]
fn with_socket(sk: Typed, tcp: Typed, cause: Option<Typed>, reason: u32, event: &mut ResetSent) {
    let is_read = match cause {
        Some(skb) => snapshot::segment(skb, &mut event.cause, &mut event.flow),
        None => false,
    };
    if !is_read {
        event.cause = NO_SEGMENT;
        event.flow = snapshot::flow(sk, tcp);
    }
    snapshot::socket(sk, tcp, &mut event.socket);
    match SOCKETS.get(sk) {
        Some(ownership) => {
            event.ownership = *ownership;
            // Not on a listener, whose children would inherit it.
            if event.socket.state != TCP_LISTEN {
                ownership.flags |= OWNERSHIP_RESET_SENT;
            }
        }
        None => event.ownership = NO_OWNERSHIP,
    }
    event.current = current();
    event.reason = reason;
    event.passive = u32::from(cause.is_some());
}

/// `minisock`: the state and cookie of a TIME_WAIT entry, zero without one.
#[inline(always)]
fn without_socket(
    ctx: &BtfTracePointContext,
    cause: Option<Typed>,
    netns: Netns,
    minisock: (u8, u64),
    reason: u32,
) {
    emit::<ResetSentStateless>(ctx.as_ptr(), Slot::Sent, TALLY, |event| {
        event.header = header(KIND_RESET_SENT_STATELESS, netns);
        let is_read = match cause {
            Some(skb) => snapshot::segment(skb, &mut event.cause, &mut event.flow),
            None => false,
        };
        if !is_read {
            event.cause = NO_SEGMENT;
            event.flow = NO_FLOW;
            debug!(
                ctx,
                "reset without a socket or a readable segment, reason {}", reason
            );
        }
        let mut key = FlowKey {
            flow: event.flow,
            netns_cookie: netns.cookie,
        };
        tombstone_of(&key, &mut event.connection);
        if !table::read(&BASELINES, get(&BASELINE_SLOTS), &key, &mut event.handshake) {
            event.handshake = NO_BASELINE;
        }
        let opens = event.cause.flags & (SYN | ACK) == SYN;
        key.flow.remote_address = [0; 16];
        key.flow.remote_port = 0;
        if !opens {
            event.listener = NO_TOMBSTONE;
        } else if !listener_of(&key, &mut event.listener) {
            key.flow.local_address = [0; 16];
            listener_of(&key, &mut event.listener);
        }
        event.state = minisock.0;
        event.cookie = minisock.1;
        event.reason = reason;
        event.reserved = [0; 3];
    });
}

/// Fills in the tombstone of a flow; `false`, and an empty one, if there is none.
#[inline(always)]
fn tombstone_of(key: &FlowKey, into: &mut Tombstone) -> bool {
    or_empty(
        table::read(&TOMBSTONES, get(&TOMBSTONE_SLOTS), key, into),
        into,
    )
}

/// The same for a listener's own end.
#[inline(always)]
fn listener_of(key: &FlowKey, into: &mut Tombstone) -> bool {
    or_empty(table::read(&LISTENERS, LISTENER_SLOTS, key, into), into)
}

#[inline(always)]
fn or_empty(found: bool, into: &mut Tombstone) -> bool {
    if !found {
        *into = NO_TOMBSTONE;
    }
    found
}

const NO_TOMBSTONE: Tombstone = Tombstone {
    ownership: NO_OWNERSHIP,
    died_ns: 0,
    cookie: 0,
    error: 0,
    unread: 0,
    last_state: 0,
    fin_sent: 0,
    reserved: [0; 6],
};

//! tcp:tcp_receive_reset: the kernel accepted a reset for a socket.
//!
//! (sk) on every kernel, at the top of tcp_reset(): the socket is still in its old state, and there is no packet.
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c#L4428>. It also fires without any reset, when data
//! comes in after the application closed; user space tells that apart. Where tcp_reset() itself can be hooked
//! ((sk, skb) from 5.11 on), its segment is noted first and goes with the event.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::{btf_tracepoint, fentry, kprobe};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext, ProbeContext};
use rsttrace_common::Flow;
use rsttrace_common::counters::{
    RECEIVED_LOST, RECEIVED_SEEN, RECEIVED_SUPPRESSED, RECEIVED_SUPPRESSED_ALONE,
};
use rsttrace_common::flood::Class;
use rsttrace_common::header::KIND_RESET_RECEIVED;
use rsttrace_common::reset::{REASON_NONE, ResetReceived, Segment};
use rsttrace_common::socket::{OWNERSHIP_REFUSED, TCP_SYN_SENT};

use crate::emit::{Draft, Slot, Tally, header};
use crate::flood::{self, Observer, Party, Question, Service};
use crate::kernel::{Copied, Followed, Netns, Reach, Typed, load, tcp_sock};
use crate::knobs::{is_empty, offset};
use crate::maps::{ARRIVAL, CAUSES, begin, count, end};
use crate::owners;
use crate::snapshot::{self, NO_FLOW};
use crate::words;

const TALLY: Tally = Tally {
    seen: RECEIVED_SEEN,
    lost: RECEIVED_LOST,
    suppressed: RECEIVED_SUPPRESSED,
};

#[btf_tracepoint(function = "tcp_receive_reset")]
fn tcp_receive_reset(ctx: BtfTracePointContext) -> i32 {
    if is_empty() {
        return 0;
    }
    let Some(about) = CAUSES.get_ptr_mut(Slot::Received as u32) else {
        return 0;
    };
    // SAFETY: this CPU's own element, and this run's for as long as it is busy.
    let about = unsafe { &mut *about };
    if !begin(&mut about.busy) {
        TALLY.lose();
        return 0;
    }
    received(&ctx, &mut about.key.flow);
    end(&mut about.busy);
    0
}

#[inline(always)]
fn received(ctx: &BtfTracePointContext, flow: &mut Flow) {
    let sk = ctx.arg::<Typed>(0);
    let Some(tcp) = tcp_sock(sk) else { return };
    let netns = Netns::of::<Followed>(sk, offset!(skc_net));
    *flow = snapshot::flow(sk, tcp);
    let class = Class {
        kind: KIND_RESET_RECEIVED,
        reason: REASON_NONE,
        state: load(sk, offset!(skc_state)).unwrap_or(0),
        marked: false,
    };
    if class.state == TCP_SYN_SENT
        && let Some(ownership) = owners::get(sk)
    {
        ownership.flags |= OWNERSHIP_REFUSED;
    }
    let observer = Observer::Receiver;
    let question = Question::about_coming(flow);
    let admitted = match question.decided(observer) {
        Some(admitted) => admitted,
        None => {
            let party = Party::of(flow, Service::Lower);
            let netns = netns.cookie;
            let admitted = question.decide(Slot::Received, observer, class, netns, &party);
            if !admitted {
                count(RECEIVED_SUPPRESSED_ALONE);
            }
            admitted
        }
    };
    flood::count_class(class, admitted);
    if !admitted {
        TALLY.suppress();
        return;
    }
    let Some(draft) = Draft::<ResetReceived>::begin(Slot::Received, TALLY) else {
        return;
    };
    let event = &mut *draft.event;
    event.header = header(KIND_RESET_RECEIVED, netns);
    words::copy(flow, &mut event.flow);
    snapshot::socket(sk, tcp, &mut event.socket);
    owners::copy(owners::get(sk).as_deref(), &mut event.ownership);
    take_arrival(sk as u64, &mut event.segment);
    draft.submit(ctx.as_ptr());
}

#[fentry(function = "tcp_reset")]
fn fentry_tcp_reset(ctx: FEntryContext) -> u32 {
    note_arrival::<Followed>(ctx.arg(0), ctx.arg(1));
    0
}

#[kprobe]
fn kprobe_tcp_reset(ctx: ProbeContext) -> u32 {
    if let (Some(sk), Some(skb)) = (ctx.arg(0), ctx.arg(1)) {
        note_arrival::<Copied>(sk, skb);
    }
    0
}

/// The tracepoint comes next on this CPU, unless a softirq's own reset comes between: then the sockets differ.
#[inline(always)]
fn note_arrival<R: Reach>(sk: Typed, skb: Typed) {
    let Some(arrival) = ARRIVAL.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own element.
    let arrival = unsafe { &mut *arrival };
    let mut flow = NO_FLOW;
    arrival.socket = 0;
    arrival.socket = if snapshot::segment::<R>(skb, &mut arrival.segment, &mut flow) {
        sk as u64
    } else {
        0
    };
}

#[inline(always)]
fn take_arrival(socket: u64, into: &mut Segment) {
    words::clear(into);
    let Some(arrival) = ARRIVAL.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own element.
    let arrival = unsafe { &mut *arrival };
    if arrival.socket == socket {
        arrival.socket = 0;
        words::copy(&arrival.segment, into);
    }
}

//! tcp:tcp_send_reset: the kernel sends a reset, and says why.
//!
//! (sk, skb) up to 6.9, (sk, skb, reason) from 6.10 on: include/trace/events/tcp.h,
//! <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/tcp.h#L101>. skb is the segment it answers, null
//! for an active reset. sk is null or a minisock without a full socket; before 6.10 the tracepoint does not fire then,
//! see `stateless`.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use rsttrace_common::Flow;
use rsttrace_common::counters::{SENT_LOST, SENT_SEEN, SENT_SUPPRESSED};
use rsttrace_common::flood::Class;
use rsttrace_common::header::{KIND_RESET_SENT, KIND_RESET_SENT_BY_LISTENER};
use rsttrace_common::reset::{REASON_NONE, ResetSent, ResetSentByListener, Segment};
use rsttrace_common::socket::{OWNERSHIP_RESET_SENT, TCP_LISTEN};

use super::stateless::{Stateless, netns_of_device, tombstone_of};
use crate::emit::{Draft, Slot, Tally, header};
use crate::flood::{self, Observer, Party, Question, Service};
use crate::kernel::{Followed, Netns, Typed, argument, current, load, tcp_sock};
use crate::knobs::{is_empty, offset};
use crate::listeners;
use crate::maps::{CAUSES, Cause, begin, end};
use crate::owners;
use crate::snapshot::{self, active};
use crate::words;

const TALLY: Tally = Tally {
    seen: SENT_SEEN,
    lost: SENT_LOST,
    suppressed: SENT_SUPPRESSED,
};

#[btf_tracepoint(function = "tcp_send_reset")]
#[inline(always)]
fn tcp_send_reset(ctx: BtfTracePointContext) -> i32 {
    let reason = ctx.arg::<u32>(2);
    sent(&ctx, reason);
    0
}

#[btf_tracepoint(function = "tcp_send_reset")]
#[inline(always)]
fn tcp_send_reset_no_reason(ctx: BtfTracePointContext) -> i32 {
    sent(&ctx, REASON_NONE);
    0
}

#[inline(always)]
fn sent(ctx: &BtfTracePointContext, reason: u32) {
    if is_empty() {
        return;
    }
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
    let state: u8 = if has_sk {
        load(sk, offset!(skc_state)).unwrap_or(0)
    } else {
        0
    };
    let full = if has_sk { tcp_sock(sk) } else { None };
    let netns = match cause {
        _ if has_sk => Netns::of::<Followed>(sk, offset!(skc_net)),
        Some(skb) => netns_of_device::<Followed>(skb),
        None => Netns::UNKNOWN,
    };
    let Some(tcp) = full else {
        let cookie = if has_sk {
            load(sk, offset!(skc_cookie)).unwrap_or(0)
        } else {
            0
        };
        Stateless {
            cause,
            netns,
            minisock: (state, cookie),
            reason,
        }
        .emit::<Followed>(ctx.as_ptr(), Slot::Sent, TALLY);
        return;
    };
    let Some(about) = CAUSES.get_ptr_mut(Slot::Sent as u32) else {
        return;
    };
    // SAFETY: this CPU's own element, and this run's for as long as it is busy.
    let about = unsafe { &mut *about };
    if !begin(&mut about.busy) {
        TALLY.lose();
        return;
    }
    sent_by(ctx, (sk, tcp), (cause, reason), (state, netns), about);
    end(&mut about.busy);
}

/// A reset of a full socket.
#[inline(always)]
fn sent_by(
    ctx: &BtfTracePointContext,
    (sk, tcp): (Typed, Typed),
    (cause, reason): (Option<Typed>, u32),
    (state, netns): (u8, Netns),
    about: &mut Cause,
) {
    let is_read = match cause {
        Some(skb) => snapshot::segment::<Followed>(skb, &mut about.segment, &mut about.key.flow),
        None => false,
    };
    if !is_read {
        words::clear(&mut about.segment);
        about.key.flow = snapshot::flow(sk, tcp);
    }
    about.key.netns_cookie = netns.cookie;
    let flow = &about.key.flow;
    let is_listener = state == TCP_LISTEN;
    let reasoned = Class {
        kind: if is_listener {
            KIND_RESET_SENT_BY_LISTENER
        } else {
            KIND_RESET_SENT
        },
        reason,
        state,
        marked: false,
    };
    let question = Question::about_sent(flow);
    let admitted = match question.decided(Observer::Sender) {
        Some(admitted) => admitted,
        None => {
            let (class, service) = if is_listener {
                (reasoned, Service::Local)
            } else if cause.is_some() {
                (reasoned, Service::Lower)
            } else {
                (active(tcp), Service::Lower)
            };
            let party = Party::of(flow, service);
            let netns = netns.cookie;
            question.decide(Slot::Sent, Observer::Sender, class, netns, &party)
        }
    };
    flood::count_class(reasoned, admitted);
    if !admitted {
        TALLY.suppress();
        if let Some(ownership) = owners::get(sk) {
            ownership.flags |= OWNERSHIP_RESET_SENT;
        }
        return;
    }
    let reset = Reset {
        sk,
        tcp,
        segment: &about.segment,
        flow,
        reason,
        passive: cause.is_some(),
        netns,
    };
    if is_listener {
        let Some(draft) = Draft::<ResetSentByListener>::begin(Slot::Sent, TALLY) else {
            return;
        };
        let event = &mut *draft.event;
        event.sent.header = header(KIND_RESET_SENT_BY_LISTENER, netns);
        reset.describe(&mut event.sent);
        tombstone_of(&about.key, &mut event.connection);
        draft.submit(ctx.as_ptr());
    } else {
        let Some(draft) = Draft::<ResetSent>::begin(Slot::Sent, TALLY) else {
            return;
        };
        let event = &mut *draft.event;
        event.header = header(KIND_RESET_SENT, netns);
        reset.describe(event);
        draft.submit(ctx.as_ptr());
    }
}

/// A reset of a full socket.
struct Reset<'a> {
    sk: Typed,
    tcp: Typed,
    segment: &'a Segment,
    flow: &'a Flow,
    reason: u32,
    passive: bool,
    netns: Netns,
}

impl Reset<'_> {
    /// Fills in all but the header.
    #[inline(always)]
    fn describe(&self, event: &mut ResetSent) {
        words::copy(self.segment, &mut event.cause);
        words::copy(self.flow, &mut event.flow);
        snapshot::socket(self.sk, self.tcp, &mut event.socket);
        if event.socket.state == TCP_LISTEN {
            words::clear(&mut event.ownership);
            let key = listeners::key(&snapshot::flow(self.sk, self.tcp), self.netns);
            listeners::copy(self.sk, &key, &mut event.ownership);
        } else {
            let ownership = owners::get(self.sk);
            owners::copy(ownership.as_deref(), &mut event.ownership);
            if let Some(ownership) = ownership {
                ownership.flags |= OWNERSHIP_RESET_SENT;
            }
        }
        event.current = current();
        event.reason = self.reason;
        event.passive = u32::from(self.passive);
    }
}

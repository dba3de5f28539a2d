//! Resets without a full socket: answers to segments of connections this host does not have, or not any more.
//!
//! From 6.10 on tcp:tcp_send_reset shows them. Before, `if (sk_fullsock(sk))` stands in front of it
//! (<https://github.com/torvalds/linux/blob/v6.9/net/ipv4/tcp_ipv4.c#L826>), so the functions themselves are hooked:
//! tcp_v4_send_reset(sk, skb) and tcp_v6_send_reset(sk, skb). What they return early for is no reset, and is checked here
//! as they check it. A signed segment (TCP-MD5, TCP-AO) is answered only if a key is found for it, which cannot be told
//! here: it counts as not answered, and a reset that was sent for it is seen on the wire only.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use rsttrace_common::FlowKey;
use rsttrace_common::counters::{STATELESS_LOST, STATELESS_SEEN, STATELESS_SUPPRESSED};
use rsttrace_common::flood::Class;
use rsttrace_common::header::KIND_RESET_SENT_STATELESS;
use rsttrace_common::knobs::LISTENER_SLOTS;
use rsttrace_common::lifecycle::Tombstone;
use rsttrace_common::reset::{REASON_NONE, ResetSentStateless};
use rsttrace_common::socket::{TCP_NEW_SYN_RECV, TCP_TIME_WAIT};

use crate::emit::{Draft, Slot, Tally, header};
use crate::flood::{self, Observer, Party, Question, Service};
use crate::kernel::{Copied, Followed, Netns, Reach, Typed, argument, read, read_member};
use crate::knobs::{BASELINE_SLOTS, TOMBSTONE_SLOTS, get, offset};
use crate::maps::{BASELINES, CAUSES, Cause, LISTENERS, TOMBSTONES, begin, end};
use crate::packet::{RST, SYN};
use crate::snapshot;
use crate::table;
use crate::words;

const TALLY: Tally = Tally {
    seen: STATELESS_SEEN,
    lost: STATELESS_LOST,
    suppressed: STATELESS_SUPPRESSED,
};
const ACK: u8 = 0x10;
/// include/uapi/linux/rtnetlink.h.
const RTN_LOCAL: u16 = 2;
/// include/uapi/linux/ipv6_route.h.
const RTF_LOCAL: u32 = 0x8000_0000;

#[fentry(function = "tcp_v4_send_reset")]
fn fentry_tcp_v4_send_reset(ctx: FEntryContext) -> u32 {
    by_entry(&ctx);
    0
}

#[fentry(function = "tcp_v6_send_reset")]
fn fentry_tcp_v6_send_reset(ctx: FEntryContext) -> u32 {
    by_entry(&ctx);
    0
}

/// For both functions.
#[kprobe]
fn kprobe_tcp_send_reset(ctx: ProbeContext) -> u32 {
    if let (Some(sk), Some(skb)) = (ctx.arg::<Typed>(0), ctx.arg::<Typed>(1)) {
        called::<Copied>(ctx.as_ptr(), sk, skb, sk.is_null());
    }
    0
}

#[inline(always)]
fn by_entry(ctx: &FEntryContext) {
    // The verifier takes both for never null, as for the tracepoint.
    let without = argument(ctx.as_ptr(), 0) == 0;
    called::<Followed>(ctx.as_ptr(), ctx.arg(0), ctx.arg(1), without);
}

#[inline(always)]
fn called<R: Reach>(ctx: *mut c_void, sk: Typed, skb: Typed, without: bool) {
    let (netns, minisock) = if without {
        (netns_of_device::<R>(skb), (0, 0))
    } else {
        let state: u8 = R::load(sk, offset!(skc_state)).unwrap_or(0);
        if state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV {
            // The tracepoint shows it.
            return;
        }
        (
            Netns::of::<R>(sk, offset!(skc_net)),
            (state, R::load(sk, offset!(skc_cookie)).unwrap_or(0)),
        )
    };
    let head: u64 = R::load(skb, offset!(skb_head)).unwrap_or(0);
    let transport: u16 = R::load(skb, offset!(skb_transport_header)).unwrap_or(0);
    let flags: u8 = read(head.wrapping_add(u64::from(transport) + 13));
    if flags & RST != 0 || (without && !is_for_this_host::<R>(skb, head)) {
        return;
    }
    if is_signed(head.wrapping_add(u64::from(transport))) {
        return;
    }
    Stateless {
        cause: Some(skb),
        netns,
        minisock,
        reason: REASON_NONE,
    }
    .emit::<R>(ctx, Slot::Stateless, TALLY);
}

/// Whether a TCP header at an address has an option with a signature (RFC 2385, RFC 5925).
#[inline(always)]
fn is_signed(tcp: u64) -> bool {
    let offset: u8 = read(tcp.wrapping_add(12));
    let end = tcp.wrapping_add(u64::from(offset >> 4) * 4);
    let mut at = tcp.wrapping_add(20);
    for _ in 0..OPTIONS {
        if at >= end {
            return false;
        }
        let [kind, len]: [u8; 2] = read(at);
        match kind {
            OPTION_MD5 | OPTION_AO => return true,
            OPTION_END => return false,
            OPTION_NOP => at = at.wrapping_add(1),
            _ if len < 2 => return false,
            _ => at = at.wrapping_add(u64::from(len)),
        }
    }
    false
}

/// Options looked at.
const OPTIONS: u32 = 12;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MD5: u8 = 19;
const OPTION_AO: u8 = 29;

/// Whether the segment's route ends here: broadcast and multicast get no answer.
#[inline(always)]
fn is_for_this_host<R: Reach>(skb: Typed, head: u64) -> bool {
    let route = R::load::<u64>(skb, offset!(skb_refdst)).unwrap_or(0) & !3;
    let network: u16 = R::load(skb, offset!(skb_network_header)).unwrap_or(0);
    let first: u8 = read(head.wrapping_add(u64::from(network)));
    if first >> 4 == 6 {
        match offset!(rt6i_flags) {
            Some(flags) => read_member::<u32>(route, Some(flags)) & RTF_LOCAL != 0,
            None => true,
        }
    } else {
        match offset!(rt_type) {
            Some(kind) => read_member::<u16>(route, Some(kind)) == RTN_LOCAL,
            None => true,
        }
    }
}

/// The namespace of the device that a packet came in by.
#[inline(always)]
pub fn netns_of_device<R: Reach>(skb: Typed) -> Netns {
    match R::load::<Typed>(skb, offset!(skb_dev)) {
        Some(device) => Netns::of::<R>(device, offset!(dev_net)),
        None => Netns::UNKNOWN,
    }
}

/// A reset without a full socket.
pub struct Stateless {
    /// What it answers.
    pub cause: Option<Typed>,
    /// Where.
    pub netns: Netns,
    /// State and cookie of a minisock, zero without one.
    pub minisock: (u8, u64),
    /// As in the event.
    pub reason: u32,
}

impl Stateless {
    /// Puts the event together and hands it over.
    #[inline(always)]
    pub fn emit<R: Reach>(self, ctx: *mut c_void, slot: Slot, tally: Tally) {
        let Some(about) = CAUSES.get_ptr_mut(slot as u32) else {
            return;
        };
        // SAFETY: this CPU's own element, and this run's for as long as it is busy.
        let about = unsafe { &mut *about };
        if !begin(&mut about.busy) {
            tally.lose();
            return;
        }
        self.emit_by::<R>(ctx, slot, tally, about);
        end(&mut about.busy);
    }

    #[inline(always)]
    fn emit_by<R: Reach>(self, ctx: *mut c_void, slot: Slot, tally: Tally, about: &mut Cause) {
        let Cause { segment, key, .. } = about;
        let is_read = match self.cause {
            Some(skb) => snapshot::segment::<R>(skb, segment, &mut key.flow),
            None => false,
        };
        if !is_read {
            words::clear(segment);
            words::clear(&mut key.flow);
        }
        key.netns_cookie = self.netns.cookie;
        let opens = segment.flags & (SYN | ACK) == SYN;
        let class = Class {
            kind: KIND_RESET_SENT_STATELESS,
            reason: self.reason,
            state: self.minisock.0,
            marked: opens,
        };
        let party = Party::of(&key.flow, Service::Local);
        let question = Question::about_sent(&key.flow);
        let admitted = match question.decided(Observer::Sender) {
            Some(admitted) => admitted,
            None => {
                let netns = self.netns.cookie;
                question.decide(slot, Observer::Sender, class, netns, &party)
            }
        };
        flood::count_class(class, admitted);
        if !admitted {
            tally.suppress();
            return;
        }
        let Some(draft) = Draft::<ResetSentStateless>::begin(slot, tally) else {
            return;
        };
        let event = &mut *draft.event;
        event.header = header(KIND_RESET_SENT_STATELESS, self.netns);
        words::copy(segment, &mut event.cause);
        words::copy(&key.flow, &mut event.flow);
        tombstone_of(key, &mut event.connection);
        if !table::read(&BASELINES, get(&BASELINE_SLOTS), key, &mut event.handshake) {
            words::clear(&mut event.handshake);
        }
        key.flow.remote_address = [0; 16];
        key.flow.remote_port = 0;
        if !opens {
            words::clear(&mut event.listener);
        } else if !listener_of(key, &mut event.listener) {
            key.flow.local_address = [0; 16];
            listener_of(key, &mut event.listener);
        }
        event.state = self.minisock.0;
        event.cookie = self.minisock.1;
        event.reason = self.reason;
        event.reserved = [0; 3];
        draft.submit(ctx);
    }
}

/// Fills in the tombstone of a flow; `false`, and an empty one, if there is none.
#[inline(always)]
pub fn tombstone_of(key: &FlowKey, into: &mut Tombstone) -> bool {
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
    if found {
        // In the tables it is an address of the kernel's.
        into.ownership.cookie = 0;
    } else {
        words::clear(into);
    }
    found
}

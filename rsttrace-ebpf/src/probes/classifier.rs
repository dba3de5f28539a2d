//! Traffic control, ingress and egress: resets on the wire, and the SYN or SYN-ACK before them: its TTL, and the addresses
//! it leaves with.
//!
//! Read-only: every path returns TC_ACT_UNSPEC (= TCX_NEXT), so what else is attached goes on undisturbed.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{TC_ACT_UNSPEC, bpf_sock_tuple};
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_probe_read_kernel, bpf_sk_fullsock, bpf_sk_release,
    bpf_skb_load_bytes, bpf_skc_lookup_tcp,
};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use rsttrace_common::counters::{
    BASELINE_EVICTED, PACKET_LOST, PACKET_SEEN, PACKET_SUPPRESSED, PACKET_SUPPRESSED_ALONE,
};
use rsttrace_common::flood::{Class, SENDER_NONE, SENDER_REMOTE, SENDER_SOCKET};
use rsttrace_common::header::KIND_RST_PACKET;
use rsttrace_common::packet::{
    Baseline, PACKET_EGRESS, PACKET_HAS_SOCKET, PACKET_LOOKED_UP, PACKET_LOOPBACK,
    PACKET_RAW_SOCKET, RstPacket, SNAP_LEN, Target,
};
use rsttrace_common::reset::REASON_NONE;
use rsttrace_common::socket::{TCP_LISTEN, TCP_NEW_SYN_RECV, TCP_TIME_WAIT};
use rsttrace_common::{Flow, FlowKey};

use crate::emit::{Draft, Slot, Tally, header, now};
use crate::flood::{Observer, Party, Question, Service};
use crate::handshakes;
use crate::kernel::{Netns, Typed, current_by_copy, load, tcp_sock};
use crate::knobs::{BASELINE_SLOTS, get, is_empty, offset};
use crate::maps::{BASELINE_HASHES, BASELINES, SEGMENTS, begin, count, end};
use crate::owners;
use crate::packet::{ACK, RST, SYN, Segment, dissect, dissect_plain, is_candidate};
use crate::snapshot::{self, NO_BASELINE};
use crate::table;
use crate::words;

const TALLY: Tally = Tally {
    seen: PACKET_SEEN,
    lost: PACKET_LOST,
    suppressed: PACKET_SUPPRESSED,
};
const LOOPBACK_IFINDEX: u32 = 1;
const SOCK_RAW: u32 = 3;
const AF_PACKET: u32 = 17;
/// `BPF_F_CURRENT_NETNS`: the device's namespace.
const CURRENT_NETNS: u64 = u64::MAX;
const NO_TARGET: Target = Target {
    cookie: 0,
    rcv_nxt: 0,
    rcv_wnd: 0,
    snd_una: 0,
    snd_nxt: 0,
    state: 0,
    reserved: [0; 7],
};

// Inlined into what the macro makes of them: a call costs each packet 10 ns.

#[classifier]
#[inline(always)]
fn tc_ingress_l2(ctx: TcContext) -> i32 {
    if !is_empty() && is_candidate(&ctx, true, RST | SYN) {
        ingress(&ctx, true);
    }
    TC_ACT_UNSPEC
}

#[classifier]
#[inline(always)]
fn tc_egress_l2(ctx: TcContext) -> i32 {
    if !is_empty() && is_candidate(&ctx, true, RST | SYN) {
        egress(&ctx, true);
    }
    TC_ACT_UNSPEC
}

#[classifier]
#[inline(always)]
fn tc_ingress_l3(ctx: TcContext) -> i32 {
    if !is_empty() && is_candidate(&ctx, false, RST | SYN) {
        ingress(&ctx, false);
    }
    TC_ACT_UNSPEC
}

#[classifier]
#[inline(always)]
fn tc_egress_l3(ctx: TcContext) -> i32 {
    if !is_empty() && is_candidate(&ctx, false, RST | SYN) {
        egress(&ctx, false);
    }
    TC_ACT_UNSPEC
}

#[inline(always)]
fn ingress(ctx: &TcContext, link_header: bool) {
    let Some(segment) = SEGMENTS.get_ptr_mut(Slot::Ingress as u32) else {
        return;
    };
    // SAFETY: this CPU's own element, and this run's for as long as it is busy.
    let segment = unsafe { &mut *segment };
    if !begin(&mut segment.busy) {
        TALLY.lose();
        return;
    }
    ingress_of(ctx, link_header, segment);
    end(&mut segment.busy);
}

#[inline(always)]
fn ingress_of(ctx: &TcContext, link_header: bool, segment: &mut Segment) {
    if !dissect_plain(ctx, link_header, segment) && dissect(ctx, link_header, segment).is_none() {
        return;
    }
    if segment.flags & (RST | SYN) == 0 {
        return;
    }
    if segment.flags & RST == 0 {
        segment.key.netns_cookie = Netns::of_device(ctx.as_ptr()).cookie;
        let baseline = Baseline {
            seen_ns: now(),
            ttl: segment.ttl,
            flags: segment.flags,
            source_mac: segment.source_mac,
        };
        let slots = get(&BASELINE_SLOTS);
        let table = (&BASELINES, &BASELINE_HASHES);
        table::write(table, slots, &segment.key, &baseline, BASELINE_EVICTED);
        // Nothing is forwarded from there.
        if !is_loopback(ctx) {
            handshakes::note(segment, baseline.seen_ns);
        }
        return;
    }
    let netns = Netns::of_device(ctx.as_ptr());
    segment.key.netns_cookie = netns.cookie;
    let observer = observer(ctx, netns, false);
    let question = Question::about_coming(&segment.key.flow);
    let decided = question.decided(observer);
    if decided == Some(false) {
        TALLY.suppress();
        return;
    }
    let mut baseline = NO_BASELINE;
    let target = target(ctx, segment, &mut baseline);
    if decided.is_none() {
        let class = Class {
            kind: KIND_RST_PACKET,
            reason: REASON_NONE,
            state: target.state,
            marked: false,
        };
        let party = Party::of(&segment.key.flow, Service::Lower);
        if !decide(question, Slot::Ingress, observer, class, segment, &party) {
            return;
        }
    }
    let mut seen = NO_BASELINE;
    // A later handshake of the same addresses and ports is not the socket's.
    if table::read(&BASELINES, get(&BASELINE_SLOTS), &segment.key, &mut seen)
        && (baseline.seen_ns == 0 || seen.seen_ns <= baseline.seen_ns)
    {
        baseline = seen;
    }
    let Some(draft) = Draft::<RstPacket>::begin(Slot::Ingress, TALLY) else {
        return;
    };
    let event = &mut *draft.event;
    describe(ctx, segment, netns, event);
    event.flags |= PACKET_LOOKED_UP;
    event.target = target;
    event.baseline = baseline;
    event.ingress_ifindex = 0;
    event.socket_cookie = 0;
    event.socket_inode = 0;
    words::clear(&mut event.sender);
    draft.submit(ctx.as_ptr());
}

#[inline(always)]
fn egress(ctx: &TcContext, link_header: bool) {
    // Of this host's own handshakes only SYNs need memory: a SYN-ACK's socket has it, and nothing translates on the loopback device.
    if is_own(ctx)
        && !is_candidate(ctx, link_header, RST)
        && (is_loopback(ctx) || is_candidate(ctx, link_header, ACK))
    {
        return;
    }
    let Some(segment) = SEGMENTS.get_ptr_mut(Slot::Egress as u32) else {
        return;
    };
    // SAFETY: this CPU's own element, and this run's for as long as it is busy.
    let segment = unsafe { &mut *segment };
    if !begin(&mut segment.busy) {
        TALLY.lose();
        return;
    }
    egress_of(ctx, link_header, segment);
    end(&mut segment.busy);
}

#[inline(always)]
fn egress_of(ctx: &TcContext, link_header: bool, segment: &mut Segment) {
    if !dissect_plain(ctx, link_header, segment) && dissect(ctx, link_header, segment).is_none() {
        return;
    }
    if segment.flags & (RST | SYN) == 0 {
        return;
    }
    if segment.flags & RST == 0 {
        segment.key.netns_cookie = Netns::of_device(ctx.as_ptr()).cookie;
        if is_own(ctx) {
            handshakes::note(segment, now());
        } else {
            handshakes::passed(segment);
        }
        return;
    }
    let netns = Netns::of_device(ctx.as_ptr());
    segment.key.netns_cookie = netns.cookie;
    let observer = observer(ctx, netns, true);
    let question = Question::about_coming(&segment.key.flow);
    let decided = question.decided(observer);
    if decided == Some(false) {
        TALLY.suppress();
        return;
    }
    let sender = sender(ctx);
    // SAFETY: the context is the program's own.
    let ingress_ifindex = unsafe { (*ctx.skb.skb).ingress_ifindex };
    if decided.is_none() {
        let class = if ingress_ifindex == 0 && sender.class.marked {
            sender.class
        } else {
            Class {
                kind: KIND_RST_PACKET,
                reason: REASON_NONE,
                state: if ingress_ifindex != 0 {
                    SENDER_REMOTE
                } else if sender.flags & PACKET_HAS_SOCKET != 0 {
                    SENDER_SOCKET
                } else {
                    SENDER_NONE
                },
                marked: true,
            }
        };
        let party = Party::of_leaving(&segment.key.flow);
        if !decide(question, Slot::Egress, observer, class, segment, &party) {
            return;
        }
    }
    let mut baseline = NO_BASELINE;
    // A socket's own record tells more.
    if sender.flags & PACKET_HAS_SOCKET == 0 {
        handshake_of_destination(segment, netns, &mut baseline);
    }
    let Some(draft) = Draft::<RstPacket>::begin(Slot::Egress, TALLY) else {
        return;
    };
    let event = &mut *draft.event;
    describe(ctx, segment, netns, event);
    event.flags |= PACKET_EGRESS | sender.flags;
    words::clear(&mut event.target);
    event.baseline = baseline;
    event.ingress_ifindex = ingress_ifindex;
    event.socket_cookie = sender.cookie;
    event.socket_inode = sender.inode;
    if sender.flags & PACKET_RAW_SOCKET != 0 {
        event.sender = current_by_copy();
    } else {
        words::clear(&mut event.sender);
    }
    draft.submit(ctx.as_ptr());
}

/// At egress: it was made on this host.
#[inline(always)]
fn is_own(ctx: &TcContext) -> bool {
    // SAFETY: the context is the program's own.
    unsafe { (*ctx.skb.skb).ingress_ifindex == 0 }
}

#[inline(always)]
fn is_loopback(ctx: &TcContext) -> bool {
    // SAFETY: the context is the program's own.
    unsafe { (*ctx.skb.skb).ifindex == LOOPBACK_IFINDEX }
}

/// The device that a program runs on.
#[inline(always)]
fn observer(ctx: &TcContext, netns: Netns, egress: bool) -> Observer {
    // SAFETY: the context is the program's own.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    Observer::device(ifindex, egress, netns.cookie)
}

/// Whether a reset is described of which nothing was seen before.
#[inline(always)]
fn decide(
    question: Question,
    slot: Slot,
    observer: Observer,
    class: Class,
    segment: &Segment,
    party: &Party,
) -> bool {
    let key = &segment.key;
    let admitted = question.decide(slot, observer, class, key.netns_cookie, party);
    if !admitted {
        TALLY.suppress();
        count(PACKET_SUPPRESSED_ALONE);
    }
    admitted
}

/// The SYN or SYN-ACK that came from where a segment goes to: seen from here, its sender is the local end.
#[inline(always)]
fn handshake_of_destination(segment: &Segment, netns: Netns, into: &mut Baseline) {
    let flow = &segment.key.flow;
    let key = FlowKey {
        flow: Flow {
            local_address: flow.remote_address,
            remote_address: flow.local_address,
            local_port: flow.remote_port,
            remote_port: flow.local_port,
            reserved: 0,
        },
        netns_cookie: netns.cookie,
    };
    if !table::read(&BASELINES, get(&BASELINE_SLOTS), &key, into) {
        words::clear(into);
    }
}

/// The parts that both directions share.
#[inline(always)]
fn describe(ctx: &TcContext, segment: &Segment, netns: Netns, event: &mut RstPacket) {
    // SAFETY: the context is the program's own.
    let skb = unsafe { &*ctx.skb.skb };
    event.header = header(KIND_RST_PACKET, netns);
    event.ifindex = skb.ifindex;
    event.wire_len = skb.len;
    event.mark = skb.mark;
    event.flags = if is_loopback(ctx) { PACKET_LOOPBACK } else { 0 };
    event.ethertype = segment.ethertype;
    event.vlan_tci = segment.vlan_tci;
    event.source_mac = segment.source_mac;
    event.destination_mac = segment.destination_mac;
    event.tcp_offset = segment.transport as u16;
    // SAFETY: any bytes are valid on both sides; the sizes agree, and so does the alignment (asserted below).
    words::clear(unsafe { &mut *event.snap.as_mut_ptr().cast::<Words>() });
    // The fixed headers are there, `dissect` has read them. So written that the verifier sees both bounds.
    let beyond = skb
        .len
        .wrapping_sub(segment.network)
        .wrapping_sub(LEAST_HEADERS);
    let most = SNAP_LEN as u32 - LEAST_HEADERS;
    let len = (if beyond > most { most } else { beyond }) + LEAST_HEADERS;
    let snap = event.snap.as_mut_ptr().cast::<c_void>();
    // SAFETY: `len` bytes fit into `snap`.
    let status = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), segment.network, snap, len) };
    event.snap_len = if status == 0 { len as u16 } else { 0 };
}

/// The snapshot as words.
type Words = [u64; SNAP_LEN / 8];
const _: () = assert!(core::mem::offset_of!(RstPacket, snap) % 8 == 0);
/// IPv4 and TCP without options.
const LEAST_HEADERS: u32 = 40;

/// The socket a reset is aimed at, before the reset has changed it.
#[inline(always)]
fn target(ctx: &TcContext, segment: &Segment, baseline: &mut Baseline) -> Target {
    // SAFETY: numbers only.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let flow = &segment.key.flow;
    let size = if segment.v4 {
        // SAFETY: a union of plain numbers.
        let ipv4 = unsafe { &mut tuple.__bindgen_anon_1.ipv4 };
        ipv4.saddr = word(&flow.remote_address, 12);
        ipv4.daddr = word(&flow.local_address, 12);
        ipv4.sport = flow.remote_port.to_be();
        ipv4.dport = flow.local_port.to_be();
        size_of_val(ipv4)
    } else {
        // SAFETY: a union of plain numbers.
        let ipv6 = unsafe { &mut tuple.__bindgen_anon_1.ipv6 };
        for i in 0..4 {
            ipv6.saddr[i] = word(&flow.remote_address, i * 4);
            ipv6.daddr[i] = word(&flow.local_address, i * 4);
        }
        ipv6.sport = flow.remote_port.to_be();
        ipv6.dport = flow.local_port.to_be();
        size_of_val(ipv6)
    };
    // SAFETY: `tuple` is of at least `size` bytes.
    let found =
        unsafe { bpf_skc_lookup_tcp(ctx.as_ptr(), &mut tuple, size as u32, CURRENT_NETNS, 0) };
    if found.is_null() {
        return NO_TARGET;
    }
    let mut target = NO_TARGET;
    // SAFETY: not null, and held until released.
    target.state = unsafe { (*found).state } as u8;
    if let Some(tcp) = tcp_sock(found.cast_const().cast()) {
        target.cookie = load(tcp, offset!(skc_cookie)).unwrap_or(0);
        if !matches!(target.state, TCP_LISTEN | TCP_TIME_WAIT | TCP_NEW_SYN_RECV) {
            owners::handshake(tcp, baseline);
            target.rcv_nxt = load(tcp, offset!(rcv_nxt)).unwrap_or(0);
            target.rcv_wnd = load(tcp, offset!(rcv_wnd)).unwrap_or(0);
            target.snd_una = load(tcp, offset!(snd_una)).unwrap_or(0);
            target.snd_nxt = load(tcp, offset!(snd_nxt)).unwrap_or(0);
        }
    }
    // SAFETY: it came from the lookup and is not used any more.
    unsafe { bpf_sk_release(found.cast()) };
    target
}

#[inline(always)]
fn word(address: &[u8; 16], at: usize) -> u32 {
    u32::from_ne_bytes([
        address[at],
        address[at + 1],
        address[at + 2],
        address[at + 3],
    ])
}

/// Who put a packet on the wire, as far as `skb->sk` says so.
struct Sender {
    flags: u32,
    cookie: u64,
    inode: u64,
    /// Of a full TCP socket, marked; else none.
    class: Class,
}

const NO_CLASS: Class = Class {
    kind: 0,
    reason: REASON_NONE,
    state: 0,
    marked: false,
};

#[inline(always)]
fn sender(ctx: &TcContext) -> Sender {
    let mut sender = Sender {
        flags: 0,
        cookie: 0,
        inode: 0,
        class: NO_CLASS,
    };
    // SAFETY: the context is the program's own.
    let skb = unsafe { &*ctx.skb.skb };
    // SAFETY: the union has this one member.
    let sk = unsafe { skb.__bindgen_anon_2.sk };
    if sk.is_null() {
        return sender;
    }
    sender.flags = PACKET_HAS_SOCKET;
    // SAFETY: the context is the program's own.
    sender.cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: `sk` is not null.
    let full = unsafe { bpf_sk_fullsock(sk) };
    if full.is_null() {
        return sender;
    }
    // SAFETY: not null.
    let full_socket = unsafe { &*full };
    // A program made this segment itself, below TCP.
    if full_socket.type_ == SOCK_RAW || full_socket.family == AF_PACKET {
        let address = address_of(full.cast());
        // The kernel answers without a socket through a raw one of its own (net/ipv4/tcp_ipv4.c, ipv4_tcp_sk), which
        // has no file.
        if snapshot::file(address) != 0 {
            sender.flags |= PACKET_RAW_SOCKET;
            sender.inode = snapshot::inode(address);
        }
    } else if let Some(tcp) = tcp_sock(full.cast_const().cast()) {
        sender.class = snapshot::active(tcp);
    }
    sender
}

/// A pointer's number, by way of memory: the verifier allows no arithmetic on this kind of pointer.
#[inline(always)]
fn address_of(pointer: Typed) -> u64 {
    let kept = pointer;
    let mut address = 0_u64;
    // SAFETY: both are on the stack and of this size.
    unsafe { bpf_probe_read_kernel((&raw mut address).cast(), 8, (&raw const kept).cast()) };
    address
}

//! sock:inet_sock_set_state: who connects, listens and closes, and what is left when a connection ends.
//!
//! (sk, old, new): <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/sock.h#L139>. The changes to SYN_SENT,
//! LISTEN, FIN_WAIT1 and LAST_ACK happen in the acting process's context. Changes that carry no fact return at once.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use rsttrace_common::counters::{FAILED_LOST, FAILED_SEEN, FAILED_SUPPRESSED, TOMBSTONE_EVICTED};
use rsttrace_common::header::KIND_FAILED;
use rsttrace_common::knobs::LISTENER_SLOTS;
use rsttrace_common::lifecycle::{End, Failed};
use rsttrace_common::socket::{
    CLOSER_EXITING, CLOSER_KERNEL_THREAD, OWNERSHIP_ISN, OWNERSHIP_REFUSED, OWNERSHIP_RESET_SENT,
    Ownership, SOURCE_CONNECT, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_FIN_WAIT1,
    TCP_LAST_ACK, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT,
};
use rsttrace_common::task::{PF_EXITING, PF_KTHREAD};
use rsttrace_common::{Flow, FlowKey};

use crate::emit::{Draft, Slot, Tally, header, now};
use crate::failure;
use crate::kernel::{Followed, Netns, Typed, current, killing_signal, load, read_member, tcp_sock};
use crate::knobs::{BASELINE_SLOTS, TOMBSTONE_SLOTS, debug, get, is_empty, offset};
use crate::listeners;
use crate::maps::{BASELINES, LISTENER_HASHES, LISTENERS, TOMBSTONE_HASHES, TOMBSTONES};
use crate::owners;
use crate::snapshot::{self, NO_BASELINE, owned};
use crate::table;

const TALLY: Tally = Tally {
    seen: FAILED_SEEN,
    lost: FAILED_LOST,
    suppressed: FAILED_SUPPRESSED,
};
const ENETUNREACH: i32 = 101;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;
/// A program that gives up a connect sooner, with its first SYN unanswered, may just not want it any more.
const LEAST_WAIT_MS: u32 = 200;
/// `ee_origin` in include/uapi/linux/errqueue.h, the byte behind the errno.
const SO_EE_ORIGIN_ICMP: u8 = 2;
const SO_EE_ORIGIN_ICMP6: u8 = 3;
const SEND_SHUTDOWN: u8 = 2;
const SHUTDOWN_MASK: u8 = 3;

#[btf_tracepoint(function = "inet_sock_set_state")]
#[inline(always)]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    if is_empty() {
        return 0;
    }
    let new = ctx.arg::<u32>(2) as u8;
    let old = ctx.arg::<u32>(1) as u8;
    match new {
        TCP_SYN_SENT => connects(&ctx),
        TCP_LISTEN => listens(&ctx),
        TCP_SYN_RECV if old == TCP_LISTEN => born(&ctx),
        TCP_ESTABLISHED => established(&ctx),
        TCP_FIN_WAIT1 | TCP_LAST_ACK => closing(&ctx),
        TCP_CLOSE_WAIT => peer_finished(&ctx),
        TCP_CLOSE => closed(&ctx, old),
        _ => {}
    }
    0
}

/// connect(): the caller owns the socket. It may have been connected before: nothing of that is kept.
#[inline(always)]
fn connects(ctx: &BtfTracePointContext) {
    let sk = ctx.arg::<Typed>(0);
    if tcp_sock(sk).is_none() {
        return;
    }
    let Some(record) = owners::begin(sk) else {
        return;
    };
    record.owner = current().task;
    record.source = SOURCE_CONNECT;
}

/// listen(): the caller owns the socket, and its children until they are accepted.
#[inline(always)]
fn listens(ctx: &BtfTracePointContext) {
    let sk = ctx.arg::<Typed>(0);
    let Some(key) = listener_key(sk) else { return };
    if !listeners::add(sk, &key, &current().task) {
        debug!(ctx, "no room for a listener");
    }
}

/// A child of a listener is born, in softirq.
#[inline(always)]
fn born(ctx: &BtfTracePointContext) {
    let sk = ctx.arg::<Typed>(0);
    let Some(mut key) = listener_key(sk) else {
        return;
    };
    if let Some(record) = owners::begin(sk) {
        listeners::copy_to_child(sk, &mut key, record);
    }
}

#[inline(always)]
fn listener_key(sk: Typed) -> Option<FlowKey> {
    let (_, flow) = snapshot::flow_of(sk)?;
    let netns = Netns::of::<Followed>(sk, offset!(skc_net));
    Some(listeners::key(&flow, netns))
}

/// The handshake is over. Runs in softirq: the running task is nobody.
#[inline(always)]
fn established(ctx: &BtfTracePointContext) {
    let sk = ctx.arg::<Typed>(0);
    let Some(tcp) = tcp_sock(sk) else { return };
    let Some(record) = owners::get_or_begin(sk) else {
        return;
    };
    record.established_ns = now();
    // Makes the cookie, if there is none: TIME_WAIT keeps only one that was made before.
    snapshot::cookie(sk);
    let received: u32 = load(tcp, offset!(rcv_nxt)).unwrap_or(0);
    let unacknowledged: u32 = load(tcp, offset!(snd_una)).unwrap_or(0);
    // Both count the SYN as one. Fast open may have moved them by data already; then the numbers would be wrong.
    if snapshot::unread(tcp) == 0 {
        record.local_isn = unacknowledged.wrapping_sub(1);
        record.remote_isn = received.wrapping_sub(1);
        record.flags |= OWNERSHIP_ISN;
    }
    let key = FlowKey {
        flow: snapshot::flow(sk, tcp),
        netns_cookie: Netns::of::<Followed>(sk, offset!(skc_net)).cookie,
    };
    let mut baseline = NO_BASELINE;
    if table::read(&BASELINES, get(&BASELINE_SLOTS), &key, &mut baseline) {
        owners::keep_handshake(record, &baseline);
    }
}

/// close() or shutdown(SHUT_RDWR): the caller is the closer. shutdown(SHUT_WR) ends nothing yet.
#[inline(always)]
fn closing(ctx: &BtfTracePointContext) {
    let sk = ctx.arg::<Typed>(0);
    let shutdown: u8 = load(sk, offset!(sk_shutdown)).unwrap_or(0);
    if shutdown & SHUTDOWN_MASK != SHUTDOWN_MASK || !owned(sk) {
        return;
    }
    let Some(tcp) = tcp_sock(sk) else { return };
    if let Some(ownership) = owners::get(sk) {
        note_closer(ownership, tcp);
    }
}

/// The peer's FIN came. Data in the same segment has been counted already (tcp_data_queue).
#[inline(always)]
fn peer_finished(ctx: &BtfTracePointContext) {
    let sk = ctx.arg::<Typed>(0);
    let Some(tcp) = tcp_sock(sk) else { return };
    if let Some(ownership) = owners::get(sk) {
        ownership.peer_finished_ns = now();
        ownership.peer_finished_quiet = snapshot::quiet(tcp, snapshot::End::Peer);
    }
}

#[inline(always)]
fn note_closer(ownership: &mut Ownership, tcp: Typed) {
    let closer = current();
    ownership.closer_pid = closer.task.pid;
    ownership.closer_uid = closer.task.uid;
    ownership.closer_comm = closer.task.comm;
    ownership.closer_start_boottime_ns = closer.task.start_boottime_ns;
    ownership.closed_ns = now();
    ownership.closed_quiet = snapshot::quiet(tcp, snapshot::End::This);
    ownership.closer_signal = killing_signal(&closer);
    ownership.closer_flags = (if closer.flags & PF_EXITING != 0 {
        CLOSER_EXITING
    } else {
        0
    }) | (if closer.flags & PF_KTHREAD != 0 {
        CLOSER_KERNEL_THREAD
    } else {
        0
    });
}

/// The end of a socket, for whatever reason.
#[inline(always)]
fn closed(ctx: &BtfTracePointContext, old: u8) {
    let sk = ctx.arg::<Typed>(0);
    let error: i32 = load(sk, offset!(sk_err)).unwrap_or(0);
    if old == TCP_CLOSE {
        return;
    }
    // A connect that a reset refused leaves nothing that a later segment could ask for.
    if old == TCP_SYN_SENT && error == ECONNREFUSED && !refused_by_icmp(sk) {
        if let Some(record) = owners::get(sk) {
            owners::release(sk, record, old);
        }
        return;
    }
    let Some((tcp, flow)) = snapshot::flow_of(sk) else {
        return;
    };
    let netns = Netns::of::<Followed>(sk, offset!(skc_net));
    let key = FlowKey {
        flow: buried_flow(flow, old),
        netns_cookie: netns.cookie,
    };
    let record = if old == TCP_LISTEN {
        owners::begin(sk)
    } else {
        owners::get_or_begin(sk)
    };
    if let Some(record) = record {
        if old == TCP_LISTEN {
            listeners::copy(sk, &key, record);
        }
        bury(ctx, (sk, tcp), (old, error), (flow, netns, &key), record);
        // What is released may make room for another.
        owners::release(sk, record, old);
    }
    if old == TCP_LISTEN {
        listeners::remove(&key);
    }
}

/// Writes the tombstone of a socket and, if it failed without a reset, describes that.
#[inline(always)]
fn bury(
    ctx: &BtfTracePointContext,
    (sk, tcp): (Typed, Typed),
    (old, error): (u8, i32),
    (flow, netns, key): (Flow, Netns, &FlowKey),
    record: &mut Ownership,
) {
    let is_listener = old == TCP_LISTEN;
    // With an error it ended by itself, perhaps while some process held the socket.
    if record.closer_pid == 0 && error == 0 && owned(sk) {
        note_closer(record, tcp);
    }
    let end = End {
        died_ns: now(),
        cookie: load(sk, offset!(skc_cookie)).unwrap_or(0),
        error,
        unread: if is_listener {
            0
        } else {
            snapshot::unread(tcp)
        },
        last_state: old,
        fin_sent: u8::from(load::<u8>(sk, offset!(sk_shutdown)).unwrap_or(0) & SEND_SHUTDOWN != 0),
        reserved: [0; 6],
    };
    let (table, slots) = if is_listener {
        ((&LISTENERS, &LISTENER_HASHES), LISTENER_SLOTS)
    } else {
        ((&TOMBSTONES, &TOMBSTONE_HASHES), get(&TOMBSTONE_SLOTS))
    };
    let parts = (&*record, &end);
    table::write_parts(table, slots, key, parts, TOMBSTONE_EVICTED);
    let error = if old == TCP_SYN_SENT && error == 0 {
        queued_error(sk)
    } else {
        error
    };
    let trying_ms = if old == TCP_SYN_SENT {
        match connect_failed(sk, tcp, error) {
            Some(trying) => trying,
            None => return,
        }
    } else if died_of_silence(old, error, record) {
        trying(tcp)
    } else {
        return;
    };
    if !failure::has_room() {
        TALLY.suppress();
        return;
    }
    let Some(draft) = Draft::<Failed>::begin(Slot::State, TALLY) else {
        return;
    };
    let event = &mut *draft.event;
    event.header = header(KIND_FAILED, netns);
    event.flow = flow;
    snapshot::socket(sk, tcp, &mut event.socket);
    owners::copy(Some(record), &mut event.ownership);
    event.error = error;
    event.trying_ms = trying_ms;
    event.last_state = old;
    event.unsent = u8::from(old == TCP_SYN_SENT && is_unsent(sk, tcp, error));
    event.reserved = [0; 6];
    draft.submit(ctx.as_ptr());
}

/// An ICMP message refused a connect. Without a record of the socket nobody could note a reset.
#[inline(always)]
fn refused_by_icmp(sk: Typed) -> bool {
    match owners::get(sk) {
        Some(ownership) => ownership.flags & OWNERSHIP_REFUSED == 0,
        None => false,
    }
}

/// The error of an ICMP message that came while connect() held the socket: it is queued and left out of `sk_err`, and the program that is
/// told of it closes (tcp_v4_err(), <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_ipv4.c#L483>). 0: there is none.
#[inline(always)]
fn queued_error(sk: Typed) -> i32 {
    let (Some(queue), Some(cb)) = (offset!(sk_error_queue), offset!(skb_cb)) else {
        return 0;
    };
    let (Some(address), Some(first)) = (owners::number(sk), load::<u64>(sk, Some(queue))) else {
        return 0;
    };
    // An empty list is its own first entry.
    if first == 0 || first == address.wrapping_add(queue as u64) {
        return 0;
    }
    let [error, kinds]: [u32; 2] = read_member(first.wrapping_add(cb as u64), offset!(skb_error));
    match kinds as u8 {
        SO_EE_ORIGIN_ICMP | SO_EE_ORIGIN_ICMP6 => error as i32,
        _ => 0,
    }
}

/// For how many milliseconds a connect had been tried, if it failed; `u32::MAX`: it was refused here before a SYN left.
#[inline(always)]
fn connect_failed(sk: Typed, tcp: Typed, error: i32) -> Option<u32> {
    if is_unsent(sk, tcp, error) {
        return Some(u32::MAX);
    }
    let trying = trying(tcp);
    let retransmits: u32 = load(tcp, offset!(total_retrans)).unwrap_or(0);
    let is_noted = error != 0 || retransmits > 0 || trying >= LEAST_WAIT_MS;
    if is_noted { Some(trying) } else { None }
}

/// The kernel leaves SYN_SENT in connect() itself, before it sends a SYN: there is no local port
/// (tcp_v4_connect(), <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_ipv4.c#L336>).
#[inline(always)]
fn is_unsent(sk: Typed, tcp: Typed, error: i32) -> bool {
    let shutdown: u8 = load(sk, offset!(sk_shutdown)).unwrap_or(0);
    let packets: u32 = load(tcp, offset!(packets_out)).unwrap_or(0);
    error == 0 && packets == 0 && shutdown & SHUTDOWN_MASK == 0
}

/// Milliseconds since the first SYN or retransmission that was not answered; `u32::MAX`: there was none.
#[inline(always)]
fn trying(tcp: Typed) -> u32 {
    let since: u32 = load(tcp, offset!(retrans_stamp)).unwrap_or(0);
    if since == 0 {
        return u32::MAX;
    }
    // SAFETY: takes nothing.
    let now = unsafe { bpf_ktime_get_ns() } / 1_000_000;
    (now as u32).wrapping_sub(since)
}

/// A listener is asked for by its own end alone.
#[inline(always)]
fn buried_flow(flow: Flow, old: u8) -> Flow {
    if old == TCP_LISTEN {
        Flow {
            remote_address: [0; 16],
            remote_port: 0,
            ..flow
        }
    } else {
        flow
    }
}

#[inline(always)]
fn died_of_silence(old: u8, error: i32, ownership: &Ownership) -> bool {
    let silent = error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH;
    silent && old != TCP_LISTEN && ownership.flags & OWNERSHIP_RESET_SENT == 0
}

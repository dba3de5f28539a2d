//! What a socket and the segment it answers look like at the moment of an event.

use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_ktime_get_ns};
use rsttrace_common::Flow;
use rsttrace_common::flood::{
    Class, HINT_CLOSED, HINT_LINGER_ZERO, HINT_ORPHAN, HINT_PROBED, HINT_UNREAD,
};
use rsttrace_common::flow::V4_MAPPED_PREFIX;
use rsttrace_common::header::KIND_RESET_SENT;
use rsttrace_common::knobs::HELPER_SOCKET_COOKIE;
use rsttrace_common::packet::Baseline;
use rsttrace_common::reset::{REASON_NONE, Segment};
use rsttrace_common::socket::{
    LONGEST_FAREWELL, LONGEST_LAST_WORDS, SOCK_DEAD, SOCK_LINGER, Socket, TCP_CLOSE,
};

use crate::kernel::{Followed, Reach, Typed, load, read, read_member, tcp_sock};
use crate::knobs::{has, offset};

const AF_INET6: u16 = 10;

/// No flow.
pub const NO_FLOW: Flow = Flow {
    local_address: [0; 16],
    remote_address: [0; 16],
    local_port: 0,
    remote_port: 0,
    reserved: 0,
};

/// No SYN or SYN-ACK seen.
pub const NO_BASELINE: Baseline = Baseline {
    seen_ns: 0,
    ttl: 0,
    flags: 0,
    source_mac: [0; 6],
};

/// Cookie of a socket, made if it has none; 0 where it has none and the kernel makes none for tracing programs.
#[inline(always)]
pub fn cookie(sk: Typed) -> u64 {
    if !has(HELPER_SOCKET_COOKIE) {
        return load(sk, offset!(skc_cookie)).unwrap_or(0);
    }
    // SAFETY: the verifier checks that `sk` is a socket.
    unsafe { bpf_get_socket_cookie(sk.cast_mut()) }
}

/// An IPv4 address (network order, as loaded) in the wire's form; 0.0.0.0 is all zero.
#[inline(always)]
pub fn mapped(address: u32) -> [u8; 16] {
    if address == 0 {
        return [0; 16];
    }
    // Whole words: the first is zero, the second ends with the address.
    let prefix = V4_MAPPED_PREFIX;
    let [a, b, c, d] = address.to_ne_bytes();
    let tail = u64::from_ne_bytes([prefix[8], prefix[9], prefix[10], prefix[11], a, b, c, d]);
    // SAFETY: any bytes are valid on both sides, and the sizes agree.
    unsafe { core::mem::transmute([0, tail]) }
}

/// The two ends of a socket.
#[inline(always)]
pub fn flow(sk: Typed, tcp: Typed) -> Flow {
    flow_by::<Followed>(sk, tcp)
}

/// The same, reached in another way.
#[inline(always)]
pub fn flow_by<R: Reach>(sk: Typed, tcp: Typed) -> Flow {
    let family: u16 = R::load(sk, offset!(skc_family)).unwrap_or(0);
    let (local_address, remote_address) = if family == AF_INET6 {
        (
            wide_address::<R>(sk, offset!(skc_v6_rcv_saddr)),
            wide_address::<R>(sk, offset!(skc_v6_daddr)),
        )
    } else {
        (
            mapped(R::load(sk, offset!(skc_rcv_saddr)).unwrap_or(0)),
            mapped(R::load(sk, offset!(skc_daddr)).unwrap_or(0)),
        )
    };
    Flow {
        local_address,
        remote_address,
        // Not skc_num, which is already 0 once the socket is unhashed.
        local_port: u16::from_be(R::load(tcp, offset!(inet_sport)).unwrap_or(0)),
        remote_port: u16::from_be(R::load(sk, offset!(skc_dport)).unwrap_or(0)),
        reserved: 0,
    }
}

#[inline(always)]
fn wide_address<R: Reach>(sk: Typed, member: Option<usize>) -> [u8; 16] {
    let Some(member) = member else { return [0; 16] };
    let words: [u64; 2] = [
        R::load(sk, Some(member)).unwrap_or(0),
        R::load(sk, Some(member + 8)).unwrap_or(0),
    ];
    // SAFETY: any bytes are valid on both sides, and the sizes agree.
    unsafe { core::mem::transmute(words) }
}

/// Address of the socket's `struct file`, 0: none. By address, as classifiers have no types.
#[inline(always)]
pub fn file(sk: u64) -> u64 {
    match read_member::<u64>(sk, offset!(sk_socket)) {
        0 => 0,
        socket => read_member(socket, offset!(socket_file)),
    }
}

/// Inode of the socket's file, 0: none.
#[inline(always)]
pub fn inode(sk: u64) -> u64 {
    match file(sk) {
        0 => 0,
        _ if offset!(sk_ino).is_some() => read_member(sk, offset!(sk_ino)),
        file => {
            let inode: u64 = read_member(file, offset!(f_inode));
            read_member(inode, offset!(i_ino))
        }
    }
}

/// Fills in everything about a full TCP socket.
#[inline(always)]
pub fn socket(sk: Typed, tcp: Typed, into: &mut Socket) {
    let address = sk as u64;
    into.cookie = cookie(sk);
    into.inode = inode(address);
    into.cgroup_id = cgroup_id(sk);
    into.flags = load(sk, offset!(skc_flags)).unwrap_or(0);
    into.bytes_sent = load(tcp, offset!(bytes_sent)).unwrap_or(0);
    into.bytes_received = load(tcp, offset!(bytes_received)).unwrap_or(0);
    into.bytes_acked = load(tcp, offset!(bytes_acked)).unwrap_or(0);
    let transmitted: u64 = load(tcp, offset!(tcp_wstamp_ns)).unwrap_or(0);
    into.since_transmit_ns = if transmitted == 0 {
        u64::MAX
    } else {
        // Pacing may set the stamp ahead of the clock.
        // SAFETY: takes nothing.
        unsafe { bpf_ktime_get_ns() }.saturating_sub(transmitted)
    };
    into.uid = load(sk, offset!(sk_uid)).unwrap_or(0);
    into.rcv_nxt = load(tcp, offset!(rcv_nxt)).unwrap_or(0);
    into.copied_seq = load(tcp, offset!(copied_seq)).unwrap_or(0);
    into.snd_nxt = load(tcp, offset!(snd_nxt)).unwrap_or(0);
    into.snd_una = load(tcp, offset!(snd_una)).unwrap_or(0);
    into.write_seq = load(tcp, offset!(write_seq)).unwrap_or(0);
    into.rcv_wnd = load(tcp, offset!(rcv_wnd)).unwrap_or(0);
    into.snd_wnd = load(tcp, offset!(snd_wnd)).unwrap_or(0);
    into.srtt_us_x8 = load(tcp, offset!(srtt_us)).unwrap_or(0);
    // struct minmax { struct minmax_sample { u32 t; u32 v; } s[3]; }
    into.rtt_min_us = match offset!(rtt_min) {
        Some(member) => load(tcp, Some(member + 4)).unwrap_or(0),
        None => 0,
    };
    into.lsndtime = load(tcp, offset!(lsndtime)).unwrap_or(0);
    into.lrcvtime = load(tcp, offset!(icsk_lrcvtime)).unwrap_or(0);
    into.rcv_tstamp = load(tcp, offset!(rcv_tstamp)).unwrap_or(0);
    into.chrono_start = load(tcp, offset!(chrono_start)).unwrap_or(0);
    into.keepalive_time = load(tcp, offset!(keepalive_time)).unwrap_or(0);
    into.keepalive_interval = load(tcp, offset!(keepalive_intvl)).unwrap_or(0);
    into.user_timeout_ms = load(tcp, offset!(icsk_user_timeout)).unwrap_or(0);
    into.total_retransmits = load(tcp, offset!(total_retrans)).unwrap_or(0);
    into.packets_out = load(tcp, offset!(packets_out)).unwrap_or(0);
    let linger: u64 = load(sk, offset!(sk_lingertime)).unwrap_or(0);
    into.linger_jiffies = if linger > u64::from(u32::MAX) {
        u32::MAX
    } else {
        linger as u32
    };
    into.linger2 = load(tcp, offset!(linger2)).unwrap_or(0);
    into.error = load(sk, offset!(sk_err)).unwrap_or(0);
    into.accept_queue = load(sk, offset!(sk_ack_backlog)).unwrap_or(0);
    into.accept_queue_limit = load(sk, offset!(sk_max_ack_backlog)).unwrap_or(0);
    into.state = load(sk, offset!(skc_state)).unwrap_or(0);
    into.shutdown = load::<u8>(sk, offset!(sk_shutdown)).unwrap_or(0) & 3;
    into.owned = u8::from(owned(sk));
    let chrono: u8 = load(tcp, offset!(chrono_type)).unwrap_or(0);
    into.chrono_type = (chrono >> crate::knobs::get(&crate::knobs::OFFSETS.chrono_type_shift)) & 3;
    into.keepalive_probes = load(tcp, offset!(keepalive_probes)).unwrap_or(0);
    into.probes_out = load(tcp, offset!(icsk_probes_out)).unwrap_or(0);
    into.retransmits = load(tcp, offset!(icsk_retransmits)).unwrap_or(0);
    into.has_file = u8::from(read_member::<u64>(address, offset!(sk_socket)) != 0);
    let repair: u8 = load(tcp, offset!(repair)).unwrap_or(0);
    into.repair = (repair >> crate::knobs::get(&crate::knobs::OFFSETS.repair_shift)) & 1;
    into.mptcp = load::<u8>(tcp, offset!(is_mptcp)).unwrap_or(0) & 1;
    let options: u8 = load(tcp, offset!(tstamp_ok)).unwrap_or(0);
    into.timestamps = (options >> crate::knobs::get(&crate::knobs::OFFSETS.tstamp_ok_shift)) & 1;
    into.reserved = [0; 5];
}

#[inline(always)]
fn cgroup_id(sk: Typed) -> u64 {
    if let Some(cgroup) = load::<Typed>(sk, offset!(sk_cgroup)) {
        return load::<Typed>(cgroup, offset!(cgroup_kn))
            .and_then(|node| load(node, offset!(kn_id)))
            .unwrap_or(0);
    }
    // include/linux/cgroup-defs.h of 5.10, sock_cgroup_data: a pointer, unless the lowest bit says that it is none.
    let word: u64 = load(sk, offset!(sk_cgroup_word)).unwrap_or(0);
    if word == 0 || word & 1 != 0 {
        return 0;
    }
    let node: u64 = read_member(word & !3, offset!(cgroup_kn));
    read_member(node, offset!(kn_id))
}

/// A process holds the socket's lock: the running task acts on it, or its backlog is being worked off.
#[inline(always)]
pub fn owned(sk: Typed) -> bool {
    load::<i32>(sk, offset!(sk_lock_owned)).unwrap_or(0) == 1
}

/// Jiffies since data last moved either way, but for the last words of the end that closes; retransmissions count. Last words are
/// a few bytes that have just been sent or received and are not acknowledged, or not read, yet.
#[inline(always)]
pub fn quiet(tcp: Typed, closes: End) -> u32 {
    let now = crate::emit::jiffies();
    let sent = now.wrapping_sub(load(tcp, offset!(lsndtime)).unwrap_or(0));
    let received = now.wrapping_sub(load(tcp, offset!(icsk_lrcvtime)).unwrap_or(0));
    let (own, other, pending, was_still) = match closes {
        // Its FIN counts as one.
        End::Peer => (received, sent, unread(tcp).wrapping_sub(1), true),
        End::This => {
            let written: u32 = load(tcp, offset!(write_seq)).unwrap_or(0);
            let acknowledged: u32 = load(tcp, offset!(snd_una)).unwrap_or(0);
            let heard = now.wrapping_sub(load(tcp, offset!(rcv_tstamp)).unwrap_or(0));
            let was_still = heard >= received / 2;
            (
                sent,
                received,
                written.wrapping_sub(acknowledged),
                was_still,
            )
        }
    };
    // A longer message may also be a slow answer, or the end of a long one, which is acknowledged on and on.
    let most = if was_still && other >= LONG {
        LONGEST_LAST_WORDS
    } else {
        LONGEST_FAREWELL
    };
    let are_last_words = pending.wrapping_sub(1) < most && own <= AT_ONCE;
    if own < other && !are_last_words {
        own
    } else {
        other
    }
}

/// The end of a connection that closes.
#[derive(Clone, Copy)]
pub enum End {
    /// The other end.
    Peer,
    /// This host's.
    This,
}

/// Jiffies from the last words to the FIN, at most.
const AT_ONCE: u32 = 8;

/// Jiffies of a silence before longer last words, at least: 10 s with the usual tick.
const LONG: u32 = 2_500;

/// Received bytes nobody read; a FIN counts as one.
#[inline(always)]
pub fn unread(tcp: Typed) -> u32 {
    let received: u32 = load(tcp, offset!(rcv_nxt)).unwrap_or(0);
    received.wrapping_sub(load(tcp, offset!(copied_seq)).unwrap_or(0))
}

/// The class of a socket's active reset.
#[inline(always)]
pub fn active(tcp: Typed) -> Class {
    let flags: u64 = load(tcp, offset!(skc_flags)).unwrap_or(0);
    let linger: u64 = load(tcp, offset!(sk_lingertime)).unwrap_or(0);
    let state: u8 = load(tcp, offset!(skc_state)).unwrap_or(0);
    let probes: u8 = load(tcp, offset!(icsk_probes_out)).unwrap_or(0);
    // Without a branch, or the verifier goes on for each of 32 cases.
    let hint = |word: u64, flag: u8| (1 ^ is_set(word)) as u8 * flag;
    let lingers = flags & SOCK_LINGER;
    Class {
        kind: KIND_RESET_SENT,
        reason: REASON_NONE,
        state: hint(linger | (lingers ^ SOCK_LINGER), HINT_LINGER_ZERO)
            | (is_set(u64::from(unread(tcp))) as u8 * HINT_UNREAD)
            | (is_set(flags & SOCK_DEAD) as u8 * HINT_ORPHAN)
            | hint(u64::from(state ^ TCP_CLOSE), HINT_CLOSED)
            | (is_set(u64::from(probes)) as u8 * HINT_PROBED),
        marked: true,
    }
}

/// 1 if there is a bit in a word, 0 if not; kept from becoming a branch.
#[inline(always)]
fn is_set(word: u64) -> u64 {
    (core::hint::black_box(word) | word.wrapping_neg()) >> 63
}

/// Fills in a received segment and its flow from the answering host's point of view. `false`: its headers cannot be
/// read, and what was filled in means nothing.
#[inline(always)]
pub fn segment<R: Reach>(skb: Typed, segment: &mut Segment, flow: &mut Flow) -> bool {
    let (Some(head), Some(network), Some(transport), Some(len)) = (
        R::load::<u64>(skb, offset!(skb_head)),
        R::load::<u16>(skb, offset!(skb_network_header)),
        R::load::<u16>(skb, offset!(skb_transport_header)),
        R::load::<u32>(skb, offset!(skb_len)),
    ) else {
        return false;
    };
    let tcp: [u8; 20] = read(head.wrapping_add(u64::from(transport)));
    segment.seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    segment.ack = u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]);
    // skb->data is at the TCP header here, as tcp_v4_send_reset() computes it (net/ipv4/tcp_ipv4.c).
    segment.payload_len = len.wrapping_sub(u32::from(tcp[12] >> 4) * 4);
    segment.ifindex = R::load(skb, offset!(skb_iif)).unwrap_or(0);
    segment.window = u16::from_be_bytes([tcp[14], tcp[15]]);
    segment.flags = tcp[13];
    segment.present = 1;
    flow.local_port = u16::from_be_bytes([tcp[2], tcp[3]]);
    flow.remote_port = u16::from_be_bytes([tcp[0], tcp[1]]);
    flow.reserved = 0;
    let ip_at = head.wrapping_add(u64::from(network));
    let ip: [u8; 20] = read(ip_at);
    match ip[0] >> 4 {
        4 => {
            segment.ttl = ip[8];
            segment.tos = ip[1];
            segment.ip_id = u16::from_be_bytes([ip[4], ip[5]]);
            flow.remote_address = mapped(u32::from_ne_bytes([ip[12], ip[13], ip[14], ip[15]]));
            flow.local_address = mapped(u32::from_ne_bytes([ip[16], ip[17], ip[18], ip[19]]));
            true
        }
        6 => {
            segment.ttl = ip[7];
            segment.tos = (ip[0] << 4) | (ip[1] >> 4);
            segment.ip_id = 0;
            flow.remote_address = read(ip_at.wrapping_add(8));
            flow.local_address = read(ip_at.wrapping_add(24));
            true
        }
        _ => false,
    }
}

/// The flow of a socket whose `tcp_sock` is still to be asked for.
#[inline(always)]
pub fn flow_of(sk: Typed) -> Option<(Typed, Flow)> {
    let tcp = tcp_sock(sk)?;
    Some((tcp, flow(sk, tcp)))
}

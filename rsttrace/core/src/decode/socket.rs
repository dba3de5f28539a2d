//! The socket at the time of the event.
//!
//! The kernel's members are not what a reader wants to know: sequence numbers count SYN and FIN, clocks are ticks
//! and hold leftovers before the handshake. All of that is settled here.

use std::time::Duration;

use rsttrace_common::socket as wire;

use super::DecodeError;
use super::address::state;
use super::jiffies::Jiffies;
use crate::event::{Ownership, Socket, SocketCookie, TcpState};

/// `enum sock_flags`, the bits that are used.
const SOCK_DONE: u64 = 1 << 1;
const SOCK_KEEPOPEN: u64 = 1 << 3;

/// `sk_shutdown`.
const RCV_SHUTDOWN: u8 = 1;
const SEND_SHUTDOWN: u8 = 2;

/// `enum tcp_chrono`: data is unacknowledged.
const CHRONO_BUSY: u8 = 1;

/// A socket; `ownership` tells the state it had before a hook found it closed already.
pub(super) fn socket(
    wire: &wire::Socket,
    ownership: Option<&Ownership>,
    clock: Jiffies,
) -> Result<Socket, DecodeError> {
    let state = state(wire.state)?;
    let lived_in = ownership
        .and_then(|ownership| ownership.state_before_close)
        .filter(|_| state == TcpState::Close)
        .unwrap_or(state);
    let peer_finished = wire.flags & SOCK_DONE != 0;
    let has_clocks = lived_in.is_synchronized() || lived_in == TcpState::Close;
    let since = |stamp| if has_clocks { clock.since(stamp) } else { None };
    let in_flight = wire.snd_una != wire.snd_nxt || wire.packets_out > 0;
    Ok(Socket {
        cookie: SocketCookie(wire.cookie),
        inode: nonzero(wire.inode),
        cgroup_id: nonzero(wire.cgroup_id),
        uid: wire.uid,
        state,
        receive_shutdown: wire.shutdown & RCV_SHUTDOWN != 0,
        send_shutdown: wire.shutdown & SEND_SHUTDOWN != 0,
        orphaned: wire.flags & wire::SOCK_DEAD != 0,
        peer_finished,
        owned: wire.owned != 0,
        has_file: wire.has_file != 0,
        repair: wire.repair != 0,
        mptcp: wire.mptcp != 0,
        timestamps: wire.timestamps != 0,
        error: wire.error,
        keepalive: wire.flags & SOCK_KEEPOPEN != 0,
        keepalive_time: clock.setting(wire.keepalive_time),
        keepalive_interval: clock.setting(wire.keepalive_interval),
        keepalive_probes: (wire.keepalive_probes != 0).then_some(wire.keepalive_probes),
        probes_out: wire.probes_out,
        retransmits: wire.retransmits,
        total_retransmits: wire.total_retransmits,
        user_timeout: (wire.user_timeout_ms != 0)
            .then(|| Duration::from_millis(wire.user_timeout_ms.into())),
        linger: (wire.flags & wire::SOCK_LINGER != 0).then(|| clock.duration(wire.linger_jiffies)),
        linger2_off: wire.linger2 < 0,
        unread: unread(wire, lived_in, peer_finished),
        unacknowledged: unacknowledged(wire, lived_in),
        bytes_sent: wire.bytes_sent,
        bytes_received: wire.bytes_received.saturating_sub(peer_finished.into()),
        rcv_nxt: wire.rcv_nxt,
        rcv_wnd: wire.rcv_wnd,
        snd_nxt: wire.snd_nxt,
        snd_una: wire.snd_una,
        rtt: (wire.srtt_us_x8 != 0).then(|| Duration::from_micros((wire.srtt_us_x8 >> 3).into())),
        rtt_min: (!matches!(wire.rtt_min_us, 0 | u32::MAX))
            .then(|| Duration::from_micros(wire.rtt_min_us.into())),
        since_sent: since(wire.lsndtime),
        since_received: since(wire.lrcvtime),
        since_ack: since(wire.rcv_tstamp),
        since_first_unacknowledged: since(wire.chrono_start)
            .filter(|_| in_flight && wire.chrono_type == CHRONO_BUSY),
        since_transmit: (wire.since_transmit_ns != u64::MAX)
            .then(|| Duration::from_nanos(wire.since_transmit_ns)),
        accept_queue: (state == TcpState::Listen)
            .then_some((wire.accept_queue, wire.accept_queue_limit)),
    })
}

/// Received bytes that wait for the application. The peer's FIN takes a sequence number, which the application
/// may have read already as the end of the stream.
fn unread(wire: &wire::Socket, lived_in: TcpState, peer_finished: bool) -> u32 {
    if matches!(lived_in, TcpState::Listen | TcpState::SynSent) {
        return 0;
    }
    distance(wire.copied_seq, wire.rcv_nxt).saturating_sub(peer_finished.into())
}

/// Written bytes that the peer has not acknowledged. The state says whether SYN or FIN are among them; SEND_SHUTDOWN
/// does not: close() sets it before it decides between FIN and reset.
fn unacknowledged(wire: &wire::Socket, lived_in: TcpState) -> u32 {
    let bytes = distance(wire.snd_una, wire.write_seq);
    match lived_in {
        TcpState::Listen => 0,
        TcpState::SynSent | TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck => {
            bytes.saturating_sub(1)
        }
        TcpState::Established
        | TcpState::SynRecv
        | TcpState::FinWait2
        | TcpState::TimeWait
        | TcpState::Close
        | TcpState::CloseWait
        | TcpState::NewSynRecv => bytes,
    }
}

/// From sequence number `from` on to `to`; 0 where `to` lies before `from`.
fn distance(from: u32, to: u32) -> u32 {
    let bytes = to.wrapping_sub(from);
    if bytes >= 1 << 31 { 0 } else { bytes }
}

fn nonzero(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

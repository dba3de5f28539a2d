//! Resets as the two tracepoints see them.

use crate::flow::Flow;
use crate::header::Header;
use crate::lifecycle::Tombstone;
use crate::packet::Baseline;
use crate::socket::{Ownership, Socket};
use crate::task::CurrentTask;

wire! {
    /// The segment that made the kernel answer with a reset, as it arrived (host order).
    pub struct Segment {
        /// Sequence number.
        pub seq: u32,
        /// Acknowledgement number; meaningful only with ACK in `flags`.
        pub ack: u32,
        /// Payload bytes.
        pub payload_len: u32,
        /// Index of the interface it came in by, 0: not known.
        pub ifindex: u32,
        /// Window, unscaled.
        pub window: u16,
        /// IPv4 identification; 0 for IPv6.
        pub ip_id: u16,
        /// TCP flags, byte 13 of the header.
        pub flags: u8,
        /// TTL or hop limit.
        pub ttl: u8,
        /// Type of service or traffic class.
        pub tos: u8,
        /// 1: these fields are set. 0: there was no segment, or its headers could not be read.
        pub present: u8,
    }

    /// `tcp:tcp_send_reset` for a full socket: an active reset (no cause), or the answer to a segment.
    pub struct ResetSent {
        /// Kind `KIND_RESET_SENT`.
        pub header: Header,
        /// The connection: from `cause` reversed where there is one, else from the socket.
        pub flow: Flow,
        /// The socket; a listener where `socket.state` says so.
        pub socket: Socket,
        /// What was remembered of it; all zero if nothing was.
        pub ownership: Ownership,
        /// Who was running. Believe it only by the rules in `socket.owned`.
        pub current: CurrentTask,
        /// What caused it, absent for an active reset.
        pub cause: Segment,
        /// `enum sk_rst_reason` of the running kernel, or `REASON_NONE`.
        pub reason: u32,
        /// 1: the tracepoint had an skb, so the reset is an answer (passive form).
        pub passive: u32,
    }

    /// `tcp:tcp_send_reset` for a listener: it answers a segment of no connection it knows, perhaps of one that was here.
    pub struct ResetSentByListener {
        /// Its header has the kind `KIND_RESET_SENT_BY_LISTENER`.
        pub sent: ResetSent,
        /// The connection that was here before, if it is remembered.
        pub connection: Tombstone,
    }

    /// `tcp:tcp_send_reset` where no full socket exists any more.
    pub struct ResetSentStateless {
        /// Kind `KIND_RESET_SENT_STATELESS`.
        pub header: Header,
        /// The connection, from `cause` reversed.
        pub flow: Flow,
        /// What caused it.
        pub cause: Segment,
        /// The connection that was here before, if it is remembered.
        pub connection: Tombstone,
        /// The listener that was on this port before, if it is remembered; looked up only for a SYN.
        pub listener: Tombstone,
        /// The last SYN or SYN-ACK that came in with these addresses and ports, to this host or to be passed on.
        pub handshake: Baseline,
        /// Cookie kept by a TIME_WAIT entry; 0: there was no entry, or its socket never had a cookie.
        pub cookie: u64,
        /// `enum sk_rst_reason` of the running kernel, or `REASON_NONE`.
        pub reason: u32,
        /// State of the minisock, a `TCP_` constant; 0: no socket at all.
        pub state: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }

    /// `tcp:tcp_receive_reset`: the kernel accepted a reset for this socket.
    pub struct ResetReceived {
        /// Kind `KIND_RESET_RECEIVED`.
        pub header: Header,
        /// The connection.
        pub flow: Flow,
        /// The socket, still in the state the reset found it in.
        pub socket: Socket,
        /// What was remembered of it; all zero if nothing was.
        pub ownership: Ownership,
        /// The segment that tcp_reset() was called for, absent where that function cannot be hooked. Without RST in its
        /// flags no reset came: data did, after the application had closed.
        pub segment: Segment,
    }
}

/// `reason` where the kernel's tracepoint has none (before 6.10).
pub const REASON_NONE: u32 = u32::MAX;

//! What is left of a connection, and its death without a reset.

use crate::flow::Flow;
use crate::header::Header;
use crate::socket::{Ownership, Socket};

wire! {
    /// What the tombstone table keeps of a socket that closed: it answers "who had this connection, how did it end".
    pub struct Tombstone {
        /// What was remembered while it lived; all zero if nothing was.
        pub ownership: Ownership,
        /// How it ended.
        pub end: End,
    }

    /// How a socket ended.
    pub struct End {
        /// When it closed: nanoseconds of `CLOCK_BOOTTIME`; 0: there is no tombstone.
        pub died_ns: u64,
        /// Cookie of the socket; 0: not known.
        pub cookie: u64,
        /// `sk_err` at the end: 0, or ECONNRESET, ETIMEDOUT, EPIPE …
        pub error: i32,
        /// Received bytes the application had not read.
        pub unread: u32,
        /// State it closed from, a `TCP_` constant; `TCP_LISTEN` for a listener.
        pub last_state: u8,
        /// 1: `sk_shutdown` had SEND_SHUTDOWN, so a FIN was sent or queued.
        pub fin_sent: u8,
        /// Zero.
        pub reserved: [u8; 6],
    }

    /// A connect or a connection that failed without a reset: nobody answered, an ICMP message, or the program gave up.
    pub struct Failed {
        /// Kind `KIND_FAILED`.
        pub header: Header,
        /// The connection.
        pub flow: Flow,
        /// The socket on its way to CLOSE.
        pub socket: Socket,
        /// Who had it; all zero if nothing was remembered.
        pub ownership: Ownership,
        /// `sk_err`, 0: the program ended it.
        pub error: i32,
        /// Milliseconds since the first SYN or, once established, the first retransmission of what is not acknowledged
        /// (`retrans_stamp`); `u32::MAX`: there was none.
        pub trying_ms: u32,
        /// State it failed in, a `TCP_` constant.
        pub last_state: u8,
        /// 1: the kernel refused the connect before it sent a SYN.
        pub unsent: u8,
        /// Zero.
        pub reserved: [u8; 6],
    }

    /// A connection that died of silence, as earlier versions wrote it.
    pub struct TimedOut {
        /// Kind `KIND_TIMED_OUT`.
        pub header: Header,
        /// The connection.
        pub flow: Flow,
        /// Who had it.
        pub ownership: Ownership,
        /// `sk_err`: ETIMEDOUT or what an ICMP message said (EHOSTUNREACH …).
        pub error: i32,
        /// State it died in, a `TCP_` constant.
        pub last_state: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

//! A TCP socket as it stood when a hook fired, and what was remembered about it before.

use crate::task::{COMM_LEN, Task};

wire! {
    /// Fields of `struct tcp_sock` and its parents at the moment of an event.
    /// Jiffies are 32 bits, to be subtracted from [`crate::Header::jiffies`] with wrap-around.
    pub struct Socket {
        /// `bpf_get_socket_cookie`: unique in this boot.
        pub cookie: u64,
        /// Inode number of the socket as in `/proc/PID/fd` (`socket:[N]`); 0: no file (orphan, unaccepted child).
        pub inode: u64,
        /// cgroup v2 id the socket was created in; 0: not known.
        pub cgroup_id: u64,
        /// `sk_flags` (`enum sock_flags`: bit 0 SOCK_DEAD, 1 SOCK_DONE, 3 SOCK_KEEPOPEN, 4 SOCK_LINGER).
        pub flags: u64,
        /// `tcp_sock.bytes_sent`, retransmissions included.
        pub bytes_sent: u64,
        /// `tcp_sock.bytes_received`; a FIN counts as one.
        pub bytes_received: u64,
        /// `tcp_sock.bytes_acked`; SYN and FIN count as one each.
        pub bytes_acked: u64,
        /// Nanoseconds since any segment was sent, pure ACKs and probes too (`tcp_wstamp_ns`); `u64::MAX`: none ever was.
        /// Means nothing for an active reset, which counts as sent.
        pub since_transmit_ns: u64,
        /// Owner's user id in the initial user namespace.
        pub uid: u32,
        /// Next sequence number expected from the peer.
        pub rcv_nxt: u32,
        /// First sequence number the application has not read.
        pub copied_seq: u32,
        /// Next sequence number to send.
        pub snd_nxt: u32,
        /// First sequence number the peer has not acknowledged.
        pub snd_una: u32,
        /// End of what the application wrote.
        pub write_seq: u32,
        /// Window offered to the peer, bytes.
        pub rcv_wnd: u32,
        /// Window the peer offers, bytes.
        pub snd_wnd: u32,
        /// Smoothed round-trip time in microseconds, times 8; 0: none measured.
        pub srtt_us_x8: u32,
        /// Least round-trip time seen in the kernel's window (`rtt_min`), microseconds; 0 or `u32::MAX`: none measured.
        pub rtt_min_us: u32,
        /// Jiffies: last data segment sent, retransmissions too. 0 before the handshake ended.
        pub lsndtime: u32,
        /// Jiffies: last in-order data received. 0 before the handshake ended.
        pub lrcvtime: u32,
        /// Jiffies: last acceptable ACK received.
        pub rcv_tstamp: u32,
        /// Jiffies: first send of what is unacknowledged now; valid only while `chrono_type` is 1.
        pub chrono_start: u32,
        /// TCP_KEEPIDLE of this socket in jiffies; 0: the sysctl's value.
        pub keepalive_time: u32,
        /// TCP_KEEPINTVL in jiffies; 0: the sysctl's value.
        pub keepalive_interval: u32,
        /// TCP_USER_TIMEOUT in milliseconds; 0: unset.
        pub user_timeout_ms: u32,
        /// Segments retransmitted in the connection's life.
        pub total_retransmits: u32,
        /// Segments sent and neither acknowledged nor lost (`packets_out`).
        pub packets_out: u32,
        /// SO_LINGER's time in jiffies, saturated to 32 bits; meaningful only with SOCK_LINGER in `flags`.
        pub linger_jiffies: u32,
        /// TCP_LINGER2 in jiffies, negative: off; 0: the sysctl's value.
        pub linger2: i32,
        /// `sk_err`, a positive errno or 0.
        pub error: i32,
        /// Listener: connections waiting for accept().
        pub accept_queue: u32,
        /// Listener: the limit of that queue.
        pub accept_queue_limit: u32,
        /// `skc_state`, one of the `TCP_` constants.
        pub state: u8,
        /// `sk_shutdown`: bit 0 RCV_SHUTDOWN, bit 1 SEND_SHUTDOWN.
        pub shutdown: u8,
        /// 1: `sk_lock.owned`, a process holds the socket; then (and only then) the current task acts on it.
        pub owned: u8,
        /// `chrono_type`: 1 = data sent and unacknowledged.
        pub chrono_type: u8,
        /// TCP_KEEPCNT of this socket; 0: the sysctl's value.
        pub keepalive_probes: u8,
        /// `icsk_probes_out`: unanswered keepalive or window probes.
        pub probes_out: u8,
        /// `icsk_retransmits`: unanswered retransmissions of the oldest segment.
        pub retransmits: u8,
        /// 1: `sk_socket` is set, a file may refer to the socket.
        pub has_file: u8,
        /// 1: TCP_REPAIR is on; such a socket closes without a segment.
        pub repair: u8,
        /// 1: a subflow of an MPTCP connection.
        pub mptcp: u8,
        /// 1: both ends use timestamps (RFC 7323), `rx_opt.tstamp_ok`.
        pub timestamps: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }

    /// What the state hook remembered about a socket: the value of the socket storage, copied by the
    /// kernel from a listener to each accepted child.
    pub struct Ownership {
        /// Who connected, or who listened; see `source`.
        pub owner: Task,
        /// Start time of the closer, as in [`Task::start_boottime_ns`].
        pub closer_start_boottime_ns: u64,
        /// When the closer closed or shut down: nanoseconds of `CLOCK_BOOTTIME`.
        pub closed_ns: u64,
        /// When the handshake ended: nanoseconds of `CLOCK_BOOTTIME`; 0: before the tool was there.
        pub established_ns: u64,
        /// Cookie of the socket this record belongs to; 0 until established. A child's record with its listener's is inherited.
        pub cookie: u64,
        /// When the peer's FIN came to an open connection: nanoseconds of `CLOCK_BOOTTIME`; 0: it did not.
        pub peer_finished_ns: u64,
        /// Jiffies since data had last moved either way, when that FIN came; the last words before it do not count (a TLS close_notify, an error message).
        pub peer_finished_quiet: u32,
        /// Jiffies since data had last moved either way, when the closer closed; its last words do not count.
        pub closed_quiet: u32,
        /// Who closed or shut down: thread group id; 0: nobody yet.
        pub closer_pid: u32,
        /// Its user id.
        pub closer_uid: u32,
        /// Its name.
        pub closer_comm: [u8; COMM_LEN],
        /// Our initial sequence number; valid only with `OWNERSHIP_ISN`.
        pub local_isn: u32,
        /// The peer's initial sequence number; valid only with `OWNERSHIP_ISN`.
        pub remote_isn: u32,
        /// `OWNERSHIP_` flags.
        pub flags: u32,
        /// One of the `SOURCE_` constants: how the owner was learned.
        pub source: u8,
        /// State before the last change to CLOSE, a `TCP_` constant; 0: it never closed.
        pub state_before_close: u8,
        /// `CLOSER_` flags: what is known of the closing task.
        pub closer_flags: u8,
        /// Signal that was killing the closer, 0: none.
        pub closer_signal: u8,
    }
}

/// Most bytes of a TLS close_notify with its record header and tag: 7 in the clear, 24 in TLS 1.3, 31 with AES-GCM in TLS 1.2.
pub const LONGEST_FAREWELL: u32 = 31;
/// Most bytes of what a server says before it closes an idle connection: an error message of PostgreSQL or MySQL, a page of HTTP's
/// status 408.
pub const LONGEST_LAST_WORDS: u32 = 512;

/// No owner recorded.
pub const SOURCE_NONE: u8 = 0;
/// The owner called connect().
pub const SOURCE_CONNECT: u8 = 1;
/// The owner called listen().
pub const SOURCE_LISTEN: u8 = 2;
/// The owner held an open file for the socket when the tool started.
pub const SOURCE_SEEDED: u8 = 3;
/// The owner called accept(): the record, which was the listener's, is the acceptor's now.
pub const SOURCE_ACCEPT: u8 = 4;

/// The record was copied from a listener: `owner` is the listener's, maybe not the worker's.
pub const OWNERSHIP_INHERITED: u32 = 1;
/// `local_isn` and `remote_isn` are set.
pub const OWNERSHIP_ISN: u32 = 2;
/// A reset was sent on this socket; its death is no silent one.
pub const OWNERSHIP_RESET_SENT: u32 = 4;
/// A reset refused the connect of this socket; without it an ICMP message did.
pub const OWNERSHIP_REFUSED: u32 = 8;

/// From this bit on: TTL of the SYN or SYN-ACK that came from the peer, 8 bits; 0: not seen.
pub const OWNERSHIP_TTL_SHIFT: u32 = 24;

/// The closing task was exiting (`PF_EXITING`).
pub const CLOSER_EXITING: u8 = 1;
/// The closing task was a kernel thread.
pub const CLOSER_KERNEL_THREAD: u8 = 2;

/// `enum` in include/net/tcp_states.h.
pub const TCP_ESTABLISHED: u8 = 1;
/// See [`TCP_ESTABLISHED`].
pub const TCP_SYN_SENT: u8 = 2;
/// See [`TCP_ESTABLISHED`].
pub const TCP_SYN_RECV: u8 = 3;
/// See [`TCP_ESTABLISHED`].
pub const TCP_FIN_WAIT1: u8 = 4;
/// See [`TCP_ESTABLISHED`].
pub const TCP_FIN_WAIT2: u8 = 5;
/// See [`TCP_ESTABLISHED`].
pub const TCP_TIME_WAIT: u8 = 6;
/// See [`TCP_ESTABLISHED`].
pub const TCP_CLOSE: u8 = 7;
/// See [`TCP_ESTABLISHED`].
pub const TCP_CLOSE_WAIT: u8 = 8;
/// See [`TCP_ESTABLISHED`].
pub const TCP_LAST_ACK: u8 = 9;
/// See [`TCP_ESTABLISHED`].
pub const TCP_LISTEN: u8 = 10;
/// See [`TCP_ESTABLISHED`].
pub const TCP_CLOSING: u8 = 11;
/// See [`TCP_ESTABLISHED`].
pub const TCP_NEW_SYN_RECV: u8 = 12;

/// `SOCK_DEAD` in `sk_flags` (include/net/sock.h): no process has the socket any more.
pub const SOCK_DEAD: u64 = 1 << 0;
/// `SOCK_LINGER` in `sk_flags`: SO_LINGER is on.
pub const SOCK_LINGER: u64 = 1 << 4;

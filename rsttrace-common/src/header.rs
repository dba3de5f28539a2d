//! What every event starts with.

wire! {
    /// The first bytes of every event.
    pub struct Header {
        /// When the hook ran: nanoseconds of `CLOCK_BOOTTIME`.
        pub time_ns: u64,
        /// `net.net_cookie` of the network namespace the event belongs to; never reused in one boot. Where user
        /// space cannot ask for that cookie (before 5.14), the namespace's inode number. 0: not known.
        pub netns_cookie: u64,
        /// Inode number of the namespace (`/proc/PID/ns/net`); 0 where the hook cannot read it (classifier).
        pub netns_inode: u32,
        /// The kernel's jiffies (low 32 bits) at `time_ns`: the other clocks of a socket are counted in it.
        pub jiffies: u32,
        /// One of the `KIND_` constants: which struct this header begins.
        pub kind: u16,
        /// [`crate::WIRE_VERSION`] of the program that wrote it.
        pub version: u16,
        /// CPU the hook ran on.
        pub cpu: u32,
    }
}

/// [`crate::reset::ResetSent`]: `tcp:tcp_send_reset` with a full socket.
pub const KIND_RESET_SENT: u16 = 1;
/// [`crate::reset::ResetSentStateless`]: `tcp:tcp_send_reset` without a socket or with a TIME_WAIT one.
pub const KIND_RESET_SENT_STATELESS: u16 = 2;
/// [`crate::reset::ResetReceived`]: `tcp:tcp_receive_reset`.
pub const KIND_RESET_RECEIVED: u16 = 3;
/// [`crate::packet::RstPacket`]: a segment with RST passed a classifier.
pub const KIND_RST_PACKET: u16 = 4;
/// [`crate::reset::ResetSentByListener`]: `tcp:tcp_send_reset` with a listening socket.
pub const KIND_RESET_SENT_BY_LISTENER: u16 = 6;
/// [`crate::lifecycle::TimedOut`]: what recordings of earlier versions have in place of [`KIND_FAILED`].
pub const KIND_TIMED_OUT: u16 = 5;
/// [`crate::lifecycle::Failed`]: a connect or a connection failed without a reset.
pub const KIND_FAILED: u16 = 7;

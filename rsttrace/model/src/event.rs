//! What happened, in the domain's own words: the input of the pipeline, whatever its source.
//!
//! An [`Event`] is a decoded wire event; [`HostContext`] are what the edge found out about it on the host when it
//! arrived. Neither is ever asked for again: the pure core knows no files, no clock.

mod reason;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

pub use reason::ResetReason;

use crate::record::{ProcessId, Word, Workload};

/// Nanoseconds of `CLOCK_BOOTTIME`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BootTime(pub u64);

impl BootTime {
    /// How long `self` is after `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant `duration` earlier; not before the boot.
    pub fn before(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// The instant `duration` later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// A network namespace by its cookie, unique in one boot. 0: not known.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct NetnsCookie(pub u64);

/// A socket by its cookie, unique in one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketCookie(pub u64);

impl SocketCookie {
    /// Sockets have a cookie from 1 on; 0 is what a kernel without the helper leaves.
    pub const fn is_known(self) -> bool {
        self.0 != 0
    }
}

/// One observation of a kernel hook.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When the hook ran.
    pub time: BootTime,
    /// Where.
    pub netns: NetnsCookie,
    /// Inode of the namespace, if the hook could read it.
    pub netns_inode: Option<u32>,
    /// CPU it ran on.
    pub cpu: u32,
    /// What it saw.
    pub body: Body,
}

/// What a hook saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// `tcp:tcp_send_reset`.
    Sent(Arc<Sent>),
    /// `tcp:tcp_receive_reset`.
    Received(Arc<Received>),
    /// A classifier.
    Packet(Arc<Packet>),
    /// A connect or a connection failed without a reset.
    Failed(Arc<Failed>),
}

impl From<Sent> for Body {
    fn from(event: Sent) -> Self {
        Self::Sent(Arc::new(event))
    }
}

impl From<Received> for Body {
    fn from(event: Received) -> Self {
        Self::Received(Arc::new(event))
    }
}

impl From<Packet> for Body {
    fn from(event: Packet) -> Self {
        Self::Packet(Arc::new(event))
    }
}

/// The two ends of a connection, seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

impl Flow {
    /// The same connection seen from the other end.
    pub fn reversed(self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.local, self.remote)
    }
}

/// The kernel sent a reset.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The connection.
    pub flow: Flow,
    /// The kernel's reason; absent on kernels whose tracepoint has none.
    pub reason: Option<ResetReason>,
    /// It answers a segment (passive form), else it is an active reset.
    pub passive: bool,
    /// The segment it answers; absent for active resets, or if it could not be read.
    pub cause: Option<Segment>,
    /// The socket; absent without a full socket. A listener's where its state says so.
    pub socket: Option<Socket>,
    /// What was remembered of that socket.
    pub ownership: Option<Ownership>,
    /// Who was running; see [`Sent::actor`].
    pub current: Option<CurrentTask>,
    /// State of a minisock (TIME_WAIT) where there is no full socket.
    pub minisock: Option<TcpState>,
    /// The connection that was here before.
    pub former_connection: Option<Box<Tombstone>>,
    /// The listener that was on the port before.
    pub former_listener: Option<Box<Tombstone>>,
    /// Without a full socket: the last SYN or SYN-ACK that came in with these addresses and ports. Together with no remembered
    /// connection it says that this host passed the connection on, or is not its end any more.
    pub handshake: Option<Baseline>,
}

impl Sent {
    /// The running task, where it is known to act on the socket: the socket is held by a process and the reset is
    /// no answer to a segment. Elsewhere the running task is a bystander.
    pub fn actor(&self) -> Option<&CurrentTask> {
        let held = self.socket.as_ref().is_some_and(|socket| socket.owned);
        self.current.as_ref().filter(|_| held && !self.passive)
    }
}

impl Sent {
    /// The socket, if there is one, and `holds` for it.
    pub fn socket_is(&self, holds: impl FnOnce(&Socket) -> bool) -> bool {
        self.socket.as_ref().is_some_and(holds)
    }

    /// What was remembered of the socket or, without one, of the connection that was here before.
    pub fn remembered(&self) -> Option<&Ownership> {
        let former = self.former_connection.as_ref();
        let former = former.map(|former| &former.ownership);
        self.ownership.as_ref().or(former)
    }

    /// An active reset of a socket for which `holds`.
    pub fn active(&self, holds: impl FnOnce(&Socket) -> bool) -> bool {
        !self.passive && self.socket_is(holds)
    }

    /// The state the application lost: the kernel enters CLOSE before it sends the reset of a close. Absent without a socket, and
    /// where it was closed by somebody not seen.
    pub fn lost_state(&self) -> Option<TcpState> {
        let socket = self.socket.as_ref()?;
        if socket.state != TcpState::Close {
            return Some(socket.state);
        }
        self.ownership
            .as_ref()
            .and_then(|ownership| ownership.state_before_close)
    }

    /// Whether the closing task was exiting, and the signal that was killing it; never a kernel thread, which only finishes what a
    /// process began.
    pub fn ended_by(&self) -> (bool, Option<u8>) {
        if let Some(current) = self.actor().filter(|current| !current.kernel_thread) {
            return (current.exiting, current.signal);
        }
        self.remembered()
            .and_then(|ownership| ownership.closer.as_ref())
            .map_or((false, None), |closer| (closer.exiting, closer.signal))
    }

    /// The reason, where the kernel gives one: `NOT_SPECIFIED` is none.
    pub fn given_reason(&self) -> Option<&ResetReason> {
        let reason = self.reason.as_ref();
        reason.filter(|reason| **reason != ResetReason::NotSpecified)
    }

    /// The segment it answers, where the peer goes on with a connection that a reset had ended here, and how that one ended.
    pub fn speaks_after_reset(&self) -> Option<(Segment, &Tombstone)> {
        let former = self
            .former_connection
            .as_deref()
            .filter(|former| former.error == ECONNRESET)?;
        self.cause
            .filter(|cause| cause.flags.0 & (TcpFlags::RST | TcpFlags::SYN) == 0)
            .map(|cause| (cause, former))
    }
}

/// `sk_err` of a socket that a reset ended.
const ECONNRESET: i32 = 104;

/// The kernel accepted a reset for a socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The connection.
    pub flow: Flow,
    /// The socket, in the state the reset found it in.
    pub socket: Socket,
    /// What was remembered of that socket.
    pub ownership: Option<Ownership>,
    /// The segment that tcp_reset() was called for, after any address translation; absent where that function cannot be
    /// hooked.
    pub segment: Option<Segment>,
}

impl Received {
    /// Whether a reset had come: else data came after the application had closed, and the kernel reset its own socket before
    /// it answered. `None`: the segment is not known.
    pub fn reset_came(&self) -> Option<bool> {
        self.segment.map(|segment| segment.flags.has(TcpFlags::RST))
    }
}

/// A connect or a connection failed without a reset.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// The connection; the local port is 0 if none was free.
    pub flow: Flow,
    /// The socket, in the state it failed in; absent in recordings of earlier versions.
    pub socket: Option<Socket>,
    /// Who had it.
    pub ownership: Option<Ownership>,
    /// errno: ETIMEDOUT or what an ICMP message said; 0: the program ended it.
    pub error: i32,
    /// State it failed in.
    pub last_state: TcpState,
    /// Since the first SYN or, once established, the first retransmission of what is not acknowledged; absent if there was
    /// none.
    pub tried: Option<Duration>,
    /// The kernel refused the connect before it sent a SYN.
    pub unsent: bool,
}

/// A segment with RST on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// Source of the segment, as on the wire.
    pub source: SocketAddr,
    /// Destination of the segment, as on the wire.
    pub destination: SocketAddr,
    /// The segment.
    pub segment: Segment,
    /// IPv4 "don't fragment"; absent for IPv6.
    pub dont_fragment: Option<bool>,
    /// Timestamps option (TSval, TSecr).
    pub timestamps: Option<(u32, u32)>,
    /// It carries options other than padding.
    pub has_options: bool,
    /// Source MAC address; absent on devices without one and where it is all zero.
    pub source_mac: Option<[u8; 6]>,
    /// Leaving or arriving.
    pub egress: bool,
    /// Seen on a loopback device.
    pub loopback: bool,
    /// Device.
    pub ifindex: u32,
    /// At egress: it had come in by this device, so it is forwarded.
    pub ingress_ifindex: Option<u32>,
    /// At egress: the socket that sent it.
    pub sender_socket: SenderSocket,
    /// At ingress: what the flow's SYN or SYN-ACK looked like.
    pub baseline: Option<Baseline>,
    /// At egress, without a socket: the SYN or SYN-ACK that came from where this reset goes to.
    pub handshake_of_destination: Option<Baseline>,
    /// At ingress: the socket it was aimed at.
    pub target: Target,
}

/// `skb->sk` at egress.
#[derive(Clone, Debug, PartialEq)]
pub enum SenderSocket {
    /// No socket, or not an egress sighting: firewalls and forwarded segments look so.
    None,
    /// A TCP socket or the kernel's control socket.
    Some(SocketCookie),
    /// A raw socket: a program made this segment.
    Raw {
        /// Its cookie.
        cookie: SocketCookie,
        /// Its inode, to be found in `/proc/PID/fd`.
        inode: Option<u64>,
        /// Who was running; to be confirmed by the inode.
        current: Option<CurrentTask>,
    },
}

/// The socket a received reset was aimed at, before any NAT.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Not looked for (egress).
    NotLookedUp,
    /// No socket for these addresses and ports in the device's namespace.
    None,
    /// A listener or minisock: no sequence numbers.
    Stateless(TcpState),
    /// A full socket.
    Socket {
        /// Its cookie; absent if it never got one.
        cookie: Option<SocketCookie>,
        /// Its state before the reset was processed.
        state: TcpState,
        /// Next sequence number it expects.
        rcv_nxt: u32,
        /// Its window, bytes.
        rcv_wnd: u32,
        /// First sequence number it sent that is not acknowledged.
        snd_una: u32,
        /// Next it will send.
        snd_nxt: u32,
    },
}

/// What the peer's SYN or SYN-ACK looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// When.
    pub time: BootTime,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Source MAC address; absent as in [`Packet`].
    pub source_mac: Option<[u8; 6]>,
}

/// A TCP segment's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; meaningful with [`TcpFlags::ACK`].
    pub ack: u32,
    /// Payload bytes.
    pub payload_len: u32,
    /// Window, unscaled.
    pub window: u16,
    /// IPv4 identification; absent for IPv6.
    pub ip_id: Option<u16>,
    /// Flags.
    pub flags: TcpFlags,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Interface index; 0: not known.
    pub ifindex: u32,
}

/// Byte 13 of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;

    /// Whether every bit of `mask` is set.
    pub const fn has(self, mask: u8) -> bool {
        self.0 & mask == mask
    }
}

impl fmt::Display for TcpFlags {
    /// As tcpdump prints them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (mask, letter) in [
            (0x01, "F"),
            (0x02, "S"),
            (0x04, "R"),
            (0x08, "P"),
            (0x20, "U"),
            (0x40, "E"),
            (0x80, "W"),
            (0x10, "."),
        ] {
            if self.has(mask) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// TCP states of include/net/tcp_states.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the kernel's names say it")]
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

impl TcpState {
    /// The name as `ss` and the record's schema print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::NewSynRecv => "SYN_RECV",
        }
    }

    /// Both ends had agreed on the connection and this end could still use it, wholly or in part.
    pub const fn is_synchronized(self) -> bool {
        !matches!(
            self,
            Self::SynSent | Self::SynRecv | Self::NewSynRecv | Self::Listen | Self::Close
        )
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A socket at the moment of an event, its clocks already counted back from that moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    /// Cookie.
    pub cookie: SocketCookie,
    /// Inode; absent for sockets without a file.
    pub inode: Option<u64>,
    /// cgroup v2 id it was created in.
    pub cgroup_id: Option<u64>,
    /// User id of its file.
    pub uid: u32,
    /// State at the hook.
    pub state: TcpState,
    /// The application cannot receive any more (SHUT_RD, or closed).
    pub receive_shutdown: bool,
    /// The application cannot send any more (SHUT_WR, or closed).
    pub send_shutdown: bool,
    /// SOCK_DEAD: no process has it any more.
    pub orphaned: bool,
    /// The peer's FIN was received.
    pub peer_finished: bool,
    /// A process holds the socket lock: only then the running task acts on it.
    pub owned: bool,
    /// `sk_socket` is set.
    pub has_file: bool,
    /// TCP_REPAIR is on.
    pub repair: bool,
    /// Subflow of MPTCP.
    pub mptcp: bool,
    /// Both ends agreed on timestamps (RFC 7323).
    pub timestamps: bool,
    /// `sk_err`, positive errno or 0.
    pub error: i32,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// TCP_KEEPIDLE set on this socket; absent: the sysctl's.
    pub keepalive_time: Option<Duration>,
    /// TCP_KEEPINTVL set on this socket; absent: the sysctl's.
    pub keepalive_interval: Option<Duration>,
    /// TCP_KEEPCNT set on this socket; absent: the sysctl's.
    pub keepalive_probes: Option<u8>,
    /// Unanswered keepalive or window probes.
    pub probes_out: u8,
    /// Unanswered retransmissions of the oldest segment.
    pub retransmits: u8,
    /// Segments retransmitted in all.
    pub total_retransmits: u32,
    /// TCP_USER_TIMEOUT; absent: unset.
    pub user_timeout: Option<Duration>,
    /// SO_LINGER's time; absent: off.
    pub linger: Option<Duration>,
    /// TCP_LINGER2 is below zero.
    pub linger2_off: bool,
    /// Received bytes not read by the application.
    pub unread: u32,
    /// Bytes written by the application that the peer has not acknowledged.
    pub unacknowledged: u32,
    /// Payload bytes sent, retransmissions included.
    pub bytes_sent: u64,
    /// Payload bytes received; a FIN not counted.
    pub bytes_received: u64,
    /// Next sequence number expected.
    pub rcv_nxt: u32,
    /// Window offered, bytes.
    pub rcv_wnd: u32,
    /// Next sequence number to send.
    pub snd_nxt: u32,
    /// First unacknowledged sequence number.
    pub snd_una: u32,
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Least round-trip time.
    pub rtt_min: Option<Duration>,
    /// Since data was last sent, retransmissions included; absent before the handshake ended. Resolution 1/HZ.
    pub since_sent: Option<Duration>,
    /// Since in-order data was last received; absent before the handshake ended. Resolution 1/HZ.
    pub since_received: Option<Duration>,
    /// Since the last acceptable ACK; absent before the handshake ended. Resolution 1/HZ.
    pub since_ack: Option<Duration>,
    /// Since the first send of what is unacknowledged; absent when nothing is. Resolution 1/HZ.
    pub since_first_unacknowledged: Option<Duration>,
    /// Since any segment was sent, pure ACKs and probes too; absent if none ever was. Means nothing for an active reset,
    /// which counts as sent.
    pub since_transmit: Option<Duration>,
    /// Listener: connections waiting for accept(), and the limit.
    pub accept_queue: Option<(u32, u32)>,
}

/// What the state hook remembered about a socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Ownership {
    /// Who connected, listened, accepted, or held the file at start; absent if nobody was recorded.
    pub owner: Option<Task>,
    /// How the owner was learned; absent with it.
    pub source: Option<OwnerSource>,
    /// The record came from the listener.
    pub inherited: bool,
    /// Who closed or shut down, and when.
    pub closer: Option<Closer>,
    /// The peer closed its side first; absent if it did not, or before the tool was there.
    pub peer_finish: Option<PeerFinish>,
    /// End of the handshake; absent if older than the tool or never reached.
    pub established: Option<BootTime>,
    /// Initial sequence numbers, ours and the peer's.
    pub isn: Option<(u32, u32)>,
    /// State before the last change to CLOSE.
    pub state_before_close: Option<TcpState>,
}

/// How an owner was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerSource {
    /// It called connect().
    Connect,
    /// It called listen().
    Listen,
    /// It held the file when the tool started.
    Seeded,
    /// It called accept(); it may have handed the connection on since.
    Accept,
}

/// The peer's FIN on an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerFinish {
    /// When it came.
    pub time: BootTime,
    /// How long no data had moved either way then. Resolution 1/HZ.
    pub quiet: Duration,
}

/// The task that closed or shut down a socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Closer {
    /// The process. Its cgroup id is not kept (0).
    pub task: Task,
    /// When; absent if not recorded.
    pub time: Option<BootTime>,
    /// How long no data had moved either way then. Resolution 1/HZ.
    pub quiet: Duration,
    /// It was exiting.
    pub exiting: bool,
    /// It was a kernel thread.
    pub kernel_thread: bool,
    /// The signal that was killing it.
    pub signal: Option<u8>,
}

/// A process, named for good by pid and start time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Task {
    /// Thread group id in the pid namespace of the tracer; of a process outside of it, in the initial one.
    pub pid: u32,
    /// It is outside of the tracer's pid namespace: `/proc` does not show it. False of what was found there.
    #[serde(skip)]
    pub outside: bool,
    /// Start of the thread group leader.
    pub start: BootTime,
    /// User id.
    pub uid: u32,
    /// cgroup v2 id; 0: not known.
    pub cgroup_id: u64,
    /// Name of the process; bytes that are no UTF-8 are replaced.
    pub comm: Word,
}

impl Task {
    pub fn id(&self) -> ProcessId {
        ProcessId {
            pid: self.pid,
            outside: self.outside,
        }
    }
}

/// The task that was running.
#[derive(Clone, Debug, PartialEq)]
pub struct CurrentTask {
    /// The process.
    pub task: Task,
    /// It was on its way out.
    pub exiting: bool,
    /// A kernel thread.
    pub kernel_thread: bool,
    /// The signal that was killing it; absent if none or not exiting.
    pub signal: Option<u8>,
}

/// What is left of a socket that closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Tombstone {
    /// What was remembered while it lived.
    pub ownership: Ownership,
    /// When it closed.
    pub died: BootTime,
    /// Its cookie, if it had one.
    pub cookie: Option<SocketCookie>,
    /// `sk_err` at the end, positive errno or 0.
    pub error: i32,
    /// Received bytes not read.
    pub unread: u32,
    /// State it closed from.
    pub last_state: TcpState,
    /// A FIN had been sent or queued.
    pub fin_sent: bool,
}

/// What the edge found out on the host when an event arrived. Every part may be missing: the process may have gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostContext {
    /// Descriptions of the processes the event names.
    pub processes: SmallVec<[Arc<ProcessFacts>; 1]>,
    /// What has become of the recorded owner.
    pub owner: OwnerNow,
    /// A process found with the socket's file; absent also where the recorded owner is the one.
    pub holder: Option<Holder>,
    /// Inode of the event's namespace.
    pub netns_inode: Option<u32>,
    /// Name of the interface the packet or the accepted segment came in or left by.
    pub interface: Option<Word>,
    /// TCP settings of the event's namespace, a few seconds old at most; absent if the namespace is not known or may
    /// not be entered (CAP_SYS_ADMIN).
    pub settings: Option<Arc<NetSettings>>,
}

/// A listener that dropped handshakes because its accept queue was full, as the host's counters show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullQueue {
    /// When the counters were read.
    pub time: BootTime,
    /// The listener's namespace.
    pub netns: NetnsCookie,
    /// The listener.
    pub local: SocketAddr,
    /// Connections that waited for accept() then.
    pub length: u32,
    /// Most of them.
    pub limit: u32,
    /// SYNs and last ACKs of handshakes that were dropped since the counters were read before.
    pub dropped: u32,
    /// Since then.
    pub within: Duration,
}

/// Packets that connection tracking dropped because its table was full, as the host's counters show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullTable {
    /// When the counters were read.
    pub time: BootTime,
    /// Inode of the namespace; absent if not known.
    pub netns_inode: Option<u32>,
    /// Entries of the namespace then.
    pub entries: u64,
    /// Most of them.
    pub limit: u64,
    /// Packets that were dropped since the counters were read before.
    pub dropped: u64,
    /// Since then.
    pub within: Duration,
}

/// What has become of a recorded owner by the time the event arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnerNow {
    /// It lives. It has the socket, or nothing else is known.
    #[default]
    Lives,
    /// It lives, but others have the socket, and it has not.
    HandedOn,
    /// It accepted the connection and has it no more, nobody else was found with it, and it has children: one of them may
    /// have had it.
    MayHaveHandedOn,
    /// It has ended.
    Gone,
}

/// A process found with a socket's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub task: Task,
    /// Processes that descend from it have the socket, too: which of them uses it is not known.
    pub shares: bool,
}

/// A process as `/proc` described it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Process id.
    pub pid: u32,
    /// `/proc/PID/exe`.
    pub exe: Option<Word>,
    /// `/proc/PID/cmdline`, joined by spaces.
    pub cmdline: Option<Word>,
    /// Container id out of the control group's path.
    pub container_id: Option<Word>,
    /// systemd unit out of the control group's path.
    pub unit: Option<Word>,
    /// Kubernetes pod uid out of the control group's path.
    pub pod_uid: Option<Word>,
    /// Names of its container and pod. Recordings keep them beside the rest.
    #[serde(skip)]
    pub workload: Option<Box<Workload>>,
    /// Control group path.
    pub cgroup: Option<Word>,
}

impl ProcessFacts {
    /// Whether these are the facts of this process. `/proc` shows none outside of the tracer's PID namespace.
    pub fn is_of(&self, task: &Task) -> bool {
        self.pid == task.pid && !task.outside
    }
}

/// Idle timers of a process, as its configuration sets them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramTimers {
    /// The process.
    pub pid: u32,
    /// Its start.
    pub start: BootTime,
    /// All of its configuration was read: it has no other timers.
    pub complete: bool,
    /// Its timers, those that are set before defaults.
    pub timers: Vec<ProgramTimer>,
}

/// A timer of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramTimer {
    /// The setting.
    pub setting: Word,
    /// Its value.
    pub timeout: Duration,
    /// It ends connections that the process accepted; false: that it opened; absent: either.
    pub listened: Option<bool>,
    /// File and line (`/etc/nginx/nginx.conf:12`), or `command line`; absent for a default.
    pub place: Option<Word>,
}

/// What the edge found out about the network around a connection because an event needs it. It precedes the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetFinding {
    /// Namespace of the event.
    pub netns: NetnsCookie,
    /// The connection: of a reset that leaves, its source is `local`.
    pub flow: Flow,
    /// What was found.
    pub fact: NetFact,
}

/// See [`NetFinding`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetFact {
    /// This host translated the handshake from `remote` to `local`.
    Translated(Translated),
    /// A SYN-ACK from `remote` to `local` answers a SYN to another address.
    Attempt(Attempt),
    /// The route from `local` to `remote`.
    Route(Route),
    /// How to get into the namespace.
    Namespace(NamespaceWay),
}

/// A SYN or SYN-ACK left with other addresses than it came in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translated {
    /// What it left with.
    pub source: SocketAddr,
    /// What it left with.
    pub destination: SocketAddr,
    /// When it left.
    pub seen: BootTime,
    /// What connection tracking has when the event is read; absent if it cannot be asked.
    pub tracked: Option<Tracked>,
}

/// The entry of connection tracking for a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tracked {
    /// There is none.
    Nothing,
    /// There is one that translates nothing: a new one, begun by a segment in the middle of the connection.
    Untranslated,
    /// There is one that translates.
    Translated,
}

/// A SYN of this host that an answer belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Where it was sent to.
    pub to: SocketAddr,
    /// When it left.
    pub sent: BootTime,
    /// Whose socket it is; absent if not found.
    pub holder: Option<Holder>,
}

/// The next hop to a host, by the routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// None: it is on a link of this host.
    OnLink,
    /// This router.
    Gateway(IpAddr),
}

/// How to get into a network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceWay {
    /// A file for `nsenter --net=`.
    pub path: Word,
    /// The container whose process it is; absent if none, or not known.
    pub container_id: Option<Word>,
    /// The same of a Kubernetes pod.
    pub pod_uid: Option<Word>,
}

/// `net.ipv4.tcp_keepalive_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepaliveDefaults {
    /// `tcp_keepalive_time`.
    pub time: Duration,
    /// `tcp_keepalive_intvl`.
    pub interval: Duration,
    /// `tcp_keepalive_probes`.
    pub probes: u32,
}

/// What a network namespace is set to do with quiet TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetSettings {
    /// Keepalive sysctls; absent if they cannot be read.
    pub keepalive: Option<KeepaliveDefaults>,
    /// Connection tracking; absent where the kernel has none. That it is there does not say that a rule uses it.
    pub conntrack: Option<ConntrackTimeouts>,
    /// IPVS; absent where the kernel has none or it balances no TCP service, and without CAP_NET_ADMIN.
    pub ipvs: Option<IpvsTimeouts>,
    /// What IPVS balances.
    pub balanced: Balanced,
    /// It forwards: `net.ipv4.ip_forward` or `net.ipv6.conf.all.forwarding`. False too if neither can be read.
    pub forwards: bool,
}

/// `net.netfilter.nf_conntrack_tcp_*`: how long the packet filter remembers a connection without a packet
/// (<https://docs.kernel.org/networking/nf_conntrack-sysctl.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConntrackTimeouts {
    /// `_timeout_established`.
    pub established: Duration,
    /// `_timeout_unacknowledged`: with data on its way that nobody acknowledged.
    pub unacknowledged: Duration,
    /// `_timeout_close_wait`: after the first FIN of the server.
    pub close_wait: Duration,
    /// `_timeout_max_retrans`: after `nf_conntrack_tcp_max_retrans` retransmissions.
    pub max_retrans: Duration,
    /// `_loose`: a segment in the middle of a connection that was forgotten makes a new entry. Address translation of
    /// the old one is lost all the same.
    pub loose: bool,
}

/// What `ipvsadm --list --timeout` shows: how long the balancer remembers a connection without a packet
/// (`struct ip_vs_timeout_user`, include/uapi/linux/ip_vs.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpvsTimeouts {
    /// An established connection.
    pub established: Duration,
    /// After a FIN.
    pub fin_wait: Duration,
}

/// Whose TCP connections IPVS balances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balanced {
    /// Addresses of services and of the servers behind them, sorted; port 0 stands for every port.
    pub addresses: Vec<SocketAddr>,
    /// It balances by firewall mark, too, or more than are listed.
    pub others: bool,
}

impl Balanced {
    /// Whether it balances connections with this address; `None`: not known.
    pub fn includes(&self, address: SocketAddr) -> Option<bool> {
        let every_port = SocketAddr::new(address.ip(), 0);
        let listed = [address, every_port]
            .iter()
            .any(|address| self.addresses.binary_search(address).is_ok());
        if listed {
            Some(true)
        } else {
            (!self.others).then_some(false)
        }
    }
}

/// The cloud a host runs in, as far as its firmware tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Environment {
    /// Amazon Web Services.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Google Cloud.
    Gcp,
    /// Oracle Cloud Infrastructure.
    Oci,
    /// IBM Cloud.
    Ibm,
}

/// What does not change while the tool runs, given to the pipeline once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Host name.
    pub host: Option<Word>,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Word,
    /// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME` in nanoseconds, as of the start.
    pub realtime_offset_ns: i128,
    /// When the tool's hooks were attached.
    pub started: BootTime,
    /// What the hooks in place can see; without it silence would be read as proof.
    pub coverage: Coverage,
    /// The cloud it runs in; absent if it is none of those known, or cannot be told.
    pub environment: Option<Environment>,
}

impl HostFacts {
    /// The host of a packet capture of this name: nothing is known of it, no hook was there, and its clock is that of its
    /// packets.
    pub fn of_capture(name: &Word) -> Self {
        Self {
            host: None,
            boot_id: name.clone(),
            realtime_offset_ns: 0,
            started: BootTime(0),
            coverage: Coverage::default(),
            environment: None,
        }
    }
}

/// What the active hooks cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Coverage {
    /// `tcp_send_reset` is attached and fires for active resets and for those with a full socket.
    pub sent: bool,
    /// It fires without a full socket too (6.10): then a reset that left without it was not made by the TCP stack.
    pub sent_stateless: bool,
    /// `tcp_receive_reset` is attached.
    pub received: bool,
    /// Classifiers are attached.
    pub packets: bool,
    /// `inet_sock_set_state` is attached.
    pub lifecycle: bool,
}

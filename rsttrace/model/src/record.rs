//! The public record: one JSON object for each reset, schema `rsttrace.reset.v1`.
//!
//! A key that is absent means "not known"; no value is ever made up. Durations are seconds, sizes bytes, addresses
//! strings (v4-mapped IPv6 addresses shown as IPv4), times RFC 3339 UTC with nanoseconds. The schema is append-only
//! within v1; `rsttrace schema` prints it.

mod verdict;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use verdict::{Evidence, Explanation, Kind, Verdict};

/// A sentence, of the program itself or made for a record.
pub type Sentence = Cow<'static, str>;

/// Text that is short, or of the program itself, or shared by many records: to copy it takes no memory.
pub use smol_str::SmolStr as Word;

/// The value of [`Record::schema`].
pub const SCHEMA: &str = "rsttrace.reset.v1";

/// The value of [`TimedOutRecord::schema`].
pub const TIMED_OUT_SCHEMA: &str = "rsttrace.timeout.v1";

/// The value of [`SuppressedRecord::schema`].
pub const SUPPRESSED_SCHEMA: &str = "rsttrace.suppressed.v1";

/// One TCP reset, explained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Always `rsttrace.reset.v1`.
    pub schema: Word,
    /// What makes this record unique in a fleet.
    pub id: Id,
    /// When the reset happened: RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// This host's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Word>,
    /// Which way the reset went, seen from this host.
    pub direction: Direction,
    /// This host's end; for `forwarded` and for resets observed in transit, the source of the reset.
    pub local: Endpoint,
    /// The other end; for `forwarded` and for resets observed in transit, the destination of the reset.
    pub remote: Endpoint,
    /// Inode number of the network namespace (`/proc/PID/ns/net`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// Name of the interface it came in or left by; absent if not known. For `forwarded`, the one it left by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Word>,
    /// What happened, and how sure that is.
    pub verdict: Verdict,
    /// The process that did it or, if nobody here did, the one that had the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The process that had the connection, when it is not `process` (a socket destroyed from outside).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Box<Process>>,
    /// The socket, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<Socket>,
    /// How long the connection had been quiet; absent where that means nothing (no established connection).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// The segment itself: as seen on the wire or, if it was not, as far as the kernel's state determines it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<Packet>,
    /// What the kernel said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    /// The chain this record belongs to: records of one reset on this host share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// Where a packet capture holds it; absent for what was traced live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Box<CapturePoint>>,
}

impl Record {
    /// Whether the reset went from `local` to `remote`, and not the other way.
    pub fn left_local(&self) -> bool {
        match self.direction {
            Direction::Sent | Direction::Forwarded => true,
            Direction::Received => false,
            // Seen in transit: `local` is the source. Seen by a host of its own: the reset came from `remote`.
            Direction::Observed => match &self.capture {
                Some(at) => at.vantage != Some(Vantage::Destination),
                None => self.netns.is_none() || self.verdict.cause == Cause::RawSocket,
            },
        }
    }

    /// Where the reset came from, as it says itself.
    pub fn source(&self) -> &Endpoint {
        if self.left_local() {
            &self.local
        } else {
            &self.remote
        }
    }

    /// Where it went.
    pub fn destination(&self) -> &Endpoint {
        if self.left_local() {
            &self.remote
        } else {
            &self.local
        }
    }
}

/// A connection that died without a reset: retransmissions or TCP_USER_TIMEOUT ran out, or ICMP ended it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimedOutRecord {
    /// Always `rsttrace.timeout.v1`.
    pub schema: Word,
    /// What makes this record unique in a fleet.
    pub id: Id,
    /// When the connection died: RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// This host's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Word>,
    /// This host's end.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
    /// Inode number of the network namespace (`/proc/PID/ns/net`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// errno the application got or would have got.
    pub error: i32,
    /// Its name, for example `ETIMEDOUT`; absent for numbers that TCP seldom ends with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_name: Option<Word>,
    /// TCP state it died in, as `ss` names it.
    pub state: Word,
    /// Since the handshake; absent if the connection is older than the tool, or was never established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<f64>,
    /// The process that had the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// Resets of one kind that were counted in the kernel and not described, because there were too many of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuppressedRecord {
    /// Always `rsttrace.suppressed.v1`.
    pub schema: Word,
    /// When the last of them had been counted: RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// The count began at or before this time.
    pub since: String,
    /// This host's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Word>,
    /// How many resets: those that no earlier count has told of.
    pub count: u64,
    /// Which way they went, as far as the first hook that saw them can tell; what came in for a socket with a connection
    /// counts as `received`, whether or not that accepted it. Absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// The cause of those of this kind that were described around that time; absent if there were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What the kernel said: `enum sk_rst_reason`; absent if it gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word>,
    /// State of the socket, as `ss` names it; absent if it was not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Word>,
    /// Inode number of the network namespace; absent if they are of several, or it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// This host's port; absent if they are of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// The other end's port; absent if they are of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
    /// The other end's network, /24 or /64; absent if they are of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_network: Option<String>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A reset, explained.
    Reset(Box<Record>),
    /// A connection that died without a reset.
    TimedOut(Box<TimedOutRecord>),
    /// Resets that were counted and not described.
    Suppressed(Box<SuppressedRecord>),
}

impl Output {
    /// When it happened: RFC 3339.
    pub fn time(&self) -> &str {
        match self {
            Self::Reset(record) => &record.time,
            Self::TimedOut(dead) => &dead.time,
            Self::Suppressed(sum) => &sum.time,
        }
    }
}

/// A storm makes thousands a second. glibc cleans up its heap for each block of a KiB or more that it is asked for.
const _: () = assert!(size_of::<Record>() < 1_000);

/// A number given once per boot, never reused within it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Id {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot: Word,
    /// Counts up from the start of the tool; begins at the clock so that a restart does not reuse numbers.
    pub number: u64,
}

/// The end of a connection that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServingEnd {
    /// This host's.
    Local,
    /// The other one.
    Remote,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// IP address; v4-mapped IPv6 is shown as IPv4.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// An enum of the schema: what offers its values for choice needs their names and what they mean.
pub trait Named: Copy + Send + Sync + 'static {
    /// Every value, in the order of the documentation.
    const ALL: &[Self];

    /// The name in JSON, filters and tables.
    fn name(self) -> &'static str;

    /// What it means: a sentence with its full stop.
    fn doc(self) -> &'static str;
}

/// Declares an enum of the schema: its JSON names are its variants in snake_case, `name()` gives the same, `ALL` lists them.
macro_rules! names {
    ($(#[$meta:meta])* pub enum $type:ident { $($(#[doc = $doc:literal])* $variant:ident => $name:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum $type { $($(#[doc = $doc])* #[serde(rename = $name)] $variant),* }

        impl $type {
            /// Every value, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in JSON, filters and tables.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        impl Named for $type {
            const ALL: &[Self] = Self::ALL;

            fn name(self) -> &'static str {
                self.name()
            }

            fn doc(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),*).trim_ascii()),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

names! {
    /// Which way a reset went, seen from this host.
    pub enum Direction {
        /// This host sent it.
        Sent => "sent",
        /// A socket of this host accepted it.
        Received => "received",
        /// It passed through this host.
        Forwarded => "forwarded",
        /// Seen on the wire, accepted by no socket.
        Observed => "observed",
    }
}

names! {
    /// Who made the reset.
    pub enum Origin {
        /// A process of this host, by what it did to its socket.
        LocalProcess => "local_process",
        /// This host's kernel, by its own rules.
        LocalKernel => "local_kernel",
        /// A packet filter of this host.
        LocalFirewall => "local_firewall",
        /// The other end of the connection.
        Peer => "peer",
        /// Something between this host and the other end.
        Middlebox => "middlebox",
        /// It came from elsewhere and went elsewhere.
        Forwarded => "forwarded",
        /// Not known; the evidence says what was missing.
        Unknown => "unknown",
    }
}

names! {
    /// Why the reset was sent.
    pub enum Cause {
        /// close() while received bytes were unread (RFC 2525 section 2.17).
        CloseWithUnreadData => "close_with_unread_data",
        /// The process was killed while received bytes were unread.
        KilledWithUnreadData => "killed_with_unread_data",
        /// close() with SO_LINGER {1, 0}.
        LingerZero => "linger_zero",
        /// close() with TCP_LINGER2 below zero.
        Linger2 => "linger2",
        /// connect(AF_UNSPEC), or a disconnect with unsent data.
        Disconnect => "disconnect",
        /// The listening socket went away with connections nobody had accepted.
        ListenerClosed => "listener_closed",
        /// The socket was destroyed from outside: `ss -K`, bpf_sock_destroy.
        SocketDestroyed => "socket_destroyed",
        /// The peer answered no keepalive probe.
        KeepaliveTimeout => "keepalive_timeout",
        /// Too many orphaned sockets, or tcp_mem exhausted.
        OutOfMemory => "out_of_memory",
        /// An orphaned socket stayed too long in FIN_WAIT2.
        OrphanTimeout => "orphan_timeout",
        /// SYN to a port with no listener.
        PortClosed => "port_closed",
        /// A segment for a connection this host no longer has.
        HalfOpen => "half_open",
        /// The application had closed; the peer still sent.
        DataAfterClose => "data_after_close",
        /// Answer to a connect that had been abandoned.
        LateSynack => "late_synack",
        /// Accept queue full with tcp_abort_on_overflow set.
        AcceptQueueOverflow => "accept_queue_overflow",
        /// A listener got a segment of no connection it knows.
        StrayAck => "stray_ack",
        /// Bad ACK, SYN or timestamp during the handshake.
        BadHandshake => "bad_handshake",
        /// A reset of an MPTCP subflow.
        Mptcp => "mptcp",
        /// A packet filter rule of this host rejects with tcp-reset.
        FirewallReject => "firewall_reject",
        /// A reset answered our SYN.
        ConnectionRefused => "connection_refused",
        /// A reset from the peer, with no better explanation.
        ResetByPeer => "reset_by_peer",
        /// The quiet gap fits a learned or known timeout.
        IdleTimeout => "idle_timeout",
        /// Evidence contradicts that the peer sent it.
        NotFromPeer => "not_from_peer",
        /// Not accepted: outside the window, or answered by a challenge ACK (RFC 5961); the connection lives.
        BlindAttempt => "blind_attempt",
        /// A raw socket of this host put it on the wire.
        RawSocket => "raw_socket",
        /// It passed through this host.
        Forwarded => "forwarded",
        /// A proxy of this host closed one leg because the other had been reset.
        Propagated => "propagated",
        /// Not known; the evidence says what was missing.
        Unknown => "unknown",
    }
}

names! {
    /// What was lost.
    pub enum Severity {
        /// An established connection was lost.
        Fault => "fault",
        /// A connect was turned away.
        Refused => "refused",
        /// Nobody lost anything.
        Noise => "noise",
    }
}

names! {
    /// How sure a verdict is.
    pub enum Confidence {
        /// A reason given by the kernel, or two independent facts.
        Certain => "certain",
        /// One sound heuristic.
        Likely => "likely",
        /// A hint only.
        Possible => "possible",
    }
}

names! {
    /// What the named process has to do with the connection.
    pub enum Role {
        /// It closed, shut down or destroyed the socket.
        Closer => "closer",
        /// It held the socket.
        Owner => "owner",
        /// It listens, or listened, on the port.
        Listener => "listener",
        /// It held the socket, which is gone.
        FormerOwner => "former_owner",
    }
}

names! {
    /// How well the process is known.
    pub enum Quality {
        /// It was running, holding the socket, when the reset was made.
        Certain => "certain",
        /// Written down when it connected, listened, accepted or closed.
        Recorded => "recorded",
        /// Found by its open file.
        LookedUp => "looked_up",
        /// A worker or child of it may be the real one: it listened or accepted for others, or shares the socket with them.
        Inherited => "inherited",
    }
}

names! {
    /// The shape of a reset.
    pub enum Form {
        /// Sent on a socket of the sender's: has a window, and options if negotiated.
        Active => "active",
        /// The answer to a segment: window 0, no options.
        Passive => "passive",
    }
}

names! {
    /// When a balancer's timer made itself known.
    pub enum IdleMode {
        /// The device reset when its timer fired.
        RstAtExpiry => "rst_at_expiry",
        /// The device forgot silently and answered the next packet.
        LateRst => "late_rst",
        /// The device closed politely; the reset is what came of it.
        FinAtExpiry => "fin_at_expiry",
    }
}

names! {
    /// Where a timeout is known from.
    pub enum Basis {
        /// The table of known devices: a device like this may be on the path.
        Known => "known",
        /// The configuration file names this hop.
        Configured => "configured",
        /// A setting of this host, as it was read.
        Host => "host",
    }
}

names! {
    /// What a learned number says of the timeout.
    pub enum Bound {
        /// It is the timeout: the resets came at it.
        Exact => "exact",
        /// The timeout is not longer: what was silent for so long was lost.
        AtMost => "at_most",
    }
}

names! {
    /// Where on the way of a reset it was captured, by the TTLs of its connection and what the file says.
    pub enum Vantage {
        /// At the end whose address it came from.
        Source => "source",
        /// At the end it went to.
        Destination => "destination",
        /// At both: a loopback device, or two ends on one host.
        Both => "both",
        /// Between the ends.
        Between => "between",
    }
}

names! {
    /// What a fact in the evidence is about.
    pub enum EvidenceKind {
        /// The reason the kernel gives (`enum sk_rst_reason`).
        KernelReason => "kernel_reason",
        /// The kernel gives no reason: the cause is inferred from the socket and the segment.
        Inferred => "inferred",
        /// The segment that the reset answers.
        Segment => "segment",
        /// State of the connection.
        State => "state",
        /// Received bytes that the application had not read.
        Unread => "unread",
        /// SO_LINGER.
        Linger => "linger",
        /// TCP_LINGER2.
        Linger2 => "linger2",
        /// Keepalive probes without an answer.
        Keepalive => "keepalive",
        /// Length and limit of the accept queue.
        AcceptQueue => "accept_queue",
        /// No process had accepted the connection.
        Unaccepted => "unaccepted",
        /// The application had closed or shut down.
        Shutdown => "shutdown",
        /// The signal that was killing the process.
        Signal => "signal",
        /// The process was exiting.
        Exiting => "exiting",
        /// The connection these addresses had before, and how it ended.
        Tombstone => "tombstone",
        /// The listener this port had before.
        FormerListener => "former_listener",
        /// The process that got the reset on this host.
        LocalReceiver => "local_receiver",
        /// Who sent the reset on this host.
        LocalSender => "local_sender",
        /// The process closed after a silence, as at an idle timeout of its own.
        OwnTimeout => "own_timeout",
        /// What the process of a proxy did to this leg, apart from the other one.
        OwnCause => "own_cause",
        /// The reset of the proxy's other leg.
        OtherLeg => "other_leg",
        /// Events lost around this time.
        LostEvents => "lost_events",
        /// No watched device saw the segment.
        NotSeenOnWire => "not_seen_on_wire",
        /// The kernel accepted the reset, and in which state.
        Accepted => "accepted",
        /// The reset has the expected sequence number (captures).
        Expected => "expected",
        /// The silence before the reset, and what ended it.
        Silence => "silence",
        /// Many connections of the path were reset at the same moment.
        Burst => "burst",
        /// The timeout that earlier resets of the path show.
        Learned => "learned",
        /// Devices whose idle timeout fits the silence.
        Candidates => "candidates",
        /// TTL of the reset against others of its source.
        Ttl => "ttl",
        /// Source MAC address against that of the handshake.
        SourceMac => "source_mac",
        /// The form of an answer, but nothing was sent that it could answer.
        NothingToAnswer => "nothing_to_answer",
        /// It answers the first segment after a silence.
        Late => "late",
        /// It came sooner than the least round trip to the peer allows.
        Latency => "latency",
        /// Timestamps option missing.
        Timestamps => "timestamps",
        /// IP identification.
        IpId => "ip_id",
        /// Further resets with other sequence numbers.
        NearMisses => "near_misses",
        /// A reset went the other way at the same moment.
        BothWays => "both_ways",
        /// The peer kept sending on the connection after "its" reset.
        PeerTalksOn => "peer_talks_on",
        /// The socket that the reset was aimed at.
        Socket => "socket",
        /// Sequence number against the one expected.
        Sequence => "sequence",
        /// The next reset of the connection had the expected number.
        AcceptedNext => "accepted_next",
        /// No kernel event for the reset, and why.
        NoEvent => "no_event",
        /// No socket has these addresses and ports, or the segment belongs to none.
        NoSocket => "no_socket",
        /// A raw socket sent it.
        RawSocket => "raw_socket",
        /// Shape of the reset: active or passive.
        Form => "form",
        /// It passed through this host.
        InTransit => "in_transit",
        /// Addresses were translated.
        Nat => "nat",
        /// This host had passed the connection on, and its table has expired since.
        PassedOnBefore => "passed_on_before",
        /// Where in the capture, and where that was made.
        Captured => "captured",
        /// What looks the same in a capture.
        LookAlikes => "look_alikes",
        /// A reset had ended the connection before.
        Ended => "ended",
        /// The receiver answered with a challenge ACK.
        Challenged => "challenged",
        /// The connection went on after the reset.
        LivesOn => "lives_on",
        /// The receiver of the reset sent data afterwards.
        ReceiverTalksOn => "receiver_talks_on",
        /// The source of the reset kept sending afterwards.
        TalksOn => "talks_on",
        /// The capturing host sent the reset without having got it.
        PutInHere => "put_in_here",
        /// Seen on one side of a router only.
        SeenOnce => "seen_once",
        /// Keepalive probes in the capture that had no answer.
        Probes => "probes",
        /// Bytes of the other end that were not answered.
        Unanswered => "unanswered",
        /// What is missing for an answer (comparison of captures).
        Missing => "missing",
        /// A capture covers the moment and does not hold the reset (comparison).
        NotSeen => "not_seen",
        /// It left a host without having come in (comparison).
        NotPassed => "not_passed",
        /// It left the host of a capture (comparison).
        Left => "left",
        /// A later capture has it, too (comparison).
        Passed => "passed",
        /// The alleged sender went on with the connection (comparison).
        WentOn => "went_on",
        /// The far end of a proxy's other leg had ended that before (comparison).
        Propagated => "propagated",
        /// The proxy ended the connection by itself (comparison).
        OwnDecision => "own_decision",
    }
}

names! {
    /// A record's place in its chain.
    pub enum LinkRole {
        /// The end that sent the reset.
        Sender => "sender",
        /// A hop of this host that passed it on.
        Forwarder => "forwarder",
        /// The end that got it.
        Receiver => "receiver",
    }
}

/// A process as it was at the time of the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name of the process (`/proc/PID/comm`).
    pub comm: Word,
    /// Executable; absent for kernel threads and processes that were gone when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<Word>,
    /// Command line, arguments separated by spaces; absent as `exe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<Word>,
    /// Effective user id in the initial user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Container id from the control group's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<Word>,
    /// systemd unit from the control group's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Word>,
    /// Kubernetes pod uid from the control group's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<Word>,
    /// Control group path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Word>,
    /// Its part in the reset.
    pub role: Role,
    /// How well it is known.
    pub quality: Quality,
}

/// The socket at the time of the reset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Socket {
    /// The kernel's socket cookie, unique in one boot.
    pub cookie: u64,
    /// Inode number as in `/proc/PID/fd`; absent for sockets without a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// TCP state the reset found it in, as `ss` names it.
    pub state: Word,
    /// Since the handshake; absent if the connection is older than the tool, or was never established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<f64>,
    /// SO_KEEPALIVE and its clocks.
    pub keepalive: Keepalive,
    /// SO_LINGER's time; absent if off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger: Option<f64>,
    /// Initial sequence numbers; absent if the connection is older than the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isn: Option<Isn>,
    /// Received bytes the application had not read; absent for listeners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<u64>,
    /// Bytes written by the application that the peer has not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent: Option<u64>,
    /// Payload bytes sent, retransmissions included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Payload bytes received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// Smoothed round-trip time; absent if none was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<f64>,
    /// Segments retransmitted in the connection's life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
}

/// Keepalive settings of a socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Keepalive {
    /// SO_KEEPALIVE.
    pub enabled: bool,
    /// Silence before the first probe (TCP_KEEPIDLE); absent if it is the sysctl's and that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// Between probes (TCP_KEEPINTVL); absent as `time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<f64>,
    /// Unanswered probes before giving up (TCP_KEEPCNT); absent as `time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
}

/// The pair of initial sequence numbers: it survives NAT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Isn {
    /// Of this host's end.
    pub local: u32,
    /// Of the other end.
    pub remote: u32,
}

/// How long the connection had been quiet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Idle {
    /// Silence before the segment that triggered the reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_before: Option<f64>,
    /// Since application data last moved, either way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_data: Option<f64>,
    /// Since anything acceptable was last heard from the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_heard: Option<f64>,
    /// From the send that is unacknowledged to the reset; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_after_send: Option<f64>,
    /// Which kind of timeout this looks like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<IdleMode>,
    /// Known devices whose timeout fits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// The timeout this path has shown before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned: Option<Box<Learned>>,
}

/// A known device whose timeout fits the quiet gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Its name.
    pub device: Word,
    /// Its idle timeout.
    pub timeout: f64,
    /// What it does at expiry; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<IdleMode>,
    /// Where that is known from.
    pub basis: Basis,
}

/// A timeout learned from earlier resets on this path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Learned {
    /// The timeout.
    pub timeout: f64,
    /// How many resets it was learned from.
    pub samples: u64,
    /// Of how many resets after a silence on this path.
    pub of: u64,
    /// Greatest distance of a sample from `timeout`; absent for a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// Whether `timeout` is the timeout or only a bound of it.
    pub bound: Bound,
}

/// The reset as a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Packet {
    /// TTL or hop limit as it left or came in; absent if the segment was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Routers passed, guessed from the TTL and the nearest usual start (64, 128, 255).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hops: Option<u8>,
    /// TTL of the peer's SYN or SYN-ACK on this flow; absent if it was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_ttl: Option<u8>,
    /// IPv4 identification; absent for IPv6 or if not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_id: Option<u16>,
    /// Sequence number; absent if neither seen nor determined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u32>,
    /// Acknowledgement number; absent as `seq`, and without ACK in `flags`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<u32>,
    /// Window, unscaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u16>,
    /// TCP flags as tcpdump prints them, for example `R.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Word>,
    /// Timestamps option.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<Timestamps>,
    /// Source MAC address; absent on devices without one and where it is all zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Word>,
    /// The shape of it; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
}

/// TCP timestamps option (RFC 7323).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timestamps {
    /// TSval.
    pub value: u32,
    /// TSecr.
    pub echo: u32,
}

/// What the kernel said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    /// `enum sk_rst_reason` without its prefix; absent for received resets and kernels without reasons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word>,
    /// TCP state at the hook: differs from the socket's where the kernel had closed it just before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Word>,
    /// The hooks that saw it.
    pub hook: Vec<Word>,
}

/// The chain a record belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// Shared by all records of the chain: the number of its first record.
    pub id: u64,
    /// This record's place.
    pub role: LinkRole,
}

/// Where a packet capture holds a reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapturePoint {
    /// The file as it was named; `-` for standard input.
    pub file: Word,
    /// Number of the frame, from 1 on: `frame.number` in Wireshark.
    pub frame: u64,
    /// Where on the reset's way the capture was made; absent if nothing tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vantage: Option<Vantage>,
}

/// A record of an idle timeout, for tests.
#[cfg(feature = "testing")]
#[allow(clippy::unwrap_used, reason = "tests")]
pub fn sample() -> Record {
    let text = include_str!("../../tests/data/records/idle_timeout_middlebox.json");
    serde_json::from_str(text).unwrap()
}

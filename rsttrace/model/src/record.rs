//! The public record: one JSON object for each reset, schema `rsttrace.reset.v1`.
//!
//! A key that is absent means "not known"; no value is ever made up. Durations are seconds, sizes bytes, addresses
//! strings (v4-mapped IPv6 addresses shown as IPv4), times RFC 3339 UTC with nanoseconds. The schema is append-only
//! within v1; `rsttrace schema` prints it.

mod failure;
mod verdict;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words;

#[cfg(feature = "testing")]
pub use failure::sample_failure;
pub use failure::{
    AcceptQueue, ConntrackTable, FAILURE_SCHEMA, FailureRecord, FailureVerdict, TIMED_OUT_SCHEMA,
    TimedOutRecord, nowhere,
};
pub use verdict::{Evidence, Explanation, Kind, Verdict};

/// A sentence: a constant of the program, or composed for one record.
pub type Sentence = Cow<'static, str>;

/// Short, static or shared text, cheap to clone.
pub use smol_str::SmolStr as Word;

/// The value of [`Record::schema`].
pub const SCHEMA: &str = "rsttrace.reset.v1";

/// The value of [`SuppressedRecord::schema`].
pub const SUPPRESSED_SCHEMA: &str = "rsttrace.suppressed.v1";
/// `schema` of a [`CaptureRecord`].
pub const CAPTURE_SCHEMA: &str = "rsttrace.capture.v1";

/// One TCP reset, explained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Always `rsttrace.reset.v1`.
    pub schema: Word,
    /// Identifies this record uniquely across hosts.
    pub id: Id,
    /// Time of the reset: RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// Host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Word>,
    /// Direction of the reset, seen from this host.
    pub direction: Direction,
    /// Local end; for `forwarded` and for resets observed in transit, the source of the reset.
    pub local: Endpoint,
    /// Remote end; for `forwarded` and for resets observed in transit, the destination of the reset.
    pub remote: Endpoint,
    /// Inode number of the network namespace (`/proc/PID/ns/net`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// Ingress or egress interface; absent if not known. For `forwarded`, the egress interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Word>,
    /// Explanation of the reset, with its confidence.
    pub verdict: Verdict,
    /// The process that caused the reset or, if no local process did, the one that held the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The process that held the connection, if different from `process` (a socket destroyed by another process).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Box<Process>>,
    /// Socket state; absent if there was no socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<Socket>,
    /// Idle times; absent if there was no established connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// The RST segment as seen on the wire or, if not seen, as far as the kernel's state determines it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<Packet>,
    /// Data from the kernel hooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    /// Links records of one reset, or of one chain of resets, on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// The end of a connection that this record belongs to; absent in records of versions that did not know incidents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<Incident>,
    /// Position in a packet capture; absent for live traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Box<CapturePoint>>,
}

impl Record {
    /// Impact of the whole incident, as far as it is known with this record.
    pub fn impact(&self) -> Severity {
        self.incident
            .as_ref()
            .map_or(self.verdict.severity, |incident| incident.severity)
    }

    /// Whether the default view, in which noise is hidden, shows it. A filter may leave out the record that carries the
    /// severity of its incident; then the other ends and legs show it.
    pub fn is_noise(&self, filtered: bool) -> bool {
        let speaks_for_incident =
            self.incident
                .as_ref()
                .is_some_and(|incident| match incident.role {
                    IncidentRole::Correction => true,
                    IncidentRole::OtherEnd | IncidentRole::Leg => {
                        filtered && incident.severity != Severity::Noise
                    }
                    IncidentRole::First | IncidentRole::Consequence => false,
                });
        self.verdict.severity == Severity::Noise && !speaks_for_incident
    }

    /// Whether it is the first record of its incident, or knows nothing of incidents.
    pub fn opens_incident(&self) -> bool {
        self.incident
            .as_ref()
            .is_none_or(|incident| incident.role == IncidentRole::First)
    }

    /// Whether it corrects the verdict of an earlier record.
    pub fn is_correction(&self) -> bool {
        self.incident
            .as_ref()
            .is_some_and(|incident| incident.role == IncidentRole::Correction)
    }

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

    /// Source address and port of the RST segment.
    pub fn source(&self) -> &Endpoint {
        if self.left_local() {
            &self.local
        } else {
            &self.remote
        }
    }

    /// Destination address and port of the RST segment.
    pub fn destination(&self) -> &Endpoint {
        if self.left_local() {
            &self.remote
        } else {
            &self.local
        }
    }
}

/// Resets of one class that were only counted in the kernel because of the rate limit for detailed records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuppressedRecord {
    /// Always `rsttrace.suppressed.v1`.
    pub schema: Word,
    /// End of the counting interval: RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// Start of the counting interval; the count may include slightly earlier resets.
    pub since: String,
    /// Host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Word>,
    /// Number of resets not included in any earlier count.
    pub count: u64,
    /// Direction as seen by the first hook; a reset that arrives for a connected socket counts as `received` even if the
    /// socket rejects it. Absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Cause of the detailed records of this class at that time; absent if there were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Kernel reason (`enum sk_rst_reason`); absent if the kernel gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word>,
    /// State of the socket, as shown by `ss`; absent if not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Word>,
    /// Inode number of the network namespace; absent if there are several, or it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// Local port; absent if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// Remote port; absent if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
    /// Remote network, /24 or /64; absent if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_network: Option<String>,
}

/// Packet capture that was read: how much of it is TCP, and what was not analyzed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureRecord {
    /// Always `rsttrace.capture.v1`.
    pub schema: Word,
    /// File as named on the command line; `-` is standard input.
    pub file: Word,
    /// Packets read.
    pub packets: u64,
    /// Packets with a TCP header, which were analyzed.
    pub tcp: u64,
    /// Packets of other protocols that carry no TCP.
    pub not_tcp: u64,
    /// Packets that may carry TCP and were not analyzed, by reason; the most frequent first.
    pub not_analyzed: Vec<NotAnalyzed>,
    /// Why reading ended before the end of the capture; absent if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_early: Option<String>,
}

/// Packets of a capture that were not analyzed for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotAnalyzed {
    /// For example `EtherType 0x88e5 (MACsec)`, `link type 189 (USB)`, `truncated before the end of the TCP header`.
    pub reason: String,
    pub packets: u64,
}

/// Output of the pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A reset with its explanation.
    Reset(Box<Record>),
    /// A connect or a connection that failed without a reset.
    Failure(Box<FailureRecord>),
    /// Resets that were counted but not reported one by one.
    Suppressed(Box<SuppressedRecord>),
}

impl Output {
    /// When it happened: RFC 3339.
    pub fn time(&self) -> &str {
        match self {
            Self::Reset(record) => &record.time,
            Self::Failure(failure) => &failure.time,
            Self::Suppressed(sum) => &sum.time,
        }
    }
}

/// A storm creates thousands of records per second, and glibc consolidates its heap for each allocation of 1 KiB or more.
const _: () = assert!(size_of::<Record>() < 1_000);

/// Record ID, unique within a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Id {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot: Word,
    /// Increases with each record; starts from the clock so that a restart does not reuse numbers.
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
        f.pad(&words::address(SocketAddr::new(self.address, self.port)))
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
    ($(#[$meta:meta])* pub enum $type:ident { $($(#[doc = $doc:literal])* $variant:ident => $name:expr),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $type { $($(#[doc = $doc])* $variant),* }

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
    /// Direction of a reset, seen from this host.
    pub enum Direction {
        /// This host sent it.
        Sent => "sent",
        /// A socket of this host accepted it.
        Received => "received",
        /// It passed through this host.
        Forwarded => "forwarded",
        /// Seen on the wire, not accepted by any socket.
        Observed => "observed",
    }
}

names! {
    /// Sender of the reset.
    pub enum Origin {
        /// A process on this host, through a system call or by exiting.
        LocalProcess => "local_process",
        /// The TCP stack of this host.
        LocalKernel => "local_kernel",
        /// A packet filter of this host.
        LocalFirewall => "local_firewall",
        /// The other end of the connection.
        Peer => "peer",
        /// Something between this host and the other end.
        Middlebox => "middlebox",
        /// Another host; the reset passed through this host.
        Forwarded => "forwarded",
        /// Not known; the evidence says what was missing.
        Unknown => "unknown",
    }
}

/// Calls the macro `$then` with every cause, in the order of the documentation: what it means, its name in JSON, which is that of
/// its module in `rsttrace_core::causes`, and its variant of [`Cause`].
#[macro_export]
macro_rules! for_each_cause {
    ($then:ident) => {
        $then! {
            /// close() with unread data in the receive buffer (RFC 2525 section 2.17).
            close_with_unread_data CloseWithUnreadData,
            /// The process was killed with unread data in the receive buffer.
            killed_with_unread_data KilledWithUnreadData,
            /// close() with SO_LINGER {1, 0}.
            linger_zero LingerZero,
            /// close() in FIN_WAIT2 with a negative TCP_LINGER2.
            linger2 Linger2,
            /// connect(AF_UNSPEC), or a disconnect with unsent data.
            disconnect Disconnect,
            /// The listening socket was closed with connections in its accept queue.
            listener_closed ListenerClosed,
            /// Another process destroyed the socket (`ss -K`, bpf_sock_destroy).
            socket_destroyed SocketDestroyed,
            /// The peer did not answer keepalive probes.
            keepalive_timeout KeepaliveTimeout,
            /// Too many orphaned sockets, or tcp_mem exhausted.
            out_of_memory OutOfMemory,
            /// An orphaned socket timed out in FIN_WAIT2.
            orphan_timeout OrphanTimeout,
            /// SYN to a port without a listener.
            port_closed PortClosed,
            /// Segment for a connection that no longer exists on this host.
            half_open HalfOpen,
            /// The peer sent data after the application had closed the socket.
            data_after_close DataAfterClose,
            /// SYN-ACK for a connection attempt that was already abandoned.
            late_synack LateSynack,
            /// The answer to our SYN came from another address: it bypassed the NAT that had translated the SYN.
            untranslated_answer UntranslatedAnswer,
            /// Accept queue full with tcp_abort_on_overflow set.
            accept_queue_overflow AcceptQueueOverflow,
            /// A listener received a segment of an unknown connection.
            stray_ack StrayAck,
            /// Invalid ACK, SYN or timestamp during the handshake.
            bad_handshake BadHandshake,
            /// Reset of an MPTCP subflow.
            mptcp Mptcp,
            /// A packet filter on this host rejects with tcp-reset.
            firewall_reject FirewallReject,
            /// The peer answered our SYN with a reset.
            connection_refused ConnectionRefused,
            /// Reset from the peer without a more specific cause.
            reset_by_peer ResetByPeer,
            /// The idle time matches a known or learned timeout.
            idle_timeout IdleTimeout,
            /// The reset does not come from the peer, according to TTL, timing or sequence numbers.
            not_from_peer NotFromPeer,
            /// Rejected reset: out of window, or answered with a challenge ACK (RFC 5961); the connection stays up.
            blind_attempt BlindAttempt,
            /// Sent through a raw socket on this host.
            raw_socket RawSocket,
            /// Forwarded by this host.
            forwarded Forwarded,
            /// A proxy on this host reset one connection because the other one was reset.
            propagated Propagated,
            /// Not known; the evidence says what was missing.
            unknown Unknown,
        }
    };
}

macro_rules! cause_enum {
    ($($(#[doc = $doc:literal])* $name:ident $variant:ident,)*) => {
        names! {
            /// Cause of a reset.
            pub enum Cause { $($(#[doc = $doc])* $variant => stringify!($name),)* }
        }
    };
}

for_each_cause!(cause_enum);

names! {
    /// What failed without a reset.
    pub enum FailureKind {
        /// connect() failed: no SYN was answered (ETIMEDOUT).
        ConnectTimeout => "connect_timeout",
        /// The program gave up a connect before the kernel did: no SYN was answered.
        ConnectAbandoned => "connect_abandoned",
        /// connect() failed: no route, no neighbor, or an ICMP message (EHOSTUNREACH, ENETUNREACH).
        ConnectUnreachable => "connect_unreachable",
        /// connect() failed: an ICMP message refused it, as a packet filter sends it (ECONNREFUSED, EACCES).
        ConnectRejected => "connect_rejected",
        /// connect() failed: no local port was free for this destination (EADDRNOTAVAIL).
        NoLocalPort => "no_local_port",
        /// The retransmissions of an established connection were not answered (net.ipv4.tcp_retries2).
        RetransmissionTimeout => "retransmission_timeout",
        /// TCP_USER_TIMEOUT of an established connection expired.
        UserTimeout => "user_timeout",
        /// The peer read nothing any more, and its probes were not answered.
        WindowTimeout => "window_timeout",
        /// The program had closed, and the peer did not acknowledge the rest.
        CloseTimeout => "close_timeout",
        /// A listener dropped handshakes because its accept queue was full.
        AcceptQueueFull => "accept_queue_full",
        /// Packets were dropped because the connection tracking table was full.
        ConntrackFull => "conntrack_full",
    }
}

names! {
    /// Impact of a reset or a failure.
    pub enum Severity {
        /// An established connection was lost.
        Fault => "fault",
        /// A connection attempt was refused.
        Refused => "refused",
        /// No connection or data was lost.
        Noise => "noise",
    }
}

names! {
    /// Confidence of a verdict.
    pub enum Confidence {
        /// The kernel gave the reason, or two independent facts agree.
        Certain => "certain",
        /// One strong heuristic.
        Likely => "likely",
        /// A hint only.
        Possible => "possible",
    }
}

names! {
    /// Relation of the process to the connection.
    pub enum Role {
        /// It closed, shut down or destroyed the socket.
        Closer => "closer",
        /// It held the socket.
        Owner => "owner",
        /// It listens, or listened, on the port.
        Listener => "listener",
        /// It held the socket, which no longer exists.
        FormerOwner => "former_owner",
    }
}

names! {
    /// How the process was identified.
    pub enum Quality {
        /// It was running and held the socket lock when the reset was sent.
        Certain => "certain",
        /// Recorded when it connected, listened, accepted or closed.
        Recorded => "recorded",
        /// Found through its open file descriptor.
        LookedUp => "looked_up",
        /// Possibly a worker or child of this process instead: it listened or accepted on their behalf, or shares the socket.
        Inherited => "inherited",
    }
}

names! {
    /// Kind of reset segment.
    pub enum Form {
        /// Sent from a socket: has a window, and options if negotiated.
        Active => "active",
        /// Answer to a segment: window 0, no options.
        Passive => "passive",
    }
}

names! {
    /// What a device does when its idle timeout expires.
    pub enum IdleMode {
        /// It sends a reset.
        RstAtExpiry => "rst_at_expiry",
        /// It drops its state silently and answers the next packet with a reset.
        LateRst => "late_rst",
        /// It closes the connection with a FIN; the reset follows from that.
        FinAtExpiry => "fin_at_expiry",
    }
}

names! {
    /// Source of a timeout.
    pub enum Basis {
        /// The built-in table of devices; such a device may be on the path.
        Known => "known",
        /// The configuration file.
        Configured => "configured",
        /// A setting read from this host.
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
    /// Position of the capture on the path of a reset, derived from TTLs and the metadata of the file.
    pub enum Vantage {
        /// At the source of the reset.
        Source => "source",
        /// At the destination of the reset.
        Destination => "destination",
        /// At both: a loopback interface, or two ends on one host.
        Both => "both",
        /// Between the ends.
        Between => "between",
    }
}

names! {
    /// What a fact in the evidence is about.
    pub enum EvidenceKind {
        /// Reset reason given by the kernel (`enum sk_rst_reason`).
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
        /// Unanswered keepalive probes.
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
        /// Former connection with these addresses and ports, and how it ended.
        Tombstone => "tombstone",
        /// Former listener on this port.
        FormerListener => "former_listener",
        /// Process on this host that received the reset.
        LocalReceiver => "local_receiver",
        /// Sender of the reset on this host.
        LocalSender => "local_sender",
        /// The process closed after an idle period, perhaps at an idle timeout of its own.
        OwnTimeout => "own_timeout",
        /// What the proxy did to this leg, regardless of the other one.
        OwnCause => "own_cause",
        /// The end of another connection of the same process.
        OtherLeg => "other_leg",
        /// Events lost around this time.
        LostEvents => "lost_events",
        /// No traced interface saw the segment.
        NotSeenOnWire => "not_seen_on_wire",
        /// State in which the kernel accepted the reset.
        Accepted => "accepted",
        /// The reset has the expected sequence number (captures).
        Expected => "expected",
        /// Idle time before the reset, and what ended it.
        Silence => "silence",
        /// Many connections of the path were reset at the same moment.
        Burst => "burst",
        /// The timeout that earlier resets of the path show.
        Learned => "learned",
        /// Devices whose idle timeout matches the idle time.
        Candidates => "candidates",
        /// TTL of the reset, compared with other segments of its source.
        Ttl => "ttl",
        /// Source MAC address, compared with the handshake's.
        SourceMac => "source_mac",
        /// The form of an answer, but nothing was sent that it could answer.
        NothingToAnswer => "nothing_to_answer",
        /// It answers the first segment after an idle period.
        Late => "late",
        /// It arrived sooner than the minimum RTT to the peer allows.
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
        /// Target socket of the reset.
        Socket => "socket",
        /// Sequence number, compared with the expected one.
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
        /// TCP flags of the reset.
        Flags => "flags",
        /// It acknowledges less than a segment before it.
        OldAck => "old_ack",
        /// An earlier reset of a device on the path looked like it.
        KnownDevice => "known_device",
        /// This host had forwarded the connection, and its table entry has expired since.
        PassedOnBefore => "passed_on_before",
        /// Frame in the capture, and where the capture was made.
        Captured => "captured",
        /// What looks the same in a capture.
        LookAlikes => "look_alikes",
        /// An earlier reset had ended the connection.
        Ended => "ended",
        /// The receiver answered with a challenge ACK.
        Challenged => "challenged",
        /// The connection went on after the reset.
        LivesOn => "lives_on",
        /// The receiver of the reset sent data afterwards.
        ReceiverTalksOn => "receiver_talks_on",
        /// The source of the reset kept sending afterwards.
        TalksOn => "talks_on",
        /// The capturing host sent the reset without having received it.
        PutInHere => "put_in_here",
        /// Seen on one side of a router only.
        SeenOnce => "seen_once",
        /// Unanswered keepalive probes in the capture.
        Probes => "probes",
        /// Unanswered bytes from the other end.
        Unanswered => "unanswered",
        /// What is missing for an answer (comparison of captures).
        Missing => "missing",
        /// A capture covers the moment but does not contain the reset (comparison).
        NotSeen => "not_seen",
        /// It left a host without having arrived there (comparison).
        NotPassed => "not_passed",
        /// It left the host of a capture (comparison).
        Left => "left",
        /// A later capture also contains it (comparison).
        Passed => "passed",
        /// The alleged sender continued the connection (comparison).
        WentOn => "went_on",
        /// The far end of the proxy's other leg had ended that leg earlier (comparison).
        Propagated => "propagated",
        /// The proxy ended the connection on its own (comparison).
        OwnDecision => "own_decision",
    }
}

names! {
    /// Common, usually harmless way in which a connection ends.
    pub enum Class {
        /// A client opens a connection at even intervals and resets it without having sent anything.
        HealthCheck => "health_check",
        /// A client resets its connection without having sent anything: a health check or a scan.
        EmptyConnection => "empty_connection",
        /// One source tries many ports of this host within seconds.
        PortScan => "port_scan",
        /// The client resets the connection when everything has been answered, acknowledged and read.
        CompleteExchange => "complete_exchange",
        /// A TLS close_notify, or another message of at most 31 bytes, arrived after the receiver had closed.
        TlsClose => "tls_close",
        /// The client closes with TLS session tickets unread.
        TlsTickets => "tls_tickets",
    }
}

names! {
    /// Role of a record in its incident.
    pub enum IncidentRole {
        /// The first reset of the incident.
        First => "first",
        /// A further reset of the same connection, such as an answer to a segment that was in flight.
        Consequence => "consequence",
        /// The same reset, as the other end on this host sees it.
        OtherEnd => "other_end",
        /// The same reset under other addresses (NAT, forwarding), or another connection that was reset because of it (proxy).
        Leg => "leg",
        /// Evidence against the verdict of the first record.
        Correction => "correction",
    }
}

names! {
    /// Role of a record in its chain.
    pub enum LinkRole {
        /// The end that sent the reset.
        Sender => "sender",
        /// This host, forwarding the reset.
        Forwarder => "forwarder",
        /// The end that received the reset.
        Receiver => "receiver",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A process at the time of the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// PID in the PID namespace of rsttrace, or in the initial one if `outside` is set.
    pub pid: u32,
    /// The process is outside of the PID namespace of rsttrace, as a container has one without `--pid=host`; absent if it is not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub outside: bool,
    /// Process name (`/proc/PID/comm`).
    pub comm: Word,
    /// Path of the executable; absent for kernel threads and processes that had already exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<Word>,
    /// Command line, arguments separated by spaces; absent under the same conditions as `exe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<Word>,
    /// Effective UID in the initial user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Container ID from the cgroup path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<Word>,
    /// systemd unit from the cgroup path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Word>,
    /// Kubernetes pod UID from the cgroup path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<Word>,
    /// Names of the container and the pod; absent if the node keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Box<Workload>>,
    /// cgroup path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Word>,
    /// Relation of the process to the connection.
    pub role: Role,
    /// How the process was identified.
    pub quality: Quality,
}

/// Names of a container and its pod, from the files of the kubelet and the container runtime on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// Deployment or other owner of a ReplicaSet, inferred from the name of the pod; or the service of Docker Compose (`project/service`) or Swarm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Word>,
    /// Kubernetes namespace of the pod (OpenTelemetry: `k8s.namespace.name`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Word>,
    /// Kubernetes pod (`k8s.pod.name`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Word>,
    /// Container: its name within the pod (`k8s.container.name`), or the one of `docker ps` and `podman ps` (`container.name`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Word>,
    /// Image as the container was started with it (`container.image.name`, with tag or digest).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Word>,
}

/// A process for as long as it runs: processes of different PID namespaces may have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId {
    /// As [`Process::pid`].
    pub pid: u32,
    /// As [`Process::outside`].
    pub outside: bool,
}

impl Process {
    pub fn id(&self) -> ProcessId {
        ProcessId {
            pid: self.pid,
            outside: self.outside,
        }
    }
}

/// The socket at the time of the reset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Socket {
    /// Socket cookie, unique within a boot.
    pub cookie: u64,
    /// Inode number as in `/proc/PID/fd`; absent for sockets without a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// TCP state before the reset, as shown by `ss`.
    pub state: Word,
    /// Seconds since the handshake; absent if the connection is older than the trace, or was never established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<f64>,
    /// Keepalive settings.
    pub keepalive: Keepalive,
    /// SO_LINGER time in seconds; absent if off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger: Option<f64>,
    /// Initial sequence numbers; absent if the connection is older than the trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isn: Option<Isn>,
    /// Received bytes not yet read by the application; absent for listeners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<u64>,
    /// Bytes written by the application and not acknowledged by the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent: Option<u64>,
    /// Payload bytes sent, including retransmissions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Payload bytes received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// Smoothed round-trip time in seconds; absent if not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<f64>,
    /// Segments retransmitted over the lifetime of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
}

/// Keepalive settings of a socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Keepalive {
    /// SO_KEEPALIVE.
    pub enabled: bool,
    /// Idle time before the first probe in seconds (TCP_KEEPIDLE); absent if the sysctl applies and its value is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// Seconds between probes (TCP_KEEPINTVL); absent under the same condition as `time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<f64>,
    /// Number of unanswered probes before the connection fails (TCP_KEEPCNT); absent under the same condition as `time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
}

/// The pair of initial sequence numbers, which NAT does not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Isn {
    /// Initial sequence number of the local end.
    pub local: u32,
    /// Initial sequence number of the remote end.
    pub remote: u32,
}

/// Idle times of the connection, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Idle {
    /// Idle time before the segment that triggered the reset, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_before: Option<f64>,
    /// Seconds since the last application data in either direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_data: Option<f64>,
    /// Seconds since the last acceptable segment from the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_heard: Option<f64>,
    /// Seconds from the oldest unacknowledged send to the reset; absent if everything was acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_after_send: Option<f64>,
    /// Kind of idle timeout that the pattern matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<IdleMode>,
    /// Known devices with a matching timeout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// Timeout learned from earlier resets on this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned: Option<Box<Learned>>,
}

/// A known device with a matching timeout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Name of the device.
    pub device: Word,
    /// Idle timeout in seconds.
    pub timeout: f64,
    /// What the device does at its timeout; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<IdleMode>,
    /// Source of the timeout.
    pub basis: Basis,
}

/// A timeout learned from earlier resets on this path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Learned {
    /// Timeout in seconds.
    pub timeout: f64,
    /// Number of resets that match the timeout.
    pub samples: u64,
    /// Number of resets after idle time on this path.
    pub of: u64,
    /// Largest deviation of a sample from `timeout`, in seconds; absent for a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// Whether `timeout` is the timeout itself or a bound.
    pub bound: Bound,
}

/// The RST segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Packet {
    /// TTL or hop limit as sent or received; absent if the segment was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Number of hops, estimated from the TTL and the nearest common initial value (64, 128, 255).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hops: Option<u8>,
    /// TTL of the peer's SYN or SYN-ACK on this flow; absent if not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_ttl: Option<u8>,
    /// IPv4 identification; absent for IPv6 or if not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_id: Option<u16>,
    /// Sequence number; absent if neither seen nor derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u32>,
    /// Acknowledgment number; absent under the same condition as `seq`, and without ACK in `flags`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<u32>,
    /// Unscaled window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u16>,
    /// TCP flags as tcpdump prints them, for example `R.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Word>,
    /// Timestamps option.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<Timestamps>,
    /// Source MAC address; absent on interfaces without one and if all zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Word>,
    /// Kind of reset segment; absent if not known.
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

/// Data from the kernel hooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    /// Reset reason (`enum sk_rst_reason` without prefix); absent for received resets and on kernels before 6.10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word>,
    /// TCP state at the hook; differs from `socket.state` if the kernel had just closed the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Word>,
    /// Hooks that observed the reset.
    pub hook: Vec<Word>,
}

/// The chain that a record belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// Chain ID: the number of the first record in the chain.
    pub id: u64,
    /// Role of this record in the chain.
    pub role: LinkRole,
}

/// The end of one connection, or of one chain of connections through this host, with all of its resets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Incident ID: the number of its first record.
    pub id: u64,
    /// Role of this record.
    pub role: IncidentRole,
    /// Impact of the incident as far as it is known with this record. `verdict.severity` repeats it in one record of the
    /// incident only, and is `noise` in the others.
    pub severity: Severity,
    /// Further resets of the same connection that had been seen when this record was written; absent if there were none,
    /// and in all but the first record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub further: Option<u64>,
}

/// Position of a reset in a packet capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapturePoint {
    /// File name as given; `-` for standard input.
    pub file: Word,
    /// Frame number, starting at 1 (`frame.number` in Wireshark).
    pub frame: u64,
    /// Position of the capture on the path of the reset; absent if not known.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names_are_those_of_json<T: Named + Serialize>() {
        for value in T::ALL {
            let json = serde_json::to_string(value).expect("JSON");
            assert_eq!(json.trim_matches('"'), value.name());
        }
    }

    #[test]
    fn names_in_json_filters_and_tables_agree() {
        names_are_those_of_json::<Cause>();
        names_are_those_of_json::<Origin>();
        names_are_those_of_json::<FailureKind>();
        names_are_those_of_json::<Severity>();
        names_are_those_of_json::<Confidence>();
        names_are_those_of_json::<Direction>();
        names_are_those_of_json::<EvidenceKind>();
        names_are_those_of_json::<Role>();
        names_are_those_of_json::<Quality>();
        names_are_those_of_json::<Form>();
        names_are_those_of_json::<IdleMode>();
        names_are_those_of_json::<Basis>();
        names_are_those_of_json::<Bound>();
        names_are_those_of_json::<Vantage>();
        names_are_those_of_json::<LinkRole>();
        names_are_those_of_json::<IncidentRole>();
        names_are_those_of_json::<Class>();
    }
}

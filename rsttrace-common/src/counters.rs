//! Indices of the per-CPU counters: each loss has one, and what was seen = what was emitted + what was suppressed + what was
//! lost.

/// `tcp:tcp_send_reset` ran for a TCP reset: equals the kernel's `TcpOutRsts` while the tool runs.
pub const SENT_SEEN: u32 = 0;
/// A sent reset could not be put into the ring.
pub const SENT_LOST: u32 = 1;
/// `tcp:tcp_receive_reset` ran.
pub const RECEIVED_SEEN: u32 = 2;
/// A received reset could not be put into the ring.
pub const RECEIVED_LOST: u32 = 3;
/// A classifier saw a segment with RST.
pub const PACKET_SEEN: u32 = 4;
/// It could not be put into the ring.
pub const PACKET_LOST: u32 = 5;
/// A connect or a connection failed without a reset.
pub const FAILED_SEEN: u32 = 6;
/// It could not be put into the ring.
pub const FAILED_LOST: u32 = 7;
/// An open socket's record made room for another socket's: it has no recorded owner any more.
pub const OWNER_EVICTED: u32 = 8;
/// A tombstone took the place of another one.
pub const TOMBSTONE_EVICTED: u32 = 9;
/// A TTL baseline took the place of another one.
pub const BASELINE_EVICTED: u32 = 10;
/// Sockets that were there before the tool and got an owner at its start.
pub const SEEDED: u32 = 11;
/// A reset without a full socket was seen by way of the function that sends it (before 6.10, where the tracepoint shows
/// none of them): belongs to `SENT_SEEN`.
pub const STATELESS_SEEN: u32 = 12;
/// It could not be put into the ring.
pub const STATELESS_LOST: u32 = 13;
/// A sent reset was not described on purpose, see `flood`.
pub const SENT_SUPPRESSED: u32 = 14;
/// The same for `STATELESS_SEEN`.
pub const STATELESS_SUPPRESSED: u32 = 15;
/// A received reset was not described on purpose.
pub const RECEIVED_SUPPRESSED: u32 = 16;
/// The same, although nothing had been seen of that reset before: its packet may have been described. Belongs to
/// `RECEIVED_SUPPRESSED`.
pub const RECEIVED_SUPPRESSED_ALONE: u32 = 17;
/// A packet was not described on purpose.
pub const PACKET_SUPPRESSED: u32 = 18;
/// The same, although nothing had been seen of that reset before. Belongs to `PACKET_SUPPRESSED`.
pub const PACKET_SUPPRESSED_ALONE: u32 = 19;
/// A flow's reset was decided on while parts of the one before it may still have been on their way, and not both were
/// described: what is missing of either may have been seen.
pub const DECIDED_ANEW: u32 = 20;
/// A translation of addresses took the place of another one.
pub const TRANSLATION_EVICTED: u32 = 21;
/// A failure without a reset was not described on purpose: there were too many.
pub const FAILED_SUPPRESSED: u32 = 22;
/// A listener was one too many: it has no recorded owner, nor have its connections until they are accepted.
pub const LISTENER_LOST: u32 = 23;
/// How many counters there are.
pub const COUNT: u32 = 24;

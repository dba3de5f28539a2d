//! The spans and tolerances that verdicts rest on: one place for live resets, captures, comparisons, the history, the report and
//! the probe.
//!
//! Weights of TTLs and other signs are in [`crate::verdict::peer_signs`], the timeouts of known devices in
//! `data/idle-timeouts.tsv`.

use std::time::Duration;

/// Silences below this are think time, not idleness, and no sentence mentions them.
pub const IDLE: Duration = Duration::from_millis(900);

/// A silence after which a path is worth probing.
pub const WORTH_PROBING: Duration = Duration::from_secs(30);

/// Seconds: a device of the table may be meant only from this timeout on. Shorter ones are think times of applications.
pub const LEAST_KNOWN_TIMEOUT: f64 = 30.0;

/// A device that is not known is believed to have forgotten a connection from this silence on; before, it may have had any
/// reason to reset it.
pub const LEAST_FORGETFUL: Duration = Duration::from_secs(60);

/// How far the silence before a reset may be from a timeout that is known, at least: timers are looked at every second or so.
pub const CLOCK_SLACK: Duration = Duration::from_millis(250);

/// How far the silence before a reset may be from a timeout that is configured or known: 297 to 303 s fit 300 s, 290 s do not.
pub fn known_tolerance(timeout: Duration) -> Duration {
    (timeout / 100).max(CLOCK_SLACK)
}

/// How far apart the silences of one path may be and still show one timeout. Narrower than [`known_tolerance`] below 25 s:
/// nothing but their likeness speaks for a timeout.
pub fn learned_tolerance(timeout: Duration) -> Duration {
    (timeout / 100).max(Duration::from_millis(100))
}

/// How far apart two silences of the probe's connections may be and still have met one timeout: both ends are busy then.
pub fn probed_tolerance(timeout: Duration) -> Duration {
    (timeout * 3 / 100).max(CLOCK_SLACK)
}

/// What was on its way when the peer reset may come so long after it, out of order.
pub const REORDERED: Duration = Duration::from_millis(10);

/// Longer than acknowledgments are put off.
pub const LONGEST_DELAYED_ACK: Duration = Duration::from_millis(250);

/// A box that resets both ends does it in one go.
pub const BOTH_AT_ONCE: Duration = Duration::from_millis(5);

/// Connections that end by one event follow each other within this time.
pub const AT_ONE_INSTANT: Duration = Duration::from_millis(5);

/// All of them within this time; longer, it is a stream and no event. Shorter than the window of the correlation.
pub const LONGEST_INSTANT: Duration = Duration::from_millis(100);

/// So many at least, or it may be chance.
pub const MANY_AT_ONCE: usize = 5;

/// Resets so close to the one that hit are of one volley.
pub const VOLLEY: Duration = Duration::from_secs(1);

/// A segment of the peer so long after a reset is of another story.
pub const TALKS_ON: Duration = Duration::from_secs(2);

pub use rsttrace_common::socket::{LONGEST_FAREWELL, LONGEST_LAST_WORDS};

/// From the last words of an end to its FIN, at most.
pub const LAST_WORDS: Duration = Duration::from_millis(50);

/// A silence before last words that are no TLS close_notify, at least: before a shorter one they may be a slow answer.
pub const BEFORE_LAST_WORDS: Duration = Duration::from_secs(10);

/// An alleged sender that still sends so long after the reset did not send it; what it sent earlier may have crossed the reset.
pub const CROSSED: Duration = Duration::from_millis(50);

/// Kernels answer at once, busy ones a little later.
pub const LONGEST_ANSWER: Duration = Duration::from_millis(20);

/// A reset of a connection so long after the last one belongs to the same end of it: segments in flight, and their
/// retransmissions.
pub const SAME_END: Duration = Duration::from_secs(2);

/// However many follow each other, an end takes no longer.
pub const LONGEST_END: Duration = Duration::from_secs(60);

/// A connection that its client resets within this time without having sent anything is a check: health checkers wait no longer.
pub const CHECK: Duration = Duration::from_secs(10);

/// A client that leaves within this time, before the server greets it, is a check, too: whoever wants to speak waits longer.
pub const LATE_BANNER: Duration = Duration::from_secs(1);

/// How far intervals of one checker may be apart from each other.
pub fn period_tolerance(period: Duration) -> Duration {
    (period / 20).max(Duration::from_millis(50))
}

/// Ports that one source tries within [`SCAN`]: no client needs so many.
pub const SCANNED_PORTS: usize = 20;

/// See [`SCANNED_PORTS`].
pub const SCAN: Duration = Duration::from_secs(10);

/// A SYN so long before the connection is another one's: six retransmissions take 127 s.
pub const LONGEST_HANDSHAKE: Duration = Duration::from_secs(130);

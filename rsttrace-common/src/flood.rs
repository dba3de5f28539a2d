//! Which resets are described in detail when there are too many, and what is remembered of the others.
//!
//! A reset is described if there is room for it among those of its class from its network to its port, among those of
//! its class to that port, among those of its class from that network, and among all of its class: so a storm takes
//! room from what is like it only. What has no room is counted where the room was missing. Room is a token bucket in
//! the form of a virtual schedule (ITU-T I.371, GCRA): each admission moves `ready_ns` on by an interval, and there is
//! room while it is no further ahead of the clock than a burst.

use crate::header::{
    KIND_RESET_RECEIVED, KIND_RESET_SENT, KIND_RESET_SENT_BY_LISTENER, KIND_RESET_SENT_STATELESS,
    KIND_RST_PACKET,
};
use crate::reset::REASON_NONE;

wire! {
    /// What resets have in common that share a bucket.
    pub struct BucketKey {
        /// Their remote network, [`NETWORK_BITS_V4`] or [`NETWORK_BITS_V6`] bits of the address in network order (IPv4 as
        /// `::ffff:a.b.c.0`). Zero with `BUCKET_ANY_NETWORK`.
        pub network: [u8; 16],
        /// As in the header of their events.
        pub netns_cookie: u64,
        /// Their class, see [`class_of`].
        pub class: u16,
        /// The port that serves, host order: as far as that can be told, see `BUCKET_PORT_IS_REMOTE`. Zero with
        /// `BUCKET_ANY_PORT`.
        pub port: u16,
        /// `BUCKET_` flags.
        pub flags: u32,
    }

    /// A bucket in the kernel's table. Nothing locks it: what two CPUs write at once is caught by `check`.
    pub struct Bucket {
        /// What it is for.
        pub key: BucketKey,
        /// [`hash_of`] the key, never 0; 0: never used.
        pub check: u64,
        /// Nanoseconds of `CLOCK_BOOTTIME`: when it will be as full of tokens as it gets. What it refused is counted
        /// apart, by its place in the table.
        pub ready_ns: u64,
    }

    /// What one CPU counted of a class at the hooks that know the reason: sent resets by reason, received ones by state.
    pub struct ClassCount {
        /// All.
        pub seen: u64,
        /// Those of them that were not described on purpose.
        pub suppressed: u64,
    }
}

/// The bucket is for any port.
pub const BUCKET_ANY_PORT: u32 = 1;
/// The bucket is for any network.
pub const BUCKET_ANY_NETWORK: u32 = 2;
/// `port` is the remote end's: the lower of the two, where nothing else tells which end serves.
pub const BUCKET_PORT_IS_REMOTE: u32 = 4;

/// Bits of an IPv4 network.
pub const NETWORK_BITS_V4: u8 = 24;
/// Bits of an IPv6 network.
pub const NETWORK_BITS_V6: u8 = 64;

/// Buckets for all but whole classes, a power of two.
pub const BUCKETS: u32 = 4096;
/// Refusals are counted by each CPU at the place of the bucket that refused: first those of the table, then the classes'.
pub const REFUSALS: u32 = BUCKETS + CLASSES;
/// So many of them are an element of the map, a power of two.
pub const REFUSALS_EACH: u32 = 128;
/// A bucket that has been full for this long may be taken for another key: user space has read its count by then.
pub const BUCKET_REST_NS: u64 = 2_000_000_000;

/// How many admissions at once, and by what the interval between them is divided.
#[derive(Clone, Copy)]
pub struct Level {
    /// Admissions at once.
    pub burst: u64,
    /// Times as many a second as of the narrowest level, as a power of two.
    pub share: u32,
}

/// Class, port and network.
pub const NARROW: Level = Level {
    burst: 100,
    share: 0,
};
/// Class and port, or class and network.
pub const WIDE: Level = Level {
    burst: 1_000,
    share: 2,
};
/// Class.
pub const WIDEST: Level = Level {
    burst: 2_000,
    share: 3,
};

/// Slots of the table of decisions, a power of two.
pub const DECISIONS: u32 = 32_768;

/// Reasons told apart; higher ones are counted together.
const REASONS: u16 = 48;
/// States of a socket, `TCP_` constants and 0.
const STATES: u16 = 16;
/// Classes of a kind that has a reason: by reason, or by state where the kernel gives none.
const REASONED: u16 = REASONS + STATES;

/// Circumstances of an active reset, `HINT_` flags.
const HINTS: u16 = 32;

const SENT: u16 = 0;
const SENT_ACTIVE: u16 = SENT + REASONED;
const SENT_BY_LISTENER: u16 = SENT_ACTIVE + HINTS;
const SENT_FOR_SYN: u16 = SENT_BY_LISTENER + REASONED;
const SENT_STATELESS: u16 = SENT_FOR_SYN + REASONED;
const RECEIVED: u16 = SENT_STATELESS + REASONED;
const PACKET_IN: u16 = RECEIVED + STATES;
const PACKET_OUT: u16 = PACKET_IN + STATES;
/// How many classes there are.
pub const CLASSES: u32 = PACKET_OUT as u32 + STATES as u32;

/// What a class is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// A `KIND_` constant.
    pub kind: u16,
    /// `enum sk_rst_reason` of the running kernel, `REASON_NONE` where it gives none. 47 stands for all from there on.
    pub reason: u32,
    /// Where there is no reason: the socket's `TCP_` state, 0 without one. For a packet on its way in the state of the
    /// socket it is for; on its way out a `SENDER_` constant.
    pub state: u8,
    /// With a full socket: it is an active reset, and `state` its `HINT_` flags. Without one: it answers a SYN without
    /// ACK. A packet: it is on its way out.
    pub marked: bool,
}

// What a socket tells of the active reset it sends, at whichever hook: its segment is on the wire before the tracepoint
// gives the reason.
/// SO_LINGER is on, with time 0.
pub const HINT_LINGER_ZERO: u8 = 1;
/// There is data that nobody read.
pub const HINT_UNREAD: u8 = 2;
/// No process has it any more.
pub const HINT_ORPHAN: u8 = 4;
/// It is in CLOSE already.
pub const HINT_CLOSED: u8 = 8;
/// It has sent probes that were not answered.
pub const HINT_PROBED: u8 = 16;

/// A packet on its way out belongs to no socket.
pub const SENDER_NONE: u8 = 0;
/// A packet on its way out belongs to a socket.
pub const SENDER_SOCKET: u8 = 1;
/// A packet on its way out came in before.
pub const SENDER_REMOTE: u8 = 2;

/// The index of a class, below [`CLASSES`].
#[inline(always)]
pub const fn class_of(class: Class) -> u16 {
    let state = class.state as u16 & (STATES - 1);
    let reasoned = if class.reason == REASON_NONE {
        REASONS + state
    } else if class.reason < REASONS as u32 {
        class.reason as u16
    } else {
        REASONS - 1
    };
    match (class.kind, class.marked) {
        (KIND_RESET_SENT, false) => SENT + reasoned,
        (KIND_RESET_SENT, true) => SENT_ACTIVE + (class.state as u16 & (HINTS - 1)),
        (KIND_RESET_SENT_BY_LISTENER, _) => SENT_BY_LISTENER + reasoned,
        (KIND_RESET_SENT_STATELESS, true) => SENT_FOR_SYN + reasoned,
        (KIND_RESET_SENT_STATELESS, false) => SENT_STATELESS + reasoned,
        (KIND_RESET_RECEIVED, _) => RECEIVED + state,
        (_, false) => PACKET_IN + state,
        (_, true) => PACKET_OUT + state,
    }
}

/// What an index stands for; `None`: no class has it.
pub const fn class_at(index: u16) -> Option<Class> {
    let (kind, first, marked) = match index {
        SENT..SENT_ACTIVE => (KIND_RESET_SENT, SENT, false),
        SENT_ACTIVE..SENT_BY_LISTENER => (KIND_RESET_SENT, SENT_ACTIVE, true),
        SENT_BY_LISTENER..SENT_FOR_SYN => (KIND_RESET_SENT_BY_LISTENER, SENT_BY_LISTENER, false),
        SENT_FOR_SYN..SENT_STATELESS => (KIND_RESET_SENT_STATELESS, SENT_FOR_SYN, true),
        SENT_STATELESS..RECEIVED => (KIND_RESET_SENT_STATELESS, SENT_STATELESS, false),
        RECEIVED..PACKET_IN => (KIND_RESET_RECEIVED, RECEIVED, false),
        PACKET_IN..PACKET_OUT => (KIND_RST_PACKET, PACKET_IN, false),
        _ if (index as u32) < CLASSES => (KIND_RST_PACKET, PACKET_OUT, true),
        _ => return None,
    };
    let at = index - first;
    let (reason, state) = if first >= RECEIVED || first == SENT_ACTIVE {
        (REASON_NONE, at as u8)
    } else if at < REASONS {
        (at as u32, 0)
    } else {
        (REASON_NONE, (at - REASONS) as u8)
    };
    Some(Class {
        kind,
        reason,
        state,
        marked,
    })
}

/// Odd, its bits evenly mixed (2^64 divided by the golden ratio).
pub const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// One step of a hash.
#[inline(always)]
pub const fn mix(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 29)
}

/// Over a bucket's key; never 0.
#[inline(always)]
pub fn hash_of(key: &BucketKey) -> u64 {
    let [high, low] = words_of(&key.network);
    let rest = (key.flags as u64) << 32 | (key.port as u64) << 16 | key.class as u64;
    mix(mix(mix(mix(MULTIPLIER, high), low), key.netns_cookie), rest) | 1
}

/// An address as two words.
#[inline(always)]
pub fn words_of(address: &[u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
    [
        u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
    ]
}

const _: () = {
    assert!(size_of::<BucketKey>() == 32);
    assert!(size_of::<Bucket>() == 48);
    assert!(
        BUCKETS.is_power_of_two() && DECISIONS.is_power_of_two() && REFUSALS_EACH.is_power_of_two()
    );
    let mut index = 0;
    while (index as u32) < CLASSES {
        match class_at(index) {
            Some(class) => assert!(class_of(class) == index),
            None => panic!("a hole"),
        }
        index += 1;
    }
    assert!(class_at(index).is_none());
};

//! What is remembered of handshakes that pass: which addresses they leave with.

use crate::{Flow, FlowKey};

wire! {
    /// A SYN or SYN-ACK by its sequence number, which no translation of addresses changes.
    pub struct SynKey {
        /// Namespace, as in `FlowKey`.
        pub netns_cookie: u64,
        /// Initial sequence number.
        pub seq: u32,
        /// TCP flags: SYN, with ACK or without.
        pub flags: u32,
    }

    /// Where it was last seen: coming in or, of this host's own, leaving.
    pub struct Syn {
        /// When: nanoseconds of `CLOCK_BOOTTIME`.
        pub seen_ns: u64,
        /// Destination as `local`, source as `remote`, in the key's namespace.
        pub came: FlowKey,
        /// 1: several flows had the number at about the same time, so it identifies none of them.
        pub is_shared: u32,
        /// Zero.
        pub reserved: u32,
    }

    /// A SYN or SYN-ACK left with other addresses than it came in with; by the `FlowKey` it came in with, destination as `local`.
    pub struct Translation {
        /// When it left: nanoseconds of `CLOCK_BOOTTIME`.
        pub seen_ns: u64,
        /// What it left with: destination as `local`, source as `remote`.
        pub flow: Flow,
    }
}

/// Slots of the table of SYNs, one for each number. They are needed until the answer comes.
pub const SYN_SLOTS: u32 = 4096;
/// Slots of the table of translations, two for each flow.
pub const TRANSLATION_SLOTS: u32 = 16_384;

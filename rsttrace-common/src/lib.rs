//! What crosses the boundary between the kernel and the daemon: events, maps' keys and values, knobs.
//!
//! Rules that every type here keeps:
//! - `repr(C)`, fixed-width integers, padding spelled out and zero; no `bool`, `enum`, `Option`, `usize`.
//! - The byte order is the machine's own unless a field says "network order"; both sides run on one host.
//! - Times are nanoseconds of `CLOCK_BOOTTIME` (`bpf_ktime_get_boot_ns`) or, where a field says so, jiffies.
//! - Zero stands for "not known" only where the field says so.
//! - Kinds and counters are append-only; a change of layout raises [`WIRE_VERSION`].
#![no_std]

/// Version of every layout in this crate; each event carries it in its [`Header`].
pub const WIRE_VERSION: u16 = 3;

/// Declares wire types: C layout, copyable, and castable from bytes on the daemon's side, where the
/// derive also proves at compile time that a type has no hidden padding.
macro_rules! wire {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident : $type:ty),* $(,)? })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(
            feature = "zerocopy",
            derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
        )]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),* }
    )*};
}

pub mod counters;
pub mod flood;
pub mod flow;
pub mod handshake;
pub mod header;
pub mod knobs;
mod layout;
pub mod lifecycle;
pub mod packet;
pub mod reset;
pub mod socket;
pub mod table;
pub mod task;

pub use flow::{Flow, FlowKey};
pub use header::Header;

//! Data types of rsttrace: events, records, filters and their text form.
//!
//! Nothing here judges, and nothing reads or writes.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod event;
pub mod filter;
pub mod hash;
pub mod palette;
pub mod record;
pub mod self_stats;
pub mod sockets;
pub mod text;
pub mod words;

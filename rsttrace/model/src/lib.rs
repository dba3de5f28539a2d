//! The data of rsttrace: what is observed, what is said about it, and how values read as text.
//!
//! Nothing here judges, and nothing reads or writes.

pub mod event;
pub mod filter;
pub mod hash;
pub mod palette;
pub mod record;
pub mod sockets;
pub mod text;
pub mod vitals;
pub mod words;

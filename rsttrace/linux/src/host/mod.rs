//! Facts about this host. The only place that reads `/proc`, cgroups and clocks.
//!
//! Everything here may fail for a process that is gone or not ours to see; then the fact is absent.

pub mod cgroup;
pub mod enrich;
pub mod environment;
pub mod facts;
pub mod own;
pub mod process;
pub mod settings;
pub mod socket_holder;
pub mod sockets;
mod subjects;

pub use crate::sys::clock;
pub use enrich::{Enricher, NetnsNames};

//! Facts about this host. The only place that reads `/proc`, cgroups and clocks.
//!
//! Everything here may fail for a process that is gone or not ours to see; then the fact is absent.

pub mod cgroup;
pub mod enrich;
pub mod environment;
mod event_tasks;
pub mod facts;
pub mod full;
pub mod net_counters;
mod network;
pub mod process;
mod program_timers;
mod root;
pub mod self_usage;
pub mod settings;
pub mod socket_holder;
pub mod sockets;
mod workload;

pub use crate::sys::clock;
pub use enrich::{Enricher, NetnsNames};
pub use network::Handshakes;

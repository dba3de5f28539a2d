//! The kernel edge: loads eBPF programs and reads their events.
//!
//! The only place that knows aya. [`Tracer::start`] loads and attaches; what the kernel refuses is data
//! ([`Hooks`]), and dropping the tracer takes everything off again.

mod btf;
mod clock;
mod counters;
mod events;
mod flood;
mod handshakes;
mod hooks;
mod interfaces;
mod netns;
mod netns_names;
mod netns_poll;
mod object;
mod perf_namespaces;
mod preflight;
pub mod privileges;
mod rtnetlink;
mod scope;
mod sys;
mod tc;
mod tc_manager;
mod tracer;
mod tracing_programs;

pub use btf::BtfError;
pub use counters::{Counters, ProgramStats};
pub use events::{EventReader, Transport};
pub use flood::{ClassTotal, FloodMaps};
pub use handshakes::HandshakeMaps;
pub use hooks::{Fact, HookState, Hooks, Way};
pub use interfaces::{Inode, InterfaceOptions, Names, Namespace, Scope, TcMode};
pub use object::extract_types;
pub use preflight::{StartError, has_btf};
pub use tracer::{DETAIL_INTERVAL, DebugLog, Options, Prepared, Slots, Tracer};

//! Staged resets of every kind, each with its known truth.
//!
//! A [`Lab`] holds three private network namespaces: client, router, server. A [`Scenario`] opens its
//! sockets there ([`Scenario::open`]) and later provokes its reset ([`Armed::provoke`]), confirms it from the
//! staging side (errno, packet capture, kernel counters) and knows what a right explanation contains
//! ([`Truth`]). Nothing here knows the tracer or its rules.

mod actor;
mod capture;
mod error;
mod kernel_state;
mod lab;
pub mod link;
pub mod namespace;
mod net;
pub mod scenarios;
mod segment;
mod tap;
pub mod traffic;
mod truth;
mod wait;

pub use actor::{ActorArgs, SUBCOMMAND, actor_main};
pub use capture::Capture;
pub use error::StageError;
pub use kernel_state::counter;
pub use lab::{IpVersion, Lab, Place, View};
pub use link::Link;
pub use namespace::Namespace;
pub use rsttrace_sys::raise_file_limit;
pub use scenarios::{Armed, Family, Hop, Scenario, Staged, Suite, stage_together};
pub use segment::{Flags, Injector, Pattern, Segment};
pub use tap::{Taps, file_name};
pub use truth::{Hidden, Holder, Named, StagedIdle, Truth, Who};

use rsttrace_model::record;
use rsttrace_sys as sys;

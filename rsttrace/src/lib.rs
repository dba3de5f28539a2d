//! rsttrace: who sent this TCP RST?
//!
//! The way of an event: kernel hook → wire event → decode → join, attribute, judge (pure) → record → sinks.
//! docs/ARCHITECTURE.md names what each module must not know.

pub mod app;
mod behind;
pub mod cli;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod metrics;
pub mod probe;
pub mod report;
pub mod sink;
pub mod stats;
pub mod store;
pub mod summary;
pub mod terminal;
mod values;

pub use rsttrace_capture::{capture, compare, file_kind, recording, track};
pub use rsttrace_core::{
    attribution, captured, decode, flood, idle, join, judge, pipeline, verdict,
};
pub use rsttrace_linux::{host, kernel};
pub use rsttrace_model::{event, filter, record, text, vitals, words};
use rsttrace_model::{hash, palette, sockets};
use rsttrace_sys as sys;

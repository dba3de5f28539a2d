//! rsttrace: who sent this TCP RST?
//!
//! The way of an event: kernel hook → wire event → decode → join, attribute, judge (pure) → record → sinks.
//! docs/ARCHITECTURE.md names what each module must not know.

pub mod app;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod probe;
mod values;

pub use rsttrace_capture::{capture, compare, file_kind, flow, recording};
pub use rsttrace_core::{
    captured, causes, correlate, decode, engine, flood, ownership, silence, thresholds, verdict,
};
pub use rsttrace_lab as demo;
pub use rsttrace_linux::{host, kernel};
pub use rsttrace_model::{event, filter, record, self_stats, text, words};
use rsttrace_model::{hash, sockets};
use rsttrace_output::{background, worker};
pub use rsttrace_output::{diagnostics, metrics, report, sink, stats, store, summary, terminal};
use rsttrace_sys as sys;

//! rsttrace: who sent this TCP RST?
//!
//! The way of an event: kernel hook → wire event → decode → join, attribute, judge (pure) → record → sinks.
//! docs/ARCHITECTURE.md names what each module must not know.

pub mod app;
mod behind;
pub mod capture;
pub mod cli;
pub mod compare;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod host;
pub mod kernel;
pub mod metrics;
pub mod probe;
pub mod recording;
pub mod report;
pub mod sink;
pub mod stats;
pub mod store;
pub mod summary;
mod sys;
pub mod terminal;
pub mod track;
mod values;

pub use rsttrace_core::{
    attribution, captured, decode, flood, idle, join, judge, pipeline, verdict,
};
pub use rsttrace_model::{event, filter, record, text, vitals, words};
use rsttrace_model::{hash, palette, sockets};

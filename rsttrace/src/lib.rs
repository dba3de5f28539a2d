//! rsttrace: who sent this TCP RST?
//!
//! The way of an event: kernel hook → wire event → decode → join, attribute, judge (pure) → record → sinks.
//! docs/ARCHITECTURE.md names what each module must not know.

pub mod app;
pub mod attribution;
mod behind;
pub mod capture;
pub mod captured;
pub mod cli;
pub mod compare;
pub mod config;
pub mod decode;
pub mod demo;
pub mod doctor;
pub mod flood;
pub mod host;
pub mod idle;
pub mod join;
pub mod judge;
pub mod kernel;
pub mod metrics;
pub mod pipeline;
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
pub mod verdict;

pub use rsttrace_model::{event, filter, record, text, vitals, words};
use rsttrace_model::{hash, palette, sockets};

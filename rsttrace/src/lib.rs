//! rsttrace: who sent this TCP RST?
//!
//! The way of an event: kernel hook → wire event → decode → join, attribute, judge (pure) → record → sinks.
//! docs/ARCHITECTURE.md names what each module must not know.

pub mod demo;
pub mod event;
pub mod record;
mod sys;

//! The host from which nothing of the tracer is needed: system calls without a safe wrapper elsewhere, and its clocks.

mod calls;
pub mod clock;

pub use calls::*;
use rsttrace_model::event;

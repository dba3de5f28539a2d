//! System calls without a safe wrapper elsewhere, and the clocks of the host.

mod calls;
pub mod clock;

pub use calls::*;
use rsttrace_model::event;

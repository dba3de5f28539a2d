//! System calls without a safe wrapper elsewhere, and the clocks of the host.

mod calls;
pub mod clock;
mod input;

pub use calls::*;
pub use input::{Input, PIPE_PATIENCE, PIPE_PULSE};
use rsttrace_model::event;

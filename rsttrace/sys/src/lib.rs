//! System calls without a safe wrapper elsewhere, and the clocks of the host.

mod calls;
pub mod clock;
mod input;

pub use calls::*;
pub use input::Input;
use rsttrace_model::event;

//! How long had the connection been quiet, and does a timeout explain it?

pub mod candidates;
pub mod clocks;
pub mod devices;
pub mod memory;
pub mod software;

//! How long had the connection been quiet, and whose idle timeout does that fit?

pub mod candidates;
pub mod clocks;
pub mod devices;

//! How long had the connection been quiet?

pub mod clocks;

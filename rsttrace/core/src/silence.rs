//! Idle times of a connection, and the timeouts that explain them.

pub mod candidates;
pub mod clocks;
pub mod devices;
pub mod learned;
pub mod software;

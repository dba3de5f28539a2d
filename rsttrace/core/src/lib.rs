//! The core of rsttrace: events in, explained resets out.
//!
//! Nothing here reads, writes, looks at a clock or asks the host: all of that comes in as values.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod captured;
pub mod causes;
pub mod classes;
pub mod correlate;
pub mod decode;
pub mod engine;
pub mod flood;
pub mod ownership;
pub mod silence;
pub mod thresholds;
pub mod verdict;

use rsttrace_model::{event, hash, record, self_stats, words};

//! The core of rsttrace: events in, explained resets out.
//!
//! Nothing here reads, writes, looks at a clock or asks the host: all of that comes in as values.

pub mod attribution;
pub mod captured;
pub mod causes;
pub mod decode;
pub mod engine;
pub mod flood;
pub mod idle;
pub mod join;
pub mod verdict;

use rsttrace_model::{event, hash, record, vitals, words};

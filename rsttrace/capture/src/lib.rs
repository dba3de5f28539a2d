//! Packet captures and recordings: bytes in, observations out.

pub mod capture;
pub mod compare;
pub mod file_kind;
pub mod flow;
pub mod recording;

use rsttrace_core::{captured, engine, flood, thresholds, verdict};
use rsttrace_model::{event, hash, palette, record, self_stats, text, words};

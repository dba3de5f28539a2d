//! Packet captures and recordings: bytes in, observations out.

pub mod capture;
pub mod compare;
pub mod file_kind;
pub mod recording;
pub mod track;

use rsttrace_core::{captured, engine, flood, thresholds, verdict};
use rsttrace_model::{event, hash, palette, record, text, vitals, words};

//! Outputs for records: lines, tables, files, the history, metrics, the report.

pub mod background;
pub mod diagnostics;
mod failure;
mod findings;
pub mod metrics;
pub mod report;
pub mod sink;
pub mod stats;
pub mod store;
pub mod summary;
pub mod terminal;
pub mod worker;

use rsttrace_core::{causes, thresholds};
use rsttrace_model::{event, filter, hash, palette, record, self_stats, text, words};

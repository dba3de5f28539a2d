//! Findings: what many resets have in common, in one sentence with advice, for the report and the summary.

mod finding;
mod sentence;
mod service;

pub(crate) use finding::{Finding, Findings, Limits, rank};
pub(crate) use sentence::{number_of, sentence};
pub(crate) use service::service;

//! Joins the tracer, the pipeline and the sinks.

use crate::cli::{DemoOptions, Failure, WatchOptions};

/// Traces until told to stop.
pub fn watch(_options: WatchOptions) -> Result<(), Failure> {
    Err(Failure::Failed(anyhow::anyhow!("not wired")))
}

/// Stages resets and checks their explanations.
pub fn demo(_options: DemoOptions) -> Result<(), Failure> {
    Err(Failure::Failed(anyhow::anyhow!("not wired")))
}

//! How long does a start take?

use std::time::Instant;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::{
    Bench,
    process::{End, Running, Speaks},
    stats::Spread,
};

/// Measures: milliseconds from the start of the process to the line that says that hooks are attached.
pub fn measure(bench: &Bench) -> Result<Option<Spread>> {
    let mut took = Vec::new();
    for _ in 0..bench.plan.starts {
        let begin = Instant::now();
        let mut tracer = Running::start_bare(bench.rsttrace(&["watch"]), Speaks::Err)?;
        let ready = tracer.await_line("tracing resets")?;
        took.push((ready - begin).as_secs_f64() * 1e3);
        tracer.end(End::Signal(Signal::SIGINT))?;
    }
    Ok(Spread::of(took))
}

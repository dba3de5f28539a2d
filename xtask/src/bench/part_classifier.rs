//! What does a packet cost that passes a classifier?

use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Bench, report::Packet};
use crate::command;

/// So many that one which something else disturbs does not matter.
const ROUNDS: u32 = 25;

/// Measures.
pub fn measure(bench: &Bench) -> Result<Vec<Packet>> {
    let arguments = [bench.plan.runs.to_string(), ROUNDS.to_string()];
    let text = command::output(Command::new(&bench.classifier).args(arguments))?;
    serde_json::from_str(&text).context("the example `classifier` printed something else")
}

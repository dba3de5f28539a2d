//! Signals between a load and the process that measures it.

use std::io::{self, Read as _, Write as _};

use anyhow::{Context as _, Result};

/// Says a line to the process that waits for it.
pub fn ready(line: &str) -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("nobody waits")
}

/// Waits.
pub fn until_input_ends() {
    let mut rest = Vec::new();
    // An error is an end, too.
    let _ = io::stdin().read_to_end(&mut rest);
}

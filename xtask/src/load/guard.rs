//! Processes that undo a change of the system when a measurement ends, however it ends. Each undoes it when its
//! standard input is closed, which also happens when the one that measures is killed.

use std::io::{self, Read as _, Write as _};

use anyhow::{Context as _, Result};

/// The namespace that this process was started in ends with it.
pub fn hold() -> Result<()> {
    ready("ready")?;
    until_input_ends();
    Ok(())
}

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

//! A process that undoes a change of the system when a measurement ends, however it ends: when its standard input is closed,
//! which also happens when the measuring process is killed.

use std::{
    fs,
    io::{self, Read as _, Write as _},
};

use anyhow::{Context as _, Result};

const BPF_STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Switches the kernel's statistics of BPF programs on, and back to what they were.
pub fn count_bpf() -> Result<()> {
    let before = fs::read_to_string(BPF_STATISTICS).context("read kernel.bpf_stats_enabled")?;
    fs::write(BPF_STATISTICS, "1").context("switch kernel.bpf_stats_enabled on")?;
    // From here on nothing may return before it is as it was.
    let said = ready("ready");
    until_input_ends();
    fs::write(BPF_STATISTICS, before.trim()).context("put kernel.bpf_stats_enabled back")?;
    said
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

//! Width, color support and cursor of the terminal.

use std::io::{self, IsTerminal as _};

pub use crate::palette::Palette;

/// Columns assumed where standard output is no terminal.
pub const DEFAULT_WIDTH: usize = 120;
/// Narrower terminals are treated as if they were this wide: their lines wrap by themselves.
pub const LEAST_WIDTH: usize = 72;

/// Erases the line of the cursor, and goes to its beginning (ECMA-48: EL).
pub const ERASE_LINE: &str = "\r\x1b[K";

/// Whether a line on standard output can be overwritten.
pub fn can_overwrite() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !is_dumb
}

/// Columns of the terminal on standard output, [`DEFAULT_WIDTH`] where there is none.
pub fn stdout_width() -> usize {
    stdout_columns().unwrap_or(DEFAULT_WIDTH)
}

/// Columns of the terminal on standard output; absent where there is none.
pub fn stdout_columns() -> Option<usize> {
    let columns = comfy_table::Table::new().width();
    columns
        .filter(|&columns| columns > 0)
        .map(|columns| usize::from(columns).max(LEAST_WIDTH))
}

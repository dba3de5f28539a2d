//! Width and color support of the terminal.

pub use crate::palette::Palette;

/// Columns assumed where standard output is no terminal.
pub const DEFAULT_WIDTH: usize = 120;
/// Narrower terminals are treated as if they were this wide: their lines wrap by themselves.
pub const LEAST_WIDTH: usize = 72;

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

//! What can the terminal show: how wide is it, and may there be colours?

use crate::record::Severity;

/// Columns assumed where standard output is no terminal.
pub const DEFAULT_WIDTH: usize = 120;
/// Narrower terminals are treated as if they were this wide: their lines wrap by themselves.
pub const LEAST_WIDTH: usize = 72;

/// Columns of the terminal on standard output, [`DEFAULT_WIDTH`] where there is none.
pub fn stdout_width() -> usize {
    comfy_table::Table::new()
        .width()
        .filter(|&columns| columns > 0)
        .map_or(DEFAULT_WIDTH, |columns| {
            usize::from(columns).max(LEAST_WIDTH)
        })
}

/// Colours by severity, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Palette {
    /// Whether escape sequences are written at all.
    pub colors: bool,
}

impl Palette {
    /// `text` in the colour of `severity`: red for a fault, yellow for a refusal, dim for noise.
    pub fn severity(self, severity: Severity, text: &str) -> String {
        let code = match severity {
            Severity::Fault => "31",
            Severity::Refused => "33",
            Severity::Noise => "2",
        };
        self.paint(code, text)
    }

    /// `text` set back.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colors && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn without_colours_nothing_is_added() {
        let plain = Palette { colors: false };
        assert_eq!(plain.severity(Severity::Fault, "x"), "x");
    }
}

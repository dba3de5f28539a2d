//! Width and color support of the terminal.

use std::io::IsTerminal;

use crate::record::Severity;

/// Columns assumed where standard output is no terminal.
pub const DEFAULT_WIDTH: usize = 120;
/// Narrower terminals are treated as if they were this wide: their lines wrap by themselves.
pub const LEAST_WIDTH: usize = 72;

/// When to use color.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// If standard output is a terminal, NO_COLOR is not set and TERM is not "dumb".
    #[default]
    Auto,
    /// Always, also in files and pipes.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Whether to write color to standard output.
    pub fn for_stdout(self) -> bool {
        self.decide(
            std::io::stdout().is_terminal(),
            std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
            std::env::var_os("TERM").is_some_and(|value| value == "dumb"),
        )
    }

    fn decide(self, terminal: bool, no_color: bool, dumb: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && !no_color && !dumb,
        }
    }
}

/// Columns of the terminal on standard output, [`DEFAULT_WIDTH`] where there is none.
pub fn stdout_width() -> usize {
    comfy_table::Table::new()
        .width()
        .filter(|&columns| columns > 0)
        .map_or(DEFAULT_WIDTH, |columns| {
            usize::from(columns).max(LEAST_WIDTH)
        })
}

/// Colors by severity, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Palette {
    /// Whether escape sequences are written at all.
    pub colors: bool,
}

impl Palette {
    /// `text` in the color of `severity`: red for a fault, yellow for a refusal, dim for noise.
    pub fn severity(self, severity: Severity, text: &str) -> String {
        let code = match severity {
            Severity::Fault => "31",
            Severity::Refused => "33",
            Severity::Noise => "2",
        };
        self.paint(code, text)
    }

    /// `text` dimmed.
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
    fn colours_need_a_terminal_and_leave_to_use_them() {
        assert!(ColorChoice::Auto.decide(true, false, false));
        assert!(!ColorChoice::Auto.decide(false, false, false));
        assert!(!ColorChoice::Auto.decide(true, true, false));
        assert!(!ColorChoice::Auto.decide(true, false, true));
    }

    #[test]
    fn an_explicit_choice_beats_the_environment() {
        assert!(ColorChoice::Always.decide(false, true, true));
        assert!(!ColorChoice::Never.decide(true, false, false));
    }

    #[test]
    fn without_colours_nothing_is_added() {
        let plain = Palette { colors: false };
        assert_eq!(plain.severity(Severity::Fault, "x"), "x");
    }
}

//! `--color`.

use std::io::IsTerminal;

/// When to use color.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// Use color if standard output is a terminal, NO_COLOR is not set and TERM is not "dumb".
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
        self.decide_for(std::io::stdout().is_terminal())
    }

    /// Whether to write color to standard error.
    pub fn for_stderr(self) -> bool {
        self.decide_for(std::io::stderr().is_terminal())
    }

    fn decide_for(self, terminal: bool) -> bool {
        self.decide(
            terminal,
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

#[cfg(test)]
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
}

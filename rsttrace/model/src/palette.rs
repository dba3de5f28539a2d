//! Colors by severity.

use crate::record::Severity;

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
mod tests {
    use super::*;

    #[test]
    fn without_colours_nothing_is_added() {
        let plain = Palette { colors: false };
        assert_eq!(plain.severity(Severity::Fault, "x"), "x");
    }
}

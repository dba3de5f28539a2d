//! Width, color support and cursor of the terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
use std::sync::OnceLock;

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

/// Columns to fill on the terminal on standard output; absent where there is none.
pub fn stdout_columns() -> Option<usize> {
    columns().map(|columns| columns.max(LEAST_WIDTH))
}

/// Columns in which text does not wrap, on a terminal that may not tell how many it has.
pub fn columns_of_status() -> usize {
    columns().unwrap_or(80)
}

fn columns() -> Option<usize> {
    let columns = comfy_table::Table::new().width();
    columns.filter(|&columns| columns > 0).map(usize::from)
}

/// Writes text as ASCII where the terminal's locale has no UTF-8, as on a serial console; otherwise, and into pipes and files, as it is.
#[derive(Debug)]
pub struct Text<W> {
    out: W,
    is_ascii: bool,
}

impl<W: Write> Text<W> {
    fn new(out: W, is_terminal: bool) -> Self {
        Self {
            out,
            is_ascii: takes_ascii_only(is_terminal),
        }
    }
}

impl<W: Write> Write for Text<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_ascii {
            return self.out.write(bytes);
        }
        self.out.write_all(&to_ascii(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Standard output for text.
pub fn stdout() -> Text<io::StdoutLock<'static>> {
    text(io::stdout().lock())
}

/// The same, written through `out`.
pub fn text<W: Write>(out: W) -> Text<W> {
    Text::new(out, io::stdout().is_terminal())
}

/// What is written to standard error for this text.
pub fn for_stderr(text: &[u8]) -> Cow<'_, [u8]> {
    static IS_ASCII: OnceLock<bool> = OnceLock::new();
    let is_ascii = IS_ASCII.get_or_init(|| takes_ascii_only(io::stderr().is_terminal()));
    if *is_ascii {
        to_ascii(text)
    } else {
        text.into()
    }
}

fn takes_ascii_only(is_terminal: bool) -> bool {
    is_terminal && !locale_has_utf8(|name| std::env::var(name).ok())
}

fn to_ascii(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return text.into();
    }
    let text: String = String::from_utf8_lossy(text).chars().map(ascii).collect();
    text.into_bytes().into()
}

/// By the first of these variables that is set and not empty (locale(7)).
fn locale_has_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty());
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// One of the same width, mostly.
fn ascii(character: char) -> char {
    match character {
        '\0'..='\x7f' => character,
        '→' | '▶' => '>',
        '←' | '◀' => '<',
        '–' | '—' | '−' | '─' | '╌' | '═' => '-',
        '│' | '┆' | '║' => '|',
        '\u{2500}'..='\u{257f}' => '+',
        '\u{2580}'..='\u{259f}' => '#',
        '…' | '·' => '.',
        '±' => '~',
        'µ' => 'u',
        '×' => 'x',
        _ => '?',
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides_where_there_is_a_terminal() {
        let locale = |all: &str, ctype: &str, lang: &str| {
            let of = [("LC_ALL", all), ("LC_CTYPE", ctype), ("LANG", lang)];
            locale_has_utf8(|name| {
                let found = of.iter().find(|(known, _)| *known == name)?;
                Some(found.1.to_owned())
            })
        };
        assert!(locale("", "", "de_DE.UTF-8"));
        assert!(locale("C.utf8", "", "C"));
        assert!(!locale("C", "", "de_DE.UTF-8"));
        assert!(!locale("", "", ""));
        let written = |is_ascii| {
            let mut out = Vec::new();
            let mut text = Text {
                out: &mut out,
                is_ascii,
            };
            text.write_all("a → b – 2.5 ± 0.1 µs …".as_bytes()).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(true), "a > b - 2.5 ~ 0.1 us .");
        assert_eq!(written(false), "a → b – 2.5 ± 0.1 µs …");
    }
}

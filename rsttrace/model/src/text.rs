//! Safe text of a known width from untrusted input.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

/// Whether a terminal, or the eye, could be misled by it: controls, line separators, and invisible characters that
/// reorder or hide text.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether it is of visible ASCII characters and blanks only: then nothing in it is unsafe. False tells nothing.
pub fn is_plain(text: &str) -> bool {
    // Whole blocks at a time, which the compiler turns into a few instructions each.
    const BLOCK: usize = 16;
    let is_other = |byte: u8| byte.wrapping_sub(b' ') > b'~' - b' ';
    let (blocks, rest) = text.as_bytes().as_chunks::<BLOCK>();
    let all = |bytes: &[u8]| {
        !bytes
            .iter()
            .fold(false, |other, &byte| other | is_other(byte))
    };
    blocks.iter().all(|block| all(block)) && all(rest)
}

/// Text that may come from a process, with everything unsafe as `\x1b` or `\u{202e}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if !is_unsafe(c) {
            out.push(c);
        } else if c.is_ascii() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{:02x}", u32::from(c));
        } else {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
    Cow::Owned(out)
}

/// Columns it takes.
pub fn width(text: &str) -> usize {
    if is_plain(text) {
        text.len()
    } else {
        text.width()
    }
}

/// At most `most` columns of it, with `…` in place of what is cut.
pub fn truncate(text: &str, most: usize) -> Cow<'_, str> {
    if width(text) <= most {
        return Cow::Borrowed(text);
    }
    let mut out = take(text, most.saturating_sub(1)).to_owned();
    out.push('…');
    Cow::Owned(out)
}

/// It, with blanks up to `least` columns.
pub fn pad(text: &str, least: usize) -> String {
    let blanks = least.saturating_sub(width(text));
    format!("{text}{:blanks$}", "")
}

/// Breaks at blanks into lines of at most `first`, then `rest` columns; words that are longer than `rest` are broken
/// anywhere. The first line may be empty. Never without a line.
pub fn wrap(text: &str, first: usize, rest: usize) -> Vec<String> {
    let rest = rest.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    let mut columns = first;
    for mut word in text.split_whitespace() {
        let gap = usize::from(used > 0);
        if used + gap + width(word) > columns && (used > 0 || columns < rest) {
            lines.push(String::new());
            (used, columns) = (0, rest);
        }
        while width(word) > columns {
            let head = match take(word, columns) {
                // A character wider than the line still has to go somewhere.
                "" => &word[..word.chars().next().map_or(0, char::len_utf8)],
                head => head,
            };
            push(&mut lines, head);
            word = &word[head.len()..];
            lines.push(String::new());
            columns = rest;
        }
        if used > 0 {
            push(&mut lines, " ");
            used += 1;
        }
        push(&mut lines, word);
        used += width(word);
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(line) = lines.last_mut() {
        line.push_str(text);
    }
}

/// The longest beginning that takes at most `most` columns.
fn take(text: &str, most: usize) -> &str {
    for (at, c) in text.char_indices() {
        // Of all together: a variation selector widens what stands before it.
        if width(&text[..at + c.len_utf8()]) > most {
            return &text[..at];
        }
    }
    text
}

/// `64 KiB`, `4.0 MiB`: whole numbers below a MiB.
pub fn size(number: u64) -> String {
    const MIB: u64 = 1 << 20;
    if number < MIB {
        return format!("{} KiB", number.div_ceil(1024));
    }
    format!("{:.1} MiB", number as f64 / MIB as f64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_are_shown_not_obeyed() {
        assert_eq!(escape("a\x1b[2Jb\n"), "a\\x1b[2Jb\\x0a");
        assert_eq!(escape("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(escape("exe\u{202e}txt"), "exe\\u{202e}txt");
        assert!(matches!(escape("naïve 漢字"), Cow::Borrowed(_)));
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(width("漢字"), 4);
        assert_eq!(truncate("漢字漢字", 5), "漢字…");
        assert_eq!(pad("漢字", 6), "漢字  ");
    }

    #[test]
    fn lines_break_at_blanks_and_long_words_anywhere() {
        assert_eq!(wrap("one two three", 7, 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 3, 9), ["one", "two three"]);
        assert_eq!(wrap("one two", 0, 9), ["", "one two"]);
        assert_eq!(wrap("x abcdefghij y", 4, 4), ["x", "abcd", "efgh", "ij y"]);
        assert_eq!(wrap("", 4, 4), [""]);
        // A selector makes an emoji of two columns of what stands before it.
        assert!(wrap("®#\u{fe0f}", 2, 2).iter().all(|line| width(line) <= 2));
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_asked_and_no_word_is_lost(text in "\\PC{0,80}", first in 2_usize..40, rest in 2_usize..40) {
            let lines = wrap(&text, first, rest);
            prop_assert!(width(&lines[0]) <= first, "{lines:?}");
            for line in &lines[1..] {
                prop_assert!(width(line) <= rest, "{lines:?}");
            }
            let squeeze = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(squeeze(&lines.concat()), squeeze(&text));
        }

        #[test]
        fn what_is_plain_is_safe_and_a_column_a_byte(text in "[ -~\\x1f\\x7f\\x80]{0,40}") {
            prop_assert_eq!(is_plain(&text), text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(width(&text), text.width());
            prop_assert!(!is_plain(&text) || !text.chars().any(is_unsafe));
        }

        #[test]
        fn nothing_unsafe_is_left(text in any::<String>()) {
            prop_assert!(!escape(&text).chars().any(is_unsafe));
        }
    }
}

//! Safe text of a known width from untrusted input.

use std::borrow::Cow;
use std::fmt::Write as _;

use smallvec::SmallVec;
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
    all(text.as_bytes(), is_visible)
}

/// Whether it is visible ASCII or a blank.
#[inline]
pub fn is_visible(byte: u8) -> bool {
    byte.wrapping_sub(b' ') <= b'~' - b' '
}

/// What is not visible ASCII and blanks, one character after the other.
fn others(mut text: &str) -> impl Iterator<Item = char> {
    std::iter::from_fn(move || {
        let mut chars = text[run(text.as_bytes(), is_visible)..].chars();
        let other = chars.next();
        text = chars.as_str();
        other
    })
}

/// Whether [`is_simple`] is true of all characters.
fn are_simple(text: &str) -> bool {
    others(text).all(is_simple)
}

/// How many bytes at the beginning are as `is` says.
#[inline]
pub fn run(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    if all(bytes, &is) {
        return bytes.len();
    }
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let whole = blocks.iter().take_while(|block| all_of(*block, &is));
    let begin = whole.count() * BLOCK;
    let rest = bytes.iter().skip(begin);
    begin + rest.take_while(|&&byte| is(byte)).count()
}

/// Bytes that are looked at together: the compiler makes a few instructions of each block, if `is` has no branches.
const BLOCK: usize = 16;

#[inline]
fn all(bytes: &[u8], is: impl Fn(u8) -> bool) -> bool {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>())
        && bytes.len() < BLOCK
    {
        // They overlap, as the last block does with the one before it.
        return all_of(first, &is) & all_of(last, &is);
    }
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    if !blocks.iter().all(|block| all_of(block, &is)) {
        return false;
    }
    match bytes.last_chunk::<BLOCK>() {
        Some(last) => rest.is_empty() || all_of(last, &is),
        None => all_of(rest, &is),
    }
}

#[inline]
fn all_of(bytes: &[u8], is: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, &byte| all & is(byte))
}

/// Whether it takes one column wherever it stands, and joins with nothing: visible ASCII, and the signs of our own sentences.
fn is_simple(c: char) -> bool {
    matches!(c, ' '..='~' | '±' | 'µ' | '·' | '–' | '…' | '←' | '→' | '−')
}

/// Text that may come from a process, with everything unsafe as `\x1b` or `\u{202e}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !others(text).any(is_unsafe) {
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
    if are_simple(text) {
        characters(text.as_bytes())
    } else {
        text.width()
    }
}

/// How many there are in UTF-8: all bytes but those that continue one.
fn characters(text: &[u8]) -> usize {
    let begins = text.iter().filter(|&&byte| byte & 0xc0 != 0x80);
    begins.count()
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
    let mut lines = vec![String::new()];
    Words::of(text).lay_out(first, rest, |piece| match (piece, lines.last_mut()) {
        (Piece::Text(text), Some(line)) => line.push_str(text),
        (Piece::Text(_) | Piece::Break, _) => lines.push(String::new()),
    });
    lines
}

/// The words of a text, measured once and laid out as often as needed.
pub struct Words<'a> {
    text: &'a str,
    words: SmallVec<[Word; 64]>,
}

#[derive(Clone, Copy)]
struct Word {
    begin: usize,
    end: usize,
    columns: usize,
}

/// What [`Words::lay_out`] places.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// To be added to the line.
    Text(&'a str),
    /// What follows stands on the next line.
    Break,
}

impl<'a> Words<'a> {
    pub fn of(text: &'a str) -> Self {
        if are_simple(text) {
            let words = simple_words(text);
            return Self { text, words };
        }
        let words = text.split_whitespace().map(|word| {
            let begin = word.as_ptr().addr() - text.as_ptr().addr();
            Word {
                begin,
                end: begin + word.len(),
                columns: width(word),
            }
        });
        let words = words.collect();
        Self { text, words }
    }

    /// How many lines [`Self::lay_out`] makes of it.
    pub fn lines(&self, first: usize, rest: usize) -> usize {
        let mut lines = 1;
        self.lay_out(first, rest, |piece| {
            lines += usize::from(matches!(piece, Piece::Break));
        });
        lines
    }

    /// As [`wrap`], piece by piece.
    pub fn lay_out(&self, first: usize, rest: usize, mut place: impl FnMut(Piece<'a>)) {
        let rest = rest.max(1);
        let (mut used, mut columns) = (0, first);
        // What stands on the line, and is not placed yet.
        let (mut begin, mut end) = (0, 0);
        for &word in &self.words {
            let mut word = word;
            let gap = usize::from(used > 0);
            if used + gap + word.columns > columns && (used > 0 || columns < rest) {
                place(Piece::Text(&self.text[begin..end]));
                place(Piece::Break);
                (begin, end) = (word.begin, word.begin);
                (used, columns) = (0, rest);
            }
            while word.columns > columns {
                place(Piece::Text(&self.text[begin..end]));
                let whole = &self.text[word.begin..word.end];
                let head = match take(whole, columns) {
                    // A character wider than the line still has to go somewhere.
                    "" => &whole[..whole.chars().next().map_or(0, char::len_utf8)],
                    head => head,
                };
                place(Piece::Text(head));
                place(Piece::Break);
                word.begin += head.len();
                word.columns = width(&whole[head.len()..]);
                (begin, end) = (word.begin, word.begin);
                columns = rest;
            }
            if used == 0 || &self.text[end..word.begin] != " " {
                place(Piece::Text(&self.text[begin..end]));
                if used > 0 {
                    place(Piece::Text(" "));
                }
                begin = word.begin;
            }
            end = word.end;
            used += usize::from(used > 0) + word.columns;
        }
        place(Piece::Text(&self.text[begin..end]));
    }
}

/// The words of a text in which each character takes one column.
fn simple_words(text: &str) -> SmallVec<[Word; 64]> {
    let mut words = SmallVec::new();
    let mut begin = 0;
    for word in text.split(' ') {
        let end = begin + word.len();
        if !word.is_empty() {
            words.push(Word {
                begin,
                end,
                columns: characters(word.as_bytes()),
            });
        }
        begin = end + 1;
    }
    words
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

    fn word_by_word(text: &str, first: usize, rest: usize) -> Vec<String> {
        let rest = rest.max(1);
        let mut lines = vec![String::new()];
        let (mut used, mut columns) = (0, first);
        for mut word in text.split_whitespace() {
            let gap = usize::from(used > 0);
            if used + gap + word.width() > columns && (used > 0 || columns < rest) {
                lines.push(String::new());
                (used, columns) = (0, rest);
            }
            while word.width() > columns {
                let head = match take(word, columns) {
                    "" => &word[..word.chars().next().unwrap().len_utf8()],
                    head => head,
                };
                lines.last_mut().unwrap().push_str(head);
                word = &word[head.len()..];
                lines.push(String::new());
                columns = rest;
            }
            if used > 0 {
                lines.last_mut().unwrap().push(' ');
                used += 1;
            }
            lines.last_mut().unwrap().push_str(word);
            used += word.width();
        }
        lines
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
        fn signs_take_a_column_each(text in "[ a~±µ·–…←→−\\u{fe0f}\\u{301}\\u{200d}漢=]{0,12}") {
            prop_assert_eq!(width(&text), text.width());
            prop_assert!(!text.chars().any(|c| is_simple(c) && is_unsafe(c)));
        }

        /// Word by word, without a look at what the words stand in.
        #[test]
        fn lines_are_as_if_each_word_were_pushed_alone(
            text in "([a-z~→µ漢\\u{301}\\u{fe0f}]{0,9}[ \\u{a0}\t]{0,2}){0,12}",
            first in 0_usize..20,
            rest in 0_usize..20,
        ) {
            let expected = word_by_word(&text, first, rest);
            prop_assert_eq!(Words::of(&text).lines(first, rest), expected.len());
            prop_assert_eq!(wrap(&text, first, rest), expected);
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

//! JSON lines with terminal control characters escaped.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::text;

/// Appends `value` to `out` as compact JSON.
pub fn append(out: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Line::default()))
}

/// A key and what surrounds it are written in three steps and not in six: a fifth of a line's time.
#[derive(Default)]
struct Line {
    /// Between the beginning of a key and its end.
    is_key: bool,
    is_first: bool,
}

impl Formatter for Line {
    #[inline]
    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        _: &mut W,
        first: bool,
    ) -> io::Result<()> {
        (self.is_key, self.is_first) = (true, first);
        Ok(())
    }

    #[inline]
    fn begin_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.is_key && !self.is_first {
            writer.write_all(b",\"")
        } else {
            writer.write_all(b"\"")
        }
    }

    #[inline]
    fn end_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if std::mem::take(&mut self.is_key) {
            writer.write_all(b"\":")
        } else {
            writer.write_all(b"\"")
        }
    }

    #[inline]
    fn begin_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }

    #[inline]
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Keys are our own.
        if self.is_key || text::is_plain(fragment) {
            writer.write_all(fragment.as_bytes())
        } else {
            write_escaped(writer, fragment)
        }
    }
}

#[cold]
fn write_escaped<W: ?Sized + io::Write>(writer: &mut W, fragment: &str) -> io::Result<()> {
    for c in fragment.chars() {
        if text::is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        } else {
            writer.write_all(c.encode_utf8(&mut [0; 4]).as_bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// What serde_json writes: in it, unsafe characters stand in strings only.
    fn expected(value: &impl Serialize) -> String {
        let mut out = String::new();
        for c in serde_json::to_string(value).unwrap().chars() {
            if text::is_unsafe(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").unwrap();
                }
            } else {
                out.push(c);
            }
        }
        out
    }

    fn ours(value: &impl Serialize) -> String {
        let mut out = Vec::new();
        append(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[derive(serde::Serialize)]
    struct Sample {
        text: String,
        list: Vec<Option<f64>>,
        empty: [u8; 0],
        pair: (i64, u32),
        letter: char,
        nothing: (),
        #[serde(skip_serializing_if = "Option::is_none")]
        absent: Option<u8>,
        inner: Inner,
        by_number: BTreeMap<u8, Inner>,
    }

    #[derive(Clone, serde::Serialize)]
    enum Inner {
        Unit,
        Text(String),
        Named { yes: bool },
    }

    proptest! {
        #[test]
        fn every_byte_is_as_serde_json_has_it(
            text in any::<String>(),
            near in "[ -~\\x00-\\x20\"\\\\\\x7f-\\xa0]{0,40}",
            list in any::<Vec<Option<f64>>>(),
            pair in any::<(i64, u32)>(),
            letter in any::<char>(),
            yes in any::<bool>(),
        ) {
            for text in [text, near] {
                for inner in [Inner::Unit, Inner::Text(text.clone()), Inner::Named { yes }] {
                    let sample = Sample {
                        text: text.clone(),
                        list: list.clone(),
                        empty: [],
                        pair,
                        letter,
                        nothing: (),
                        absent: None,
                        by_number: BTreeMap::from([(1, inner.clone()), (2, inner.clone())]),
                        inner,
                    };
                    prop_assert_eq!(ours(&sample), expected(&sample));
                }
            }
        }
    }
}

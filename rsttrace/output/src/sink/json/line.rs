//! How does a record become a line of JSON in as few steps as possible?
//!
//! A serializer for what records are made of: structs, sequences, strings, numbers, names of enums. Its bytes are those of
//! `serde_json`, except that characters a terminal obeys are escaped, too. Keys and names of enums are our own
//! and need no escape.

use std::fmt::{self, Display};
use std::io::Write as _;

use serde::ser::{self, Impossible, Serialize};
use serde_json::ser::{CompactFormatter, Formatter as _};

use crate::text;

/// Appends `value` to `out` as JSON.
pub fn append(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), NoRecord> {
    value.serialize(Line { out })
}

/// The value is of a kind that no record has: maps, bytes, enums with contents.
#[derive(Debug)]
pub struct NoRecord(String);

impl Display for NoRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoRecord {}

impl ser::Error for NoRecord {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

fn unknown<T>(what: &str) -> Result<T, NoRecord> {
    Err(NoRecord(format!("a record has no {what}")))
}

/// Writes one value.
struct Line<'a> {
    out: &'a mut Vec<u8>,
}

/// An object or array in the making: a comma behind each element, the last of which becomes the bracket.
struct Elements<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    fn open(self, bracket: u8) -> Elements<'a> {
        self.out.push(bracket);
        Elements { out: self.out }
    }
}

impl Elements<'_> {
    /// No value ends with a comma: a last one is that of an element.
    fn close(self, bracket: u8) {
        match self.out.last_mut() {
            Some(last) if *last == b',' => *last = bracket,
            _ => self.out.push(bracket),
        }
    }
}

/// Writing to memory cannot fail; this hands on what the signature asks for.
fn written(result: std::io::Result<()>) -> Result<(), NoRecord> {
    result.map_err(ser::Error::custom)
}

macro_rules! numbers {
    ($($method:ident($type:ty) => $write:ident),* $(,)?) => {
        $(fn $method(self, value: $type) -> Result<(), NoRecord> {
            written(CompactFormatter.$write(self.out, value))
        })*
    };
}

impl<'a> ser::Serializer for Line<'a> {
    type Ok = ();
    type Error = NoRecord;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = Impossible<(), NoRecord>;
    type SerializeTupleVariant = Impossible<(), NoRecord>;
    type SerializeMap = Impossible<(), NoRecord>;
    type SerializeStruct = Elements<'a>;
    type SerializeStructVariant = Impossible<(), NoRecord>;

    numbers! {
        serialize_bool(bool) => write_bool,
        serialize_i8(i8) => write_i8,
        serialize_i16(i16) => write_i16,
        serialize_i32(i32) => write_i32,
        serialize_i64(i64) => write_i64,
        serialize_u8(u8) => write_u8,
        serialize_u16(u16) => write_u16,
        serialize_u32(u32) => write_u32,
        serialize_u64(u64) => write_u64,
    }

    fn serialize_f32(self, value: f32) -> Result<(), NoRecord> {
        if value.is_finite() {
            return written(CompactFormatter.write_f32(self.out, value));
        }
        self.serialize_unit()
    }

    fn serialize_f64(self, value: f64) -> Result<(), NoRecord> {
        if value.is_finite() {
            return written(CompactFormatter.write_f64(self.out, value));
        }
        self.serialize_unit()
    }

    fn serialize_char(self, value: char) -> Result<(), NoRecord> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), NoRecord> {
        self.out.push(b'"');
        string(self.out, value);
        self.out.push(b'"');
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), NoRecord> {
        unknown("bytes")
    }

    fn serialize_none(self) -> Result<(), NoRecord> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NoRecord> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), NoRecord> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NoRecord> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), NoRecord> {
        // Our own, as keys are.
        self.out.push(b'"');
        self.out.extend_from_slice(variant.as_bytes());
        self.out.push(b'"');
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), NoRecord> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), NoRecord> {
        unknown("enum with contents")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, NoRecord> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple(self, _: usize) -> Result<Elements<'a>, NoRecord> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, NoRecord> {
        unknown("tuple struct")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, NoRecord> {
        unknown("enum with contents")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, NoRecord> {
        unknown("map")
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Elements<'a>, NoRecord> {
        Ok(self.open(b'{'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, NoRecord> {
        unknown("enum with contents")
    }
}

impl ser::SerializeStruct for Elements<'_> {
    type Ok = ();
    type Error = NoRecord;

    // Where the key is known at the place of the call, it is stored and not copied: a fifth of a line's time.
    #[inline(always)]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), NoRecord> {
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        value.serialize(Line { out: self.out })?;
        self.out.push(b',');
        Ok(())
    }

    fn end(self) -> Result<(), NoRecord> {
        self.close(b'}');
        Ok(())
    }
}

impl ser::SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = NoRecord;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoRecord> {
        value.serialize(Line { out: self.out })?;
        self.out.push(b',');
        Ok(())
    }

    fn end(self) -> Result<(), NoRecord> {
        self.close(b']');
        Ok(())
    }
}

impl ser::SerializeTuple for Elements<'_> {
    type Ok = ();
    type Error = NoRecord;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoRecord> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), NoRecord> {
        ser::SerializeSeq::end(self)
    }
}

/// Bytes looked at at a time: few enough for a short word, many enough for the compiler to take them at once.
const BLOCK: usize = 16;

/// Whether all of it stands for itself: visible ASCII and blanks, no quote, no backslash.
fn is_verbatim(bytes: &[u8]) -> bool {
    let other = |byte: u8| byte.wrapping_sub(b' ') > b'~' - b' ' || byte == b'"' || byte == b'\\';
    let any = |bytes: &[u8]| bytes.iter().fold(false, |any, &byte| any | other(byte));
    // Of a known length it becomes a few instructions.
    match <&[u8; BLOCK]>::try_from(bytes) {
        Ok(block) => !any(block),
        Err(_) => !any(bytes),
    }
}

/// The contents of a string: at once where nothing in it needs an escape, as mostly.
fn string(out: &mut Vec<u8>, text: &str) {
    if text.as_bytes().chunks(BLOCK).all(is_verbatim) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for c in text.chars() {
        let short = match c {
            '"' | '\\' => c,
            '\u{8}' => 'b',
            '\u{c}' => 'f',
            '\n' => 'n',
            '\r' => 'r',
            '\t' => 't',
            c if text::is_unsafe(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to memory cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
                continue;
            }
            c => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short as u8]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;
    use std::io;

    use proptest::prelude::*;
    use serde_json::ser::{Formatter, Serializer};

    use super::*;

    /// What serde_json writes, with the same additional escapes.
    struct Harmless;

    impl Formatter for Harmless {
        fn write_string_fragment<W: ?Sized + io::Write>(
            &mut self,
            writer: &mut W,
            fragment: &str,
        ) -> io::Result<()> {
            for c in fragment.chars() {
                if text::is_unsafe(c) {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                } else {
                    write!(writer, "{c}")?;
                }
            }
            Ok(())
        }
    }

    fn expected(value: &impl Serialize) -> String {
        let mut out = Vec::new();
        value
            .serialize(&mut Serializer::with_formatter(&mut out, Harmless))
            .unwrap();
        String::from_utf8(out).unwrap()
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
    }

    #[derive(serde::Serialize)]
    struct Inner {
        yes: bool,
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
                let sample = Sample {
                    text,
                    list: list.clone(),
                    empty: [],
                    pair,
                    letter,
                    nothing: (),
                    absent: None,
                    inner: Inner { yes },
                };
                prop_assert_eq!(ours(&sample), expected(&sample));
            }
        }
    }

    #[test]
    fn what_no_record_has_is_an_error() {
        let map = BTreeMap::from([("key", 1)]);
        let error = append(&mut Vec::new(), &map).unwrap_err();
        assert_eq!(error.to_string(), "a record has no map");
    }
}

//! Compression of JSON lines with a dictionary.
//!
//! Records are alike, and each is packed by itself so that it can be read by itself. So what they have in common is in a
//! dictionary: lines like those that will come. It is part of the format: with another one nothing could be read.

use std::io;

use zstd::bulk::{Compressor, Decompressor};

/// Lines like those to be packed. Never changed: another one would be another coding.
const DICTIONARY: &[u8] = include_bytes!("dictionary.jsonl");

/// Level of zstd; higher ones save a tenth for thrice the time.
const LEVEL: i32 = 1;

/// Longer lines are not believed: a record has a few KiB.
pub(super) const MOST: usize = 1 << 20;

/// How a line is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain = 0,
    /// Its length as four bytes, the least first, then a frame of zstd with the dictionary.
    Packed = 1,
}

pub(super) struct Packer(Compressor<'static>);

impl Packer {
    pub fn new() -> io::Result<Self> {
        Ok(Self(Compressor::with_dictionary(LEVEL, DICTIONARY)?))
    }

    /// The compressed line.
    pub fn pack(&mut self, line: &[u8]) -> (Coding, Vec<u8>) {
        let length = u32::try_from(line.len());
        match (length, self.0.compress(line)) {
            (Ok(length), Ok(packed)) if packed.len() + 4 < line.len() && line.len() <= MOST => {
                let mut bytes = length.to_le_bytes().to_vec();
                bytes.extend(packed);
                (Coding::Packed, bytes)
            }
            _ => (Coding::Plain, line.to_owned()),
        }
    }
}

pub(super) struct Unpacker(Decompressor<'static>);

impl Unpacker {
    pub fn new() -> io::Result<Self> {
        Ok(Self(Decompressor::with_dictionary(DICTIONARY)?))
    }

    /// The line that was packed; `None`: these bytes are none.
    pub fn unpack(&mut self, coding: i64, bytes: Vec<u8>) -> Option<String> {
        let line = if coding == Coding::Plain as i64 {
            if bytes.len() > MOST {
                return None;
            }
            bytes
        } else if coding == Coding::Packed as i64 {
            let (length, frame) = bytes.split_first_chunk()?;
            let length = u32::from_le_bytes(*length) as usize;
            if length > MOST {
                return None;
            }
            let line = self.0.decompress(frame, length).ok()?;
            (line.len() == length).then_some(line)?
        } else {
            return None;
        };
        String::from_utf8(line).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_dictionary_is_the_one_that_stores_were_written_with() {
        assert_eq!(
            (DICTIONARY.len(), crc32fast::hash(DICTIONARY)),
            (47_224, 2_120_175_090),
            "what was packed with another one cannot be read any more"
        );
    }

    #[test]
    fn a_record_becomes_a_fraction() {
        let record: crate::record::Record =
            serde_json::from_str(include_str!("../../../tests/data/records/port_closed.json"))
                .unwrap();
        let line = serde_json::to_vec(&record).unwrap();
        let (coding, packed) = Packer::new().unwrap().pack(&line);
        assert_eq!(coding, Coding::Packed);
        assert!(
            packed.len() * 2 < line.len(),
            "{} of {}",
            packed.len(),
            line.len()
        );
    }

    proptest! {
        #[test]
        fn what_is_unpacked_is_what_was_packed(line in "\\PC{0,3000}") {
            let (coding, bytes) = Packer::new().unwrap().pack(line.as_bytes());
            prop_assert_eq!(Unpacker::new().unwrap().unpack(coding as i64, bytes), Some(line));
        }

        #[test]
        fn no_bytes_panic(coding in -1_i64..4, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Unpacker::new().unwrap().unpack(coding, bytes);
        }
    }
}

//! Reader of recordings, tolerant of truncation and damage.

use std::io::{self, Read};

use rsttrace_common::WIRE_VERSION;
use zstd::bulk::Decompressor;

use super::block::{HEADER, Header};
use super::entry::{Item, Known};
use super::{End, FORMAT, Head, MAGIC, RecordingError};
use crate::engine::Input;

/// Reads one input after the other. Memory is bounded by the largest block, whatever the bytes say.
pub struct Reader<R> {
    blocks: Blocks<R>,
    head: Head,
    /// What was read of the block.
    at: usize,
    known: Known,
    end: Option<End>,
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    pub fn new(mut from: R) -> Result<Self, RecordingError> {
        let mut begin = [0; 16];
        if fill(&mut from, &mut begin)? < begin.len() || !begin.starts_with(&MAGIC) {
            return Err(RecordingError::NotOne);
        }
        let (numbers, crc) = begin.split_at(12);
        if crc != crc32fast::hash(numbers).to_le_bytes() {
            return Err(RecordingError::NotOne);
        }
        let format = u16::from_le_bytes([begin[8], begin[9]]);
        let wire = u16::from_le_bytes([begin[10], begin[11]]);
        if format != FORMAT {
            return Err(RecordingError::Format(format));
        }
        let mut blocks = Blocks::new(from, begin.len() as u64)?;
        blocks.load()?;
        let Ok((head, [])) = postcard::take_from_bytes::<Head>(&blocks.plain) else {
            return Err(blocks.damaged("missing file header"));
        };
        if wire != WIRE_VERSION {
            return Err(RecordingError::Wire {
                wire,
                program: head.program,
            });
        }
        Ok(Self {
            at: blocks.plain.len(),
            blocks,
            head,
            known: Known::default(),
            end: None,
        })
    }

    /// Where it comes from.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What the end tells; absent until it was read.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The next input; `None` at the end. After an error there is nothing more.
    pub fn input(&mut self) -> Result<Option<Input<'_>>, RecordingError> {
        if self.end.is_some() {
            return Ok(None);
        }
        while self.at >= self.blocks.plain.len() {
            self.known.clear();
            self.at = 0;
            self.blocks.load()?;
        }
        // By its fields, as what is handed out borrows from the block.
        let Blocks {
            from,
            plain,
            begin,
            offset,
            ..
        } = &mut self.blocks;
        let rest = plain.get(self.at..).unwrap_or_default();
        let left = rest.len();
        let taken = postcard::take_from_bytes(rest).ok();
        let item = taken.and_then(|(entry, rest)| {
            self.at += left - rest.len();
            self.known.input(entry)
        });
        match item {
            Some(Item::Input(input)) => Ok(Some(input)),
            Some(Item::End(end)) => {
                self.end = Some(end);
                let more = fill(from, &mut [0])?;
                if self.at == plain.len() && more == 0 {
                    return Ok(None);
                }
                *begin = *offset;
                *offset += more as u64;
                Err(damage(from, *begin, offset, "data after the end"))
            }
            None => {
                self.at = plain.len();
                Err(damage(from, *begin, offset, "invalid block contents"))
            }
        }
    }
}

/// Block by block.
struct Blocks<R> {
    from: R,
    decompressor: Decompressor<'static>,
    packed: Vec<u8>,
    /// What the last one holds; empty after an error.
    plain: Vec<u8>,
    /// The next one's.
    number: u32,
    /// Where the last one begins.
    begin: u64,
    /// Bytes read.
    offset: u64,
}

impl<R: Read> Blocks<R> {
    fn new(from: R, offset: u64) -> io::Result<Self> {
        Ok(Self {
            from,
            decompressor: Decompressor::new()?,
            packed: Vec::new(),
            plain: Vec::new(),
            number: 0,
            begin: offset,
            offset,
        })
    }

    /// Reads the next one.
    fn load(&mut self) -> Result<(), RecordingError> {
        self.begin = self.offset;
        self.plain.clear();
        let mut header = [0; HEADER];
        let read = fill(&mut self.from, &mut header)?;
        self.offset += read as u64;
        if read < HEADER {
            return Err(self.cut());
        }
        let header = match Header::read(&header, self.number) {
            Ok(header) => header,
            Err(what) => return Err(self.damaged(what)),
        };
        self.packed.resize(header.packed(), 0);
        let read = fill(&mut self.from, &mut self.packed)?;
        self.offset += read as u64;
        if read < header.packed() {
            return Err(self.cut());
        }
        if !header.fits(&self.packed) {
            return Err(self.damaged("checksum mismatch"));
        }
        self.plain.reserve(header.plain());
        let unpacked = self
            .decompressor
            .decompress_to_buffer(&self.packed, &mut self.plain);
        if unpacked.ok() != Some(header.plain()) {
            return Err(self.damaged("block cannot be decompressed"));
        }
        self.number = self.number.wrapping_add(1);
        Ok(())
    }

    fn cut(&self) -> RecordingError {
        RecordingError::Cut {
            offset: self.begin,
            left: self.offset - self.begin,
        }
    }

    fn damaged(&mut self, what: &'static str) -> RecordingError {
        self.plain.clear();
        damage(&mut self.from, self.begin, &mut self.offset, what)
    }
}

/// Reads to the end, to say how much is left out.
fn damage(
    from: &mut impl Read,
    begin: u64,
    offset: &mut u64,
    what: &'static str,
) -> RecordingError {
    match io::copy(from, &mut io::sink()) {
        Ok(more) => *offset += more,
        Err(error) => return RecordingError::Read(error),
    }
    RecordingError::Damaged {
        offset: begin,
        left: *offset - begin,
        what,
    }
}

/// Reads until the buffer is full or nothing comes any more; how many bytes came.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

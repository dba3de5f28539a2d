//! Writer of recordings.

use std::io::{self, Write};

use rsttrace_common::WIRE_VERSION;
use zstd::bulk::Compressor;

use super::block::{Header, MOST};
use super::entry::{Entry, Given, Told};
use super::{End, FORMAT, Head, MAGIC};
use crate::engine::Input;
use crate::event::HostContext;

/// What compression may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Little: beside a trace.
    Live,
    /// Much, for a file that is kept for good.
    Archive,
}

impl Effort {
    fn level(self) -> i32 {
        match self {
            Self::Live => 1,
            Self::Archive => 19,
        }
    }

    /// A block is written when it has so many bytes before they are packed.
    fn block(self) -> usize {
        match self {
            Self::Live => 64 << 10,
            Self::Archive => 1 << 20,
        }
    }
}

/// What a recording has taken up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub events: u64,
    /// Inputs, events among them.
    pub inputs: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Writes a recording. After an error nothing more is to be written: what follows would not fit what is missing.
pub struct Writer<W> {
    to: W,
    compressor: Compressor<'static>,
    block: usize,
    /// The entries of the block that has begun.
    plain: Vec<u8>,
    packed: Vec<u8>,
    told: Told,
    number: u32,
    /// What is in the blocks that were written.
    written: Written,
    /// The same, and what waits.
    taken: Written,
}

impl<W: Write> Writer<W> {
    /// Writes the head.
    pub fn new(to: W, head: &Head, effort: Effort) -> io::Result<Self> {
        let mut writer = Self {
            to,
            compressor: Compressor::new(effort.level())?,
            block: effort.block(),
            plain: Vec::new(),
            packed: Vec::new(),
            told: Told::default(),
            number: 0,
            written: Written::default(),
            taken: Written::default(),
        };
        let mut begin = [0; 16];
        let (numbers, crc) = begin.split_at_mut(12);
        numbers[..8].copy_from_slice(&MAGIC);
        numbers[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        numbers[10..].copy_from_slice(&WIRE_VERSION.to_le_bytes());
        crc.copy_from_slice(&crc32fast::hash(numbers).to_le_bytes());
        writer.put(&begin)?;
        writer.plain = postcard::to_stdvec(head).map_err(io::Error::other)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Takes in an event and what the host knows about it.
    pub fn event(&mut self, bytes: &[u8], facts: &HostContext) -> io::Result<()> {
        let entry = self.told.event(bytes, facts);
        append(&mut self.plain, &entry)?;
        self.taken.events += 1;
        self.has_taken()
    }

    /// Takes in any input.
    pub fn input(&mut self, input: &Input<'_>) -> io::Result<()> {
        let entry = self.told.input(input);
        append(&mut self.plain, &entry)?;
        self.taken.events += u64::from(matches!(input, Input::Event { .. }));
        self.has_taken()
    }

    fn has_taken(&mut self) -> io::Result<()> {
        self.taken.inputs += 1;
        if self.plain.len() >= self.block {
            self.flush()?;
        }
        Ok(())
    }

    pub fn written(&self) -> Written {
        self.written
    }

    /// What was taken in; its bytes are those that were written.
    pub fn taken(&self) -> Written {
        Written {
            bytes: self.written.bytes,
            ..self.taken
        }
    }

    /// Writes what waits, as a block.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.plain.is_empty() {
            return Ok(());
        }
        if self.plain.len() > MOST {
            return Err(io::Error::other("input larger than a block"));
        }
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(self.plain.len()));
        self.compressor
            .compress_to_buffer(&self.plain, &mut self.packed)?;
        let header = Header::new(self.number, &self.packed, self.plain.len())?;
        self.number = self.number.checked_add(1).ok_or_else(too_many)?;
        let packed = std::mem::take(&mut self.packed);
        // In one go where that is possible: what a killed process leaves is then whole.
        let mut block = Vec::with_capacity(size_of::<Header>() + packed.len());
        block.extend_from_slice(zerocopy::IntoBytes::as_bytes(&header));
        block.extend_from_slice(&packed);
        self.put(&block)?;
        self.packed = packed;
        self.plain.clear();
        self.told.clear();
        let bytes = self.written.bytes;
        self.written = Written {
            bytes,
            ..self.taken
        };
        Ok(())
    }

    /// Writes what waits and the end. Without it a recording counts as cut off.
    pub fn finish(mut self, end: &End) -> io::Result<(W, Written)> {
        let entry: Given<'_> = Entry::End(std::borrow::Cow::Borrowed(end));
        append(&mut self.plain, &entry)?;
        self.flush()?;
        self.to.flush()?;
        Ok((self.to, self.written))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.written.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn append(plain: &mut Vec<u8>, entry: &Given<'_>) -> io::Result<()> {
    let before = std::mem::take(plain);
    *plain = postcard::to_extend(entry, before).map_err(io::Error::other)?;
    Ok(())
}

fn too_many() -> io::Error {
    io::Error::other("too many blocks")
}

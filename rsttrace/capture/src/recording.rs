//! Recordings: the inputs of the judge in a file, to be judged again.
//!
//! The file begins with [`MAGIC`], the number of the format and the version of the wire format (16 bits each, little endian
//! as all numbers here) and the CRC-32 of those twelve bytes; all formats begin so. Then come blocks (`block.rs`): the first
//! holds the [`Head`], the others [inputs](crate::engine::Input) in their order, and the last one ends with [`End`]. Each block is compressed
//! and stands alone, so a file whose end is missing can be read up to there. Events are in the wire format of the machine
//! that wrote them.
//!
//! It holds what the host told of processes, command lines included.

mod block;
mod entry;
mod reader;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
mod writer;

use std::io;
use std::time::Duration;

use rsttrace_common::WIRE_VERSION;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::{Config, Engine};
use crate::record::Output;
use crate::self_stats::KernelTotal;

pub use reader::Reader;
pub use writer::{Effort, Writer, Written};

pub const MAGIC: [u8; 8] = *b"RSTTRACE";
/// The number of the format. 1 held events only.
pub const FORMAT: u16 = 2;

/// What has to be known before the first input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the program that wrote it.
    pub program: String,
    /// `uname -r`; empty if it could not be read.
    pub kernel: String,
    /// What the judge begins with.
    pub premises: Config,
}

impl Head {
    /// Of a trace that begins now, by this program.
    pub fn new(kernel: String, premises: Config) -> Self {
        Self {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            kernel,
            premises,
        }
    }
}

/// What only the end of a trace can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How long the trace ran.
    pub duration: Duration,
    /// What the kernel side counted, by kind of event.
    pub kernel: Vec<KernelTotal>,
    /// What could not be done or kept, by name.
    pub shortfalls: Vec<(String, u64)>,
}

/// Why there is no further input.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The bytes cannot be had.
    #[error("it cannot be read: {0}; copy it to a disk that can be read, or name another file")]
    Read(#[from] io::Error),
    /// It begins otherwise.
    #[error("this is no recording; `rsttrace record FILE` makes one")]
    NotOne,
    /// Another release wrote it.
    #[error(
        "a recording in format {0}, and this program ({version}) reads format {FORMAT}; replay it with the release that recorded it",
        version = env!("CARGO_PKG_VERSION")
    )]
    Format(u16),
    /// Its events mean something else.
    #[error(
        "its events have wire version {wire}, and this program ({version}) reads {WIRE_VERSION}; replay it with rsttrace {program}, which recorded it",
        version = env!("CARGO_PKG_VERSION")
    )]
    Wire {
        /// Of the events.
        wire: u16,
        /// The version of the program that wrote it.
        program: String,
    },
    /// It ends within a block, or before the end of the trace: the recorder was killed, or its disk was full.
    #[error(
        "it ends at byte {offset}, before the trace did; {left} bytes of an unfinished block are left out"
    )]
    Cut {
        /// Where what is whole ends, bytes.
        offset: u64,
        /// Bytes after that.
        left: u64,
    },
    /// Bytes are not what was written.
    #[error(
        "it is damaged from byte {offset} on ({what}); the {left} bytes from there on are left out"
    )]
    Damaged {
        /// Where what is whole ends, bytes.
        offset: u64,
        /// Bytes after that.
        left: u64,
        /// How that shows.
        what: &'static str,
    },
}

/// A recording, judged as far as it goes.
#[derive(Debug)]
pub struct Replayed {
    /// Where it comes from.
    pub head: Head,
    /// All that was judged. Of a recording that breaks off: only what was over by then.
    pub outputs: Vec<Output>,
    /// What the end tells, or why there is none.
    pub end: Result<End, RecordingError>,
}

/// Judges a recording again. An error is one of its head; never panics, whatever the bytes are, and takes memory for one
/// block and for what is judged.
pub fn replay(from: impl io::Read) -> Result<Replayed, RecordingError> {
    let mut reader = Reader::new(from)?;
    let head = reader.head().clone();
    let mut engine = Engine::new(head.premises.clone());
    let mut outputs = Vec::new();
    let end = loop {
        match reader.input() {
            Ok(Some(input)) => engine.push(input),
            Ok(None) => break Ok(reader.end().cloned().unwrap_or_default()),
            Err(error) => break Err(error),
        }
        outputs.extend(std::iter::from_fn(|| engine.poll_output()));
    };
    Ok(Replayed { head, outputs, end })
}

/// Judges what blocks hold, as it is before they are made: a head, then inputs. For fuzzing, which finds no checksums.
pub fn replay_plain(bytes: &[u8]) -> Vec<Output> {
    let mut outputs = Vec::new();
    let Ok((head, mut rest)) = postcard::take_from_bytes::<Head>(bytes) else {
        return outputs;
    };
    let mut engine = Engine::new(head.premises);
    let mut known = entry::Known::default();
    while let Ok((entry, more)) = postcard::take_from_bytes(rest) {
        rest = more;
        match known.input(entry) {
            Some(entry::Item::Input(input)) => engine.push(input),
            Some(entry::Item::End(_)) | None => break,
        }
        outputs.extend(std::iter::from_fn(|| engine.poll_output()));
    }
    outputs
}

//! Input of a file or pipe, decompressed.
//!
//! They are read as they come: whatever one `read` gives can be parsed at once, so that a live pipe is not waited for.

use std::io::{self, BufReader, Cursor, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::Compression;

/// A window on the bytes of a capture.
pub(super) struct Input {
    source: Box<dyn Read + Send>,
    compression: Option<Compression>,
    taken: Arc<AtomicU64>,
    buffer: Vec<u8>,
    /// Of the buffer: what has been read and not been consumed.
    window: Range<usize>,
    ended: bool,
}

/// Why there are fewer bytes than were asked for.
#[derive(Debug)]
pub(super) enum Lack {
    /// The file ends.
    End,
    /// It cannot be unpacked any further.
    Damaged(Compression, io::Error),
    /// It cannot be read.
    Io(io::Error),
}

/// Bytes asked for at once: as many as a cache holds.
const CHUNK: usize = 256 << 10;

impl Input {
    /// Looks at the first bytes to see whether they are compressed, and waits for these.
    pub fn new(source: impl Read + Send + 'static) -> Result<Self, io::Error> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut counted = Counted {
            source,
            taken: Arc::clone(&taken),
        };
        let mut magic = Vec::with_capacity(LONGEST_MAGIC);
        while magic.len() < LONGEST_MAGIC {
            let mut next = [0; LONGEST_MAGIC];
            let space = next.get_mut(magic.len()..).unwrap_or_default();
            let read = read(&mut counted, space)?;
            if read == 0 {
                break;
            }
            magic.extend(space.iter().take(read));
        }
        let compression = match *magic {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Compression::Zstd),
            _ => None,
        };
        let whole = Cursor::new(magic).chain(counted);
        let source: Box<dyn Read + Send> = match compression {
            None => Box::new(whole),
            Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(BufReader::new(whole))),
            Some(Compression::Zstd) => Box::new(zstd::Decoder::new(whole)?),
        };
        Ok(Self {
            source,
            compression,
            taken,
            buffer: vec![0; CHUNK],
            window: 0..0,
            ended: false,
        })
    }

    pub fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Bytes read, as they are in the file.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// What has been read and not consumed.
    pub fn available(&self) -> &[u8] {
        self.buffer.get(self.window.clone()).unwrap_or_default()
    }

    /// The first `len` bytes, read if they are not there yet. Never more than that many are waited for.
    pub fn need(&mut self, len: usize) -> Result<&[u8], Lack> {
        self.wait(len)?;
        Ok(self.first(len))
    }

    /// The same where the file may end: `None`.
    pub fn need_or_end(&mut self, len: usize) -> Result<Option<&[u8]>, Lack> {
        match self.wait(len) {
            Ok(()) => Ok(Some(self.first(len))),
            Err(Lack::End) if self.window.is_empty() => Ok(None),
            Err(lack) => Err(lack),
        }
    }

    fn wait(&mut self, len: usize) -> Result<(), Lack> {
        while self.window.len() < len {
            self.fill()?;
        }
        Ok(())
    }

    fn first(&self, len: usize) -> &[u8] {
        self.available().get(..len).unwrap_or_default()
    }

    /// Moves on by `len` of the available bytes, and says where they are: [`Self::bytes`] has them until more are needed.
    pub fn consume(&mut self, len: usize) -> Range<usize> {
        let start = self.window.start;
        self.window.start = start.saturating_add(len).min(self.window.end);
        start..self.window.start
    }

    /// Moves on by `len` bytes, read or not, and keeps none.
    pub fn skip(&mut self, mut len: u64) -> Result<(), Lack> {
        loop {
            let here = usize::try_from(len)
                .unwrap_or(usize::MAX)
                .min(self.window.len());
            self.consume(here);
            len -= here as u64;
            if len == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Bytes that were consumed.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// Reads once. The buffer grows with what has really come, not with what a length field claims.
    fn fill(&mut self) -> Result<(), Lack> {
        if self.ended {
            return Err(Lack::End);
        }
        // Little is left, or more would not be needed.
        self.buffer.copy_within(self.window.clone(), 0);
        self.window = 0..self.window.len();
        if self.window.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let space = self.buffer.get_mut(self.window.end..).unwrap_or_default();
        let read = read(&mut self.source, space).map_err(|error| {
            self.ended = true;
            // What the system refuses has a number; what a decompressor does not like has none.
            match self.compression {
                Some(compression) if error.raw_os_error().is_none() => {
                    Lack::Damaged(compression, error)
                }
                _ => Lack::Io(error),
            }
        })?;
        if read == 0 {
            self.ended = true;
            return Err(Lack::End);
        }
        self.window.end += read;
        Ok(())
    }
}

const LONGEST_MAGIC: usize = 4;

fn read(source: &mut impl Read, space: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(space) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Counts what passes.
struct Counted<R> {
    source: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(space)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

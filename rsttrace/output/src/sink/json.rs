//! JSON Lines: one object per record, as in the schemas.

mod line;

use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;

use super::Sink;
use crate::record::{FailureRecord, Record, SuppressedRecord};
use crate::summary::Summary;

/// Appends the line that a record, a sum or a failure is, without its end.
pub fn append(out: &mut Vec<u8>, record: &impl Serialize) -> io::Result<()> {
    line::append(out, record).map_err(io::Error::other)
}

/// Records to `out`, the summary to `aside`.
pub struct Json<O, A> {
    out: O,
    aside: A,
    /// Reused from line to line.
    line: Vec<u8>,
}

impl<O: Write, A: Write> Json<O, A> {
    /// Writes records to `out` (buffered by the caller's choice), the summary to `aside`.
    pub fn new(out: O, aside: A) -> Self {
        Self {
            out,
            aside,
            line: Vec::new(),
        }
    }
}

impl<O: Write, A: Write> Json<O, A> {
    fn write(&mut self, object: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        append(&mut self.line, object)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }

    fn captures(&mut self, summary: &Summary) -> io::Result<()> {
        for capture in summary.captures() {
            self.write(capture)?;
        }
        self.out.flush()
    }
}

impl<O: Write, A: Write> Sink for Json<O, A> {
    fn record(&mut self, _now: Instant, record: &Record) -> io::Result<()> {
        self.write(record)
    }

    fn suppressed(&mut self, _now: Instant, sum: &SuppressedRecord) -> io::Result<()> {
        self.write(sum)
    }

    fn failure(&mut self, _now: Instant, failure: &FailureRecord) -> io::Result<()> {
        self.write(failure)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        let written = self.captures(summary);
        // The summary is printed even if the reader of the records has gone.
        let _ = self.aside.write_all(summary.render().as_bytes());
        let _ = self.aside.flush();
        written
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::text;

    fn record() -> Record {
        serde_json::from_str(include_str!(
            "../../../tests/data/records/hostile_names.json"
        ))
        .unwrap()
    }

    fn line(record: &Record) -> String {
        let mut out = Vec::new();
        let mut sink = Json::new(&mut out, io::sink());
        sink.record(Instant::now(), record).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_read_back_is_what_was_written() {
        let back: Record = serde_json::from_str(&line(&record())).unwrap();
        assert_eq!(back, record());
    }

    #[test]
    fn a_record_is_one_line_without_anything_a_terminal_obeys() {
        let line = line(&record());
        let (object, end) = line.split_at(line.len() - 1);
        assert_eq!(end, "\n");
        assert!(!object.chars().any(text::is_unsafe), "{object}");
    }

    #[test]
    fn a_closed_output_is_an_error_of_that_kind() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = Json::new(Closed, io::sink());
        let error = sink.record(Instant::now(), &record()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

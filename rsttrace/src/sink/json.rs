//! One JSON object a line: the records as the schemas have them, nothing else on standard output.

use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize as _;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::{Sink, text};
use crate::record::{Record, SuppressedRecord};
use crate::summary::Summary;

/// Records to `out`, the summary to `aside`.
pub struct Json<O, A> {
    out: O,
    aside: A,
}

impl<O: Write, A: Write> Json<O, A> {
    /// Writes records to `out` (buffered by the caller's choice), the summary to `aside`.
    pub fn new(out: O, aside: A) -> Self {
        Self { out, aside }
    }
}

impl<O: Write, A: Write> Sink for Json<O, A> {
    fn record(&mut self, _now: Instant, record: &Record) -> io::Result<()> {
        record.serialize(&mut Serializer::with_formatter(&mut self.out, Harmless))?;
        self.out.write_all(b"\n")
    }

    fn suppressed(&mut self, _now: Instant, sum: &SuppressedRecord) -> io::Result<()> {
        sum.serialize(&mut Serializer::with_formatter(&mut self.out, Harmless))?;
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        let written = self.out.flush();
        // The summary is told even if the reader of the records has gone.
        let _ = self.aside.write_all(summary.render().as_bytes());
        let _ = self.aside.flush();
        written
    }
}

/// Compact JSON in which also those characters are escaped that JSON allows but a terminal obeys.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| text::is_unsafe(c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn record() -> Record {
        serde_json::from_str(include_str!("../../tests/data/records/hostile_names.json")).unwrap()
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

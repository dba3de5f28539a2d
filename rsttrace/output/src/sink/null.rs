//! No records, only the summary.

use std::io::{self, Write};
use std::time::Instant;

use super::Sink;
use crate::record::{Record, SuppressedRecord};
use crate::summary::Summary;

/// The summary to `aside`.
pub struct Null<A> {
    aside: A,
}

impl<A: Write> Null<A> {
    /// Writes the summary to `aside`.
    pub fn new(aside: A) -> Self {
        Self { aside }
    }
}

impl<A: Write> Sink for Null<A> {
    fn record(&mut self, _: Instant, _: &Record) -> io::Result<()> {
        Ok(())
    }

    fn suppressed(&mut self, _: Instant, _: &SuppressedRecord) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        // A closed standard error is no failure.
        let _ = self.aside.write_all(summary.render().as_bytes());
        let _ = self.aside.flush();
        Ok(())
    }
}

//! What is shown, written into a capture as well: two sinks behind one filter.

use std::fs::File;
use std::io::{self, Write};
use std::time::Instant;

use super::{Pcapng, Sink};
use crate::record::{Record, SuppressedRecord, TimedOutRecord};
use crate::summary::Summary;

/// Shows resets and writes those it shows to a capture. The file gets what passes the filters, noise only if that is
/// shown, and none after the last one that was asked for. Sums of a flood have no packets.
pub struct Beside<A> {
    shown: Box<dyn Sink + Send>,
    file: Pcapng<File>,
    aside: A,
}

impl<A: Write> Beside<A> {
    /// What became of the file is told to `aside` at the end.
    pub fn new(shown: Box<dyn Sink + Send>, file: Pcapng<File>, aside: A) -> Self {
        Self { shown, file, aside }
    }
}

impl<A: Write> Sink for Beside<A> {
    fn record(&mut self, now: Instant, record: &Record) -> io::Result<()> {
        self.file.record(record);
        self.shown.record(now, record)
    }

    fn suppressed(&mut self, now: Instant, sum: &SuppressedRecord) -> io::Result<()> {
        self.shown.suppressed(now, sum)
    }

    fn timed_out(&mut self, now: Instant, dead: &TimedOutRecord) -> io::Result<()> {
        self.shown.timed_out(now, dead)
    }

    fn deadline(&self) -> Option<Instant> {
        self.shown.deadline()
    }

    fn tick(&mut self, now: Instant) -> io::Result<()> {
        self.shown.tick(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush();
        self.shown.flush()
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        self.file.flush();
        let finished = self.shown.finish(summary);
        // A closed standard error is nobody's concern.
        let _ = writeln!(self.aside, "rsttrace: {}", self.file.describe());
        finished
    }
}

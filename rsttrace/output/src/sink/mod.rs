//! Destinations of explained resets. Each sink is one form of output.
//!
//! A sink does not filter and does not count: the [`Reporter`] in front of it does.

mod csv;
mod dedup;
mod journald;
mod json;
mod layout;
mod null;
mod pcapng;
mod reporter;
mod suppressed;
mod table;
mod tee;

use std::io;
use std::time::Instant;

use crate::record::{FailureRecord, Record, SuppressedRecord};
use crate::summary::Summary;

pub use csv::{COLUMNS, Csv};
pub use journald::{JOURNAL, Journal, Journald};
pub use json::{Json, append as append_json};
pub use null::Null;
pub use pcapng::{Machine, Pcapng, Place, Written};
pub use reporter::{Reporter, Shown};
pub use table::{Table, TableOptions, Width};
pub use tee::{Packets, Tee};

/// A form of output. `now` is passed in; it drives the grouping of lines.
pub trait Sink {
    fn record(&mut self, now: Instant, record: &Record) -> io::Result<()>;

    /// Resets that the kernel side counted and did not describe.
    fn suppressed(&mut self, now: Instant, sum: &SuppressedRecord) -> io::Result<()>;

    /// A failure without a reset. Sinks whose form knows resets only leave it to the summary.
    fn failure(&mut self, _now: Instant, _failure: &FailureRecord) -> io::Result<()> {
        Ok(())
    }

    /// When [`Sink::tick`] is due; `None` if nothing is held back. May be too early, never too late.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Writes what was held back and is due.
    fn tick(&mut self, _now: Instant) -> io::Result<()> {
        Ok(())
    }

    /// What a last line says that is overwritten again and again. Only a terminal has one.
    fn status(&mut self, _text: &str) -> io::Result<()> {
        Ok(())
    }

    /// Hands everything written to its reader: after each batch of events.
    fn flush(&mut self) -> io::Result<()>;

    /// Before the end: writes what was held back.
    fn end(&mut self) -> io::Result<()> {
        self.flush()
    }

    /// The end: writes what was held back, then the summary.
    fn finish(&mut self, summary: &Summary) -> io::Result<()>;
}

//! Human-readable lines: one per reset, with counts of similar ones.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::dedup::{Groups, More};
use super::layout::Layout;
use super::{Sink, suppressed};
use crate::record::{FailureRecord, Record, SuppressedRecord};
use crate::summary::Summary;
use crate::terminal::{self, ERASE_LINE, Palette};
use crate::text::truncate;

/// Interval of reading the width of the terminal.
const WIDTH_AGE: Duration = Duration::from_secs(1);

/// More columns than any record takes.
const UNLIMITED: usize = 1 << 20;

/// Columns to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Those of the terminal on standard output, as it changes. Where there is none, each record is a line, as tools like grep need it.
    Terminal,
    Fixed(usize),
}

/// The form of the table.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// Columns to fill.
    pub width: Width,
    pub palette: Palette,
    pub zone: TimeZone,
    /// A line for each reset: no grouping.
    pub every: bool,
    /// A status line below the others, which is overwritten; the output must be a terminal.
    pub status: bool,
}

/// Lines to `out`, the summary to `aside`.
pub struct Table<O, A> {
    out: O,
    aside: A,
    layout: Layout,
    /// Set where the width follows the terminal: when it was last asked.
    asked: Option<Instant>,
    groups: Option<Groups>,
    day: Option<String>,
    begun: bool,
    /// Time of the last line: a count that was held back is shown with no earlier one.
    latest: String,
    /// Absent where no line can be overwritten.
    status: Option<Status>,
}

/// The line below the others.
#[derive(Default)]
struct Status {
    text: String,
    is_on_screen: bool,
}

impl<O: Write, A: Write> Table<O, A> {
    /// Writes lines to `out` (buffered by the caller's choice), the summary to `aside`.
    pub fn new(out: O, aside: A, options: TableOptions) -> Self {
        let (width, asked) = match options.width {
            Width::Terminal => (of_terminal(), Some(Instant::now())),
            Width::Fixed(width) => (width, None),
        };
        Self {
            out,
            aside,
            layout: Layout::new(width, options.palette, options.zone),
            asked,
            groups: (!options.every).then(Groups::default),
            day: None,
            begun: false,
            latest: String::new(),
            status: options.status.then(Status::default),
        }
    }

    fn follow_terminal(&mut self, now: Instant) {
        if let Some(asked) = self.asked
            && now.saturating_duration_since(asked) >= WIDTH_AGE
        {
            self.layout.width = of_terminal();
            self.asked = Some(now);
        }
    }

    /// Before a line: where it begins.
    fn make_way(&mut self) -> io::Result<()> {
        if let Some(status) = &mut self.status
            && std::mem::take(&mut status.is_on_screen)
        {
            self.out.write_all(ERASE_LINE.as_bytes())?;
        }
        Ok(())
    }

    /// Counts of groups.
    fn more(&mut self, counts: Vec<More>) -> io::Result<()> {
        for more in counts {
            self.make_way()?;
            if self.latest < more.until {
                self.latest.clone_from(&more.until);
            }
            let line = self.layout.more(&more, &self.latest);
            self.out.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// The header once, and a line for each new day.
    fn begin(&mut self, time: &str) -> io::Result<()> {
        if *self.latest < *time {
            time.clone_into(&mut self.latest);
        }
        self.make_way()?;
        if !self.begun {
            self.begun = true;
            writeln!(self.out, "{}", self.layout.header())?;
        }
        let palette = self.layout.palette;
        if let Some(day) = self.layout.day(time)
            && self.day.as_deref() != Some(&day)
        {
            writeln!(self.out, "{}", palette.dim(&format!("-- {day}")))?;
            self.day = Some(day.into_owned());
        }
        Ok(())
    }
}

fn of_terminal() -> usize {
    terminal::stdout_columns().unwrap_or(UNLIMITED)
}

impl<O: Write, A: Write> Sink for Table<O, A> {
    fn record(&mut self, now: Instant, record: &Record) -> io::Result<()> {
        self.follow_terminal(now);
        self.tick(now)?;
        if let Some(groups) = &mut self.groups
            && !groups.admit_record(now, record, Layout::label)
        {
            return Ok(());
        }
        self.begin(&record.time)?;
        self.out.write_all(self.layout.record(record).as_bytes())
    }

    fn failure(&mut self, now: Instant, failure: &FailureRecord) -> io::Result<()> {
        self.follow_terminal(now);
        self.tick(now)?;
        if let Some(groups) = &mut self.groups
            && !groups.admit_failure(now, failure, Layout::failure_label)
        {
            return Ok(());
        }
        self.begin(&failure.time)?;
        self.out.write_all(self.layout.failure(failure).as_bytes())
    }

    fn suppressed(&mut self, now: Instant, sum: &SuppressedRecord) -> io::Result<()> {
        self.follow_terminal(now);
        self.begin(&sum.time)?;
        let text = suppressed::sentence(sum);
        self.out
            .write_all(self.layout.notice(&sum.time, &text).as_bytes())
    }

    fn deadline(&self) -> Option<Instant> {
        self.groups.as_ref().and_then(Groups::deadline)
    }

    fn tick(&mut self, now: Instant) -> io::Result<()> {
        let due = self
            .groups
            .as_mut()
            .map_or_else(Vec::new, |groups| groups.due(now));
        self.more(due)
    }

    fn status(&mut self, text: &str) -> io::Result<()> {
        self.make_way()?;
        if let Some(status) = &mut self.status {
            let columns = match self.asked {
                Some(_) => terminal::columns_of_status(),
                None => self.layout.width,
            };
            let columns = columns.saturating_sub(1);
            status.text = truncate(text, columns).into_owned();
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(status) = &mut self.status
            && !status.is_on_screen
            && !status.text.is_empty()
        {
            status.is_on_screen = true;
            let text = self.layout.palette.dim(&status.text);
            self.out.write_all(text.as_bytes())?;
        }
        self.out.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        let rest = self.groups.as_mut().map_or_else(Vec::new, Groups::drain);
        self.make_way()?;
        self.status = None;
        self.more(rest)?;
        self.out.flush()
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        let ended = self.end();
        // The summary is printed even if the reader of the lines has gone. A closed standard error is no failure.
        let _ = self.aside.write_all(summary.render().as_bytes());
        let _ = self.aside.flush();
        ended
    }
}

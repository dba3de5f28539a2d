//! `rsttrace history`: queries the history.

mod histogram;

use std::io::{self, BufWriter, Write};
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::{Failure, HistoryFormat, HistoryOptions};
use crate::record::Output;
use crate::sink::{Csv, Sink, Table, TableOptions, Width};
use crate::stats::quiet;
use crate::store::{Extent, Store, StoreError};
use crate::summary::Summary;
use crate::terminal::{self, Palette, stdout_width};
use crate::words::count;

/// Writes the records to standard output, and their totals to standard error.
pub fn history(options: &HistoryOptions) -> Result<(), Failure> {
    let store = Store::open_read(&options.file).map_err(for_reader)?;
    let palette = Palette {
        colors: options.color.for_stdout(),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let found = if options.histogram {
        histogram(&store, options, palette, &mut out)?
    } else {
        match options.output {
            HistoryFormat::Json => json(&store, options, &mut out)?,
            HistoryFormat::Csv => show(&store, options, &mut Csv::new(&mut out))?,
            HistoryFormat::Table => {
                let form = TableOptions {
                    width: Width::Terminal,
                    palette,
                    zone: options.zone.clone(),
                    every: true,
                    status: false,
                };
                show(
                    &store,
                    options,
                    &mut Table::new(terminal::text(&mut out), io::sink(), form),
                )?
            }
        }
    };
    out.flush()?;
    let extent = store.extent().map_err(for_reader)?;
    // A closed standard error is no failure.
    let mut aside = io::stderr();
    let _ = writeln!(aside, "{}", found.sentence(&options.zone));
    let _ = writeln!(aside, "{}", holds(&extent, options));
    Ok(())
}

pub(super) fn for_reader(error: StoreError) -> Failure {
    match error {
        StoreError::NotPermitted(file) => Failure::NotPermitted(format!(
            "{}: permission denied; run as root, or make the file readable for this user",
            file.display()
        )),
        error => error.into(),
    }
}

#[derive(Debug, Default)]
struct Found {
    resets: u64,
    suppressed: u64,
    failures: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Found {
    fn note(&mut self, output: &Output) {
        let time = match output {
            Output::Reset(record) => {
                self.resets += 1;
                &record.time
            }
            Output::Suppressed(sum) => {
                self.suppressed = self.suppressed.saturating_add(sum.count);
                &sum.time
            }
            Output::Failure(failure) => {
                self.failures += 1;
                &failure.time
            }
        };
        if let Ok(time) = time.parse::<Timestamp>() {
            self.first = self.first.into_iter().chain([time]).min();
            self.last = self.last.into_iter().chain([time]).max();
        }
    }

    fn sentence(&self, zone: &TimeZone) -> String {
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return "no record matches".to_owned();
        };
        let resets = match self.resets {
            0 => "no resets".to_owned(),
            resets => plural(resets, "reset", "resets"),
        };
        let mut text = format!("{resets}, {}", span(first, last, zone));
        if self.suppressed > 0 {
            text = format!("{text}; {} more suppressed", count(self.suppressed));
        }
        if self.failures > 0 {
            let failures = plural(self.failures, "failure", "failures");
            text = format!("{text}; {failures} without a reset");
        }
        text
    }
}

fn holds(extent: &Extent, options: &HistoryOptions) -> String {
    let file = options.file.display();
    match (extent.first, extent.last) {
        (Some(first), Some(last)) => format!(
            "{file} holds {}, {}",
            plural(extent.resets, "reset", "resets"),
            span(first, last, &options.zone)
        ),
        _ => format!("{file} is empty; `rsttrace watch --store` writes to it"),
    }
}

fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `2026-01-05 12:03:41 to 13:00:00`; one time if both are the same second.
fn span(first: Timestamp, last: Timestamp, zone: &TimeZone) -> String {
    if first.as_second() == last.as_second() {
        return first
            .to_zoned(zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string();
    }
    let (first, last) = (first.to_zoned(zone.clone()), last.to_zoned(zone.clone()));
    let end = if first.date() == last.date() {
        "%H:%M:%S"
    } else {
        "%Y-%m-%d %H:%M:%S"
    };
    let (first, last) = (first.strftime("%Y-%m-%d %H:%M:%S"), last.strftime(end));
    format!("{first} to {last}")
}

/// The lines as they were written.
fn json(store: &Store, options: &HistoryOptions, out: &mut impl Write) -> Result<Found, Failure> {
    let mut found = Found::default();
    for stored in store.records(&options.query).map_err(for_reader)? {
        let stored = stored.map_err(for_reader)?;
        found.note(&stored.output);
        writeln!(out, "{}", stored.line)?;
    }
    Ok(found)
}

fn show(store: &Store, options: &HistoryOptions, sink: &mut dyn Sink) -> Result<Found, Failure> {
    let mut found = Found::default();
    let now = Instant::now();
    for stored in store.records(&options.query).map_err(for_reader)? {
        let stored = stored.map_err(for_reader)?;
        found.note(&stored.output);
        match &stored.output {
            Output::Reset(record) => sink.record(now, record)?,
            Output::Suppressed(sum) => sink.suppressed(now, sum)?,
            Output::Failure(failure) => sink.failure(now, failure)?,
        }
    }
    sink.finish(&Summary::default())?;
    Ok(found)
}

fn histogram(
    store: &Store,
    options: &HistoryOptions,
    palette: Palette,
    out: &mut impl Write,
) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut counter = quiet::Counter::default();
    for stored in store.records(&options.query).map_err(for_reader)? {
        let stored = stored.map_err(for_reader)?;
        if let Output::Reset(record) = &stored.output
            && counter.record(record)
        {
            found.note(&stored.output);
        }
    }
    let text = histogram::render(&counter.histogram(), stdout_width(), palette);
    terminal::text(out).write_all(text.as_bytes())?;
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_said_without_a_span_of_nothing() {
        let mut found = Found::default();
        assert_eq!(found.sentence(&TimeZone::UTC), "no record matches");
        let sum = serde_json::from_str(include_str!("../../tests/data/suppressed.json")).unwrap();
        found.note(&Output::Suppressed(Box::new(sum)));
        let text = found.sentence(&TimeZone::UTC);
        assert!(text.starts_with("no resets, 20"), "{text}");
        assert!(!text.contains(" to "), "{text}");
        let record = include_str!("../../tests/data/records/port_closed.json");
        found.note(&Output::Reset(Box::new(
            serde_json::from_str(record).unwrap(),
        )));
        let text = found.sentence(&TimeZone::UTC);
        assert!(text.starts_with("1 reset, 20"), "{text}");
    }
}

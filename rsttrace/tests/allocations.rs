//! Allocations on an event's way, bounded so that they do not grow unnoticed.

#![allow(clippy::unwrap_used, reason = "tests")]

mod storm;

use std::alloc::System;
use std::io;
use std::time::{Duration, Instant};

use rsttrace::record::Output;
use rsttrace::sink::{Json, Sink, Table, TableOptions, Width};
use rsttrace::terminal::Palette;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Resets before it is counted: tables and buffers have their size then.
const WARM_UP: u32 = 20_000;
/// Resets that are counted.
const COUNTED: u32 = 5_000;
/// A storm of 20,000 resets a second.
const APART: Duration = Duration::from_micros(50);

/// At most this often, by step. What goes beyond the event itself and its record's sentences is to come down further.
const MOST: [(&str, f64); 6] = [
    ("decode, an event", 1.0),
    ("join and judge, a record", 10.0),
    ("a record that is grouped, and not worded", 0.0),
    ("the text of a record", 13.5),
    ("a JSON line", 0.0),
    ("a line of the table", 0.0),
];

/// One test: others would be counted, too.
#[test]
fn memory_is_asked_for_so_often() {
    let decoder = storm::decoder();
    let mut engine = storm::engine();
    let host = storm::Host::new();
    let mut json = Json::new(io::sink(), io::sink());
    let table = |every| {
        let options = TableOptions {
            width: Width::Fixed(160),
            palette: Palette { colors: false },
            zone: jiff::tz::TimeZone::UTC,
            every,
            status: false,
        };
        Table::new(io::sink(), io::sink(), options)
    };
    let (mut grouped, mut each_line) = (table(false), table(true));
    let now = Instant::now();
    let mut asked = [0_usize; 6];
    let (mut events, mut records) = (0, 0);
    for number in 0..WARM_UP + COUNTED {
        if number == WARM_UP {
            (asked, events, records) = ([0; 6], 0, 0);
        }
        for bytes in storm::events(number, number + 1, APART) {
            let event = count(&mut asked[0], || decoder.decode(&bytes).unwrap());
            let facts = host.facts(&event);
            count(&mut asked[1], || {
                storm::push(&mut engine, &bytes, event, facts);
            });
            events += 1;
        }
        while let Some(output) = engine.poll_output() {
            let Output::Reset(record) = &output else {
                continue;
            };
            count(&mut asked[2], || grouped.record(now, record).unwrap());
            count(&mut asked[3], || {
                assert!(!record.verdict.summary().is_empty())
            });
            count(&mut asked[4], || json.record(now, record).unwrap());
            count(&mut asked[5], || each_line.record(now, record).unwrap());
            records += 1;
        }
    }
    assert_eq!(events, COUNTED as usize * storm::EVENTS);
    assert_eq!(records, COUNTED as usize * storm::RECORDS);
    for ((step, most), asked) in MOST.into_iter().zip(asked) {
        let of = if step.starts_with("decode") {
            events
        } else {
            records
        };
        let each = asked as f64 / of as f64;
        eprintln!("{step}: {each:.2}");
        assert!(each <= most + 0.01, "{step}: {each:.2}, at most {most}");
    }
}

fn count<T>(asked: &mut usize, work: impl FnOnce() -> T) -> T {
    let region = Region::new(ALLOCATOR);
    let result = work();
    let change = region.change();
    *asked += change.allocations + change.reallocations;
    result
}

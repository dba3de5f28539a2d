//! The table at several widths.

use std::io;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use rsttrace::record::{FailureRecord, Record, SuppressedRecord};
use rsttrace::sink::{Sink as _, Table, TableOptions, Width};
use rsttrace::summary::Summary;
use rsttrace::terminal::Palette;
use rsttrace::text::{is_unsafe, width};

use super::{assert_golden, files, records};

fn options(columns: usize) -> TableOptions {
    TableOptions {
        width: Width::Fixed(columns),
        palette: Palette { colors: false },
        zone: TimeZone::UTC,
        every: false,
        status: false,
    }
}

fn render(options: TableOptions, records: &[Record]) -> String {
    let mut out = Vec::new();
    let mut table = Table::new(&mut out, io::sink(), options);
    let now = Instant::now();
    for record in records {
        table.record(now, record).unwrap();
    }
    table.finish(&Summary::default()).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn samples_at_three_widths() {
    for columns in [80, 120, 180] {
        let text = render(options(columns), &records());
        assert_golden(&format!("table/{columns}.txt"), &text);
    }
}

#[test]
fn no_line_is_wider_than_the_screen_and_none_ends_in_blanks() {
    for columns in 72..200 {
        for line in render(options(columns), &records()).lines() {
            assert!(width(line) <= columns, "{columns}: {line}");
            assert_eq!(line.trim_end(), line, "{columns}");
        }
    }
}

#[test]
fn addresses_are_never_cut() {
    for columns in 72..200 {
        let text = render(options(columns), &records());
        for record in records() {
            assert!(text.contains(&record.local.to_string()), "{columns}");
            assert!(text.contains(&record.remote.to_string()), "{columns}");
        }
    }
}

#[test]
fn a_name_that_fills_the_screen_is_cut_and_keeps_its_pid() {
    let mut record = records()[1].clone();
    record.process.as_mut().unwrap().comm = "\x1b".repeat(40).into();
    let text = render(options(80), &[record]);
    assert!(text.contains("…[87]"), "{text}");
    assert!(text.lines().all(|line| width(line) <= 80), "{text}");
}

#[test]
fn nothing_a_terminal_obeys_gets_through() {
    for columns in [80, 120] {
        let text = render(options(columns), &records());
        assert!(!text.chars().any(|c| c != '\n' && is_unsafe(c)));
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    for columns in [80, 120, 180] {
        let mut colored = options(columns);
        colored.palette.colors = true;
        let text = render(colored, &records());
        assert!(text.contains("\x1b[31mLOCAL PROCESS certain\x1b[0m"));
        let mut plain = text;
        for code in ["0", "2", "31", "33"] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(plain, render(options(columns), &records()));
    }
}

#[test]
fn a_status_line_is_erased_before_each_line_and_at_the_end() {
    let mut out = Vec::new();
    let with_status = TableOptions {
        status: true,
        ..options(80)
    };
    let mut table = Table::new(&mut out, io::sink(), with_status);
    let now = Instant::now();
    let long = "x".repeat(200);
    for record in records() {
        table.status("before").unwrap();
        table.status(&long).unwrap();
        table.record(now, &record).unwrap();
        table.flush().unwrap();
    }
    table.finish(&Summary::default()).unwrap();
    let text = String::from_utf8(out).unwrap();
    // As a terminal shows it.
    let mut screen = String::new();
    for part in text.split_inclusive("\x1b[K") {
        match part.strip_suffix("\r\x1b[K") {
            Some(kept) => {
                let line = kept.rfind('\n').map_or(0, |end| end + 1);
                let status = &kept[line..];
                assert!(status == "before" || width(status) == 79, "{status}");
                screen.push_str(&kept[..line]);
            }
            None => screen.push_str(part),
        }
    }
    assert_eq!(screen, render(options(80), &records()));
}

#[test]
fn times_follow_the_zone() {
    let mut berlin = options(120);
    berlin.zone = TimeZone::fixed(jiff::tz::offset(1));
    let text = render(berlin, &records());
    assert!(text.contains("-- 2026-01-05 (UTC+01:00)\n13:03:41.201 recv"));
    assert!(text.contains("-- 2026-01-06 (UTC+01:00)\n00:59:59.999 seen"));
}

/// A burst, a notice of the kernel's, the end.
fn burst(every: bool) -> String {
    let samples = records();
    let mut out = Vec::new();
    let mut table = Table::new(
        &mut out,
        io::sink(),
        TableOptions {
            every,
            ..options(120)
        },
    );
    let start = Instant::now();
    for number in 0..42_u16 {
        let mut record = samples[1].clone();
        record.remote.port += number;
        record.time = format!("2026-01-05T12:03:45.{number:03}000000Z");
        table.record(start, &record).unwrap();
    }
    table.tick(start + Duration::from_secs(1)).unwrap();
    let suppressed: SuppressedRecord =
        serde_json::from_str(include_str!("../data/suppressed.json")).unwrap();
    table.suppressed(start, &suppressed).unwrap();
    let later = start + Duration::from_secs(9);
    for record in [&samples[2], &samples[2]] {
        table.record(later, record).unwrap();
    }
    table.finish(&Summary::default()).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_burst_is_one_line_and_a_count() {
    assert_golden("table/burst.txt", &burst(false));
}

#[test]
fn failures_at_two_widths_and_similar_ones_are_counted() {
    let failures: Vec<FailureRecord> = files("failures")
        .into_iter()
        .map(|(_, value)| serde_json::from_value(value).unwrap())
        .collect();
    let mut text = String::new();
    for columns in [80, 120] {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, io::sink(), options(columns));
        let now = Instant::now();
        for failure in &failures {
            for port in 0..3 {
                let mut similar = failure.clone();
                // Connects come from a port of their own each.
                if similar.syns.is_some()
                    && let Some(local) = &mut similar.local
                {
                    local.port += port;
                }
                table.failure(now, &similar).unwrap();
            }
        }
        table.finish(&Summary::default()).unwrap();
        text.push_str(&String::from_utf8(out).unwrap());
    }
    assert!(text.lines().all(|line| width(line) <= 120));
    assert_golden("table/failures.txt", &text);
}

#[test]
fn every_means_a_line_for_each() {
    let text = burst(true);
    assert_eq!(text.matches("LOCAL PROCESS certain").count(), 42);
    assert_eq!(text.matches("LOCAL KERNEL certain").count(), 2);
    assert!(!text.contains(" similar since "));
}

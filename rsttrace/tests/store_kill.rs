//! A history is intact, and at most a second behind, whenever its writer is killed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rsttrace::record::Output;
use rsttrace::record::Record;
use rsttrace::store::{Keeper, Limits, Query, Store};

/// Set for the process that is killed: where it writes.
const FILE: &str = "RSTTRACE_TEST_STORE";
/// Set likewise: how many records it takes in without a pause.
const AT_ONCE: &str = "RSTTRACE_TEST_AT_ONCE";

fn limits() -> Limits {
    Limits {
        age: Duration::from_secs(100 * 365 * 86_400),
        // Small enough for records to go, and the log to be written back, many times.
        bytes: Limits::LEAST_BYTES,
    }
}

/// Run as a process of its own: takes in records for ever, and says which, each time before it does.
#[test]
#[ignore = "a part of the test below"]
fn writes_until_it_is_killed() {
    let file = std::env::var_os(FILE).expect("no claim of its own: run the test below");
    let at_once: u64 = std::env::var(AT_ONCE).unwrap().parse().unwrap();
    let keeper = Keeper::start(Path::new(&file), limits()).unwrap();
    let text = include_str!("data/records/close_with_unread_data.json");
    let sample: Record = serde_json::from_str(text).unwrap();
    let mut out = std::io::stdout().lock();
    for number in 1.. {
        let mut record = sample.clone();
        record.id.number = number;
        keeper.offer(Output::Reset(Box::new(record)));
        if number % at_once == 0 {
            writeln!(out, "offered {number}").unwrap();
            out.flush().unwrap();
            std::thread::sleep(Duration::from_millis(3));
            // What finds no room would be counted, not stored; this is of what is taken in.
            while number - keeper.vitals().stored > 2_000 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn a_killed_writer_leaves_a_whole_store_that_lacks_less_than_the_last_second() {
    let folder = tempfile::tempdir().unwrap();
    // The same lives each time; what they meet differs all the same.
    let mut state = 0x5eed_u64;
    let mut with_old = 0;
    for round in 0..25_u64 {
        // One file for all rounds but some: each opens what the one before left.
        let file = folder.path().join(format!("history-{}.db", round / 10));
        let at_once = [1, 20, 60][usize::try_from(round).unwrap() % 3];
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let life = Duration::from_millis(state >> 33 & 0x7ff);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "writes_until_it_is_killed",
                "--nocapture",
            ])
            .env(FILE, &file)
            .env(AT_ONCE, at_once.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            let offered = lines.map_while(Result::ok).filter_map(|line| {
                let number = line.split("offered ").nth(1)?;
                Some((Instant::now(), number.parse::<u64>().unwrap()))
            });
            offered.collect::<Vec<_>>()
        });
        std::thread::sleep(life);
        child.kill().unwrap();
        let killed = Instant::now();
        child.wait().unwrap();
        let offered = reader.join().unwrap();
        let old = offered
            .iter()
            .rev()
            .find(|(at, _)| killed.saturating_duration_since(*at) > Duration::from_secs(1));
        with_old += u32::from(old.is_some());
        check(&file, old.map(|(_, number)| *number));
    }
    assert!(with_old >= 5, "only {with_old} of 25 had anything to lose");
}

fn check(file: &Path, old: Option<u64>) {
    if !file.exists() {
        assert_eq!(old, None);
        return;
    }
    let connection = rusqlite::Connection::open(file).unwrap();
    let found: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(found, "ok");
    drop(connection);
    let Some(old) = old else { return };
    let store = Store::open_read(file).unwrap();
    let query = Query {
        noise: true,
        ..Query::default()
    };
    let numbers: Vec<u64> = store
        .records(&query)
        .unwrap()
        .map(|stored| match stored.unwrap().output {
            Output::Reset(record) => record.id.number,
            other => panic!("a reset expected, not {other:?}"),
        })
        .collect();
    // Those of the last run begin at 1, or with what its size has left.
    let begin = numbers.windows(2).rposition(|pair| pair[0] >= pair[1]);
    let last_run = &numbers[begin.map_or(0, |at| at + 1)..];
    assert!(
        last_run.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "a gap"
    );
    let last = last_run.last().copied().unwrap_or(0);
    assert!(
        last >= old,
        "{old} was handed in more than a second before, {last} is the last"
    );
}

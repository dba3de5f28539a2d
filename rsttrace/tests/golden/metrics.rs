//! What is scraped, and whether its documentation is complete.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use rsttrace::metrics::{self, Judged, exposition};
use rsttrace::record::Output;
use rsttrace::self_stats::KernelTotal;
use rsttrace::self_stats::{
    BufferVitals, HookVitals, KernelResets, ProcessVitals, ProgramCost, ProgramVitals, Shortfalls,
    StoreVitals, TableVitals, Vitals,
};

use super::{assert_golden, records};

fn judged() -> Judged {
    let mut judged = Judged::default();
    for (number, record) in records().into_iter().enumerate() {
        for _ in 0..=number {
            judged.note(&Output::Reset(Box::new(record.clone())));
        }
    }
    let failure = super::summary::failure(412, "java", "ETIMEDOUT", 110);
    judged.note(&Output::Failure(Box::new(failure)));
    judged
}

fn vitals() -> Vitals {
    let total = |name: &str, seen, suppressed, lost| KernelTotal {
        name: name.to_owned(),
        seen,
        detailed: seen - suppressed - lost,
        suppressed,
        lost,
    };
    let program = |name: &str, cost, missed| ProgramVitals {
        name: name.to_owned(),
        cost,
        missed,
    };
    Vitals {
        events: vec![
            total("sent", 12_345, 345, 5),
            total("received", 300, 0, 0),
            total("on the wire", 24_000, 0, 1),
            total("timed out", 1, 0, 0),
        ],
        resets: vec![
            KernelResets {
                hook: "tcp_send_reset",
                socket: "nothing_for_syn",
                reason: "NO_SOCKET".to_owned(),
                detailed: 120,
                suppressed: 345,
            },
            KernelResets {
                hook: "tcp_receive_reset",
                socket: "connection",
                reason: "ESTABLISHED".to_owned(),
                detailed: 300,
                suppressed: 0,
            },
        ],
        shortfalls: Shortfalls {
            undecodable: 1,
            judged_early: 2,
            ambiguous: 3,
            holders_not_asked: 4,
            network_not_asked: 7,
            without_owner: Some(5),
            unwatched: Some(6),
        },
        programs: vec![
            program(
                "tcp_receive_reset",
                Some(ProgramCost {
                    time: Duration::from_nanos(1_500),
                    runs: 300,
                }),
                Some(7),
            ),
            program("tcp_send_reset", None, None),
        ],
        buffer: BufferVitals {
            capacity: 4 << 20,
            most_read: 70_000,
        },
        tables: vec![
            TableVitals {
                name: "tombstones",
                entries: None,
                capacity: Some(131_072),
                evictions: Some(12),
            },
            TableVitals {
                name: "open_chains",
                entries: Some(3),
                capacity: Some(65_536),
                evictions: None,
            },
        ],
        hooks: vec![
            HookVitals {
                fact: "reset_sent",
                way: Some("tracepoint with reason"),
            },
            HookVitals {
                fact: "acceptor",
                way: None,
            },
        ],
        process: Some(ProcessVitals {
            cpu: Duration::from_millis(1_230),
            resident: 17 << 20,
            most_resident: 18 << 20,
            started: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_250)),
        }),
        lines_dropped: Some(0),
        store: Some(StoreVitals {
            stored: 1_340,
            lost: 2,
            bytes: 5 << 20,
        }),
    }
}

#[test]
fn exposition_of_everything() {
    assert_golden("metrics/everything.txt", &exposition(&judged(), &vitals()));
}

#[test]
fn what_is_not_known_has_no_line() {
    let nothing = exposition(&Judged::default(), &Vitals::default());
    assert_golden("metrics/nothing.txt", &nothing);
}

/// Rows of the tables begin with the name; labels in braces are not part of it.
#[test]
fn each_metric_is_documented_and_each_documented_one_exists() {
    let document = include_str!("../../../docs/METRICS.md");
    let documented: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split(['`', '{']).next())
        .filter(|name| name.contains("rsttrace_") || name.starts_with("process_"))
        .collect();
    let unique: BTreeSet<_> = documented.iter().copied().collect();
    assert_eq!(unique.len(), documented.len(), "documented twice");
    assert_eq!(unique, metrics::names().collect());
}

/// As they are in the exposition: a label that is documented is there, and the other way round.
#[test]
fn labels_are_documented() {
    let document = include_str!("../../../docs/METRICS.md");
    let text = exposition(&judged(), &vitals());
    for name in metrics::names() {
        let begin = format!("{name}{{");
        let Some(line) = text.lines().find(|line| line.starts_with(&begin)) else {
            assert!(document.contains(&format!("| `{name}` |")), "{name}");
            continue;
        };
        let labels: Vec<_> = line[begin.len()..]
            .split("\",")
            .filter_map(|label| label.split('=').next())
            .collect();
        let row = format!("| `{name}{{{}}}` |", labels.join(","));
        assert!(document.contains(&row), "no row {row}");
    }
}

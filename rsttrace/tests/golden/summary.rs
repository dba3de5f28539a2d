//! The summary at the end.

use std::time::Duration;

use rsttrace::record::{
    CAPTURE_SCHEMA, CaptureRecord, FailureRecord, NotAnalyzed, Severity, TimedOutRecord,
};
use rsttrace::self_stats::KernelTotal;
use rsttrace::self_stats::{BufferVitals, ProcessVitals, ProgramCost, ProgramVitals, Vitals};
use rsttrace::summary::{Summary, Totals, View};

use super::{assert_golden, records};

pub fn failure(pid: u32, comm: &str, name: &str, error: i32) -> FailureRecord {
    let process =
        serde_json::json!({"pid": pid, "comm": comm, "role": "owner", "quality": "recorded"});
    let record = serde_json::json!({
        "schema": "rsttrace.timeout.v1",
        "id": {"boot": "b", "number": 1},
        "time": "2026-01-05T12:04:00.000000000Z",
        "local": {"address": "10.0.9.4", "port": 40000},
        "remote": {"address": "10.0.3.9", "port": 80},
        "error": error,
        "error_name": name,
        "state": "ESTABLISHED",
        "process": process,
    });
    let old: TimedOutRecord = serde_json::from_value(record).unwrap();
    old.into()
}

fn filled(is_detailed: bool) -> Summary {
    let mut summary = Summary::new(is_detailed);
    for (number, record) in records().iter().enumerate() {
        for _ in 0..=number * number * 40 {
            let view = match record.verdict.severity {
                Severity::Noise => View::Hidden,
                Severity::Fault | Severity::Refused => View::Shown,
            };
            summary.record(record, view);
        }
    }
    summary.left_out();
    for _ in 0..3 {
        summary.failure(&failure(412, "java", "ETIMEDOUT", 110), false);
    }
    summary.failure(&failure(87, "ngi\x1bnx", "EHOSTUNREACH", 113), false);
    summary
}

fn kernel(lost: u64) -> Vec<KernelTotal> {
    ["sent", "received"]
        .map(|name| KernelTotal {
            name: name.to_owned(),
            seen: 12_345,
            detailed: 12_000 - lost,
            suppressed: 345,
            lost,
        })
        .to_vec()
}

fn vitals() -> Vitals {
    Vitals {
        programs: vec![ProgramVitals {
            name: "tcp_send_reset".to_owned(),
            cost: Some(ProgramCost {
                time: Duration::from_millis(410),
                runs: 123_456,
            }),
            missed: Some(0),
        }],
        buffer: BufferVitals {
            capacity: 4 << 20,
            most_read: 400_000,
        },
        process: Some(ProcessVitals {
            cpu: Duration::from_millis(1_240),
            resident: 17 << 20,
            most_resident: 18 << 20,
            started: None,
        }),
        ..Vitals::default()
    }
}

#[test]
fn summary_of_many_records() {
    let totals = Totals {
        duration: Duration::from_secs(7505),
        kernel: kernel(0),
        is_cut_off: false,
        is_enough: false,
        is_running: false,
        lessons: vec![
            "toward 10.0.0.0/24 port 443, fin_at_expiry: 37 of 40 idle resets came at 300.0 ± 0.4 s".to_owned(),
        ],
        shortfalls: vec![("tombstones not written".to_owned(), 0)],
        captures: None,
        vitals: Some(vitals()),
    };
    for (is_detailed, name) in [(false, "many"), (true, "detailed")] {
        let mut summary = filled(is_detailed);
        summary.total(totals.clone());
        assert_golden(&format!("summary/{name}.txt"), &summary.render());
    }
}

#[test]
fn summary_with_losses() {
    let mut summary = Summary::default();
    summary.record(&records()[0], View::Shown);
    summary.total(Totals {
        duration: Duration::from_millis(20_040),
        kernel: kernel(5),
        is_cut_off: false,
        is_enough: false,
        is_running: false,
        lessons: Vec::new(),
        shortfalls: vec![
            ("tombstones not written".to_owned(), 1234),
            (
                "sockets without recorded owner (out of memory)".to_owned(),
                0,
            ),
        ],
        captures: None,
        vitals: None,
    });
    assert_golden("summary/losses.txt", &summary.render());
}

#[test]
fn summary_of_captures() {
    let capture = |file: &str, not_analyzed: &[(&str, u64)]| CaptureRecord {
        schema: CAPTURE_SCHEMA.into(),
        file: file.into(),
        packets: 1_500,
        tcp: 1_200,
        not_tcp: 280,
        not_analyzed: not_analyzed
            .iter()
            .map(|(reason, packets)| NotAnalyzed {
                reason: (*reason).to_owned(),
                packets: *packets,
            })
            .collect(),
        ended_early: None,
    };
    let mut summary = Summary::default();
    summary.record(&records()[0], View::Shown);
    summary.total(Totals {
        duration: Duration::from_secs(61),
        captures: Some(vec![
            capture(
                "a.pcap",
                &[("EtherType 0x88e5 (MACsec)", 15), ("malformed", 5)],
            ),
            capture("b.pcap", &[("malformed", 20)]),
        ]),
        shortfalls: vec![("duplicate resets".to_owned(), 3)],
        ..Totals::default()
    });
    assert_golden("summary/captures.txt", &summary.render());
}

#[test]
fn summary_of_nothing() {
    assert_golden("summary/nothing.txt", &Summary::default().render());
}

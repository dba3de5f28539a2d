//! The summary at the end.

use std::time::Duration;

use rsttrace::event::{Closer, Flow, Ownership, Task, TcpState, TimedOut};
use rsttrace::record::Severity;
use rsttrace::summary::{KernelTotal, Summary, Totals};

use super::{assert_golden, records};

fn dead(pid: u32, comm: &str, error: i32) -> TimedOut {
    let task = Task {
        pid,
        start: Default::default(),
        uid: 0,
        cgroup_id: 0,
        comm: comm.to_owned(),
    };
    TimedOut {
        flow: Flow {
            local: "10.0.9.4:40000".parse().unwrap(),
            remote: "10.0.3.9:80".parse().unwrap(),
        },
        ownership: Some(Ownership {
            owner: None,
            source: None,
            inherited: false,
            closer: Some(Closer {
                task,
                time: None,
                exiting: false,
                kernel_thread: false,
                signal: None,
            }),
            established: None,
            isn: None,
            state_before_close: None,
        }),
        error,
        last_state: TcpState::Established,
    }
}

fn filled() -> Summary {
    let mut summary = Summary::default();
    for (number, record) in records().iter().enumerate() {
        for _ in 0..=number * number * 40 {
            summary.record(record, record.verdict.severity == Severity::Noise);
        }
    }
    summary.left_out();
    for _ in 0..3 {
        summary.timed_out(&dead(412, "java", 110));
    }
    summary.timed_out(&dead(87, "ngi\x1bnx", 113));
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

#[test]
fn summary_of_many_records() {
    let mut summary = filled();
    summary.total(Totals {
        duration: Duration::from_secs(7505),
        kernel: kernel(0),
        losses: vec![("tombstones not written".to_owned(), 0)],
    });
    assert_golden("summary/many.txt", &summary.render());
}

#[test]
fn summary_with_losses() {
    let mut summary = Summary::default();
    summary.record(&records()[0], false);
    summary.total(Totals {
        duration: Duration::from_millis(20_040),
        kernel: kernel(5),
        losses: vec![
            ("tombstones not written".to_owned(), 1234),
            ("sockets without a recorded owner".to_owned(), 0),
        ],
    });
    assert_golden("summary/losses.txt", &summary.render());
}

#[test]
fn summary_of_nothing() {
    assert_golden("summary/nothing.txt", &Summary::default().render());
}

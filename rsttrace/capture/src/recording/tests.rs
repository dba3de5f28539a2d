//! What a recording promises, whatever becomes of its bytes.

use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;
use rsttrace_common::flood::BucketKey;

use super::*;
use crate::engine::Input;
use crate::event::{
    Balanced, BootTime, Holder, HostContext, KeepaliveDefaults, NetSettings, NetnsCookie, OwnerNow,
    ProcessFacts, ProgramTimer, ProgramTimers, Task,
};
use crate::flood::{Kind, Refused, Suppressed};
use crate::record::Workload;

/// What was recorded of a kernel.
static RECORDED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/data/kernels/6.18/events.rst"
    );
    fs::read(file).unwrap()
});

/// The same with facts of all kinds, in small blocks, and everything else that can go in.
fn inputs() -> (Head, Vec<(Vec<u8>, HostContext)>) {
    let mut reader = Reader::new(&**RECORDED).unwrap();
    let process = |pid| {
        Arc::new(ProcessFacts {
            pid,
            exe: Some("/usr/sbin/nginx".into()),
            cmdline: Some("nginx: worker process".into()),
            workload: (pid == 2).then(|| {
                Box::new(Workload {
                    namespace: Some("shop".into()),
                    pod: Some("web-7d4b9c5f6d-x2x4v".into()),
                    ..Workload::default()
                })
            }),
            ..ProcessFacts::default()
        })
    };
    let processes = [process(1), process(2)];
    let settings = Arc::new(NetSettings {
        keepalive: Some(KeepaliveDefaults {
            time: Duration::from_secs(7200),
            interval: Duration::from_secs(75),
            probes: 9,
        }),
        balanced: Balanced {
            addresses: vec!["10.0.0.1:80".parse().unwrap()],
            others: true,
        },
        ..NetSettings::default()
    });
    let mut events = Vec::new();
    while let Some(input) = reader.input().unwrap() {
        let Input::Event {
            bytes, mut facts, ..
        } = input
        else {
            continue;
        };
        let number = events.len();
        facts.processes = processes[..number % 3].iter().cloned().collect();
        facts.settings = (number % 2 == 0).then(|| Arc::clone(&settings));
        facts.interface = (number % 5 == 0).then(|| "eth0".into());
        facts.owner = [OwnerNow::Lives, OwnerNow::Gone][number % 2];
        facts.holder = (number % 7 == 0).then(|| Holder {
            task: Task {
                pid: 7,
                outside: false,
                start: BootTime(9),
                uid: 0,
                cgroup_id: 3,
                comm: "nginx".into(),
            },
            shares: true,
        });
        events.push((bytes.to_vec(), facts));
    }
    (reader.head().clone(), events)
}

fn refused(now: BootTime, finish: bool) -> Input<'static> {
    let key = BucketKey {
        network: [7; 16],
        netns_cookie: 5,
        class: 3,
        port: 443,
        flags: 0,
    };
    let of = |place, kind| Refused {
        place,
        kind,
        count: now.0 / 1_000_000,
    };
    Input::Refused {
        now,
        refused: vec![
            of(1, Kind::Bucket(key)),
            of(2, Kind::Class(9)),
            of(3, Kind::Unclear),
        ],
        namespaces: vec![(NetnsCookie(5), 4_026_531_840)],
        finish,
    }
}

/// Hands every kind of input to `take`, events of one run of the demo among them.
fn each_input(events: &[(Vec<u8>, HostContext)], mut take: impl FnMut(Input<'_>)) {
    let mut now = BootTime::default();
    for (number, (bytes, facts)) in events.iter().enumerate() {
        let facts = facts.clone();
        take(Input::Event {
            bytes,
            decoded: None,
            facts,
        });
        now = now.max(BootTime(u64::from_le_bytes(bytes[..8].try_into().unwrap())));
        match number % 100 {
            10 => take(Input::Lost(3)),
            20 => take(Input::Suppressed(Suppressed {
                sent: 1,
                ..Suppressed::default()
            })),
            30 => take(Input::FloodRests(now)),
            40 => take(refused(now, false)),
            50 => take(Input::Event {
                bytes: b"no event",
                decoded: None,
                facts: HostContext::default(),
            }),
            60 => take(Input::Rest),
            70 => take(Input::Advance(now)),
            80 => take(Input::Timers(ProgramTimers {
                pid: 87,
                start: now,
                complete: true,
                timers: vec![ProgramTimer {
                    setting: "timeout client".into(),
                    timeout: Duration::from_secs(4),
                    listened: Some(true),
                    place: Some("/etc/haproxy/haproxy.cfg:3".into()),
                }],
            })),
            _ => {}
        }
    }
    take(refused(now, true));
    take(Input::Finish);
}

fn end() -> End {
    End {
        duration: Duration::from_secs(3),
        kernel: vec![KernelTotal {
            name: "sent".to_owned(),
            seen: 3,
            ..KernelTotal::default()
        }],
        shortfalls: vec![("x".to_owned(), 1)],
    }
}

/// A recording of all that, and what came out when it was made.
static WHOLE: LazyLock<(Vec<u8>, Vec<Output>)> = LazyLock::new(|| {
    let (head, events) = inputs();
    let mut engine = Engine::new(head.premises.clone());
    let mut outputs = Vec::new();
    let mut writer = Writer::new(Vec::new(), &head, Effort::Live).unwrap();
    let mut number = 0;
    each_input(&events, |input| {
        writer.input(&input).unwrap();
        number += 1;
        if number % 60 == 0 {
            writer.flush().unwrap();
        }
        engine.push(input);
        outputs.extend(std::iter::from_fn(|| engine.poll_output()));
    });
    let (bytes, written) = writer.finish(&end()).unwrap();
    assert_eq!(written.bytes, bytes.len() as u64);
    assert_eq!(written.inputs, number);
    (bytes, outputs)
});

fn judged(bytes: &[u8]) -> Result<Replayed, RecordingError> {
    replay(bytes)
}

#[test]
fn what_was_recorded_is_judged_as_it_was() {
    let (bytes, outputs) = &*WHOLE;
    assert!(outputs.len() > 300, "{}", outputs.len());
    assert!(outputs.iter().any(|it| matches!(it, Output::Suppressed(_))));
    let replayed = judged(bytes).unwrap();
    assert_eq!(&replayed.outputs, outputs);
    assert_eq!(replayed.end.unwrap(), end());
}

/// Tables with another hash each give the same: byte for byte, the order of all lines included.
#[test]
fn the_same_inputs_give_the_same_bytes() {
    let json = || {
        let outputs = judged(&WHOLE.0).unwrap().outputs;
        let lines = outputs.iter().map(|output| match output {
            Output::Reset(it) => serde_json::to_string(it).unwrap(),
            Output::Failure(it) => serde_json::to_string(it).unwrap(),
            Output::Suppressed(it) => serde_json::to_string(it).unwrap(),
        });
        lines.collect::<Vec<_>>()
    };
    let first = json();
    for _ in 0..5 {
        assert!(json() == first);
    }
}

#[test]
fn a_recording_that_is_cut_gives_what_was_over_by_then() {
    let (bytes, outputs) = &*WHOLE;
    let mut shown = 0;
    // Each offset matters where blocks begin; between them it is all one.
    let marks: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(&block::MARK))
        .collect();
    assert!(marks.len() > 10, "{}", marks.len());
    let near = |end: usize| {
        let next = marks.partition_point(|&mark| mark <= end);
        let is_near = |mark: &usize| mark.abs_diff(end) <= block::HEADER + 1;
        end.is_multiple_of(97) || marks[next.saturating_sub(1)..].iter().take(2).any(is_near)
    };
    for end in (0..bytes.len()).filter(|&end| near(end)) {
        match judged(&bytes[..end]) {
            Ok(replayed) => {
                let error = replayed.end.unwrap_err();
                assert!(
                    matches!(error, RecordingError::Cut { .. }),
                    "{end}: {error}"
                );
                assert!(outputs.starts_with(&replayed.outputs), "{end}");
                assert!(replayed.outputs.len() >= shown, "{end}");
                shown = replayed.outputs.len();
            }
            Err(RecordingError::NotOne | RecordingError::Cut { .. }) => assert_eq!(shown, 0),
            Err(error) => panic!("{end}: {error}"),
        }
    }
    assert!(shown > 300, "{shown}");
}

#[test]
fn whatever_follows_the_end_is_damage() {
    let mut bytes = WHOLE.0.clone();
    bytes.extend(*b"more");
    let replayed = judged(&bytes).unwrap();
    assert_eq!(replayed.outputs, WHOLE.1);
    let error = replayed.end.unwrap_err();
    let offset = WHOLE.0.len() as u64;
    assert!(
        matches!(error, RecordingError::Damaged { offset: at, left: 4, .. } if at == offset),
        "{error}"
    );
}

#[test]
fn a_block_that_is_missing_or_doubled_is_noticed() {
    let bytes = &WHOLE.0;
    let marks: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(&block::MARK))
        .collect();
    let (third, fourth) = (marks[2], marks[3]);
    let missing = [&bytes[..third], &bytes[fourth..]].concat();
    let doubled = [&bytes[..fourth], &bytes[third..]].concat();
    for (bytes, begin) in [(missing, third), (doubled, fourth)] {
        let error = judged(&bytes).unwrap().end.unwrap_err();
        assert!(
            matches!(error, RecordingError::Damaged { offset, .. } if offset == begin as u64),
            "{error}"
        );
    }
}

#[test]
fn recordings_of_other_releases_are_named() {
    let with = |at: usize, number: u16| {
        let mut bytes = WHOLE.0.clone();
        bytes[at..at + 2].copy_from_slice(&number.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        judged(&bytes).unwrap_err().to_string()
    };
    let format = with(8, 77);
    assert!(
        format.contains("format 77") && format.contains("format 2"),
        "{format}"
    );
    let wire = with(10, 99);
    let own = format!("reads {WIRE_VERSION}");
    assert!(
        wire.contains("wire version 99") && wire.contains(&own),
        "{wire}"
    );
    assert!(wire.contains("replay it with rsttrace 0.1.0"), "{wire}");
}

/// A header that asks for more than any block has.
#[test]
fn a_length_that_no_block_has_allocates_nothing() {
    let mut header = block::Header::new(0, &[], 0).unwrap();
    let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(&mut header);
    bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..].copy_from_slice(&crc.to_le_bytes());
    let bytes = [&WHOLE.0[..16], bytes].concat();
    let error = judged(&bytes).unwrap_err();
    assert!(matches!(error, RecordingError::Damaged { .. }), "{error}");
}

/// Takes so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_did_not_fit_is_not_counted_as_written() {
    let (head, events) = inputs();
    let mut writer = Writer::new(Full(20_000), &head, Effort::Live).unwrap();
    let failed = events
        .iter()
        .find_map(|(bytes, facts)| writer.event(bytes, facts).err());
    assert_eq!(failed.unwrap().kind(), io::ErrorKind::StorageFull);
    assert!(writer.written().events < writer.taken().events);
    assert!(writer.written().bytes <= 20_000);
}

proptest! {
    #[test]
    fn a_byte_that_changed_cuts_and_makes_nothing_up(at in any::<prop::sample::Index>(), by in 1_u8..) {
        let (bytes, outputs) = &*WHOLE;
        let at = at.index(bytes.len());
        let mut bytes = bytes.clone();
        bytes[at] ^= by;
        if let Ok(replayed) = judged(&bytes) {
            prop_assert!(replayed.end.is_err(), "{at}");
            prop_assert!(outputs.starts_with(&replayed.outputs), "{at}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = judged(&bytes);
        let _ = judged(&[&WHOLE.0[..16], &*bytes].concat());
        let _ = replay_plain(&bytes);
    }

    /// What fuzzing reaches: contents that no checksum guards.
    #[test]
    fn no_contents_make_it_panic(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
    ) {
        let mut plain = PLAIN.clone();
        for (at, value) in places {
            let at = at.index(plain.len());
            plain[at] = value;
        }
        let _ = replay_plain(&plain);
    }
}

/// A head and some inputs as they are before they become blocks.
static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (head, events) = inputs();
    let mut plain = postcard::to_stdvec(&head).unwrap();
    let mut told = entry::Told::default();
    each_input(&events[..120], |input| {
        plain.extend(postcard::to_stdvec(&told.input(&input)).unwrap());
    });
    assert!(!replay_plain(&plain).is_empty());
    plain
});

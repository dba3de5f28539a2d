//! The cost of each step of an event's way: `cargo bench -p rsttrace --bench core`.
//!
//! Times are of one event, chain or record; the storm is made up, the recording is of a 6.18 kernel.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/storm/mod.rs"]
mod storm;

use std::fs;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use rsttrace::correlate::{Correlator, Origin};
use rsttrace::decode::Decoder;
use rsttrace::engine::{Engine, Input};
use rsttrace::event::{Body, Event, HostContext};
use rsttrace::record::Output;
use rsttrace::record::Record;
use rsttrace::recording::{Effort, End, Head, Reader, Writer, replay};
use rsttrace::sink::{Json, Sink, Table, TableOptions, Width};
use rsttrace::terminal::Palette;

/// Resets of one measured batch: fewer than the window holds at this rate.
const RESETS: u32 = 2_000;
/// 20,000 a second.
const APART: Duration = Duration::from_micros(50);

fn steps(criterion: &mut Criterion) {
    let decoder = storm::decoder();
    let bytes = storm::events(0, RESETS, APART);
    let host = storm::Host::new();
    let decoded = decode(&decoder, &bytes);
    let events = decoded.len() as u64;
    each(
        criterion,
        "decode/event",
        events,
        || (),
        |()| {
            for bytes in &bytes {
                black_box(decoder.decode(bytes).unwrap());
            }
        },
    );
    each(
        criterion,
        "join/event",
        events,
        || decoded.clone(),
        |decoded| {
            black_box(join(decoded));
        },
    );
    let open = || {
        let mut engine = storm::engine();
        feed(&mut engine, &host, &bytes, decoded.clone());
        engine
    };
    each(
        criterion,
        "judge/chain",
        RESETS.into(),
        open,
        |mut engine| {
            engine.push(Input::Finish);
            black_box((storm::ready(&mut engine), engine));
        },
    );
    each(
        criterion,
        "engine/event",
        events,
        storm::engine,
        |mut engine| {
            for bytes in &bytes {
                let event = decoder.decode(bytes).unwrap();
                let facts = host.facts(&event);
                storm::push(&mut engine, bytes, event, facts);
                while engine.poll_output().is_some() {}
            }
            engine.push(Input::Finish);
            black_box((storm::ready(&mut engine), engine));
        },
    );
}

fn recorded(criterion: &mut Criterion) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kernels/6.18/events.rst");
    let recording = fs::read(file).unwrap();
    let mut reader = Reader::new(&*recording).unwrap();
    let premises = reader.head().premises.clone();
    let mut events: Vec<(Vec<u8>, HostContext)> = Vec::new();
    while let Some(input) = reader.input().unwrap() {
        if let Input::Event { bytes, facts, .. } = input {
            events.push((bytes.to_vec(), facts));
        }
    }
    let decoder = Decoder::new(premises.kernel.clone());
    let count = events.len() as u64;
    each(
        criterion,
        "recorded/decode/event",
        count,
        || (),
        |()| {
            for (bytes, _) in &events {
                black_box(decoder.decode(bytes).unwrap());
            }
        },
    );
    each(
        criterion,
        "recorded/engine/event",
        count,
        || events.clone(),
        |events| {
            let mut engine = Engine::new(premises.clone());
            for (bytes, facts) in events {
                engine.push(Input::Event {
                    bytes: &bytes,
                    decoded: None,
                    facts,
                });
            }
            engine.push(Input::Finish);
            black_box(storm::ready(&mut engine));
        },
    );
    let judged = || replay(&*recording).unwrap().outputs;
    each(
        criterion,
        "recorded/replay/event",
        count,
        || (),
        |()| {
            black_box(judged());
        },
    );
    lines(criterion, "recorded/", &resets(judged()));
}

/// Beside a trace, with what the host knows.
fn recording(criterion: &mut Criterion) {
    let (decoder, host) = (storm::decoder(), storm::Host::new());
    let bytes = storm::events(0, RESETS, APART);
    let facts: Vec<_> = decode(&decoder, &bytes)
        .iter()
        .map(|event| host.facts(event))
        .collect();
    let head = Head::new("6.18.0".to_owned(), storm::config());
    each(
        criterion,
        "record/event",
        bytes.len() as u64,
        || Writer::new(io::sink(), &head, Effort::Live).unwrap(),
        |mut writer| {
            for (bytes, facts) in bytes.iter().zip(&facts) {
                writer.event(bytes, facts).unwrap();
            }
            black_box(writer.finish(&End::default()).unwrap());
        },
    );
}

fn sinks(criterion: &mut Criterion) {
    let mut engine = storm::engine();
    let host = storm::Host::new();
    let bytes = storm::events(0, RESETS, APART);
    let decoded = decode(&storm::decoder(), &bytes);
    let mut out = feed(&mut engine, &host, &bytes, decoded);
    engine.push(Input::Finish);
    out.extend(storm::ready(&mut engine));
    lines(criterion, "", &resets(out));
}

fn lines(criterion: &mut Criterion, of: &str, records: &[Record]) {
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
    let json = || Json::new(io::sink(), io::sink());
    let now = Instant::now();
    let count = records.len() as u64;
    let write = |sink: &mut dyn Sink| {
        for record in records {
            sink.record(now, record).unwrap();
        }
    };
    each(
        criterion,
        &format!("{of}json/record"),
        count,
        json,
        |mut sink| write(&mut sink),
    );
    let every = || table(true);
    each(
        criterion,
        &format!("{of}table/record"),
        count,
        every,
        |mut sink| write(&mut sink),
    );
    let grouped = || table(false);
    each(
        criterion,
        &format!("{of}grouped/record"),
        count,
        grouped,
        |mut sink| write(&mut sink),
    );
}

/// Measures `work` on what `make` gives, and divides by `count`, so that what is shown is of one.
fn each<T>(
    criterion: &mut Criterion,
    name: &str,
    count: u64,
    make: impl Fn() -> T,
    work: impl Fn(T),
) {
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            // One iteration is one element; what is over is measured and taken off by the rule of three.
            let rounds = iterations.div_ceil(count).max(1);
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let input = make();
                let begin = Instant::now();
                work(input);
                spent += begin.elapsed();
            }
            spent.mul_f64(iterations as f64 / (rounds * count) as f64)
        });
    });
}

fn decode(decoder: &Decoder, bytes: &[Vec<u8>]) -> Vec<Event> {
    bytes
        .iter()
        .map(|bytes| decoder.decode(bytes).unwrap())
        .collect()
}

fn feed(
    engine: &mut Engine,
    host: &storm::Host,
    bytes: &[Vec<u8>],
    events: Vec<Event>,
) -> Vec<Output> {
    for (bytes, event) in bytes.iter().zip(events) {
        let facts = host.facts(&event);
        storm::push(engine, bytes, event, facts);
    }
    storm::ready(engine)
}

fn join(events: Vec<Event>) -> usize {
    let mut join = Correlator::default();
    let mut closed = 0;
    for event in events {
        let at = Origin {
            time: event.time,
            netns: event.netns,
            inode: event.netns_inode,
        };
        match event.body {
            Body::Sent(sent) => join.sent(at, sent, HostContext::default()),
            Body::Received(received) => join.received(at, received, HostContext::default()),
            Body::Packet(packet) => join.packet(at, packet, HostContext::default()),
            Body::Failed(_) => {}
        }
    }
    while join.close(None).is_some() {
        closed += 1;
    }
    closed
}

fn resets(outputs: Vec<Output>) -> Vec<Record> {
    let reset = |output| match output {
        Output::Reset(record) => Some(*record),
        Output::Failure(_) | Output::Suppressed(_) => None,
    };
    outputs.into_iter().filter_map(reset).collect()
}

criterion_group!(core, steps, sinks, recorded, recording);
criterion_main!(core);

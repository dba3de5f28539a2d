//! Every reset of a capture is judged once, whatever its segments are, alone and next to another capture.
#![no_main]

use std::hint::black_box;
use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use rsttrace_capture::capture::Reader;
use rsttrace_capture::compare::{self, Digest};
use rsttrace_capture::flow::Tracker;
use rsttrace_core::engine::{Config, Engine, Input};
use rsttrace_model::event::TcpFlags;
use rsttrace_model::palette::Palette;
use rsttrace_model::record::Output;
use rsttrace_model::record::{Record, Word};

fuzz_target!(|bytes: &[u8]| {
    // The first byte cuts what follows into two captures.
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let (one, other) = bytes.split_at(bytes.len() * usize::from(cut) / 256);
    let mut records = Vec::new();
    let mut digests = Vec::new();
    for (name, bytes) in [("one", one), ("other", other), ("all", bytes)] {
        digests.extend(judge(name, bytes, &mut records));
    }
    let comparison = compare::compare(digests, &records);
    black_box(comparison.render(80, Palette { colors: false }));
});

fn judge(name: &str, bytes: &[u8], records: &mut Vec<Record>) -> Option<Digest> {
    let mut reader = Reader::new(Cursor::new(bytes.to_vec())).ok()?;
    let name = Word::from(name);
    let mut digest = Digest::new(name.clone());
    let mut tracker = Tracker::new([]);
    let (mut resets, mut seen) = (Vec::new(), 0);
    while let Ok(Some(segment)) = reader.next() {
        seen += u64::from(segment.flags.has(TcpFlags::RST));
        digest.see(&segment);
        tracker.see(&segment, &mut resets);
    }
    tracker.finish(&mut resets);
    assert_eq!(resets.len() as u64 + tracker.counts().repeated, seen);
    let mut engine = Engine::new(Config::of_capture(&name, Vec::new()));
    let seen = resets.len();
    for reset in resets {
        engine.captured(reset, &name);
    }
    engine.push(Input::Finish);
    let outputs: Vec<_> = std::iter::from_fn(|| engine.poll_output()).collect();
    assert_eq!(outputs.len(), seen);
    records.extend(outputs.into_iter().filter_map(|output| match output {
        Output::Reset(record) => Some(*record),
        _ => None,
    }));
    Some(digest)
}

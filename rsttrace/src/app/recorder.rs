//! Recorder of a running trace.
//!
//! The inputs of the engine are copied; another thread compresses and writes them, so that no disk and no reader of a pipe delays the
//! trace. If writing fails, or the queue is full, the recording ends and tracing continues.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::time::Duration;

use anyhow::Context as _;
use log::warn;
use tokio::time::Instant;

use crate::cli::{Failure, OutputFile};
use crate::engine::Input;
use crate::event::{HostContext, ProgramTimer};
use crate::flood::Refused as Sum;
use crate::recording::{Effort, End, Head, Writer, Written};
use crate::worker::{Handed, Refused, Worker};

/// What a killed recorder loses at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that are handed over at once: about a block.
const BATCH: usize = 64 << 10;
/// Batches that wait at most: 32 MiB.
const MOST: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordTo {
    /// In memory, until the end.
    Memory,
    File(OutputFile),
}

/// The result of a recording.
#[derive(Debug, Default)]
pub struct Recorded {
    pub written: Written,
    /// Events that came after it had failed, or were lost with it.
    pub missed: u64,
    /// The bytes, if they were to be kept in memory and nothing failed.
    pub memory: Option<Vec<u8>>,
}

enum Destination {
    Memory(Vec<u8>),
    File(File),
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Memory(memory) => memory.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(file) => file.flush(),
        }
    }
}

/// Takes down what goes into the judge.
pub struct Recorder {
    /// Absent once it failed.
    thread: Option<Worker<Work, Ended>>,
    /// The one that failed; it may still write its queue.
    failed: Option<Worker<Work, Ended>>,
    name: String,
    batch: Batch,
    /// When the buffered inputs must be written.
    due: Option<Instant>,
    events: u64,
}

/// What the thread is handed.
enum Work {
    Batch(Batch),
    End(End),
}

#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    /// The bytes of their events.
    bytes: Vec<u8>,
    /// Approximate size limit, in bytes.
    size: usize,
    /// Nothing is to wait behind it.
    flush: bool,
}

enum Entry {
    Event(Range<usize>, HostContext),
    Other(Input<'static>),
}

struct Ended {
    written: Written,
    memory: Option<Vec<u8>>,
}

impl Recorder {
    /// Makes the file, for this user alone, writes the head, and starts the thread.
    pub fn new(to: &RecordTo, head: &Head) -> Result<Self, Failure> {
        let (destination, name) = match to {
            RecordTo::Memory => (Destination::Memory(Vec::new()), String::new()),
            RecordTo::File(to) => (
                Destination::File(to.create()?),
                to.path.display().to_string(),
            ),
        };
        let doing = || format!("cannot write {name}");
        let writer = Writer::new(destination, head, Effort::Live).with_context(doing)?;
        Self::start(writer, &name)
            .with_context(doing)
            .map_err(Failure::from)
    }

    fn start<W: Keeps>(writer: Writer<W>, name: &str) -> io::Result<Self> {
        let its = name.to_owned();
        let work = move |handed: Handed<Work>| write(writer, &handed, &its);
        Ok(Self {
            thread: Some(Worker::start("rsttrace-record", MOST, work)?),
            failed: None,
            name: name.to_owned(),
            batch: Batch::default(),
            due: None,
            events: 0,
        })
    }

    /// An event, and what the host knew then.
    pub fn event(&mut self, bytes: &[u8], facts: &HostContext) {
        self.events += 1;
        if self.thread.is_none() {
            return;
        }
        let begin = self.batch.bytes.len();
        self.batch.bytes.extend_from_slice(bytes);
        let event = Entry::Event(begin..self.batch.bytes.len(), facts.clone());
        self.take(event, bytes.len());
    }

    /// Anything else that goes in.
    pub fn input(&mut self, input: &Input<'_>) {
        let (input, size) = match input {
            Input::Event { bytes, facts, .. } => return self.event(bytes, facts),
            Input::Advance(now) => (Input::Advance(*now), 0),
            Input::Lost(lost) => (Input::Lost(*lost), 0),
            Input::Suppressed(suppressed) => (Input::Suppressed(*suppressed), 0),
            Input::FloodRests(now) => (Input::FloodRests(*now), 0),
            Input::Refused {
                now,
                refused,
                namespaces,
                finish,
            } => (
                Input::Refused {
                    now: *now,
                    refused: refused.clone(),
                    namespaces: namespaces.clone(),
                    finish: *finish,
                },
                size_of::<Sum>() * refused.len(),
            ),
            Input::Timers(timers) => (
                Input::Timers(timers.clone()),
                size_of::<ProgramTimer>() * timers.timers.len(),
            ),
            Input::Found(finding) => (Input::Found(finding.clone()), 0),
            Input::QueueFull { queue, facts } => (
                Input::QueueFull {
                    queue: queue.clone(),
                    facts: facts.clone(),
                },
                size_of::<Input<'_>>(),
            ),
            Input::TableFull(table) => (Input::TableFull(*table), 0),
            Input::Rest => (Input::Rest, 0),
            Input::Finish => (Input::Finish, 0),
        };
        if self.thread.is_some() {
            self.take(Entry::Other(input), size);
        }
    }

    fn take(&mut self, entry: Entry, size: usize) {
        self.batch.entries.push(entry);
        self.batch.size += size + size_of::<Entry>();
        self.due.get_or_insert_with(|| Instant::now() + PATIENCE);
        if self.batch.size >= BATCH {
            self.hand_over(false);
        }
    }

    /// When [`Self::flush`] is due; absent while nothing waits.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Has written what has waited long enough.
    pub fn flush(&mut self) {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.hand_over(true);
        }
    }

    fn hand_over(&mut self, flush: bool) {
        let Some(thread) = &self.thread else { return };
        let batch = Batch {
            flush,
            ..std::mem::take(&mut self.batch)
        };
        if flush {
            self.due = None;
        }
        let Err(refused) = thread.offer(Work::Batch(batch)) else {
            return;
        };
        if refused == Refused::Full {
            warn!(
                "{}: the disk or reader is too slow; recording stopped, tracing continues",
                self.name
            );
        }
        self.failed = self.thread.take();
        self.due = None;
    }

    /// Writes what waits, and the end.
    pub fn finish(mut self, end: &End) -> Recorded {
        let last = [Work::Batch(self.batch), Work::End(end.clone())];
        let ended = match (self.thread.take(), self.failed.take()) {
            (Some(thread), _) => thread.finish(last),
            (None, Some(failed)) => failed.finish([]),
            (None, None) => None,
        };
        if ended.is_none() {
            warn!("{}: cannot flush the end of the recording", self.name);
        }
        let Ended { written, memory } = ended.unwrap_or(Ended {
            written: Written::default(),
            memory: None,
        });
        Recorded {
            missed: self.events.saturating_sub(written.events),
            written,
            memory,
        }
    }
}

/// A destination that may be a memory.
trait Keeps: Write + Send + 'static {
    fn into_memory(self) -> Option<Vec<u8>>;
}

impl Keeps for Destination {
    fn into_memory(self) -> Option<Vec<u8>> {
        match self {
            Self::Memory(bytes) => Some(bytes),
            Self::File(_) => None,
        }
    }
}

fn write<W: Keeps>(mut writer: Writer<W>, handed: &Handed<Work>, name: &str) -> Ended {
    let failed = |error: &io::Error, written: Written| {
        warn!(
            "{name}: {error}; recording stopped after {} events, tracing continues",
            written.events
        );
        Ended {
            written,
            memory: None,
        }
    };
    while let Some(work) = handed.next() {
        match work {
            Work::Batch(batch) => {
                if let Err(error) = put(&mut writer, batch) {
                    return failed(&error, writer.written());
                }
            }
            Work::End(end) => {
                let written = writer.written();
                return match writer.finish(&end) {
                    Ok((destination, written)) => Ended {
                        written,
                        memory: destination.into_memory(),
                    },
                    Err(error) => failed(&error, written),
                };
            }
        }
    }
    // It was given up. What came until then is whole.
    if let Err(error) = writer.flush() {
        return failed(&error, writer.written());
    }
    Ended {
        written: writer.written(),
        memory: None,
    }
}

fn put<W: Write>(writer: &mut Writer<W>, batch: Batch) -> io::Result<()> {
    for entry in batch.entries {
        match entry {
            Entry::Event(range, facts) => {
                writer.event(batch.bytes.get(range).unwrap_or_default(), &facts)?;
            }
            Entry::Other(input) => writer.input(&input)?,
        }
    }
    match batch.flush {
        true => writer.flush(),
        false => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::recording::{Reader, replay};

    const RECORDED: &[u8] = include_bytes!("../../tests/data/kernels/6.18/events.rst");

    fn head() -> Head {
        Reader::new(RECORDED).unwrap().head().clone()
    }

    /// A disk that stands still until it is let go, but for the head.
    struct Stuck(Vec<u8>, mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() > 1_000 {
                let _ = self.1.recv();
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Keeps for Stuck {
        fn into_memory(self) -> Option<Vec<u8>> {
            Some(self.0)
        }
    }

    #[test]
    fn what_comes_out_of_the_thread_is_what_went_in() {
        let mut recorder = Recorder::new(&RecordTo::Memory, &head()).unwrap();
        let mut reader = Reader::new(RECORDED).unwrap();
        let mut events = 0;
        while let Some(input) = reader.input().unwrap() {
            events += u64::from(matches!(input, Input::Event { .. }));
            recorder.input(&input);
        }
        let end = reader.end().cloned().unwrap_or_default();
        let recorded = recorder.finish(&end);
        assert_eq!((recorded.written.events, recorded.missed), (events, 0));
        let again = replay(&*recorded.memory.unwrap()).unwrap();
        let before = replay(RECORDED).unwrap();
        assert_eq!(again.outputs, before.outputs);
        assert_eq!(again.end.unwrap(), before.end.unwrap());
    }

    #[test]
    fn a_disk_that_hangs_ends_the_recording_and_delays_nothing() {
        let (go, wait) = mpsc::channel();
        let writer = Writer::new(Stuck(Vec::new(), wait), &head(), Effort::Live).unwrap();
        let mut recorder = Recorder::start(writer, "x").unwrap();
        // Nothing that can be packed well: each block goes to the disk.
        let bytes: Vec<u8> = (0..300_u32).map(|n| ((n * n) >> 3) as u8).collect();
        let begun = std::time::Instant::now();
        for _ in 0..400_000 {
            recorder.event(&bytes, &HostContext::default());
        }
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
        assert!(recorder.due().is_none(), "it has ended");
        drop(go);
        let recorded = recorder.finish(&End::default());
        assert!(recorded.written.events > 0 && recorded.missed > 0);
        assert_eq!(recorded.written.events + recorded.missed, 400_000);
    }
}

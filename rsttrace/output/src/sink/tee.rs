//! Writes the shown resets into a packet capture, too.

use std::fs::File;
use std::io::{self, Write};
use std::time::Instant;

use log::warn;

use super::Sink;
use super::pcapng::{Pcapng, Place, Written};
use crate::record::{FailureRecord, Record, SuppressedRecord};
use crate::summary::Summary;
use crate::worker::{Handed, Refused, Worker};

/// Resets that wait for a thread at most; they have some 2 KiB each.
const MOST: usize = 4_096;

pub enum Packets<P: Place> {
    /// The thread of the sink, which waits for the disk.
    Here(Box<Pcapng<P>>),
    /// Another thread; if the disk, or the reader of a pipe, is too slow, records that do not fit are counted.
    Worker {
        thread: Worker<Box<Record>, Written>,
        name: String,
        /// Resets that were handed to it.
        handed: u64,
        /// Those for which there was no room.
        lost: u64,
    },
}

impl<P: Place + Send + 'static> Packets<P> {
    /// Writes the file on another thread.
    pub fn behind(mut file: Pcapng<P>, name: String) -> io::Result<Self> {
        let work = move |handed: Handed<Box<Record>>| {
            while let Some(record) = handed.next() {
                file.record(&record);
                while let Some(record) = handed.waiting() {
                    file.record(&record);
                }
                file.flush();
            }
            file.flush();
            file.written()
        };
        Ok(Self::Worker {
            thread: Worker::start("rsttrace-pcapng", MOST, work)?,
            name,
            handed: 0,
            lost: 0,
        })
    }

    fn record(&mut self, record: &Record) {
        match self {
            Self::Here(file) => file.record(record),
            Self::Worker {
                thread,
                name,
                handed,
                lost,
            } => match thread.offer(Box::new(record.clone())) {
                Ok(()) => *handed += 1,
                Err(Refused::Full | Refused::Ended) => {
                    if *lost == 0 {
                        warn!(
                            "{name}: the disk or the reader is too slow; resets missing there are counted"
                        );
                    }
                    *lost += 1;
                }
            },
        }
    }

    fn flush(&mut self) {
        if let Self::Here(file) = self {
            file.flush();
        }
    }

    /// The result, as a sentence.
    fn finish(self) -> String {
        match self {
            Self::Here(mut file) => {
                file.flush();
                file.describe()
            }
            Self::Worker {
                thread,
                name,
                handed,
                lost,
            } => match thread.finish([]) {
                Some(written) => Written {
                    lost: written.lost + lost,
                    ..written
                }
                .describe(&name),
                None => format!(
                    "{name}: could not write the rest; some of {} resets are missing there",
                    crate::words::count(handed + lost)
                ),
            },
        }
    }
}

/// Shows resets and writes those it shows to a capture. The file gets what passes the filters, noise only if that is
/// shown, and none after the last one. Suppressed resets have no packets.
pub struct Tee<A, P: Place = File> {
    shown: Box<dyn Sink + Send>,
    /// Absent after the end.
    packets: Option<Packets<P>>,
    aside: A,
}

impl<A: Write, P: Place + Send + 'static> Tee<A, P> {
    /// Gets a line about the file at the end.
    pub fn new(shown: Box<dyn Sink + Send>, packets: Packets<P>, aside: A) -> Self {
        Self {
            shown,
            packets: Some(packets),
            aside,
        }
    }
}

impl<A, P: Place> Drop for Tee<A, P> {
    /// Also where the end comes early.
    fn drop(&mut self) {
        if let Some(Packets::Worker { thread, .. }) = self.packets.take() {
            let _ = thread.finish([]);
        }
    }
}

impl<A: Write, P: Place + Send + 'static> Sink for Tee<A, P> {
    fn record(&mut self, now: Instant, record: &Record) -> io::Result<()> {
        if let Some(packets) = &mut self.packets {
            packets.record(record);
        }
        self.shown.record(now, record)
    }

    fn suppressed(&mut self, now: Instant, sum: &SuppressedRecord) -> io::Result<()> {
        self.shown.suppressed(now, sum)
    }

    fn failure(&mut self, now: Instant, failure: &FailureRecord) -> io::Result<()> {
        self.shown.failure(now, failure)
    }

    fn deadline(&self) -> Option<Instant> {
        self.shown.deadline()
    }

    fn tick(&mut self, now: Instant) -> io::Result<()> {
        self.shown.tick(now)
    }

    fn status(&mut self, text: &str) -> io::Result<()> {
        self.shown.status(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(packets) = &mut self.packets {
            packets.flush();
        }
        self.shown.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        self.shown.end()
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        let report = self.packets.take().map(Packets::finish);
        let finished = self.shown.finish(summary);
        if let Some(report) = report {
            // A closed standard error is no failure.
            let _ = writeln!(self.aside, "rsttrace: {report}");
        }
        finished
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::mpsc;

    use super::super::Machine;
    use super::*;

    /// A disk that stands still until it is let go.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Place for Stuck {
        fn cut(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_stands_still_costs_packets_and_no_time() {
        let (go, wait) = mpsc::channel();
        let file = Pcapng::new(Stuck(wait), "x", Machine::default());
        let mut packets = Packets::behind(file, "x".to_owned()).unwrap();
        let text = include_str!("../../../tests/data/records/port_closed.json");
        let record: Record = serde_json::from_str(text).unwrap();
        let begun = Instant::now();
        for _ in 0..20_000 {
            packets.record(&record);
        }
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
        drop(go);
        let report = packets.finish();
        assert!(report.contains("could not be written"), "{report}");
        let (frames, lost) = report.split_once(" resets written as packets; ").unwrap();
        let number = |text: &str| -> u64 {
            let digits = text.chars().filter(char::is_ascii_digit);
            digits.collect::<String>().parse().unwrap()
        };
        assert_eq!(number(frames) + number(lost), 20_000, "{report}");
    }
}

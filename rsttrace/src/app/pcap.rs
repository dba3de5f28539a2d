//! `rsttrace pcap`: judges the resets of captures, each by itself, and compares several.

mod comparing;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::{info, warn};
use tokio::sync::mpsc;

use super::{runtime, sleep_until};
use crate::capture::{CaptureError, CaptureTime, ReadCounts, Reader};
use crate::cli::{Failure, Interrupt, Of, OutputFormat, PcapOptions, ShowOptions};
use crate::compare::Digest;
use crate::event::{BootTime, HostFacts};
use crate::pipeline::{Output, Pipeline};
use crate::record::Word;
use crate::sink::Reporter;
use crate::summary::Totals;
use crate::track::{Captured, TrackCounts, Tracker};
use crate::verdict::timeout;
use comparing::Kept;

/// Resets that are handed over at once, and how many such batches wait.
const BATCH: usize = 256;
const BATCHES: usize = 16;

/// How often a live capture in which nothing comes is asked for resets that have waited long enough.
const PULSE: Duration = Duration::from_millis(250);

/// Judges each capture and shows what was found.
pub fn pcap(options: &PcapOptions) -> Result<(), Failure> {
    runtime()?.block_on(run(options))
}

async fn run(options: &PcapOptions) -> Result<(), Failure> {
    let mut interrupt = Interrupt::new()?;
    let mut interrupted = std::pin::pin!(interrupt.wait());
    let mut show = Show::new(options)?;
    let mut sums = Sums::default();
    let mut failed = 0;
    for file in &options.files {
        let mut judging = Judging::new(file, options);
        let ended = tokio::select! {
            ended = judging.follow(&mut show) => ended,
            () = &mut interrupted => Ok(ControlFlow::Break(())),
        };
        let enough = judging.finish(&mut show, &mut sums)?;
        match ended {
            Ok(ended) if ended.is_break() || enough.is_break() => break,
            Ok(_) => {}
            Err(failure) if options.files.len() == 1 => {
                show.finish(sums, &options.show)?;
                return Err(failure);
            }
            Err(failure) => {
                // The others may be whole.
                crate::cli::report(&failure);
                failed += 1;
            }
        }
    }
    show.finish(sums, &options.show)?;
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Failed(anyhow::anyhow!(
            "{failed} of {} captures could not be read to the end; what could be read was judged",
            options.files.len()
        ))),
    }
}

/// One capture on its way.
struct Judging {
    file: Word,
    pipeline: Pipeline,
    batches: mpsc::Receiver<Batch>,
    tracker: Arc<Mutex<Tracker>>,
    outputs: Vec<Output>,
    clock: Clock,
    counts: ReadCounts,
    digest: Option<Digest>,
    is_live: bool,
}

/// A capture that was read to its end.
struct Ended {
    counts: ReadCounts,
    /// Why that came before the file was whole.
    early: Option<String>,
    /// For a comparison.
    digest: Option<Digest>,
}

/// What the reading thread hands over.
enum Batch {
    Resets(Vec<Captured>, Span),
    Ended(Box<Ended>),
    Failed(CaptureError),
}

impl Judging {
    fn new(file: &Path, options: &PcapOptions) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES);
        let tracker = Arc::new(Mutex::new(Tracker::new(options.local.iter().copied())));
        let path = file.to_owned();
        let name: Word = file.to_string_lossy().as_ref().into();
        let digest = (options.files.len() > 1).then(|| Digest::new(name.clone()));
        let shared = Arc::clone(&tracker);
        // Ends with the capture, or when nobody listens any more.
        std::thread::spawn(move || read(&path, &shared, digest, &sender));
        Self {
            pipeline: Pipeline::with_hops(HostFacts::of_capture(&name), options.hops.clone()),
            file: name,
            batches,
            tracker,
            outputs: Vec::new(),
            clock: Clock::default(),
            counts: ReadCounts::default(),
            digest: None,
            is_live: file.as_os_str() == "-",
        }
    }

    /// Shows what comes until the capture ends, or it is enough.
    async fn follow(&mut self, show: &mut Show) -> Result<ControlFlow<()>, Failure> {
        loop {
            let pulse = self.is_live.then(|| tokio::time::Instant::now() + PULSE);
            tokio::select! {
                batch = self.batches.recv() => match batch {
                    None => return Ok(ControlFlow::Continue(())),
                    Some(Batch::Resets(resets, span)) => {
                        self.clock.follow(span);
                        self.judge(&resets);
                    }
                    Some(Batch::Ended(ended)) => {
                        self.counts = ended.counts;
                        self.digest = ended.digest;
                        if let Some(early) = ended.early {
                            warn!("{early}");
                            if let Some(digest) = &mut self.digest {
                                digest.lacks(early);
                            }
                        }
                    }
                    Some(Batch::Failed(error)) => {
                        return Err(Failure::Failed(anyhow::Error::new(error)));
                    }
                },
                () = sleep_until(pulse) => self.release(),
            }
            if self.show(show)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Judges what is left.
    fn finish(mut self, show: &mut Show, sums: &mut Sums) -> Result<ControlFlow<()>, Failure> {
        let mut resets = Vec::new();
        // A thread that still reads is told by its next batch that nobody listens.
        self.batches.close();
        while let Ok(batch) = self.batches.try_recv() {
            if let Batch::Resets(more, span) = batch {
                self.clock.follow(span);
                resets.extend(more);
            }
        }
        let counts = {
            let mut tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
            tracker.finish(&mut resets);
            tracker.counts()
        };
        self.judge(&resets);
        self.pipeline.finish(&mut self.outputs);
        let shown = self.show(show)?;
        show.digests.extend(self.digest.take());
        info!("{}: {:?}, {:?}", self.file, self.counts, counts);
        sums.add(&self, counts);
        Ok(shown)
    }

    /// Nothing comes: resets are not held back any longer than by the clock of this host, which captures, too.
    fn release(&mut self) {
        let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else {
            return;
        };
        let now = CaptureTime(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        let mut resets = Vec::new();
        let mut tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        tracker.release(now, &mut resets);
        drop(tracker);
        self.judge(&resets);
        self.pipeline.advance(BootTime(now.0), &mut self.outputs);
    }

    fn judge(&mut self, resets: &[Captured]) {
        for reset in resets {
            self.pipeline.captured(reset, &self.file, &mut self.outputs);
        }
    }

    fn show(&mut self, show: &mut Show) -> Result<ControlFlow<()>, Failure> {
        let now = self.clock.now();
        for output in self.outputs.drain(..) {
            if show.reporter.output(now, &output)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if let Some(kept) = &mut show.kept {
                kept.note(output);
            }
        }
        let reporter = &mut show.reporter;
        if self.is_live {
            reporter.tick(now)?;
            reporter.flush()?;
        } else if reporter.deadline().is_some_and(|due| due <= now) {
            reporter.tick(now)?;
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What becomes of what was judged.
struct Show {
    reporter: Reporter,
    /// What is compared at the end; absent with one capture.
    kept: Option<Kept>,
    digests: Vec<Digest>,
}

impl Show {
    fn new(options: &PcapOptions) -> Result<Self, Failure> {
        let several = options.files.len() > 1;
        let mut show = options.show.clone();
        if several && show.output == Some(OutputFormat::Table) {
            // The comparison tells of each reset once.
            show.output = None;
        }
        let mut others = options.files.clone();
        others.push("/dev/stdin".into());
        Ok(Self {
            reporter: show.reporter(&Of {
                others: &others,
                ..Of::default()
            })?,
            kept: several.then(Kept::default),
            digests: Vec::new(),
        })
    }

    /// The comparison, then the summary.
    fn finish(mut self, sums: Sums, options: &ShowOptions) -> Result<(), Failure> {
        if let Some(kept) = self.kept.filter(|_| self.digests.len() > 1) {
            self.reporter.flush()?;
            kept.show(self.digests, options)?;
        }
        self.reporter.finish(sums.totals())?;
        Ok(())
    }
}

/// Reads a capture to its end.
fn read(path: &Path, tracker: &Mutex<Tracker>, digest: Option<Digest>, to: &mpsc::Sender<Batch>) {
    let batch = match read_segments(path, tracker, digest, to) {
        Ok(Some(batch)) => batch,
        Ok(None) => return,
        Err(error) => Batch::Failed(error),
    };
    // Nobody listens any more: then nobody wants to know.
    let _ = to.blocking_send(batch);
}

/// `None`: nobody listens any more.
fn read_segments(
    path: &Path,
    tracker: &Mutex<Tracker>,
    mut digest: Option<Digest>,
    to: &mpsc::Sender<Batch>,
) -> Result<Option<Batch>, CaptureError> {
    let is_live = path.as_os_str() == "-";
    let mut reader = Reader::open(path)?;
    let mut resets = Vec::new();
    let mut span = None;
    while let Some(segment) = reader.next()? {
        let Span { first, last } = span.unwrap_or(Span {
            first: segment.time,
            last: segment.time,
        });
        let now = Span {
            first,
            last: last.max(segment.time),
        };
        span = Some(now);
        let mut tracker = tracker.lock().unwrap_or_else(PoisonError::into_inner);
        tracker.see(&segment, &mut resets);
        drop(tracker);
        if let Some(digest) = &mut digest {
            digest.see(&segment);
        }
        if resets.len() >= BATCH || (is_live && !resets.is_empty()) {
            let batch = Batch::Resets(std::mem::take(&mut resets), now);
            if to.blocking_send(batch).is_err() {
                return Ok(None);
            }
        }
    }
    if let Some(span) = span {
        let _ = to.blocking_send(Batch::Resets(resets, span));
    }
    Ok(Some(Batch::Ended(Box::new(Ended {
        counts: reader.counts(),
        early: reader.ended_early().map(str::to_owned),
        digest,
    }))))
}

/// The time of the captures: what the table groups by.
struct Clock {
    begun: Instant,
    elapsed: Duration,
}

/// From the first segment to the last one so far.
#[derive(Clone, Copy)]
struct Span {
    first: CaptureTime,
    last: CaptureTime,
}

/// No capture takes longer.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Default for Clock {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            elapsed: Duration::ZERO,
        }
    }
}

impl Clock {
    fn follow(&mut self, span: Span) {
        self.elapsed = self.elapsed.max(span.last.since(span.first)).min(LONGEST);
    }

    fn now(&self) -> Instant {
        self.begun + self.elapsed
    }
}

/// What the summary tells of all captures.
#[derive(Default)]
struct Sums {
    duration: Duration,
    read: Vec<(&'static str, u64)>,
    lessons: Vec<String>,
}

impl Sums {
    fn add(&mut self, judging: &Judging, tracked: TrackCounts) {
        let read = &judging.counts;
        self.duration += judging.clock.elapsed;
        let lessons = judging.pipeline.lessons();
        self.lessons
            .extend(lessons.iter().map(timeout::path_lesson));
        for (name, number) in [
            ("frames of link types that are not read", read.link_types),
            ("fragments without a TCP header", read.fragments),
            ("frames cut before the end of the TCP header", read.cut),
            ("malformed packets", read.malformed),
            ("frames without a time", read.untimed),
            ("segments out of order of time", tracked.backwards),
            ("connections forgotten for want of room", tracked.forgotten),
            (
                "resets judged before what followed them was seen",
                tracked.hurried,
            ),
            ("second sightings of a reset", tracked.repeated),
        ] {
            match self.read.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += number,
                None => self.read.push((name, number)),
            }
        }
    }

    fn totals(self) -> Totals {
        Totals {
            duration: self.duration,
            kernel: Vec::new(),
            shortfalls: self
                .read
                .into_iter()
                .map(|(name, number)| (name.to_owned(), number))
                .collect(),
            lessons: self.lessons,
            vitals: None,
            is_cut_off: false,
            is_enough: false,
        }
    }
}

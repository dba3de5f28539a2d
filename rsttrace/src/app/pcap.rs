//! `rsttrace pcap`: judges the resets of captures, each by itself, and compares several.

mod comparing;
mod reading;

use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::{info, warn};

use super::playback::Playback;
use super::{runtime, sleep_until};
use crate::capture::CaptureError;
use crate::captured::CapturedReset;
use crate::cli::{Failure, Interrupt, Of, OutputFormat, PcapOptions, ShowOptions};
use crate::compare::Digest;
use crate::engine::{Config, Engine, Input};
use crate::event::BootTime;
use crate::flow::{TrackCounts, Tracker};
use crate::record::{CAPTURE_SCHEMA, CaptureRecord, NotAnalyzed, Word};
use crate::sink::Reporter;
use crate::summary::Totals;
use crate::words;
use comparing::Kept;
use reading::{BATCH, End, Reading};

/// Addresses that are named instead of one that is in no capture.
const MOST_NAMED: usize = 8;

/// Interval at which a live capture without packets is checked for resets that are due.
const PULSE: Duration = Duration::from_millis(250);

/// Judges each capture and shows what was found.
pub fn pcap(options: &PcapOptions) -> Result<(), Failure> {
    runtime()?.block_on(run(options))
}

async fn run(options: &PcapOptions) -> Result<(), Failure> {
    distinct(&options.files)?;
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
        // What is no capture is not compared with others.
        let is_usable = !matches!(ended, Err(Failure::Usage(_) | Failure::NotPermitted(_)));
        let enough = judging.finish(&mut show, &mut sums, is_usable)?;
        match ended {
            Ok(ended) if ended.is_break() || enough.is_break() => break,
            Ok(_) => {}
            Err(failure) if options.files.len() == 1 => {
                // What could not even be opened has no summary.
                if matches!(failure, Failure::Failed(_)) {
                    show.finish(sums, &options.show)?;
                }
                return Err(failure);
            }
            Err(failure) => {
                // The others may be whole.
                crate::cli::report(&failure);
                failed += 1;
            }
        }
    }
    sums.warn_of_local();
    show.finish(sums, &options.show)?;
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Failed(anyhow::anyhow!(
            "{failed} of {} captures could not be read to the end; the results cover the readable part",
            options.files.len()
        ))),
    }
}

/// The same capture twice would be compared with itself.
fn distinct(files: &[PathBuf]) -> Result<(), Failure> {
    let mut known = Vec::new();
    for file in files {
        // Opening it reports the error.
        let Ok(metadata) = file.metadata() else {
            continue;
        };
        let identity = (metadata.dev(), metadata.ino());
        if let Some((_, other)) = known.iter().find(|(its, _)| *its == identity) {
            let other: &PathBuf = other;
            return Err(Failure::Usage(format!(
                "{} and {} are the same file; use each capture once",
                other.display(),
                file.display()
            )));
        }
        known.push((identity, file.clone()));
    }
    Ok(())
}

impl From<CaptureError> for Failure {
    fn from(error: CaptureError) -> Self {
        // Each says all there is to say: the system's word is in it.
        let message = error.to_string();
        match error {
            CaptureError::Open { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Self::NotPermitted(message),
                _ => Self::Usage(message),
            },
            CaptureError::NotACapture { .. }
            | CaptureError::Version { .. }
            | CaptureError::LinkType { .. } => Self::Usage(message),
            _ => Self::Failed(anyhow::anyhow!(message)),
        }
    }
}

/// One capture on its way.
struct Judging {
    file: Word,
    engine: Engine,
    reading: Reading,
    clock: Playback,
    /// Absent before the end.
    end: Option<End>,
    is_live: bool,
}

impl Judging {
    fn new(file: &Path, options: &PcapOptions) -> Self {
        let name: Word = file.to_string_lossy().as_ref().into();
        let digest =
            (options.files.len() > 1).then(|| Digest::new(name.clone()).among(options.files.len()));
        let tracker = Tracker::new(options.local.iter().copied());
        Self {
            engine: Engine::new(Config::of_capture(&name, options.hops.clone())),
            file: name,
            reading: Reading::start(file, tracker, digest),
            clock: Playback::default(),
            end: None,
            is_live: file.as_os_str() == "-",
        }
    }

    /// Shows what comes until the capture ends, or it is enough.
    async fn follow(&mut self, show: &mut Show) -> Result<ControlFlow<()>, Failure> {
        loop {
            let pulse = self.is_live.then(|| tokio::time::Instant::now() + PULSE);
            let mut settled = None;
            tokio::select! {
                () = self.reading.wait() => {}
                () = sleep_until(pulse) => settled = self.reading.release(),
            }
            let news = self.reading.take();
            if let Some(span) = news.span {
                self.clock.reach(span.duration());
            }
            self.judge(news.resets);
            if let Some(settled) = settled {
                self.engine.push(Input::Advance(BootTime(settled.0)));
            }
            if self.show(show)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            match news.end {
                None => {}
                Some(Ok(end)) => {
                    for problem in [&end.early, &end.without_tcp].into_iter().flatten() {
                        warn!("{problem}");
                    }
                    self.end = Some(end);
                    return Ok(ControlFlow::Continue(()));
                }
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    fn finish(
        self,
        show: &mut Show,
        sums: &mut Sums,
        is_usable: bool,
    ) -> Result<ControlFlow<()>, Failure> {
        let Self {
            file,
            mut engine,
            reading,
            clock,
            end,
            is_live,
        } = self;
        let mut rest = reading.finish();
        let mut resets = std::mem::take(&mut rest.resets);
        let mut shown = ControlFlow::Continue(());
        // Not all of them at once: each keeps what it rests on until it is shown.
        while shown.is_continue()
            && (!resets.is_empty() || rest.tracker.finish_some(BATCH, &mut resets))
        {
            for reset in resets.drain(..) {
                engine.captured(reset, &file);
            }
            shown = show.all(&mut engine, clock.now(), is_live)?;
        }
        engine.push(Input::Finish);
        if shown.is_continue() {
            shown = show.all(&mut engine, clock.now(), is_live)?;
        }
        if let Some(mut digest) = rest.digest.take().filter(|_| is_usable) {
            if let Some(end) = &end {
                if let Some(early) = &end.early {
                    digest.lacks(early.clone());
                }
                digest.ended(&end.counts);
            }
            show.digests.push(digest);
        }
        sums.look_for_local(&rest.tracker);
        info!(
            "{file}: {:?}, {:?}",
            end.as_ref().map(|end| end.counts),
            rest.tracker.counts()
        );
        sums.add(file, end, &clock, &engine, rest.tracker.counts());
        Ok(shown)
    }

    fn judge(&mut self, resets: Vec<CapturedReset>) {
        for reset in resets {
            self.engine.captured(reset, &self.file);
        }
    }

    fn show(&mut self, show: &mut Show) -> Result<ControlFlow<()>, Failure> {
        show.all(&mut self.engine, self.clock.now(), self.is_live)
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
            // The comparison has each reset once.
            show.output = None;
        }
        if several {
            // Counted are connections then.
            show.count = None;
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

    /// Shows all of it, or what is still wanted.
    fn all(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        is_live: bool,
    ) -> Result<ControlFlow<()>, Failure> {
        while let Some(output) = engine.poll_output() {
            if self.reporter.output(now, &output)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if let Some(kept) = &mut self.kept {
                kept.note(output);
            }
        }
        let reporter = &mut self.reporter;
        if is_live {
            reporter.tick(now)?;
            reporter.flush()?;
        } else if reporter.deadline().is_some_and(|due| due <= now) {
            reporter.tick(now)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The comparison, then the summary. Where there is nothing to compare with, what one capture says by itself.
    fn finish(mut self, sums: Sums, options: &ShowOptions) -> Result<(), Failure> {
        let is_table = options.output == Some(OutputFormat::Table);
        match self.kept {
            Some(kept) if self.digests.len() > 1 => {
                self.reporter.flush()?;
                let comparison = kept.compare(self.digests);
                if is_table && comparing::has_nothing_in_common(&comparison) {
                    warn!(
                        "the captures have no connection with a reset in common, so each is shown for itself; compare captures of \
                         the same connections at the same time"
                    );
                    return Self::alone(&kept, sums, options);
                }
                if let Some(once) = kept.show(comparison, options)? {
                    self.reporter.count_again(&once);
                }
            }
            Some(kept) if is_table => return Self::alone(&kept, sums, options),
            _ => {}
        }
        self.reporter.finish(sums.totals())?;
        Ok(())
    }

    /// What each capture says by itself, and the summary.
    fn alone(kept: &Kept, sums: Sums, options: &ShowOptions) -> Result<(), Failure> {
        let mut alone = ShowOptions {
            pcapng: None,
            ..options.clone()
        }
        .reporter(&Of::default())?;
        let now = Instant::now();
        for record in kept.records() {
            if alone.record(now, record)?.is_break() {
                break;
            }
        }
        alone.finish(sums.totals())?;
        kept.say_left_out();
        Ok(())
    }
}

/// The summary of all captures.
#[derive(Default)]
struct Sums {
    duration: Duration,
    read: Vec<(&'static str, u64)>,
    lessons: Vec<String>,
    captures: Vec<CaptureRecord>,
    /// Addresses given by --local that are in none of the captures; absent before the first one.
    local_not_seen: Option<Vec<IpAddr>>,
    /// Some that are.
    addresses: Vec<IpAddr>,
}

impl Sums {
    fn look_for_local(&mut self, tracker: &Tracker) {
        let (not_seen, addresses) = tracker.local_not_seen();
        match &mut self.local_not_seen {
            None => self.local_not_seen = Some(not_seen),
            Some(missing) => missing.retain(|address| not_seen.contains(address)),
        }
        self.addresses.extend(addresses);
    }

    /// A warning with the next step for each address of --local that no capture has.
    fn warn_of_local(&self) {
        for address in self.local_not_seen.iter().flatten() {
            let mut known: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
            known.sort_unstable();
            known.dedup();
            known.truncate(MOST_NAMED);
            if known.is_empty() {
                continue;
            }
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            warn!(
                "--local {address} is not in the capture and has no effect; use an address of the capturing host, such as {}",
                words::one_of(&known)
            );
        }
    }

    fn add(
        &mut self,
        file: Word,
        end: Option<End>,
        clock: &Playback,
        engine: &Engine,
        tracked: TrackCounts,
    ) {
        self.duration += clock.elapsed();
        self.lessons.extend(engine.learned_timeouts());
        let early = end.as_ref().is_some_and(|end| end.early.is_some());
        let untimed = end.as_ref().map_or(0, |end| end.counts.untimed);
        let own = [
            ("truncated captures", u64::from(early)),
            ("packets without timestamp", untimed),
            ("duplicate resets", tracked.repeated),
        ];
        let all = own.into_iter().chain(tracked.shortfalls());
        for (name, number) in all {
            match self.read.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += number,
                None => self.read.push((name, number)),
            }
        }
        let Some(end) = end else {
            return;
        };
        let not_analyzed = end.not_analyzed.into_iter();
        self.captures.push(CaptureRecord {
            schema: Word::new_static(CAPTURE_SCHEMA),
            file,
            packets: end.counts.frames,
            tcp: end.counts.segments,
            not_tcp: end.counts.not_tcp,
            not_analyzed: not_analyzed
                .map(|(reason, packets)| NotAnalyzed { reason, packets })
                .collect(),
            ended_early: end.early,
        });
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
            captures: Some(self.captures),
            vitals: None,
            is_cut_off: false,
            is_enough: false,
            is_running: false,
        }
    }
}

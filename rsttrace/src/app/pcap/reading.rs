//! Thread that reads a capture, and its queue to the judge.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::capture::{CaptureError, CaptureTime, ReadCounts, Reader, Segment};
use crate::captured::CapturedReset;
use crate::compare::Digest;
use crate::flow::Tracker;

/// Resets after which the judge is called; of a live capture each calls it.
pub const BATCH: usize = 256;
/// Resets that wait for the judge; then the reader waits.
const MOST: usize = 4_096;

/// A capture that is being read.
pub struct Reading {
    shared: Arc<Shared>,
}

/// What came since the last time.
#[derive(Default)]
pub struct News {
    /// Resets that have waited long enough, in order of time.
    pub resets: Vec<CapturedReset>,
    /// From the first segment to the last one so far.
    pub span: Option<Span>,
    /// The capture is over, or cannot be read any further.
    pub end: Option<Result<End, CaptureError>>,
}

/// A capture that was read to its end.
#[derive(Debug, Default)]
pub struct End {
    pub counts: ReadCounts,
    /// Packets that were not analyzed, by reason.
    pub not_analyzed: Vec<(String, u64)>,
    /// Why no TCP was found; absent if there was.
    pub without_tcp: Option<String>,
    /// Why it ended before the file was whole.
    pub early: Option<String>,
}

/// The result after the last segment.
pub struct Rest {
    /// Resets that had waited long enough.
    pub resets: Vec<CapturedReset>,
    /// It holds the others back.
    pub tracker: Tracker,
    /// For a comparison, if there is one.
    pub digest: Option<Digest>,
}

#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub first: CaptureTime,
    pub last: CaptureTime,
}

struct Shared {
    state: Mutex<State>,
    /// The judge has taken what was there, or wants no more.
    taken: Condvar,
    /// There is something for the judge.
    news: Notify,
}

struct State {
    tracker: Tracker,
    digest: Option<Digest>,
    news: News,
    /// When the last segment came, by the clock of this process.
    read_at: Option<Instant>,
    enough: bool,
}

impl Reading {
    /// Begins to read; `digest` gets all segments, too.
    pub fn start(path: &Path, tracker: Tracker, digest: Option<Digest>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                tracker,
                digest,
                news: News::default(),
                read_at: None,
                enough: false,
            }),
            taken: Condvar::new(),
            news: Notify::new(),
        });
        let (path, its) = (path.to_owned(), Arc::clone(&shared));
        // Ends with the capture, or when the receiver is dropped.
        std::thread::spawn(move || its.read(path));
        Self { shared }
    }

    /// Returns when there is something new. Cancel-safe.
    pub async fn wait(&self) {
        self.shared.news.notified().await;
    }

    /// What came since the last time.
    pub fn take(&self) -> News {
        let mut state = self.shared.lock();
        let news = News {
            span: state.news.span,
            ..std::mem::take(&mut state.news)
        };
        state.news.span = news.span;
        self.shared.taken.notify_all();
        news
    }

    /// Nothing comes: gives out what has waited long enough, the time since the last segment counted to its time. That instant of
    /// the capture; `None` before the first segment.
    pub fn release(&self) -> Option<CaptureTime> {
        let mut state = self.shared.lock();
        let waited = state.read_at?.elapsed();
        let now = state.news.span?.last.plus(waited);
        let State { tracker, news, .. } = &mut *state;
        tracker.release(now, &mut news.resets);
        Some(now)
    }

    /// Stops the reader.
    pub fn finish(self) -> Rest {
        let mut state = self.shared.lock();
        state.enough = true;
        self.shared.taken.notify_all();
        Rest {
            resets: std::mem::take(&mut state.news.resets),
            tracker: std::mem::take(&mut state.tracker),
            digest: state.digest.take(),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, path: PathBuf) {
        let end = self.read_segments(&path);
        self.lock().news.end = Some(end);
        self.news.notify_one();
    }

    fn read_segments(&self, path: &Path) -> Result<End, CaptureError> {
        let is_live = path.as_os_str() == "-";
        let call_at = if is_live { 1 } else { BATCH };
        let mut reader = Reader::open(path)?;
        while let Some(segment) = reader.next()? {
            let mut state = self.lock();
            state.see(&segment, is_live);
            if state.news.resets.len() >= call_at {
                self.news.notify_one();
            }
            while state.news.resets.len() >= MOST && !state.enough {
                state = self
                    .taken
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.enough {
                break;
            }
        }
        Ok(End {
            counts: reader.counts(),
            not_analyzed: reader.not_analyzed(),
            without_tcp: reader.without_tcp(),
            early: reader.ended_early().map(str::to_owned),
        })
    }
}

impl State {
    fn see(&mut self, segment: &Segment<'_>, is_live: bool) {
        let Span { first, last } = self.news.span.unwrap_or(Span {
            first: segment.time,
            last: segment.time,
        });
        self.news.span = Some(Span {
            first,
            last: last.max(segment.time),
        });
        if is_live {
            self.read_at = Some(Instant::now());
        }
        self.tracker.see(segment, &mut self.news.resets);
        if let Some(digest) = &mut self.digest {
            digest.see(segment);
        }
    }
}

impl Span {
    pub fn duration(self) -> Duration {
        self.last.since(self.first)
    }
}

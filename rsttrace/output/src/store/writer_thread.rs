//! Thread that writes the history, so that tracing never waits for a disk.
//!
//! Another thread takes them from a queue: half a second after the first one came or when there are many, whichever is
//! sooner, so one that is killed loses less than a second. While nothing comes it sleeps. If the disk cannot follow, the queue is
//! full, and what finds no room is counted.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::{info, warn};

use super::write::{Writer, bytes_on_disk, rest};
use super::{Limits, StoreError};
use crate::record::Output;
use crate::self_stats::StoreVitals;
use rsttrace_sys::clock;

/// How long a record waits for others.
const DELAY: Duration = Duration::from_millis(500);
/// So many are enough.
const BATCH: usize = 512;
/// Records that wait at most. They have some 2 KiB each.
const MOST: usize = 4_096;

/// How long the thread makes an old history smaller before it looks at what has come.
const SLICE: Duration = Duration::from_millis(200);

/// Stores records until it is asked to end.
pub struct Keeper {
    shared: Arc<Shared>,
    file: PathBuf,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    stored: AtomicU64,
    lost: AtomicU64,
    /// A loss of records was reported, and its end not yet.
    failing: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    outputs: Vec<Output>,
    /// When the first of them came.
    since: Option<Instant>,
    /// New limits.
    limits: Option<Limits>,
    ended: bool,
}

impl Keeper {
    /// Opens the store and starts the thread.
    ///
    /// # Errors
    ///
    /// As [`Writer::open`].
    pub fn start(file: &Path, limits: Limits) -> Result<Self, StoreError> {
        let writer = Writer::open(file, limits)?;
        let shared = Arc::<Shared>::default();
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("rsttrace-store".to_owned())
            .spawn(move || its.keep(writer))
            .map_err(|error| StoreError::io(file, &error))?;
        Ok(Self {
            shared,
            file: file.to_owned(),
            thread: Some(thread),
        })
    }

    /// Takes an output to be stored. Never waits for the disk.
    pub fn offer(&self, output: Output) {
        let mut waiting = self.shared.waiting();
        if waiting.outputs.len() >= MOST {
            drop(waiting);
            self.shared.lose(1, || {
                format!("{}: the disk is too slow", self.file.display())
            });
            return;
        }
        waiting.outputs.push(output);
        let number = waiting.outputs.len();
        if number == 1 {
            waiting.since = Some(Instant::now());
        }
        drop(waiting);
        if number == 1 || number == BATCH {
            self.shared.changed.notify_one();
        }
    }

    /// How it is doing. Asks the file system for the sizes of three files.
    pub fn vitals(&self) -> StoreVitals {
        StoreVitals {
            stored: self.shared.stored.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
            bytes: bytes_on_disk(&self.file),
        }
    }

    /// Changes the limits; the thread deletes what is beyond them.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.waiting().limits = Some(limits);
        self.shared.changed.notify_one();
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Stores the queue, closes the store, and returns the result.
    pub fn finish(mut self) -> StoreVitals {
        self.end();
        self.vitals()
    }

    fn end(&mut self) {
        self.shared.waiting().ended = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A thread that panicked has only pushed or taken, so the queue is intact.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, mut writer: Writer) {
        let mut batch = Vec::new();
        let mut expires = self.expire(&mut writer);
        let (mut restricted, mut again) = (false, false);
        loop {
            if !restricted {
                // In between, what comes is stored.
                restricted = writer.restrict(SLICE).unwrap_or_else(|error| {
                    warn!("cannot delete records above the size limit of the history: {error}");
                    again = true;
                    true
                });
            }
            let expires_or_now = if restricted {
                expires
            } else {
                Some(Instant::now())
            };
            let ended = self.take(&mut batch, expires_or_now);
            if !batch.is_empty() {
                let appended = writer.append(&batch);
                batch.clear();
                self.stored.fetch_add(appended.stored, Ordering::Relaxed);
                if let Some(error) = appended.error {
                    self.lose(appended.lost, || error.to_string());
                } else if self.failing.swap(false, Ordering::Relaxed) {
                    info!("writing to the history works again");
                }
            }
            if ended {
                return;
            }
            let limits = self.waiting().limits.take();
            if let Some(limits) = limits {
                if let Err(error) = writer.set_limits(limits) {
                    warn!("cannot change the size limit of the history: {error}");
                }
                // Expired records go first, so that they take no room from those that stay.
                expires = self.expire(&mut writer);
                restricted = false;
                continue;
            }
            if !restricted {
                continue;
            }
            if expires.is_none_or(|expires| expires <= Instant::now()) {
                expires = self.expire(&mut writer);
                restricted = !std::mem::take(&mut again);
            }
        }
    }

    /// Waits for outputs and takes them, or until something expires. Whether that was all.
    fn take(&self, batch: &mut Vec<Output>, expires: Option<Instant>) -> bool {
        let mut waiting = self.waiting();
        loop {
            let now = Instant::now();
            let due = match waiting.since {
                Some(since) => Some(since + DELAY),
                None => expires,
            };
            let is_due = due.is_some_and(|due| due <= now);
            let has_limits = waiting.limits.is_some();
            if waiting.ended || waiting.outputs.len() >= BATCH || is_due || has_limits {
                waiting.since = None;
                std::mem::swap(&mut waiting.outputs, batch);
                return waiting.ended;
            }
            waiting = match due {
                Some(due) => {
                    let left = due.saturating_duration_since(now);
                    self.changed
                        .wait_timeout(waiting, left)
                        .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard)
                }
                None => self
                    .changed
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Removes what is too old; says when to look again, `None`: when something was stored.
    fn expire(&self, writer: &mut Writer) -> Option<Instant> {
        let now = Timestamp::now();
        let at = clock::boottime().unwrap_or_default();
        match writer.expire(now, at) {
            Ok(expires) => Some(Instant::now() + rest(expires, now)?),
            Err(error) => {
                warn!("cannot delete expired records: {error}");
                Some(Instant::now() + Duration::from_secs(3_600))
            }
        }
    }

    /// Counts, and warns once.
    fn lose(&self, number: u64, why: impl FnOnce() -> String) {
        self.lost.fetch_add(number, Ordering::Relaxed);
        if !self.failing.swap(true, Ordering::Relaxed) {
            warn!("{}; the missing records are counted", why());
        }
    }
}

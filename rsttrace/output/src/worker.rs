//! Worker thread for slow writes, with a bounded queue.
//!
//! The thread takes one item after another.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the end waits for each step of the thread.
const PATIENCE: Duration = Duration::from_secs(5);
const PULSE: Duration = Duration::from_millis(5);

/// The sending side.
pub struct Worker<T, R> {
    to: SyncSender<T>,
    result: Receiver<R>,
    steps: Arc<AtomicU64>,
}

/// The receiving side.
pub struct Handed<T> {
    from: Receiver<T>,
    steps: Arc<AtomicU64>,
}

/// Why an item was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Full,
    Ended,
}

impl<T: Send + 'static, R: Send + 'static> Worker<T, R> {
    /// Starts the thread, with a queue of `room` items.
    pub fn start(
        name: &str,
        room: usize,
        work: impl FnOnce(Handed<T>) -> R + Send + 'static,
    ) -> io::Result<Self> {
        let (to, from) = mpsc::sync_channel(room);
        let (done, result) = mpsc::sync_channel(1);
        let steps = Arc::<AtomicU64>::default();
        let handed = Handed {
            from,
            steps: Arc::clone(&steps),
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // The sender may have given it up.
                let _ = done.send(work(handed));
            })?;
        Ok(Self { to, result, steps })
    }

    /// Hands something over. Never waits.
    pub fn offer(&self, thing: T) -> Result<(), Refused> {
        self.to.try_send(thing).map_err(|error| match error {
            TrySendError::Full(_) => Refused::Full,
            TrySendError::Disconnected(_) => Refused::Ended,
        })
    }

    /// Hands over what is left and waits for the result; `None`: it does not get on, and is left to itself.
    pub fn finish(self, last: impl IntoIterator<Item = T>) -> Option<R> {
        self.finish_within(PATIENCE, last)
    }

    /// The same, with a time for each step.
    pub fn finish_within(self, patience: Duration, last: impl IntoIterator<Item = T>) -> Option<R> {
        let Self { to, result, steps } = self;
        let mut patience = Patience::new(&steps, patience);
        'things: for mut thing in last {
            loop {
                match to.try_send(thing) {
                    Ok(()) => break,
                    Err(TrySendError::Disconnected(_)) => break 'things,
                    Err(TrySendError::Full(_)) if !patience.lasts() => return None,
                    Err(TrySendError::Full(back)) => thing = back,
                }
                thread::sleep(PULSE);
            }
        }
        drop(to);
        loop {
            match result.recv_timeout(PULSE * 10) {
                Ok(result) => return Some(result),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if !patience.lasts() => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl<T> Handed<T> {
    /// The next thing; waits for it. `None`: there will be none.
    pub fn next(&self) -> Option<T> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.from.recv().ok()
    }

    /// A part of the work is done.
    pub fn gets_on(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// The next thing if there is one.
    pub fn waiting(&self) -> Option<T> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.from.try_recv().ok()
    }
}

/// How long the end is waited for.
struct Patience<'a> {
    steps: &'a AtomicU64,
    seen: u64,
    since: Instant,
    limit: Duration,
}

impl<'a> Patience<'a> {
    fn new(steps: &'a AtomicU64, limit: Duration) -> Self {
        Self {
            steps,
            limit,
            seen: steps.load(Ordering::Relaxed),
            since: Instant::now(),
        }
    }

    fn lasts(&mut self) -> bool {
        let steps = self.steps.load(Ordering::Relaxed);
        if steps != self.seen {
            self.seen = steps;
            self.since = Instant::now();
        }
        self.since.elapsed() < self.limit
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_taken_is_worked_on_and_the_rest_is_refused_at_once() {
        let (go, wait) = mpsc::channel::<()>();
        let behind = Worker::start("test", 3, move |handed: Handed<u32>| {
            let _ = wait.recv();
            std::iter::from_fn(|| handed.next()).sum::<u32>()
        })
        .unwrap();
        let taken = (0..10).filter(|_| behind.offer(1).is_ok()).count();
        assert_eq!(taken, 3);
        assert_eq!(behind.offer(1), Err(Refused::Full));
        go.send(()).unwrap();
        assert_eq!(behind.finish([10, 20, 30, 40, 50]), Some(153));
    }

    #[test]
    fn one_that_stands_still_is_not_waited_for_without_end() {
        let (_go, wait) = mpsc::channel::<()>();
        let behind = Worker::start("test", 1, move |_: Handed<u32>| wait.recv().is_ok()).unwrap();
        let begun = Instant::now();
        assert_eq!(behind.finish([1, 2, 3]), None);
        assert!(begun.elapsed() >= PATIENCE);
    }
}

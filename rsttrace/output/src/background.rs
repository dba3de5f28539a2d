//! Lines for a reader that may stop reading: a pager, a log daemon under pressure, a stopped terminal.
//!
//! A thread writes them, so the caller never waits. What finds no room is dropped by whole lines and counted.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::Notify;

use crate::worker::{Handed, Worker};

/// Bytes that wait at most.
const MOST: usize = 4 << 20;
/// Batches that wait at most.
const BATCHES: usize = 8_192;
/// Bytes that are handed over at once.
const CHUNK: usize = 64 << 10;
/// Bytes that are written at once: as exact is the count of lines that a reader left.
const PIECE: usize = 16 << 10;
/// How long the end waits for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(2);

type Thread = Worker<Vec<u8>, ()>;

/// The thread and its queue.
#[derive(Clone)]
pub struct Background {
    /// Absent after the end.
    thread: Arc<Mutex<Option<Thread>>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Bytes in the queue.
    waiting: AtomicUsize,
    /// Lines that were queued, written, and dropped.
    queued: AtomicU64,
    written: AtomicU64,
    dropped: Arc<AtomicU64>,
    /// Why the thread ended early.
    failure: OnceLock<io::Error>,
    failed: Notify,
}

impl Background {
    /// Starts the thread, which writes to a copy of the descriptor.
    pub fn start(name: &str, file: &impl AsFd) -> io::Result<Self> {
        let out = File::from(file.as_fd().try_clone_to_owned()?);
        let state = Arc::<State>::default();
        let its = Arc::clone(&state);
        let work = move |handed: Handed<Vec<u8>>| {
            if let Err(error) = write(out, &handed, &its) {
                let _ = its.failure.set(error);
                its.failed.notify_one();
            }
        };
        let thread = Worker::start(name, BATCHES, work)?;
        Ok(Self {
            thread: Arc::new(Mutex::new(Some(thread))),
            state,
        })
    }

    /// A writer to the queue.
    pub fn lines(&self) -> Lines {
        Lines {
            buffer: Vec::new(),
            to: self.clone(),
        }
    }

    /// Lines that were dropped so far because the reader is too slow.
    pub fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }

    /// The counter of [`Self::dropped`], for lines that go another way.
    pub fn drop_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.state.dropped)
    }

    /// Returns when nothing can be written any more. Cancel-safe.
    pub async fn failed(&self) {
        self.state.failed.notified().await;
    }

    fn offer(&self, chunk: Vec<u8>) {
        let (bytes, lines) = (chunk.len(), count_lines(&chunk));
        let State {
            waiting,
            queued,
            dropped,
            ..
        } = &*self.state;
        let fits = waiting.fetch_add(bytes, Ordering::Relaxed) + bytes <= MOST;
        let thread = self.thread();
        if fits && thread.as_ref().is_some_and(|it| it.offer(chunk).is_ok()) {
            queued.fetch_add(lines, Ordering::Relaxed);
        } else {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    fn result(&self) -> io::Result<()> {
        match self.state.failure.get() {
            None => Ok(()),
            Some(error) => Err(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => error.kind().into(),
            }),
        }
    }

    /// Waits until everything is written, as long as the reader takes something. Returns the lines that it did not get.
    pub fn finish(&self) -> io::Result<u64> {
        let Some(thread) = self.thread().take() else {
            return Ok(0);
        };
        let is_complete = thread.finish_within(PATIENCE, []).is_some();
        self.result()?;
        let State {
            queued, written, ..
        } = &*self.state;
        let left = queued.load(Ordering::Relaxed) - written.load(Ordering::Relaxed);
        Ok(self.dropped() + if is_complete { 0 } else { left })
    }

    fn thread(&self) -> MutexGuard<'_, Option<Thread>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects lines; flushing passes them on. Fails after the thread has failed.
pub struct Lines {
    buffer: Vec<u8>,
    to: Background,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK && self.buffer.ends_with(b"\n") {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.result()?;
        if !self.buffer.is_empty() {
            let mut chunk = std::mem::take(&mut self.buffer);
            chunk.shrink_to_fit();
            self.to.offer(chunk);
        }
        Ok(())
    }
}

/// Writes until there is nothing more.
fn write(mut out: File, handed: &Handed<Vec<u8>>, state: &State) -> io::Result<()> {
    while let Some(mut chunk) = handed.next() {
        while chunk.len() < CHUNK
            && let Some(more) = handed.waiting()
        {
            chunk.extend_from_slice(&more);
        }
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            match out.write(&rest[..rest.len().min(PIECE)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    let (done, left) = rest.split_at(length);
                    state
                        .written
                        .fetch_add(count_lines(done), Ordering::Relaxed);
                    state.waiting.fetch_sub(length, Ordering::Relaxed);
                    rest = left;
                    handed.gets_on();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another program that has the same pipe or terminal may have made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => await_room(&out)?,
                Err(error) => return Err(error),
            }
        }
    }
    out.flush()
}

fn await_room(out: &File) -> io::Result<()> {
    let mut out = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut out, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::io::Read as _;
    use std::time::Instant;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    fn pipe() -> (io::PipeReader, Background) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, Background::start("test", &writer).unwrap())
    }

    #[test]
    fn a_reader_gets_every_line_in_order() {
        let (mut reader, background) = pipe();
        let mut lines = background.lines();
        let reading = std::thread::spawn(move || {
            let mut all = String::new();
            reader.read_to_string(&mut all).unwrap();
            all
        });
        let mut expected = String::new();
        for number in 0..20_000 {
            let line = format!("line {number}\n");
            expected += &line;
            lines.write_all(line.as_bytes()).unwrap();
            if number % 7 == 0 {
                lines.flush().unwrap();
            }
        }
        lines.flush().unwrap();
        assert_eq!(background.finish().unwrap(), 0);
        drop((lines, background));
        assert!(reading.join().unwrap() == expected);
    }

    #[test]
    fn a_pipe_that_somebody_made_non_blocking_is_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        let flags = OFlag::from_bits_retain(fcntl(&writer, FcntlArg::F_GETFL).unwrap());
        fcntl(&writer, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
        let background = Background::start("test", &writer).unwrap();
        drop(writer);
        let mut lines = background.lines();
        // More than a pipe holds.
        let line = [&[b'x'; 200_000][..], b"\n"].concat();
        lines.write_all(&line).unwrap();
        lines.flush().unwrap();
        let mut got = vec![0; line.len()];
        reader.read_exact(&mut got).unwrap();
        assert!(got == line);
        assert_eq!(background.finish().unwrap(), 0);
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_neither_time_nor_memory() {
        const LINES: u64 = 50_000;
        let (mut reader, background) = pipe();
        let mut lines = background.lines();
        let line = [&[b'x'; 1_000][..], b"\n"].concat();
        let begun = Instant::now();
        for _ in 0..LINES {
            lines.write_all(&line).unwrap();
            lines.flush().unwrap();
            assert!(background.state.waiting.load(Ordering::Relaxed) <= MOST);
        }
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        assert!(background.dropped() > LINES / 2);
        let begun = Instant::now();
        let missing = background.finish().unwrap();
        assert!(begun.elapsed() < 2 * PATIENCE, "{:?}", begun.elapsed());
        // A write that stands still counts as none.
        let mut got = vec![0; 1 << 20];
        let length = reader.read(&mut got).unwrap();
        let got = count_lines(&got[..length]);
        let unsure = (PIECE / line.len() + 1) as u64;
        assert!(got > 0);
        assert!((LINES..=LINES + unsure).contains(&(got + missing)));
    }

    #[test]
    fn a_reader_that_has_gone_is_an_error_of_that_kind() {
        let (reader, background) = pipe();
        drop(reader);
        let mut lines = background.lines();
        lines.write_all(b"line\n").unwrap();
        lines.flush().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(background.failed());
        let error = lines.flush().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        let error = background.finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

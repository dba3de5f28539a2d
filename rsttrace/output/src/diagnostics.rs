//! Standard error.
//!
//! A live trace has a thread write it, because its reader may stop reading: often it is the one of standard output.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::background::{Background, Lines};
use crate::terminal::{self, ERASE_LINE};

static THREAD: Mutex<Option<Thread>> = Mutex::new(None);

struct Thread {
    background: Background,
    lines: Lines,
    /// Standard output has a status line on the same terminal: a message takes its place.
    overwrites: bool,
    /// The last message ended its line.
    is_at_start: bool,
}

/// Has a thread write from now on. Messages beyond its queue are dropped. `has_status`: standard output is a terminal with a status line.
pub fn start(has_status: bool) -> io::Result<()> {
    let background = Background::start("rsttrace-stderr", &io::stderr())?;
    *thread() = Some(Thread {
        lines: background.lines(),
        background,
        overwrites: has_status && io::stderr().is_terminal(),
        is_at_start: true,
    });
    Ok(())
}

/// Ends the thread; a reader that takes nothing is not waited for.
pub fn finish() {
    let taken = thread().take();
    if let Some(Thread {
        background,
        mut lines,
        ..
    }) = taken
    {
        // A closed standard error is no failure.
        let _ = lines.flush();
        let _ = background.finish();
    }
}

fn thread() -> MutexGuard<'static, Option<Thread>> {
    THREAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes messages, at the end of each line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = terminal::for_stderr(bytes);
        match &mut *thread() {
            None => io::stderr().write_all(&text)?,
            Some(thread) => {
                if thread.overwrites && thread.is_at_start {
                    thread.lines.write_all(ERASE_LINE.as_bytes())?;
                }
                thread.lines.write_all(&text)?;
                thread.is_at_start = bytes.ends_with(b"\n");
                if thread.is_at_start {
                    thread.lines.flush()?;
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *thread() {
            None => Ok(()),
            Some(thread) => thread.lines.flush(),
        }
    }

    /// As one message: other threads may write, too.
    fn write_fmt(&mut self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(text.to_string().as_bytes())
    }
}

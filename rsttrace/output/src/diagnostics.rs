//! Standard error.
//!
//! A live trace has a thread write it, because its reader may stop reading: often it is the one of standard output.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::background::{Background, Lines};

static THREAD: Mutex<Option<(Background, Lines)>> = Mutex::new(None);

/// Has a thread write from now on. Messages beyond its queue are dropped.
pub fn start() -> io::Result<()> {
    let background = Background::start("rsttrace-stderr", &io::stderr())?;
    let lines = background.lines();
    *thread() = Some((background, lines));
    Ok(())
}

/// Ends the thread; a reader that takes nothing is not waited for.
pub fn finish() {
    let taken = thread().take();
    if let Some((background, mut lines)) = taken {
        // A closed standard error is no failure.
        let _ = lines.flush();
        let _ = background.finish();
    }
}

fn thread() -> MutexGuard<'static, Option<(Background, Lines)>> {
    THREAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes messages, at the end of each line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *thread() {
            None => io::stderr().write(bytes),
            Some((_, lines)) => {
                let length = lines.write(bytes)?;
                if bytes.ends_with(b"\n") {
                    lines.flush()?;
                }
                Ok(length)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *thread() {
            None => Ok(()),
            Some((_, lines)) => lines.flush(),
        }
    }

    /// As one message: other threads may write, too.
    fn write_fmt(&mut self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(text.to_string().as_bytes())
    }
}

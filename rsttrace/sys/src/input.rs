//! Opening files to read, none of which is waited for without end.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Time to wait for the other end of a named pipe.
pub const PIPE_PATIENCE: Duration = Duration::from_secs(5);
/// How often to look for it.
pub const PIPE_PULSE: Duration = Duration::from_millis(20);

/// A file that is read. Only a pipe with a writer is waited for.
#[derive(Debug)]
pub struct Input {
    file: File,
    /// The first byte of a pipe, which showed that it has a writer.
    first: Option<u8>,
}

impl Input {
    /// Opens a file. A pipe without a writer is an error after 5 seconds; a terminal or a device that has nothing to read is one when it
    /// is read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut input = Self {
            file: OpenOptions::new()
                .read(true)
                .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
                .open(path)?,
            first: None,
        };
        if input.metadata()?.file_type().is_fifo() {
            input.await_writer()?;
            let flags = fcntl(&input.file, FcntlArg::F_GETFL)?;
            let flags = OFlag::from_bits_retain(flags) - OFlag::O_NONBLOCK;
            fcntl(&input.file, FcntlArg::F_SETFL(flags))?;
        }
        Ok(input)
    }

    /// As [`File::metadata`].
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    fn await_writer(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let mut first = [0];
        loop {
            match self.file.read(&mut first) {
                // Nobody has it open for writing.
                Ok(0) if begun.elapsed() > PIPE_PATIENCE => {
                    let message =
                        "the pipe has no writer, or it wrote nothing; start its writer first";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
                Ok(0) => std::thread::sleep(PIPE_PULSE),
                Ok(_) => {
                    self.first = Some(first[0]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Read for Input {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if let (Some(first), [into, ..]) = (self.first, &mut *bytes) {
            *into = first;
            self.first = None;
            return Ok(1);
        }
        self.file.read(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(
                error.kind(),
                "a device or a terminal without anything to read",
            ),
            _ => error,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::io::Write as _;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn a_pipe_gives_all_that_its_writer_writes_however_late() {
        let name = format!("rsttrace-input-{}", std::process::id());
        let pipe = std::env::temp_dir().join(name);
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut pipe = OpenOptions::new().write(true).open(pipe).unwrap();
                for part in ["one ", "two ", "three"] {
                    pipe.write_all(part.as_bytes()).unwrap();
                    std::thread::yield_now();
                }
            }
        });
        let read = io::read_to_string(Input::open(&pipe).unwrap()).unwrap();
        writer.join().unwrap();
        assert_eq!(read, "one two three");
        let error = Input::open(&pipe).unwrap_err();
        std::fs::remove_file(&pipe).unwrap();
        assert!(error.to_string().contains("no writer"), "{error}");
    }

    #[test]
    fn a_file_that_never_has_anything_to_read_is_an_error() {
        // A new terminal that nobody types on.
        let mut input = Input::open(Path::new("/dev/ptmx")).unwrap();
        let error = input.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
    }
}

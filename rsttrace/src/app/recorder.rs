//! Where does the recording of a running trace go, and what if that fails?
//!
//! It is packed and written by the thread that judges: a block of 64 KiB takes some tenths of a millisecond. If it cannot be
//! written, the recording ends there and tracing goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use log::warn;
use nix::unistd::{AccessFlags, access};
use tokio::time::Instant;

use crate::cli::{Failure, RecordFile};
use crate::event::Facts;
use crate::judge::Input;
use crate::recording::{Effort, End, Head, Writer, Written};

/// What a killed recorder loses at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nobody else reads command lines.
const MODE: u32 = 0o600;

/// Where a recording goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordTo {
    /// To whoever asks at the end.
    Memory,
    /// To a file.
    File(RecordFile),
}

/// What became of a recording.
#[derive(Debug, Default)]
pub struct Recorded {
    /// What it holds.
    pub written: Written,
    /// Events that came after it had failed, or were lost with it.
    pub missed: u64,
    /// The bytes, if they were to be kept in memory and nothing failed.
    pub memory: Option<Vec<u8>>,
}

enum Destination {
    Memory(Vec<u8>),
    File(File),
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Memory(memory) => memory.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(file) => file.flush(),
        }
    }
}

/// Takes down what goes into the judge.
pub struct Recorder {
    /// Absent once it failed.
    writer: Option<Writer<Destination>>,
    name: PathBuf,
    /// When what waits has to be written.
    due: Option<Instant>,
    /// What was written before it failed.
    written: Written,
    missed: u64,
}

impl Recorder {
    /// Makes the file, for this user alone, and writes the head.
    pub fn new(to: &RecordTo, head: &Head) -> Result<Self, Failure> {
        let (destination, name) = match to {
            RecordTo::Memory => (Destination::Memory(Vec::new()), PathBuf::new()),
            RecordTo::File(to) => (Destination::File(create(to)?), to.path.clone()),
        };
        let writer = Writer::new(destination, head, Effort::Live);
        Ok(Self {
            writer: Some(writer.with_context(|| format!("write to {}", name.display()))?),
            name,
            due: None,
            written: Written::default(),
            missed: 0,
        })
    }

    /// An event, and what the host knew then.
    pub fn event(&mut self, bytes: &[u8], facts: &Facts) {
        self.missed += u64::from(self.writer.is_none());
        self.try_to(|writer| writer.event(bytes, facts));
    }

    /// Anything else that goes in.
    pub fn input(&mut self, input: &Input<'_>) {
        self.try_to(|writer| writer.input(input));
    }

    /// When [`Self::flush`] is due; absent while nothing waits.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes what has waited long enough.
    pub fn flush(&mut self) {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.try_to(Writer::flush);
        }
    }

    /// Writes what waits, and the end.
    pub fn finish(mut self, end: &End) -> Recorded {
        let mut memory = None;
        if let Some(writer) = self.writer.take() {
            let (before, taken) = (writer.written(), writer.taken());
            match writer.finish(end) {
                Ok((destination, written)) => {
                    self.written = written;
                    if let Destination::Memory(bytes) = destination {
                        memory = Some(bytes);
                    }
                }
                Err(error) => self.failed(&error, before, taken),
            }
        }
        Recorded {
            written: self.written,
            missed: self.missed,
            memory,
        }
    }

    fn try_to(&mut self, work: impl FnOnce(&mut Writer<Destination>) -> io::Result<()>) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        match work(writer) {
            Ok(()) if !writer.waits() => self.due = None,
            Ok(()) => {
                self.due.get_or_insert_with(|| Instant::now() + PATIENCE);
            }
            Err(error) => {
                let (written, taken) = (writer.written(), writer.taken());
                self.failed(&error, written, taken);
            }
        }
    }

    fn failed(&mut self, error: &io::Error, written: Written, taken: Written) {
        warn!(
            "{}: {error}; the recording ends after {} events, and tracing goes on without it",
            self.name.display(),
            written.events
        );
        self.missed += taken.events - written.events;
        self.written = written;
        self.writer = None;
        self.due = None;
    }
}

/// Says what is wrong with the file before anything else is done.
pub fn check(to: &RecordFile) -> Result<(), Failure> {
    let path = to.path.display();
    let usage = |what: String| Err(Failure::Usage(what));
    if to.path.is_dir() {
        return usage(format!("{path} is a folder; name a file in it"));
    }
    if to.path.exists() && !is_special(&to.path) && !to.force {
        return usage(format!(
            "{path} exists; name another file, or overwrite it with --force"
        ));
    }
    let folder = folder_of(&to.path);
    if !folder.is_dir() {
        return usage(format!(
            "{path}: there is no such folder; make it, or name another file"
        ));
    }
    let at = if is_special(&to.path) {
        &to.path
    } else {
        folder
    };
    if access(at, AccessFlags::W_OK).is_err() {
        return Err(Failure::NotPermitted(format!(
            "{path}: not permitted to write there; run as root, or name a file that this user may write"
        )));
    }
    Ok(())
}

fn create(to: &RecordFile) -> Result<File, Failure> {
    check(to)?;
    let path = &to.path;
    let doing = || format!("make {}", path.display());
    if is_special(path) {
        let file = OpenOptions::new().write(true).open(path);
        return Ok(file.with_context(doing)?);
    }
    if to.force && path.symlink_metadata().is_ok() {
        // Not emptied: whoever has the old one open, or may read it, keeps the old one.
        fs::remove_file(path).with_context(|| format!("remove the old {}", path.display()))?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path);
    Ok(file.with_context(doing)?)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// A device or a pipe: it is written to, and stays what it is.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| !it.is_file() && !it.is_dir())
}

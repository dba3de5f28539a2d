//! The file system as another process sees it: below its root directory, symbolic links included.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{self, Mode};

/// A root directory.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    pub fn of(pid: u32) -> Option<Self> {
        Self::at(Path::new(&format!("/proc/{pid}/root")))
    }

    pub fn at(folder: &Path) -> Option<Self> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY;
        open(folder, flags, Mode::empty()).ok().map(Self)
    }

    /// Opens a file or a folder to read; never waits for the other end of a FIFO.
    pub(super) fn open(&self, path: &Path, flags: OFlag) -> Option<OwnedFd> {
        let flags =
            flags | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.0, path, how).ok()
    }

    pub fn has(&self, path: &Path) -> bool {
        self.open(path, OFlag::empty()).is_some()
    }

    pub fn is_folder(&self, path: &Path) -> bool {
        self.open(path, OFlag::O_DIRECTORY).is_some()
    }

    /// Names in a folder that nobody but the owner of the root directory can change; at most `most`. None without such a folder.
    pub fn owned_folder(&self, path: &Path, most: usize) -> impl Iterator<Item = OsString> {
        let opened = self.open(path, OFlag::O_DIRECTORY).map(File::from);
        let opened = opened.filter(|folder| self.is_owned(folder));
        let entries = opened
            .and_then(|folder| read_folder(&folder).ok())
            .into_iter()
            .flatten();
        entries.take(most).flatten().map(|entry| entry.file_name())
    }

    /// The content of a regular file that nobody but the owner of the root directory can change; absent if it is longer than `most`.
    pub fn owned_file(&self, path: &Path, most: u64) -> Option<Vec<u8>> {
        let (file, _) = self.open_owned(path)?;
        content(file, most)
    }

    /// A regular file that nobody but the owner of the root directory can change.
    pub fn open_owned(&self, path: &Path) -> Option<(File, Metadata)> {
        let file = File::from(self.open(path, OFlag::empty())?);
        let about = file.metadata().ok()?;
        (about.is_file() && self.is_owned(&file)).then_some((file, about))
    }

    fn is_owned(&self, file: &File) -> bool {
        const OTHERS_WRITE: u32 = 0o022;
        let (Ok(root), Ok(file)) = (stat::fstat(&self.0), file.metadata()) else {
            return false;
        };
        file.uid() == root.st_uid && file.mode() & OTHERS_WRITE == 0
    }
}

/// Absent if it is longer than `most`.
pub fn content(file: File, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most).then_some(bytes)
}

/// Entries of an open folder.
pub(super) fn read_folder(folder: &impl AsRawFd) -> io::Result<std::fs::ReadDir> {
    std::fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

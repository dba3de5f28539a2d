//! Lock file: only one process writes a history.
//!
//! A kernel lock on a file next to it, which ends with its process. Not on the database itself:
//! to close a second descriptor of that would take SQLite's own locks away.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::StoreError;

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it, or says who has it.
    pub fn take(store: &Path) -> Result<Self, StoreError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(beside(store, "-lock"))
            .map_err(|error| StoreError::io(store, &error))?;
        check_own(&file, store)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = (&file).take(16).read_to_string(&mut text);
                return Err(StoreError::InUse {
                    file: store.to_owned(),
                    pid: text.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io(store, &error)),
        }
        // For the message alone: the lock holds whether or not that can be written.
        let _ = file.set_len(0);
        let _ = file.rewind();
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
    }
}

/// Whether it is a file, and this user's. Root writes to nothing that others have made.
pub(super) fn check_own(file: &File, store: &Path) -> Result<Metadata, StoreError> {
    let found = file
        .metadata()
        .map_err(|error| StoreError::io(store, &error))?;
    if !found.is_file() {
        return Err(StoreError::Foreign(store.to_owned()));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(StoreError::Others(store.to_owned()));
    }
    Ok(found)
}

/// The file's name with something behind it.
pub(super) fn beside(store: &Path, suffix: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

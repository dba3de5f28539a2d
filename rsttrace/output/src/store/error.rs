//! Errors of the history.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

/// Each message names the file and ends with the next step.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Nothing was ever kept there.
    #[error("{}: no history there; create one with `rsttrace watch --store`, or use another file with --store FILE", .0.display())]
    Missing(PathBuf),
    #[error("{}: permission denied; run as root, or use a file that this user can access with --store FILE", .0.display())]
    NotPermitted(PathBuf),
    #[error("{}: not a history of rsttrace; use another file", .0.display())]
    Foreign(PathBuf),
    /// A later rsttrace wrote it.
    #[error("{}: written by a newer rsttrace (format {version}, supported: {}); upgrade rsttrace, or use another file", file.display(), super::schema::VERSION)]
    Newer { file: PathBuf, version: i64 },
    /// It is older than what can be read without being changed.
    #[error("{}: written by an older rsttrace; run `rsttrace watch --store` once to upgrade it", .0.display())]
    Older(PathBuf),
    /// Its content makes no sense.
    #[error("{}: damaged ({problem}); move the file away to start a new history", file.display())]
    Damaged { file: PathBuf, problem: String },
    /// Another process keeps its history there.
    #[error("{}: already in use by {}; stop that process, or use another file", file.display(), pid.map_or("another rsttrace".to_owned(), |pid| format!("rsttrace (PID {pid})")))]
    InUse {
        file: PathBuf,
        /// Who; absent if that is not known.
        pid: Option<u32>,
    },
    #[error("{}: the disk is full; free disk space, or use a smaller --keep-size", .0.display())]
    Full(PathBuf),
    /// The disk has room, and the limit leaves none.
    #[error("{}: the size limit is reached; use a larger --keep-size", .0.display())]
    Crowded(PathBuf),
    #[error("{}: belongs to another user; use another file", .0.display())]
    Others(PathBuf),
    /// Another program that is in the middle of reading or writing it keeps it from being written.
    #[error("{}: locked by another program; stop that program", .0.display())]
    Held(PathBuf),
    #[error("{}: {problem}; use a readable and writable file", file.display())]
    Failed { file: PathBuf, problem: String },
}

impl StoreError {
    pub(super) fn sqlite(file: &Path, error: &rusqlite::Error) -> Self {
        let file = file.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign(file),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::TooBig) => Self::Damaged {
                file,
                problem: error.to_string(),
            },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Held(file),
            Some(ErrorCode::DiskFull) => Self::Full(file),
            Some(
                ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::AuthorizationForStatementDenied,
            ) => Self::NotPermitted(file),
            _ => Self::Failed {
                file,
                problem: error.to_string(),
            },
        }
    }

    pub(super) fn io(file: &Path, error: &io::Error) -> Self {
        let file = file.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing(file),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotPermitted(file)
            }
            io::ErrorKind::StorageFull => Self::Full(file),
            _ => Self::Failed {
                file,
                problem: error.to_string(),
            },
        }
    }

    pub(super) fn damaged(file: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged {
            file: file.to_owned(),
            problem: problem.into(),
        }
    }
}

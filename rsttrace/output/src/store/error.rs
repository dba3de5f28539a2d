//! Why is there no history, or none of this moment?

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

/// Each message names the file and ends with the next step.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Nothing was ever kept there.
    #[error("{}: no history is kept there; `rsttrace watch --store` keeps one, --store FILE names another", .0.display())]
    Missing(PathBuf),
    /// The user may not.
    #[error("{}: not permitted; run as root, or name a file of --store that this user may use", .0.display())]
    NotPermitted(PathBuf),
    /// It is something else.
    #[error("{}: this is no history of rsttrace; name another file", .0.display())]
    Foreign(PathBuf),
    /// A later rsttrace wrote it.
    #[error("{}: written by a later rsttrace (format {version}, this one knows {}); use that one, or name another file", file.display(), super::schema::VERSION)]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        version: i64,
    },
    /// It is older than what can be read without being changed.
    #[error("{}: written by an earlier rsttrace; `rsttrace watch --store` brings it up to date", .0.display())]
    Older(PathBuf),
    /// Its content makes no sense.
    #[error("{}: damaged ({problem}); move it away, and a new one is begun", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another process keeps its history there.
    #[error("{}: {} keeps its history there; end it, or name another file", file.display(), pid.map_or("another rsttrace".to_owned(), |pid| format!("rsttrace with pid {pid}")))]
    InUse {
        /// The file.
        file: PathBuf,
        /// Who; absent if that is not known.
        pid: Option<u32>,
    },
    /// No room.
    #[error("{}: the disk is full; free some of it, or give a smaller --keep-size", .0.display())]
    Full(PathBuf),
    /// The disk has room, and the limit leaves none.
    #[error("{}: the limit of its size leaves no room; give a greater --keep-size", .0.display())]
    Crowded(PathBuf),
    /// Another user made it.
    #[error("{}: it belongs to another user; name another file", .0.display())]
    Others(PathBuf),
    /// Another program that is in the middle of reading or writing it keeps it from being written.
    #[error("{}: another program that uses it keeps it from being written; end that", .0.display())]
    Held(PathBuf),
    /// Anything else.
    #[error("{}: {problem}; name a file that can be read and written", file.display())]
    Failed {
        /// The file.
        file: PathBuf,
        /// What the system says.
        problem: String,
    },
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

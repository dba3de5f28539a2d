//! The history: all records on disk, limited by size and age.
//!
//! The only module that uses SQLite. One process writes ([`Keeper`], a thread of its own); any number read ([`Store`]) and never
//! block it. A record is kept as the line of JSON that `watch -o json` writes, compressed, next to columns for queries.
//! A killed process loses the records of its last second; a power failure may lose everything after the last checkpoint. Neither
//! damages the file.

mod clock;
mod codec;
mod error;
mod lock;
mod query;
mod quota;
mod read;
mod row;
mod schema;
mod write;
mod writer_thread;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::StoreError;
pub use query::Query;
pub use read::{Extent, Records, Store, Stored};
pub use write::{Appended, Writer};
pub use writer_thread::Keeper;

/// Where the history is kept if no other file is named.
pub const DEFAULT_PATH: &str = "/var/lib/rsttrace/history.db";

/// All files of a store, whether or not they are there now.
pub fn files(store: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-shm", "-lock"].map(|suffix| lock::beside(store, suffix))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records that are older go.
    pub age: Duration,
    /// Bytes on the disk, all files of the store together; beyond them the oldest records go. At least [`Limits::LEAST_BYTES`].
    pub bytes: u64,
}

impl Limits {
    /// Less would hold next to nothing.
    pub const LEAST_BYTES: u64 = 4 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(7 * 24 * 3_600),
            bytes: 256 << 20,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;

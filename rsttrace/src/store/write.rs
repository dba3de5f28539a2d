//! How do records get into a store, and old ones out of it, so that it never grows beyond its limits?
//!
//! The limit is of all files together: the database gets what the log and the index of the log leave of it. Before records come in,
//! the oldest ones go until there is room. The log is written back to the database when it has a quarter of its share; where readers
//! keep it from being begun anew, nothing is written before it would have more than its share.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use super::lock::{Lock, beside};
use super::pack::Packer;
use super::row::{self, Row};
use super::{Limits, StoreError, schema};
use crate::pipeline::Output;

const PAGE: u64 = 4_096;
/// The log's index has this size as long as the log has at most 4,000 pages.
const LOG_INDEX: u64 = 64 << 10;
/// The log's share, bytes.
const LEAST_LOG: u64 = 1 << 20;
const MOST_LOG: u64 = 8 << 20;
/// Rows that are removed in one transaction.
const CHUNK: i64 = 256;
/// Pages that an insertion may take beyond its bytes: new ones of the trees.
const SLACK: u64 = 16;
/// Pages that are given back to the file system at a time.
const GIVEN_BACK: u64 = 256;

/// The one that writes. Dropped, it leaves a single file with everything in it.
pub struct Writer {
    connection: Connection,
    file: PathBuf,
    limits: Limits,
    packer: Packer,
    scratch: Vec<u8>,
    _lock: Lock,
}

/// What became of outputs.
#[derive(Debug, Default)]
pub struct Appended {
    /// So many of them are stored, and stay if this process is killed.
    pub stored: u64,
    /// So many are not.
    pub lost: u64,
    /// Why; absent if none was lost.
    pub error: Option<StoreError>,
}

impl Writer {
    /// Opens a store for writing; makes it, readable by its owner alone, and its folder if they are not there.
    ///
    /// # Errors
    ///
    /// Another process writes it, it may not be written, it is damaged, no store at all, or of a later version.
    pub fn open(file: &Path, limits: Limits) -> Result<Self, StoreError> {
        let io = |error| StoreError::io(file, &error);
        if let Some(folder) = file.parent().filter(|folder| *folder != Path::new("")) {
            let mut builder = DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o750)
                .create(folder)
                .map_err(io)?;
        }
        if file.is_dir() {
            return Err(StoreError::Foreign(file.to_owned()));
        }
        let lock = Lock::take(file)?;
        if !file.exists() {
            // Not with SQLite's mode. The files beside it get that of this one.
            let mut options = OpenOptions::new();
            options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(file)
                .map_err(io)?;
        }
        let mut connection =
            Connection::open(file).map_err(|error| StoreError::sqlite(file, &error))?;
        schema::prepare(&mut connection, file)?;
        let mut writer = Self {
            connection,
            file: file.to_owned(),
            limits,
            packer: Packer::new().map_err(io)?,
            scratch: Vec::new(),
            _lock: lock,
        };
        writer.restrict()?;
        Ok(writer)
    }

    /// The limits hold from now on, whatever they were before.
    fn restrict(&mut self) -> Result<(), StoreError> {
        self.write_back()?;
        self.expire(Timestamp::now())?;
        self.make_room(0)?;
        let most = self.most_pages();
        while self.pages()? > most {
            let sql = format!("PRAGMA incremental_vacuum({GIVEN_BACK})");
            let before = self.pages()?;
            self.run(|connection| connection.execute_batch(&sql))?;
            self.write_back()?;
            if self.pages()? >= before {
                break;
            }
        }
        let sql = format!("PRAGMA max_page_count = {most}");
        self.run(|connection| connection.execute_batch(&sql))
    }

    /// Stores what was judged. What cannot be stored is counted; it is gone.
    pub fn append(&mut self, outputs: &[Output]) -> Appended {
        let mut appended = Appended::default();
        let most = self.log_share() / 8;
        let mut rows: Vec<Row> = Vec::new();
        let mut bytes = 0;
        for output in outputs {
            match Row::of(output, &mut self.packer, &mut self.scratch) {
                Ok(row) => {
                    bytes += row.bytes();
                    rows.push(row);
                }
                Err(error) => {
                    appended.lost += 1;
                    appended.error = Some(StoreError::io(&self.file, &error));
                }
            }
            if bytes >= most {
                self.insert(&rows, bytes, &mut appended);
                rows.clear();
                bytes = 0;
            }
        }
        self.insert(&rows, bytes, &mut appended);
        appended
    }

    fn insert(&mut self, rows: &[Row], bytes: u64, appended: &mut Appended) {
        if rows.is_empty() {
            return;
        }
        match self.try_insert(rows, bytes) {
            Ok(()) => appended.stored += rows.len() as u64,
            Err(error) => {
                appended.lost += rows.len() as u64;
                appended.error = Some(error);
            }
        }
    }

    fn try_insert(&mut self, rows: &[Row], bytes: u64) -> Result<(), StoreError> {
        self.make_room(bytes)?;
        self.run(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut statement = transaction.prepare_cached(row::INSERT)?;
                for row in rows {
                    row.insert(&mut statement)?;
                }
            }
            transaction.commit()
        })?;
        self.write_back_if_due();
        Ok(())
    }

    /// Removes the oldest records until so many bytes fit.
    fn make_room(&mut self, bytes: u64) -> Result<(), StoreError> {
        let need = bytes.div_ceil(PAGE) * 5 / 4 + SLACK;
        loop {
            self.keep_log_short()?;
            if self.pages()?.saturating_sub(self.free_pages()?) + need <= self.most_pages() {
                return Ok(());
            }
            let removed = self.run(|connection| {
                let sql =
                    "DELETE FROM record WHERE id IN (SELECT id FROM record ORDER BY id LIMIT ?1)";
                connection.prepare_cached(sql)?.execute([CHUNK])
            })?;
            self.write_back_if_due();
            if removed == 0 {
                return Ok(());
            }
        }
    }

    /// Removes what is too old at `now`; says when the oldest that is left will be.
    pub fn expire(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let Ok(oldest) = now.checked_sub(self.limits.age) else {
            return Ok(None);
        };
        let oldest = i64::try_from(oldest.as_nanosecond()).unwrap_or(i64::MIN);
        loop {
            self.keep_log_short()?;
            let removed = self.run(|connection| {
                let sql = "DELETE FROM record WHERE id IN (SELECT id FROM record WHERE time < ?1 ORDER BY time LIMIT ?2)";
                connection.prepare_cached(sql)?.execute([oldest, CHUNK])
            })?;
            self.write_back_if_due();
            if removed == 0 {
                break;
            }
        }
        let first: Option<i64> = self.run(|connection| {
            connection.query_row("SELECT min(time) FROM record", [], |row| row.get(0))
        })?;
        let first = first.and_then(|first| Timestamp::from_nanosecond(first.into()).ok());
        Ok(first.and_then(|first| first.checked_add(self.limits.age).ok()))
    }

    /// Bytes on the disk now, all files together.
    pub fn bytes(&self) -> u64 {
        bytes_on_disk(&self.file)
    }

    fn log_share(&self) -> u64 {
        (self.limits.bytes / 4).clamp(LEAST_LOG, MOST_LOG)
    }

    fn most_pages(&self) -> u64 {
        let bytes = self.limits.bytes.max(Limits::LEAST_BYTES);
        (bytes - self.log_share() - LOG_INDEX) / PAGE
    }

    fn log_bytes(&self) -> u64 {
        fs::metadata(beside(&self.file, "-wal")).map_or(0, |log| log.len())
    }

    /// Refuses where the log cannot be begun anew and the next transaction might take it over its share.
    fn keep_log_short(&mut self) -> Result<(), StoreError> {
        if self.log_bytes() <= self.log_share() / 2 {
            return Ok(());
        }
        if self.write_back()? {
            return Ok(());
        }
        if self.log_bytes() <= self.log_share() / 2 {
            return Ok(());
        }
        Err(StoreError::Held(self.file.clone()))
    }

    fn write_back_if_due(&mut self) {
        if self.log_bytes() >= self.log_share() / 4 {
            // If it fails, the log is full some time, and that is told.
            let _ = self.write_back();
        }
    }

    /// The log into the database. Whether all of it is there, so that the log begins anew.
    fn write_back(&mut self) -> Result<bool, StoreError> {
        let (busy, all, done) = self.run(|connection| {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, i64>(2)?,
                ))
            })
        })?;
        Ok(busy == 0 && all == done)
    }

    fn pages(&mut self) -> Result<u64, StoreError> {
        self.number("page_count")
    }

    fn free_pages(&mut self) -> Result<u64, StoreError> {
        self.number("freelist_count")
    }

    fn number(&mut self, name: &str) -> Result<u64, StoreError> {
        self.run(|connection| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)))
            .map(|number| u64::try_from(number).unwrap_or(0))
    }

    fn run<T>(
        &mut self,
        run: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        run(&mut self.connection).map_err(|error| StoreError::sqlite(&self.file, &error))
    }
}

/// Bytes of all files of a store.
pub(super) fn bytes_on_disk(file: &Path) -> u64 {
    [file.to_owned(), beside(file, "-wal"), beside(file, "-shm")]
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// How long nobody needs to look for records that are too old.
pub(super) fn rest(expires: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    /// Records go in batches, not one by one.
    const LEAST: Duration = Duration::from_secs(600);
    let left = Duration::try_from(expires?.duration_since(now)).unwrap_or_default();
    Some(left + LEAST)
}

//! Writing records to the history, and deleting old ones to respect the limits.
//!
//! The limit is of all files together: the database gets what the log and the index of the log leave of it. Before records come in,
//! old ones go until there is room: noise first, then refused connects, then faults, so that noise, which any remote host can make,
//! cannot erase faults. The log is written back to the database when it has a quarter of its share; where readers
//! keep it from being begun anew, nothing is written before it would have more than its share.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::statvfs::statvfs;
use rusqlite::{Connection, TransactionBehavior};

use super::clock::Clock;
use super::codec::Packer;
use super::lock::{Lock, beside, check_own};
use super::quota::Room;
use super::row::{self, Row};
use super::{Limits, StoreError, schema};
use crate::event::BootTime;
use crate::record::Output;

const PAGE: u64 = 4_096;
/// The log's index has this size as long as the log has at most 4,000 pages.
const LOG_INDEX: u64 = 64 << 10;
/// The log's share, bytes.
const LEAST_LOG: u64 = 1 << 20;
const MOST_LOG: u64 = 8 << 20;
/// Rows that are removed in one transaction.
const CHUNK: i64 = 256;
/// The newest rows, of which none goes for its severity: what has just happened can be looked up.
const RECENT: i64 = 1_024;
/// What makes room first, as conditions. A sum of a flood has no severity, noise that may concern a query neither.
const LESSER: [&str; 2] = [
    "(severity = 'noise' OR severity IS NULL AND kind = 0)",
    "(severity = 'refused' OR kind = 2)",
];
/// Pages that an insertion may take beyond its bytes: new ones of the trees.
const SLACK: u64 = 16;
/// How often records are removed for an insertion that found no room all the same.
const ATTEMPTS: u32 = 8;
/// Bytes below which a file system counts as full.
const LEAST_FREE: u64 = 256 << 10;

/// The one that writes. Dropped, it leaves a single file with everything in it.
pub struct Writer {
    connection: Connection,
    file: PathBuf,
    limits: Limits,
    packer: Packer,
    scratch: Vec<u8>,
    /// Absent until the first search for old records.
    clock: Option<Clock>,
    /// No row of [`LESSER`] has a lower number.
    cleared: [i64; LESSER.len()],
    _lock: Lock,
}

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
    /// Opens a store for writing; makes it, readable by its owner alone, and its folder if they are not there. What it holds
    /// already is left alone until [`Self::restrict`].
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
        secure(file)?;
        let lock = Lock::take(file)?;
        if !file.exists() {
            // Not with SQLite's mode. The files next to it get the mode of this one.
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
            clock: None,
            cleared: [0; LESSER.len()],
            _lock: lock,
        };
        writer.write_back()?;
        writer.limit_pages()?;
        Ok(writer)
    }

    /// Changes the limits. What is beyond them goes with [`Self::restrict`] and [`Self::expire`].
    pub fn set_limits(&mut self, limits: Limits) -> Result<(), StoreError> {
        self.limits = limits;
        self.limit_pages()
    }

    /// Removes records beyond the limits, which may have been higher before, for about this time. Returns whether all is within them.
    pub fn restrict(&mut self, time: Duration) -> Result<bool, StoreError> {
        let begun = Instant::now();
        let most = self.most_pages();
        while !self.has_room(0)? {
            if self.remove_some()? == 0 {
                break;
            }
            if begun.elapsed() >= time {
                return Ok(false);
            }
        }
        while self.pages()? > most && self.give_back()? > 0 {
            if begun.elapsed() >= time {
                return Ok(false);
            }
        }
        self.limit_pages()?;
        Ok(true)
    }

    /// It grows no further than its limit; where it is beyond that already, no further than it is.
    fn limit_pages(&mut self) -> Result<(), StoreError> {
        let sql = format!("PRAGMA max_page_count = {}", self.most_pages());
        self.run(|connection| connection.execute_batch(&sql))
    }

    /// As if a reckoning of pages had been wrong.
    #[cfg(test)]
    pub(super) fn limit_to_what_is_there(&mut self) {
        self.connection
            .execute_batch("PRAGMA max_page_count = 1")
            .expect("a number is set");
    }

    /// Gives pages that are free back to the file system, in one transaction; how many.
    pub(super) fn give_back(&mut self) -> Result<u64, StoreError> {
        self.keep_log_short()?;
        let before = self.pages()?;
        // Each may have to be moved, and be entered again elsewhere.
        let sql = format!("PRAGMA incremental_vacuum({})", self.given_back());
        self.run(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let mut steps = statement.query([])?;
            // Each step gives back one.
            while steps.next()?.is_some() {}
            Ok(())
        })?;
        self.write_back()?;
        Ok(before.saturating_sub(self.pages()?))
    }

    /// Pages that are given back in one transaction.
    pub(super) fn given_back(&self) -> u64 {
        self.log_share() / 8 / PAGE
    }

    /// Stores what was judged. What cannot be stored is counted; it is gone.
    pub fn append(&mut self, outputs: &[Output]) -> Appended {
        let mut appended = Appended::default();
        let most = self.log_share() / 8 / PAGE;
        let mut rows: Vec<Row> = Vec::new();
        let mut room = Room::default();
        for output in outputs {
            match Row::of(output, &mut self.packer, &mut self.scratch) {
                Ok(row) => {
                    room.add(row.cell());
                    rows.push(row);
                }
                Err(error) => {
                    appended.lost += 1;
                    appended.error = Some(StoreError::io(&self.file, &error));
                }
            }
            if room.pages() >= most {
                self.insert(&rows, room, &mut appended);
                rows.clear();
                room = Room::default();
            }
        }
        self.insert(&rows, room, &mut appended);
        appended
    }

    fn insert(&mut self, rows: &[Row], room: Room, appended: &mut Appended) {
        if rows.is_empty() {
            return;
        }
        match self.try_insert(rows, room.pages() + SLACK) {
            Ok(()) => appended.stored += rows.len() as u64,
            Err(error) => {
                appended.lost += rows.len() as u64;
                appended.error = Some(error);
            }
        }
    }

    fn try_insert(&mut self, rows: &[Row], need: u64) -> Result<(), StoreError> {
        self.make_room(need)?;
        let mut attempts = 0;
        loop {
            let inserted = self.run(|connection| {
                let transaction =
                    connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                {
                    let mut statement = transaction.prepare_cached(row::INSERT)?;
                    for row in rows {
                        row.insert(&mut statement)?;
                    }
                }
                transaction.commit()
            });
            match inserted {
                Err(StoreError::Full(file)) if self.disk_has(need * PAGE) => {
                    // The limit, not the disk: more was needed than was thought.
                    attempts += 1;
                    if attempts > ATTEMPTS || self.remove_some()? == 0 {
                        return Err(StoreError::Crowded(file));
                    }
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        self.write_back_if_due();
        Ok(())
    }

    /// Whether the file system has room for this twice: in the log, and in the database. Space that a failed attempt released does
    /// not count.
    fn disk_has(&self, bytes: u64) -> bool {
        statvfs(&self.file).is_ok_and(|disk| {
            let free = disk.blocks_available().saturating_mul(disk.fragment_size());
            free > bytes.saturating_mul(2).max(LEAST_FREE)
        })
    }

    /// Removes the oldest records until `need` pages fit.
    fn make_room(&mut self, need: u64) -> Result<(), StoreError> {
        loop {
            self.keep_log_short()?;
            if self.has_room(need)? || self.remove_some()? == 0 {
                return Ok(());
            }
        }
    }

    pub(super) fn has_room(&mut self, need: u64) -> Result<bool, StoreError> {
        Ok(self.pages()?.saturating_sub(self.free_pages()?) + need <= self.most_pages())
    }

    /// Removes some records, of those that are lesser the oldest; how many.
    pub(super) fn remove_some(&mut self) -> Result<usize, StoreError> {
        self.keep_log_short()?;
        let mut removed = 0;
        for class in 0..LESSER.len() {
            removed = self.remove_lesser(class)?;
            if removed > 0 {
                break;
            }
        }
        if removed == 0 {
            let sql = "DELETE FROM record WHERE id IN (SELECT id FROM record ORDER BY id LIMIT ?1)";
            removed = self.run(|connection| connection.prepare_cached(sql)?.execute([CHUNK]))?;
        }
        self.write_back_if_due();
        Ok(removed)
    }

    /// Removes the oldest records of [`LESSER`]; how many.
    fn remove_lesser(&mut self, class: usize) -> Result<usize, StoreError> {
        let newest = self.newest_id()?;
        if newest < self.cleared[class] {
            self.cleared[class] = 0;
        }
        let (from, to) = (self.cleared[class], newest - RECENT);
        let what = LESSER[class];
        let sql = format!(
            "DELETE FROM record WHERE id IN (SELECT id FROM record WHERE id BETWEEN ?1 AND ?2 AND {what} \
             ORDER BY id LIMIT ?3) RETURNING id"
        );
        let ids: Vec<i64> = self.run(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([from, to, CHUNK], |row| row.get(0))?;
            rows.collect()
        })?;
        self.cleared[class] = match ids.iter().max() {
            Some(last) if ids.len() as i64 == CHUNK => last + 1,
            _ => from.max(to + 1),
        };
        Ok(ids.len())
    }

    /// Removes what is too old at `now`, which is `at` after boot; returns when the oldest remaining record will be. A clock that
    /// jumps ahead removes nothing until it has kept that time for a day.
    pub fn expire(
        &mut self,
        now: Timestamp,
        at: BootTime,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut clock = match self.clock.take() {
            Some(clock) => clock,
            None => Clock::new(self.newest()?.unwrap_or(now).min(now), at),
        };
        let now = clock.believe(now, at);
        self.clock = Some(clock);
        let Ok(oldest) = now.checked_sub(self.limits.age) else {
            return Ok(None);
        };
        let oldest = i64::try_from(oldest.as_nanosecond()).unwrap_or(i64::MIN);
        let newest = self.newest_id()?;
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
        if self.newest_id()? < newest {
            // The next record has a number that was used before.
            self.cleared = [0; LESSER.len()];
        }
        let first = first.and_then(|first| Timestamp::from_nanosecond(first.into()).ok());
        Ok(first.and_then(|first| first.checked_add(self.limits.age).ok()))
    }

    /// Number of the newest record; 0 if there is none.
    fn newest_id(&mut self) -> Result<i64, StoreError> {
        let newest = "SELECT ifnull(max(id), 0) FROM record";
        self.run(|connection| connection.query_row(newest, [], |row| row.get(0)))
    }

    /// Time of the newest record.
    fn newest(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let newest: Option<i64> = self.run(|connection| {
            connection.query_row("SELECT max(time) FROM record", [], |row| row.get(0))
        })?;
        Ok(newest.and_then(|newest| Timestamp::from_nanosecond(newest.into()).ok()))
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

    /// Refuses if the log cannot restart and the next transaction might exceed its share.
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
            // If it keeps failing, the log becomes full, which is reported.
            let _ = self.write_back();
        }
    }

    /// A checkpoint. Returns whether it was complete, so that the log restarts.
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

/// Checks that the file is a store of this user before anything is created next to it, and makes it private.
fn secure(file: &Path) -> Result<(), StoreError> {
    /// Where SQLite writes which program's file it is.
    const APPLICATION: usize = 68;
    let io = |error: io::Error| StoreError::io(file, &error);
    let open = |file: &Path, flags| {
        let mut options = OpenOptions::new();
        let opened = options
            .read(true)
            .custom_flags(flags | libc::O_NONBLOCK)
            .open(file);
        match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    };
    let owner_only = |opened: &fs::File, mode: u32| match mode & 0o077 {
        0 => Ok(()),
        _ => opened.set_permissions(Permissions::from_mode(0o600)),
    };
    let log = beside(file, "-wal");
    let Some(mut opened) = open(file, 0).map_err(io)? else {
        return Ok(());
    };
    let found = check_own(&opened, file)?;
    if found.len() > 0 {
        let mut header = [0; 100];
        let is_ours = opened.read_exact(&mut header).is_ok()
            && header.starts_with(b"SQLite format 3\0")
            && match header.get(APPLICATION..APPLICATION + 4) {
                Some([0, 0, 0, 0]) => found.len() <= PAGE || log.exists(),
                Some(application) => {
                    application == schema::APPLICATION_ID.to_be_bytes().split_at(4).1
                }
                None => false,
            };
        if !is_ours {
            return Err(StoreError::Foreign(file.to_owned()));
        }
    }
    owner_only(&opened, found.permissions().mode()).map_err(io)?;
    for beside in [log, beside(file, "-shm")] {
        if let Some(opened) = open(&beside, libc::O_NOFOLLOW).map_err(io)? {
            let found = check_own(&opened, &beside)?;
            owner_only(&opened, found.permissions().mode()).map_err(io)?;
        }
    }
    Ok(())
}

/// Bytes of all files of a store.
pub(super) fn bytes_on_disk(file: &Path) -> u64 {
    [file.to_owned(), beside(file, "-wal"), beside(file, "-shm")]
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// Time until the next search for records that are too old.
pub(super) fn rest(expires: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    /// Records go in batches, not one by one.
    const LEAST: Duration = Duration::from_secs(600);
    let left = Duration::try_from(expires?.duration_since(now)).unwrap_or_default();
    Some(left + LEAST)
}

//! Reading the history, also while another process writes.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::codec::Unpacker;
use super::lock::beside;
use super::query::{Condition, Query};
use super::row::Kind;
use super::{StoreError, schema};
use crate::failure;
use crate::record::Output;

/// Rows read in one transaction: during one, the writer's log can only grow.
const AT_ONCE: i64 = 1_024;
/// Bytes of rows in memory at once; no further row is read beyond that.
const MOST_BYTES: usize = 8 << 20;

/// A store to read from. Never changes it, never makes its writer wait.
pub struct Store {
    connection: Connection,
    file: PathBuf,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its number: of two the one that was judged later has the greater one.
    pub id: i64,
    pub output: Output,
    /// The line that `watch -o json` writes of it, without its end.
    pub line: String,
}

/// What a store holds in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Time of the oldest record; absent if there is none.
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    /// Resets, noise included.
    pub resets: u64,
    /// Connections that died without one.
    pub failures: u64,
    /// Sums of resets that were counted and not described.
    pub sums: u64,
}

impl Store {
    /// Opens a store that was written by `rsttrace watch --store`.
    ///
    /// # Errors
    ///
    /// It does not exist, may not be read, is damaged, no store at all, or one of another version.
    pub fn open_read(file: &Path) -> Result<Self, StoreError> {
        // SQLite does not give the reason.
        OpenOptions::new()
            .read(true)
            // Nobody is waited for who writes a pipe.
            .custom_flags(libc::O_NONBLOCK)
            .open(file)
            .and_then(|opened| opened.metadata())
            .map_err(|error| StoreError::io(file, &error))
            .and_then(|metadata| match metadata.is_file() {
                true if metadata.len() == 0 => Err(StoreError::Missing(file.to_owned())),
                true => Ok(()),
                false => Err(StoreError::Foreign(file.to_owned())),
            })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(file, flags)
            .map_err(|error| StoreError::sqlite(file, &error))
            .and_then(|connection| schema::check(&connection, file).map(|()| connection));
        let connection = match opened {
            Err(StoreError::Failed { .. }) => {
                // In a folder without write permission, SQLite cannot create the files that readers need next to a writer. Without
                // a log there is no writer.
                let log = beside(file, "-wal");
                if log.exists() {
                    return Err(StoreError::NotPermitted(log));
                }
                let flags = flags | OpenFlags::SQLITE_OPEN_URI;
                let connection = Connection::open_with_flags(immutable(file), flags)
                    .map_err(|error| StoreError::sqlite(file, &error))?;
                schema::check(&connection, file)?;
                connection
            }
            opened => opened?,
        };
        connection
            .execute_batch(
                "PRAGMA query_only = 1; PRAGMA cache_size = -2048; PRAGMA mmap_size = 0;",
            )
            .map_err(|error| StoreError::sqlite(file, &error))?;
        Ok(Self {
            connection,
            file: file.to_owned(),
        })
    }

    /// What it holds in all.
    ///
    /// # Errors
    ///
    /// It is damaged, or cannot be read any more.
    pub fn extent(&self) -> Result<Extent, StoreError> {
        let read = || {
            let mut extent = Extent::default();
            let mut statement = self
                .connection
                .prepare("SELECT kind, count(*), min(time), max(time) FROM record GROUP BY kind")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let number = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
                match row.get::<_, i64>(0)? {
                    kind if kind == Kind::Reset as i64 => extent.resets = number,
                    kind if kind == Kind::Failure as i64 => extent.failures = number,
                    _ => extent.sums = number,
                }
                let (first, last) = (time(row.get(2)?), time(row.get(3)?));
                extent.first = extent.first.into_iter().chain(first).min();
                extent.last = extent.last.into_iter().chain(last).max();
            }
            Ok(extent)
        };
        read().map_err(|error| self.failed(&error))
    }

    /// The records that a query wants, in the order in which they were judged. Reads as it goes; what is stored or removed
    /// meanwhile may or may not be among them.
    ///
    /// # Errors
    ///
    /// It is damaged, or cannot be read any more. So may each record be.
    pub fn records(&self, query: &Query) -> Result<Records<'_>, StoreError> {
        let (mut first, last) = self.span(query)?;
        if let Some(newest) = query.newest {
            first = self.first_of_newest(query, first, last, newest)?;
        }
        Ok(Records {
            store: self,
            query: query.clone(),
            condition: query.condition(),
            unpacker: self.unpacker()?,
            rows: VecDeque::new(),
            next: first,
            last,
        })
    }

    /// The first and the last id in the time range; the first is the greater one if there is none.
    fn span(&self, query: &Query) -> Result<(i64, i64), StoreError> {
        let times = Query {
            since: query.since,
            until: query.until,
            noise: true,
            ..Query::default()
        };
        let condition = times.condition();
        let mut sql = "SELECT min(id), max(id) FROM record".to_owned();
        if !condition.sql.is_empty() {
            sql = format!("{sql} WHERE {}", condition.sql);
        }
        let ids = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (first, last): (Option<i64>, Option<i64>) = self
            .connection
            .query_row(&sql, params_from_iter(condition.values), ids)
            .map_err(|error| self.failed(&error))?;
        Ok(first
            .zip(last)
            .map_or((1, 0), |(first, last)| (first.max(1), last)))
    }

    /// The id from which on as many resets match as are wanted.
    fn first_of_newest(
        &self,
        query: &Query,
        first: i64,
        last: i64,
        newest: u64,
    ) -> Result<i64, StoreError> {
        let mut left = newest;
        let mut end = last;
        let mut found = last.saturating_add(1);
        let condition = query.condition();
        let mut unpacker = self.unpacker()?;
        while left > 0 {
            let Some(begin) = self.window(first, end, true)? else {
                break;
            };
            let rows = self.rows(&condition, begin, end, true)?;
            end = rows.stopped.unwrap_or(begin).saturating_sub(1);
            for row in rows.found {
                let stored = row.unpack(&mut unpacker, &self.file)?;
                if matches!(stored.output, Output::Reset(_)) && query.wants(&stored.output) {
                    found = stored.id;
                    left -= 1;
                    if left == 0 {
                        break;
                    }
                }
            }
        }
        Ok(if left > 0 { first } else { found })
    }

    /// Where the next rows from `first` on, or the last ones up to `last`, end: as many as are looked at at once. `None`: there are
    /// none. Ids may be far apart.
    fn window(&self, first: i64, last: i64, from_end: bool) -> Result<Option<i64>, StoreError> {
        let (end, order) = if from_end {
            ("min", "DESC")
        } else {
            ("max", "ASC")
        };
        let sql = format!(
            "SELECT {end}(id) FROM (SELECT id FROM record WHERE id BETWEEN ?1 AND ?2 ORDER BY id {order} LIMIT {AT_ONCE})"
        );
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row([first, last], |row| row.get(0)))
            .map_err(|error| self.failed(&error))
    }

    fn rows(
        &self,
        condition: &Condition,
        begin: i64,
        end: i64,
        from_end: bool,
    ) -> Result<Rows, StoreError> {
        let read = || {
            let mut sql = format!(
                "SELECT id, kind, coding, line FROM record WHERE id BETWEEN {begin} AND {end}"
            );
            if !condition.sql.is_empty() {
                // By id: the index by time would have to be sorted.
                sql = format!("{sql} AND {}", condition.sql.replace("time ", "+time "));
            }
            sql.push_str(if from_end {
                " ORDER BY id DESC"
            } else {
                " ORDER BY id"
            });
            let mut statement = self.connection.prepare(&sql)?;
            let mut read = statement.query(params_from_iter(&condition.values))?;
            let mut rows = Rows::default();
            let mut bytes = 0;
            while let Some(row) = read.next()? {
                let packed = Packed {
                    id: row.get(0)?,
                    kind: row.get(1)?,
                    coding: row.get(2)?,
                    line: row.get(3)?,
                };
                bytes += packed.line.len();
                let id = packed.id;
                rows.found.push_back(packed);
                if bytes >= MOST_BYTES {
                    rows.stopped = Some(id);
                    break;
                }
            }
            Ok(rows)
        };
        read().map_err(|error| self.failed(&error))
    }

    fn unpacker(&self) -> Result<Unpacker, StoreError> {
        Unpacker::new().map_err(|error| StoreError::io(&self.file, &error))
    }

    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::sqlite(&self.file, error)
    }
}

/// Records that a query wants, one after another.
pub struct Records<'a> {
    store: &'a Store,
    query: Query,
    condition: Condition,
    unpacker: Unpacker,
    rows: VecDeque<Packed>,
    /// The first id that was not read.
    next: i64,
    last: i64,
}

impl Iterator for Records<'_> {
    type Item = Result<Stored, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(row) = self.rows.pop_front() {
                match row.unpack(&mut self.unpacker, &self.store.file) {
                    Ok(stored) if !self.query.wants(&stored.output) => {}
                    stored => return Some(stored),
                }
            }
            if self.next > self.last {
                return None;
            }
            let read = self
                .store
                .window(self.next, self.last, false)
                .and_then(|end| {
                    let Some(end) = end else { return Ok(None) };
                    let rows = self.store.rows(&self.condition, self.next, end, false)?;
                    Ok(Some((rows, end)))
                });
            match read {
                Ok(None) => self.last = self.next.saturating_sub(1),
                Ok(Some((rows, end))) => {
                    let seen = rows.stopped.unwrap_or(end);
                    self.rows = rows.found;
                    match seen.checked_add(1) {
                        Some(next) => self.next = next,
                        None => self.last = self.next.saturating_sub(1),
                    }
                }
                Err(error) => {
                    // Told once.
                    self.next = i64::MAX;
                    self.last = 0;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Some rows, in the order of the query.
#[derive(Default)]
struct Rows {
    found: VecDeque<Packed>,
    /// The last record that was read, if a limit was reached before the end.
    stopped: Option<i64>,
}

struct Packed {
    id: i64,
    kind: i64,
    coding: i64,
    line: Vec<u8>,
}

impl Packed {
    fn unpack(self, unpacker: &mut Unpacker, file: &Path) -> Result<Stored, StoreError> {
        let id = self.id;
        let line = unpacker
            .unpack(self.coding, self.line)
            .ok_or_else(|| StoreError::damaged(file, format!("cannot decompress record {id}")))?;
        let parsed = match self.kind {
            kind if kind == Kind::Reset as i64 => {
                serde_json::from_str(&line).map(|it| Output::Reset(Box::new(it)))
            }
            kind if kind == Kind::Failure as i64 => {
                failure::parse(line.as_bytes()).map(|it| Output::Failure(Box::new(it)))
            }
            _ => serde_json::from_str(&line).map(|it| Output::Suppressed(Box::new(it))),
        };
        let output =
            parsed.map_err(|error| StoreError::damaged(file, format!("record {id}: {error}")))?;
        Ok(Stored { id, output, line })
    }
}

fn time(nanoseconds: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(nanoseconds.into()).ok()
}

/// The file as a URI with `immutable=1`: there is no writer.
fn immutable(file: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = String::from("file:");
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    PathBuf::from(uri + "?immutable=1")
}

//! Database schema and its migrations.

use std::path::Path;
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, codec};

/// "rstt": identifies the database, for `file` and others.
pub(super) const APPLICATION_ID: i64 = 0x7273_7474;

/// The migration to each version, from an empty file on. Append-only: stores of all versions exist.
const MIGRATIONS: &[&str] = &[
    // A reset has kind 0, a connection that died without one 1, a sum of a flood 2. `time` is nanoseconds since the epoch. Addresses
    // are 4 or 16 bytes in network order. `words` holds what a process is asked for by, see row.rs. Not known: NULL.
    "CREATE TABLE record (
        id INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        direction TEXT,
        origin TEXT,
        cause TEXT,
        severity TEXT,
        confidence TEXT,
        local BLOB,
        local_port INTEGER,
        remote BLOB,
        remote_port INTEGER,
        netns INTEGER,
        quiet REAL,
        pid INTEGER,
        words TEXT,
        coding INTEGER NOT NULL,
        line BLOB NOT NULL
    ) STRICT;
    CREATE INDEX record_by_time ON record (time, kind);",
];

/// The version that this program writes and reads.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// How long a lock is waited for. Only other programs than this one hold any for long.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Creates the schema in an empty file, or migrates an earlier version.
pub(super) fn prepare(connection: &mut Connection, file: &Path) -> Result<(), StoreError> {
    migrate(connection, file, MIGRATIONS)
}

fn migrate(
    connection: &mut Connection,
    file: &Path,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let failed = |error| StoreError::sqlite(file, &error);
    connection.busy_timeout(PATIENCE).map_err(failed)?;
    let version = match identify(connection).map_err(failed)? {
        Identity::Foreign => return Err(StoreError::Foreign(file.to_owned())),
        Identity::Empty => 0,
        Identity::Ours(version) => version,
    };
    let known = migrations.len() as i64;
    if version > known {
        return Err(StoreError::Newer {
            file: file.to_owned(),
            version,
        });
    }
    // Before the first page is written; has no effect later.
    connection
        .execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;")
        .map_err(failed)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(failed)?;
    if mode != "wal" {
        return Err(StoreError::Failed {
            file: file.to_owned(),
            problem: "the file system does not support shared memory, which SQLite needs for concurrent readers"
                .to_owned(),
        });
    }
    // The log is truncated when it restarts, so its size is that of its contents. Checkpoints are ours.
    connection
        .execute_batch(
            "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -1024; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;
             PRAGMA journal_size_limit = 0; PRAGMA wal_autocheckpoint = 0;",
        )
        .map_err(failed)?;
    if version == known {
        return match is_as_made(connection, migrations).map_err(failed)? {
            true => Ok(()),
            false => Err(StoreError::Foreign(file.to_owned())),
        };
    }
    let steps = usize::try_from(version).unwrap_or(0);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    for step in migrations.iter().skip(steps) {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .and_then(|()| transaction.pragma_update(None, "user_version", known))
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Whether it can be read without a migration.
pub(super) fn check(connection: &Connection, file: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::sqlite(file, &error);
    // It may come from others: no value of theirs is larger, and nothing that they wrote into it is run.
    let most = codec::MOST as i32 * 2;
    connection
        .set_limit(Limit::SQLITE_LIMIT_LENGTH, most)
        .and_then(|_| connection.execute_batch("PRAGMA trusted_schema = OFF"))
        .map_err(failed)?;
    connection
        .busy_timeout(PATIENCE)
        .and_then(|()| identify(connection))
        .map_err(failed)
        .and_then(|identity| match identity {
            Identity::Ours(version) if version == VERSION => {
                match is_as_made(connection, MIGRATIONS).map_err(failed)? {
                    true => Ok(()),
                    false => Err(StoreError::Foreign(file.to_owned())),
                }
            }
            Identity::Ours(version) if version > VERSION => Err(StoreError::Newer {
                file: file.to_owned(),
                version,
            }),
            Identity::Ours(_) => Err(StoreError::Older(file.to_owned())),
            Identity::Empty => Err(StoreError::Missing(file.to_owned())),
            Identity::Foreign => Err(StoreError::Foreign(file.to_owned())),
        })
}

/// Whether its tables are those of the migrations, and not views or triggers with their names.
fn is_as_made(connection: &Connection, migrations: &[&str]) -> rusqlite::Result<bool> {
    type Entry = (String, String, String, Option<String>);
    let entries = |connection: &Connection| -> rusqlite::Result<Vec<Entry>> {
        // Tables of SQLite itself, such as from ANALYZE, do not matter.
        let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema \
             WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' OR type <> 'table' ORDER BY name LIMIT 100";
        let mut statement = connection.prepare(sql)?;
        let entries = statement.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        entries.collect()
    };
    let made = Connection::open_in_memory()?;
    for step in migrations {
        made.execute_batch(step)?;
    }
    Ok(entries(connection)? == entries(&made)?)
}

enum Identity {
    Empty,
    /// This program's, of this version.
    Ours(i64),
    Foreign,
}

fn identify(connection: &Connection) -> rusqlite::Result<Identity> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application == APPLICATION_ID {
        return Ok(Identity::Ours(version));
    }
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(if (application, version, tables) == (0, 0, 0) {
        Identity::Empty
    } else {
        Identity::Foreign
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn open(file: &Path) -> Connection {
        Connection::open(file).unwrap()
    }

    fn version(connection: &Connection) -> i64 {
        connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn a_store_of_an_earlier_version_is_brought_up_to_date_and_keeps_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.db");
        migrate(&mut open(&file), &file, &MIGRATIONS[..1]).unwrap();
        let insert = "INSERT INTO record (time, kind, coding, line) VALUES (1, 0, 0, x'00')";
        open(&file).execute_batch(insert).unwrap();
        let next = [MIGRATIONS, &["ALTER TABLE record ADD COLUMN later TEXT"]].concat();
        let mut connection = open(&file);
        migrate(&mut connection, &file, &next).unwrap();
        assert_eq!(version(&connection), VERSION + 1);
        let kept: i64 = connection
            .query_row(
                "SELECT count(*) FROM record WHERE later IS NULL",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(kept, 1);
        // Again: nothing to do.
        migrate(&mut connection, &file, &next).unwrap();
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.db");
        prepare(&mut open(&file), &file).unwrap();
        let next = [MIGRATIONS, &["CREATE TABLE half (a)", "no SQL"]].concat();
        assert!(migrate(&mut open(&file), &file, &next).is_err());
        assert_eq!(version(&open(&file)), VERSION);
        check(&open(&file), &file).unwrap();
    }

    #[test]
    fn what_is_no_store_of_this_version_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let newer = folder.path().join("newer.db");
        prepare(&mut open(&newer), &newer).unwrap();
        open(&newer)
            .pragma_update(None, "user_version", VERSION + 1)
            .unwrap();
        let foreign = folder.path().join("foreign.db");
        open(&foreign)
            .execute_batch("CREATE TABLE mail (a)")
            .unwrap();
        let text = folder.path().join("text.db");
        std::fs::write(
            &text,
            "no database, but long enough to look like one".repeat(99),
        )
        .unwrap();
        for (file, says) in [
            (&newer, "newer rsttrace"),
            (&foreign, "not a history"),
            (&text, "not a history"),
        ] {
            let before = std::fs::read(file).unwrap();
            let error = prepare(&mut open(file), file).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            let error = check(&open(file), file).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert_eq!(std::fs::read(file).unwrap(), before);
        }
    }
}

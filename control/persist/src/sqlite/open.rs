//! Opening: lock, settings of a connection, migrations.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use thiserror::Error;

/// Why a database cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder cannot be made.
    #[error("the folder {} cannot be made", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database or its lock file cannot be written.
    #[error("{} cannot be written", .path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process has it open.
    #[error("{} is in use by another process", .path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The file is not a database, or a damaged one.
    #[error("{} is damaged or not a database", .path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer version of the program made it.
    #[error("{} was made by a newer version (its layout is {found}, the newest known is {known})", .path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its layout.
        found: usize,
        /// Ours.
        known: usize,
    },
    /// SQLite failed in another way.
    #[error("{} cannot be opened", .path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// The writing thread cannot be started.
    #[error("the thread that writes cannot be started")]
    Thread(#[source] io::Error),
}

/// Layouts, oldest first. A released one is never edited: a change is a new one at the end.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE artifacts (
        kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
        body TEXT NOT NULL, at_ms INTEGER NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT;
    CREATE TABLE history (
        kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
        body TEXT, -- NULL: removed
        at_ms INTEGER NOT NULL,
        PRIMARY KEY (kind, name, revision)
    ) STRICT;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, -- ids of removed events are not used again
        kind TEXT NOT NULL, at_ms INTEGER NOT NULL, tags TEXT NOT NULL, value TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_by_time ON events (at_ms, id);
    CREATE INDEX events_by_kind ON events (kind, at_ms, id);
    CREATE TABLE tags (id INTEGER PRIMARY KEY, tag TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE event_tags (
        tag INTEGER NOT NULL REFERENCES tags (id),
        at_ms INTEGER NOT NULL,
        event INTEGER NOT NULL,
        PRIMARY KEY (tag, at_ms, event)
    ) STRICT, WITHOUT ROWID;
", "
    CREATE TABLE event_totals (
        one INTEGER PRIMARY KEY CHECK (one = 1), events INTEGER NOT NULL, bytes INTEGER NOT NULL
    ) STRICT;
    INSERT INTO event_totals
        SELECT 1, count(*), coalesce(sum(octet_length(kind) + octet_length(tags) + octet_length(value) + 64), 0) FROM events;
    CREATE TRIGGER event_added AFTER INSERT ON events BEGIN
        UPDATE event_totals SET events = events + 1,
            bytes = bytes + octet_length(new.kind) + octet_length(new.tags) + octet_length(new.value) + 64;
    END;
    CREATE TRIGGER event_removed AFTER DELETE ON events BEGIN
        UPDATE event_totals SET events = events - 1,
            bytes = bytes - octet_length(old.kind) - octet_length(old.tags) - octet_length(old.value) - 64;
    END;
"];

/// Time that a connection waits for another one of ours (checkpoints).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes the lock of a database: a file beside it, as SQLite's own locks are not held between transactions.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| OpenError::Folder {
            path: folder.to_owned(),
            source,
        })?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let not_writable = |source: io::Error| OpenError::NotWritable {
        path: beside.clone(),
        source: Box::new(source),
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&beside)
        .map_err(not_writable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(not_writable(error)),
    }
}

/// A connection that may write.
pub(super) fn connection(path: &Path) -> Result<Connection, OpenError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    settled(path, flags)
}

/// A connection that only reads.
pub(super) fn reading(path: &Path) -> Result<Connection, OpenError> {
    let connection = settled(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection
        .pragma_update(None, "query_only", true)
        .map_err(|source| explain(path, source))?;
    Ok(connection)
}

fn settled(path: &Path, flags: OpenFlags) -> Result<Connection, OpenError> {
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|source| explain(path, source))
}

/// Brings the layout up to date.
pub(super) fn migrate(path: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    let explain = |source| explain(path, source);
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT",
        )
        .map_err(explain)?;
    let found: i64 = connection
        .query_row("SELECT coalesce(max(version), 0) FROM migrations", (), |row| {
            row.get(0)
        })
        .map_err(explain)?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    let Some(missing) = MIGRATIONS.get(found..) else {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: MIGRATIONS.len(),
        });
    };
    for (index, layout) in missing.iter().enumerate() {
        let mut apply = || {
            let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            step.execute_batch(layout)?;
            let version = i64::try_from(found + index + 1).unwrap_or(i64::MAX);
            step.execute(
                "INSERT INTO migrations VALUES (?1, unixepoch() * 1000)",
                [version],
            )?;
            step.commit()
        };
        apply().map_err(explain)?;
    }
    Ok(())
}

fn explain(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, source },
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            OpenError::NotWritable {
                path,
                source: Box::new(source),
            }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse { path },
        _ => OpenError::Sqlite { path, source },
    }
}

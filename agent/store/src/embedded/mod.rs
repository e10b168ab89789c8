//! A durable store in one file of this host.
//!
//! **Job.** Keeps the keys of a store in a redb file, for control and agent on one host.
//!
//! **Invariants.** A write is on disk when it returns. A revision is never given twice, over restarts too:
//! they are taken from the file in blocks, so that writes bound to a lease need no disk. Keys bound to a
//! lease do not outlive the process and are not in the file.
//!
//! **Absent.** No history over restarts: a watch from before is told to read anew.

use std::path::Path;

use bytes::Bytes;
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
    TableError,
};

use crate::{
    Entry, Revision, StoreError,
    index::{Index, Journal, Record},
    local::Local,
};

/// Key to (revision, value).
const ENTRIES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("entries");
/// `format` and `revision_ceiling`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;
/// Revisions taken at once. One more commit for so many lease-bound writes.
const REVISION_BLOCK: u64 = 1 << 20;
/// Memory for pages of the file, in bytes; the index in memory answers every read.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// A durable store in one file of this host.
pub type Embedded = Local<Redb>;

/// The file.
#[derive(Debug)]
pub struct Redb {
    database: Database,
    /// Every revision below it may have been given.
    ceiling: u64,
}

impl Embedded {
    /// Opens the file, or makes it and the folder it is in. Waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it, [`StoreError::Corrupt`] if it is not such a file
    /// or is damaged, [`StoreError::Unavailable`] if it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(unavailable)?;
        }
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|error| opening(path, error))?;
        let (redb, entries, revision) = load(database).map_err(|error| damaged(path, &*error))?;
        Ok(Self::over(Index::new(redb, entries, revision)))
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn load(database: Database) -> Result<(Redb, Vec<Entry>, Revision), Failure> {
    let mut entries = Vec::new();
    let mut revision = 0;
    let mut format = FORMAT;
    let reading = database.begin_read()?;
    match reading.open_table(META) {
        Ok(meta) => {
            format = meta.get("format")?.map_or(0, |value| value.value());
            revision = meta.get("revision_ceiling")?.map_or(0, |value| value.value());
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    if format != FORMAT {
        return Err(format!("it has format {format}; this program knows {FORMAT}").into());
    }
    match reading.open_table(ENTRIES) {
        Ok(table) => {
            for item in table.iter()? {
                let (key, held) = item?;
                let (at, value) = held.value();
                entries.push(Entry {
                    key: key.value().to_owned(),
                    value: Bytes::copy_from_slice(value),
                    revision: Revision(at),
                });
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    drop(reading);
    let mut redb = Redb {
        database,
        ceiling: revision,
    };
    redb.write(Revision(revision), None)?;
    Ok((redb, entries, Revision(revision)))
}

impl Redb {
    fn write(&mut self, revision: Revision, record: Option<Record<'_>>) -> Result<(), redb::Error> {
        let raise = revision.0 >= self.ceiling;
        if record.is_none() && !raise {
            return Ok(());
        }
        let ceiling = if raise {
            revision.0.saturating_add(REVISION_BLOCK)
        } else {
            self.ceiling
        };
        let transaction = self.database.begin_write()?;
        if raise {
            let mut meta = transaction.open_table(META)?;
            meta.insert("format", FORMAT)?;
            meta.insert("revision_ceiling", ceiling)?;
        }
        match record {
            None => {}
            Some(Record::Put { key, value }) => {
                transaction
                    .open_table(ENTRIES)?
                    .insert(key, (revision.0, value))?;
            }
            Some(Record::Delete { key }) => {
                transaction.open_table(ENTRIES)?.remove(key)?;
            }
        }
        transaction.commit()?;
        self.ceiling = ceiling;
        Ok(())
    }
}

impl Journal for Redb {
    const KIND: &'static str = "embedded";
    const BLOCKING: bool = true;

    fn commit(&mut self, revision: Revision, record: Option<Record<'_>>) -> Result<(), StoreError> {
        self.write(revision, record).map_err(unavailable)
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

fn opening(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::Locked {
            path: path.display().to_string(),
        },
        DatabaseError::Storage(StorageError::Io(error))
            if !matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            unavailable(error)
        }
        error => damaged(path, &error),
    }
}

fn damaged(path: &Path, error: &(dyn std::error::Error + 'static)) -> StoreError {
    StoreError::Corrupt(format!(
        "{} is damaged or not a store of Weir ({error}); move it away and start again: control publishes \
         anew, and agents serve meanwhile what they have on their own disk",
        path.display()
    ))
}

#[cfg(test)]
mod tests;

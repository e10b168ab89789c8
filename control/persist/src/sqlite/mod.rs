//! One SQLite database on the local disk: the default.
//!
//! **Job.** One thread owns the writing connection and takes commits from a bounded queue; those that wait
//! together share one transaction, so one `fsync` serves them all, and each is still all or nothing. Readers
//! are a few connections of their own, which write-ahead logging lets read while the writer writes.
//!
//! **Invariants.** A commit is on the disk (`synchronous = FULL`) when it is answered. One process owns the
//! file: a second one is refused at once by a lock that vanishes with its holder, however that ends.

mod open;
mod reader;
mod retention;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    fs::File,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::open::OpenError;
use self::retention::Old;
use crate::{
    Aggregate, EVENTS_REMOVED_MAX, Event, EventBounds, EventDraft, EventQuery, EventTotals, Page,
    PersistError, Persistence, Stored, Write,
    sql::{signed, unsigned},
};

/// Reading connections.
const READERS: usize = 3;
/// Commits that may wait for the writer; more wait in front of the queue.
const WAITING_COMMITS_MAX: usize = 256;

/// Storage in a SQLite database.
pub struct Sqlite {
    readers: Arc<Readers>,
    /// `None` only while it is dropped.
    writer: Option<mpsc::Sender<writer::Job>>,
    thread: Option<JoinHandle<()>>,
    /// Held for its lock, until the writer has ended.
    _lock: File,
}

struct Readers {
    free: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens the database, or makes it, with its folder if need be. Blocks on the disk.
    ///
    /// # Errors
    /// [`OpenError`]: no access, another process, not a database, made by a newer version.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let lock = open::lock(path)?;
        let mut writing = open::connection(path)?;
        open::migrate(path, &mut writing)?;
        let reading: Result<Vec<_>, _> = (0..READERS).map(|_| open::reading(path)).collect();
        let (writer, jobs) = mpsc::channel(WAITING_COMMITS_MAX);
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || writer::run(writing, jobs))
            .map_err(OpenError::Thread)?;
        Ok(Self {
            readers: Arc::new(Readers {
                free: Mutex::new(reading?),
                permits: Arc::new(Semaphore::new(READERS)),
            }),
            writer: Some(writer),
            thread: Some(thread),
            _lock: lock,
        })
    }

    /// Runs a reading on one of the connections, off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, PersistError> + Send + 'static,
    ) -> Result<T, PersistError> {
        let readers = Arc::clone(&self.readers);
        let permit = Arc::clone(&readers.permits)
            .acquire_owned()
            .await
            .map_err(|error| PersistError::Storage(Box::new(error)))?;
        let job = tokio::task::spawn_blocking(move || {
            let lent = readers.take();
            let answer = work(lent.connection());
            drop(lent);
            drop(permit);
            answer
        });
        job.await
            .map_err(|error| PersistError::Storage(Box::new(error)))?
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, PersistError>>) -> writer::Job,
    ) -> Result<T, PersistError> {
        let (answer, answered) = oneshot::channel();
        let gone = || PersistError::Storage("the transaction failed before this write was tried".into());
        let writer = self.writer.as_ref().ok_or_else(gone)?;
        writer.send(job(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // What was accepted is written; then the file may be opened again at once.
        drop(self.writer.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// A connection that returns to its pool, also when the reading panics.
struct Lent<'a> {
    pool: &'a Readers,
    connection: Option<Connection>,
}

impl Lent<'_> {
    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("only dropping takes it")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(self.connection.take());
    }
}

impl Readers {
    fn take(&self) -> Lent<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        Lent {
            pool: self,
            connection: Some(free.pop().expect("there are as many permits as connections")),
        }
    }
}

#[async_trait]
impl Persistence for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    async fn get(&self, kind: &str, name: &str) -> Result<Option<Stored>, PersistError> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.read(move |connection| reader::get(connection, &kind, &name))
            .await
    }

    async fn kinds(&self) -> Result<Vec<String>, PersistError> {
        self.read(reader::kinds).await
    }

    async fn list(&self, kind: &str, page: Page) -> Result<(Vec<Stored>, u64), PersistError> {
        let kind = kind.to_owned();
        self.read(move |connection| reader::list(connection, &kind, page))
            .await
    }

    async fn history(&self, kind: &str, name: &str, page: Page) -> Result<Vec<Stored>, PersistError> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.read(move |connection| reader::history(connection, &kind, &name, page))
            .await
    }

    async fn commit(&self, writes: Vec<Write>, events: Vec<EventDraft>) -> Result<Vec<Event>, PersistError> {
        self.write(|answer| writer::Job::Commit {
            writes,
            events,
            answer,
        })
        .await
    }

    async fn events(&self, query: &EventQuery, page: Page) -> Result<(Vec<Event>, u64), PersistError> {
        let query = query.clone();
        self.read(move |connection| reader::events(connection, &query, page))
            .await
    }

    async fn events_in_order(&self, query: &EventQuery, limit: u64) -> Result<Vec<Event>, PersistError> {
        let query = query.clone();
        self.read(move |connection| reader::events_in_order(connection, &query, limit))
            .await
    }

    async fn aggregate(
        &self,
        query: &EventQuery,
        aggregate: &Aggregate,
    ) -> Result<Option<f64>, PersistError> {
        let (query, aggregate) = (query.clone(), aggregate.clone());
        self.read(move |connection| reader::aggregate(connection, &query, &aggregate))
            .await
    }

    async fn expire_events(&self, kind: Option<&str>, before_ms: u64) -> Result<u64, PersistError> {
        let mut expired = 0;
        loop {
            let part = self
                .write(|answer| {
                    let kind = kind.map(str::to_owned);
                    let old = Old::Before { kind, before_ms };
                    writer::Job::Remove { old, answer }
                })
                .await?;
            expired += part;
            if part < EVENTS_REMOVED_MAX {
                return Ok(expired);
            }
        }
    }

    async fn event_totals(&self) -> Result<EventTotals, PersistError> {
        self.read(retention::totals).await
    }

    async fn trim_events(&self, bounds: EventBounds) -> Result<u64, PersistError> {
        self.write(|answer| {
            let old = Old::Beyond(bounds);
            writer::Job::Remove { old, answer }
        })
        .await
    }
}

/// What SQLite says, in the words of the port.
fn failed(error: rusqlite::Error) -> PersistError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase, ReadOnly};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => PersistError::Corrupt(error.to_string()),
        Some(DiskFull) => PersistError::Full(Box::new(error)),
        Some(ReadOnly) => PersistError::ReadOnly(Box::new(error)),
        _ => PersistError::Storage(Box::new(error)),
    }
}

//! A PostgreSQL database: for controls on several hosts, and for who has one anyway.
//!
//! **Job.** The same tables as in SQLite, in a schema of their own, read and written over a small pool of connections.
//!
//! **Invariants.** Commits of all processes take turns by an advisory lock, so that events become visible in the order
//! of their ids: who reads on from an id misses none. A commit is on the server's disk when it is answered
//! (the server's `synchronous_commit`).
//!
//! **Absent.** No retries of a commit: whether it was done is not known when the connection breaks within it.

mod connect;
mod reader;
mod retention;
mod writer;

use std::fmt;

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use tokio_postgres::error::SqlState;

pub use self::connect::ConnectError;
use crate::{
    Aggregate, EVENTS_REMOVED_MAX, Event, EventBounds, EventDraft, EventQuery, EventTotals, Page,
    PersistError, Persistence, Stored, Write,
    sql::{signed, unsigned},
};

/// Storage in a PostgreSQL database.
pub struct Postgres {
    pool: Pool,
    /// Key of the advisory lock by which commits take turns.
    turn: i64,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pool knows the password.
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl Postgres {
    /// Connects and brings the layout up to date. `url`: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=..&sslrootcert=FILE`
    /// (or `key=value` words as libpq takes them). `schema`: where the tables are; made if it is not there; letters,
    /// digits and `_` only.
    ///
    /// Without `sslmode` the connection is encrypted unless the server is on this host. An encrypted connection always
    /// checks the server's certificate, by the system's authorities or those in `sslrootcert`.
    ///
    /// # Errors
    /// [`ConnectError`]: the URL, the server, its certificate, or a layout made by a newer version.
    pub async fn connect(url: &str, schema: &str) -> Result<Self, ConnectError> {
        let (pool, turn) = connect::open(url, schema).await?;
        Ok(Self { pool, turn })
    }

    async fn client(&self) -> Result<Object, PersistError> {
        self.pool
            .get()
            .await
            .map_err(|error| PersistError::Storage(Box::new(error)))
    }
}

#[async_trait]
impl Persistence for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    async fn get(&self, kind: &str, name: &str) -> Result<Option<Stored>, PersistError> {
        reader::get(&self.client().await?, kind, name).await
    }

    async fn kinds(&self) -> Result<Vec<String>, PersistError> {
        reader::kinds(&self.client().await?).await
    }

    async fn list(&self, kind: &str, page: Page) -> Result<(Vec<Stored>, u64), PersistError> {
        reader::list(&mut self.client().await?, kind, page).await
    }

    async fn history(&self, kind: &str, name: &str, page: Page) -> Result<Vec<Stored>, PersistError> {
        reader::history(&self.client().await?, kind, name, page).await
    }

    async fn commit(&self, writes: Vec<Write>, events: Vec<EventDraft>) -> Result<Vec<Event>, PersistError> {
        writer::commit(&mut self.client().await?, self.turn, writes, events).await
    }

    async fn events(&self, query: &EventQuery, page: Page) -> Result<(Vec<Event>, u64), PersistError> {
        reader::events(&mut self.client().await?, query, page).await
    }

    async fn events_in_order(&self, query: &EventQuery, limit: u64) -> Result<Vec<Event>, PersistError> {
        reader::events_in_order(&self.client().await?, query, limit).await
    }

    async fn aggregate(
        &self,
        query: &EventQuery,
        aggregate: &Aggregate,
    ) -> Result<Option<f64>, PersistError> {
        reader::aggregate(&self.client().await?, query, aggregate).await
    }

    async fn expire_events(&self, kind: Option<&str>, before_ms: u64) -> Result<u64, PersistError> {
        let mut expired = 0;
        loop {
            let mut client = self.client().await?;
            let part = retention::expire(&mut client, kind, before_ms).await?;
            expired += part;
            if part < EVENTS_REMOVED_MAX {
                return Ok(expired);
            }
        }
    }

    async fn event_totals(&self) -> Result<EventTotals, PersistError> {
        retention::totals(&self.client().await?).await
    }

    async fn trim_events(&self, bounds: EventBounds) -> Result<u64, PersistError> {
        // Another lock than that of commits, which go on meanwhile.
        retention::trim(&mut self.client().await?, !self.turn, bounds).await
    }
}

/// What the server says, in the words of the port.
fn failed(error: tokio_postgres::Error) -> PersistError {
    match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => PersistError::Full(Box::new(error)),
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => PersistError::ReadOnly(Box::new(error)),
        Some(code) if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
            PersistError::Corrupt(error.to_string())
        }
        _ => PersistError::Storage(Box::new(error)),
    }
}

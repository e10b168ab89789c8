//! Tables that are replaced and may still be read.
//!
//! **Job.** The last one who lets go of a table frees what only it has. That is not to be a worker, between two requests:
//! here is one more hold on each table, given up by whoever changes or reads the configuration once no worker has the table.
//!
//! **Invariant.** A worker lets go of a table with its next request, and within a tick if none comes; a request that runs
//! long holds the table that it began with, as ever.

use std::sync::{Arc, Mutex, PoisonError};

use super::Table;

/// Tables that are replaced and may still be read.
#[derive(Debug, Default)]
pub(crate) struct Retired(Mutex<Vec<Arc<Table>>>);

impl Retired {
    /// Takes a table that was replaced.
    pub(crate) fn keep(&self, table: Arc<Table>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(table);
    }

    /// Frees those that nobody else has.
    pub(crate) fn release(&self) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // No worker takes up a table that was replaced: a count of one stays one.
        let free: Vec<Arc<Table>> = tables
            .extract_if(.., |table| Arc::strong_count(table) == 1)
            .collect();
        drop(tables);
        drop(free);
    }
}

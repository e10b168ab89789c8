//! A store that ends with the process: for tests, and for control and agent in one process.

use crate::{
    Revision, StoreError,
    index::{Index, Journal, Record},
    local::Local,
};

/// A store that ends with the process.
pub type Memory = Local<Forgetful>;

/// Keeps nothing.
#[derive(Debug)]
pub struct Forgetful;

impl Journal for Forgetful {
    const KIND: &'static str = "memory";
    const BLOCKING: bool = false;

    fn commit(&mut self, _: Revision, _: Option<Record<'_>>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::over(Index::new(Forgetful, Vec::new(), Revision(0)))
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

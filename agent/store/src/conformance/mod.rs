//! What every store must do, as one suite: tests of a store call [`all`] with an empty one.
//!
//! Each case works below a prefix of its own and panics with what was expected. Time is the machine's:
//! leases are short, waits have deadlines.
#![expect(
    clippy::unwrap_used,
    reason = "a suite for tests: what fails here fails the test, with its place"
)]

mod leases;
mod publishing;
mod races;
mod values;
mod watches;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};

pub use self::{
    leases::leases,
    publishing::{acknowledging, publishing, publishing_in_sections, publishing_interrupted},
    races::{compare_and_set_by_many, creating_by_many},
    values::{expectations, large_values, listing, places_and_keys, reading_and_writing},
    watches::{watching, watching_what_is_not_there, watching_without_gap},
};
use crate::{Change, Store, StoreError, Watch};

/// Longest wait for anything that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Every case.
///
/// # Panics
/// If the store does not behave.
pub async fn all(store: Arc<dyn Store>) {
    let given = &*store;
    reading_and_writing(given, "conformance/kv").await;
    expectations(given, "conformance/expect").await;
    listing(given, "conformance/list").await;
    large_values(given, "conformance/large").await;
    places_and_keys(given, "conformance/places").await;
    watching(given, "conformance/watch").await;
    watching_what_is_not_there(given, "conformance/coming").await;
    watching_without_gap(&store, "conformance/gapless").await;
    compare_and_set_by_many(&store, "conformance/race").await;
    creating_by_many(&store, "conformance/create").await;
    leases(given, "conformance/lease").await;
    publishing(given, "conformance/publish").await;
    publishing_interrupted(given, "conformance/interrupted").await;
    publishing_in_sections(given, "conformance/sections").await;
    acknowledging(given, "conformance/ack").await;
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn name(prefix: &str, key: &str) -> String {
    format!("{prefix}/{key}")
}

/// The next change of a watch.
async fn next(watch: &mut Watch) -> Result<Change, StoreError> {
    timeout(PATIENCE, watch.next())
        .await
        .expect("a change in time")
        .expect("the watch goes on")
}

/// Waits until a check gives something.
async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

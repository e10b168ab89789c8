//! A file as people change it.

use std::{fs, path::PathBuf, time::Duration};

use futures::StreamExt as _;
use tokio::time::timeout;
use weir_model::{Snapshot, wire};

use super::FileStore;
use crate::{Change, Store as _, StoreError, Watch, protocol};

const PREFIX: &str = "any/prefix";
const MANIFEST: &str = "any/prefix/weir/snapshot/manifest";
const PATIENCE: Duration = Duration::from_secs(20);

struct Edge {
    folder: tempfile::TempDir,
    path: PathBuf,
}

fn document(weight: u32) -> String {
    format!(
        "gateways:\n  shop:\n    port: 8080\n    routes:\n      a: {{weight: {weight}%, instances: ['127.0.0.1:9001']}}\n      \
         b: {{weight: {}%, instances: ['127.0.0.1:9002']}}\n",
        100 - weight
    )
}

impl Edge {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateways.yaml");
        fs::write(&path, text).unwrap();
        Self { folder, path }
    }

    fn open(&self) -> FileStore {
        FileStore::open(&self.path).unwrap()
    }
}

async fn snapshot(store: &FileStore) -> Snapshot {
    let published = protocol::read(store, PREFIX).await.unwrap().unwrap();
    let reading = wire::v1::read(&published.bytes).unwrap();
    assert_eq!(
        (reading.snapshot.generation(), reading.digest),
        (published.generation, published.digest)
    );
    reading.snapshot
}

fn parts(snapshot: &Snapshot) -> u16 {
    snapshot.gateway("shop").unwrap().routes[0].weight.parts()
}

async fn watch(store: &FileStore) -> Watch {
    let (entries, revision) = store.list(MANIFEST).await.unwrap();
    assert!(entries.len() <= 1);
    store.watch(MANIFEST, revision).await.unwrap()
}

async fn told(watch: &mut Watch) -> Result<Change, StoreError> {
    timeout(PATIENCE, watch.next())
        .await
        .expect("in time")
        .expect("the watch goes on")
}

#[tokio::test]
async fn a_change_of_any_kind_is_a_new_generation() {
    let edge = Edge::with(&document(90));
    let store = edge.open();
    let first = snapshot(&store).await;
    assert_eq!(parts(&first), 9_000);
    let mut changes = watch(&store).await;

    fs::write(&edge.path, document(80)).unwrap();
    assert_eq!(told(&mut changes).await.unwrap().key(), MANIFEST);
    let second = snapshot(&store).await;
    assert_eq!(parts(&second), 8_000);
    assert!(second.generation() > first.generation());

    // As editors do: another file takes the place.
    let other = edge.folder.path().join(".gateways.yaml.swp");
    fs::write(&other, document(70)).unwrap();
    fs::rename(&other, &edge.path).unwrap();
    told(&mut changes).await.unwrap();
    let third = snapshot(&store).await;
    assert_eq!(parts(&third), 7_000);
    assert!(third.generation() > second.generation());
}

#[tokio::test]
async fn a_fault_is_told_and_what_was_read_last_stays() {
    let edge = Edge::with(&document(90));
    let store = edge.open();
    let first = snapshot(&store).await;
    let mut changes = watch(&store).await;
    fs::write(
        &edge.path,
        "gateways:\n  shop:\n    prot: 8080\n    sticky: always\n    routes: {}\n",
    )
    .unwrap();
    let error = told(&mut changes).await.unwrap_err();
    let StoreError::Corrupt(reasons) = error else {
        panic!("{error:?}")
    };
    assert!(
        reasons.contains("prot") && reasons.contains("sticky"),
        "every fault is told: {reasons}"
    );
    assert!(changes.next().await.is_none());
    assert_eq!(snapshot(&store).await, first);

    // A file that is gone is a fault too.
    let mut changes = watch(&store).await;
    fs::remove_file(&edge.path).unwrap();
    let gone = told(&mut changes).await.unwrap_err();
    assert!(
        matches!(&gone, StoreError::Corrupt(reason) if reason.contains("cannot be read")),
        "{gone:?}"
    );
    assert_eq!(snapshot(&store).await, first);

    // Back to what it was: told, though nothing of it is new.
    let mut changes = watch(&store).await;
    fs::write(&edge.path, document(90)).unwrap();
    told(&mut changes).await.unwrap();
    assert_eq!(snapshot(&store).await, first);
}

#[tokio::test]
async fn a_file_that_never_was_right_is_an_error_until_it_is() {
    let edge = Edge::with("gateways: [\n");
    let store = edge.open();
    let error = store.get(MANIFEST).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert!(matches!(store.list(MANIFEST).await, Err(StoreError::Corrupt(_))));
    assert_eq!(store.get("any/other/key").await.unwrap(), None);
    let mut changes = store.watch(MANIFEST, crate::Revision(1)).await.unwrap();
    fs::write(&edge.path, document(50)).unwrap();
    told(&mut changes).await.unwrap();
    assert_eq!(parts(&snapshot(&store).await), 5_000);
}

#[test]
fn a_comment_changes_nothing() {
    let read = |text: &str| super::read_gateways(text.as_bytes());
    let mut state = super::state::State::default();
    assert!(state.take(read(&document(90))).is_some());
    assert_eq!(state.take(read(&format!("# why\n{}", document(90)))), None);
    assert!(state.take(read("gateways: 1")).is_some());
    assert_eq!(state.take(read("gateways: 1")), None, "a fault is told once");
    assert!(state.take(read(&document(90))).is_some(), "the fault is over");
    assert!(state.take(read(&document(80))).is_some());
}

#[tokio::test]
async fn nothing_can_be_written() {
    let edge = Edge::with(&document(90));
    let store = edge.open();
    assert!(!store.capabilities().writable && !store.capabilities().leases);
    let refused = store.grant(Duration::from_secs(1)).await;
    assert!(matches!(refused, Err(StoreError::Unsupported(_))), "{refused:?}");
}

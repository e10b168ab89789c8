//! Several controls on one store. Clocks are real: a leader is frozen by not letting its task run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::{bytes::Bytes, sync::CancellationToken};
use weir_driver::fake::Fake;
use weir_persist::{EventDraft, PersistError, Persistence, Write, memory::Memory as Storage};
use weir_store::{
    Capabilities, Entry, Expect, LeaseId, Revision, Store, StoreError, Watch, memory::Memory, protocol,
};

use super::{Leader, Record, TTL, is_fence, key, may_act, may_change, start};
use crate::{Config, configuration, event::retention, reconcile::tests::rig::eventually, state::State};

struct Control {
    state: Arc<State>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Control {
    fn new(store: &Arc<dyn Store>, storage: &Arc<dyn Persistence>, address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path(), Arc::clone(store));
        config.election = true;
        let state = Arc::new(State::new(config, Arc::clone(storage), Arc::new(Fake::new())));
        let stop = CancellationToken::new();
        let task = start(Arc::clone(&state), address.to_owned(), stop.clone());
        Self {
            state,
            stop,
            task: Some(task),
            _folder: folder,
        }
    }

    fn leads(&self) -> bool {
        self.state.leader.leads()
    }

    /// As after `kill -9`, or `SIGSTOP`: nothing of it runs any more, and nothing is given up.
    fn freeze(&mut self) {
        self.task.take().unwrap().abort();
    }

    async fn end(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }
}

/// A store whose leases end late, as Consul's sessions do: nobody may rely on them. It can lose its answers to writes.
#[derive(Debug, Default)]
struct Late {
    inner: Memory,
    loses_answers: AtomicBool,
}

#[async_trait]
impl Store for Late {
    fn kind(&self) -> &'static str {
        "late"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            lease_ttl_min: Duration::from_secs(10),
            lease_factor_max: 2,
            ..self.inner.capabilities()
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        self.inner.list(prefix).await
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError> {
        let written = self.inner.put(key, value, expect, lease).await;
        if self.loses_answers.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the answer was lost".into()));
        }
        written
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        self.inner.delete(key, expect).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.inner.watch(prefix, after).await
    }

    async fn grant(&self, _: Duration) -> Result<LeaseId, StoreError> {
        panic!("a lease of this store ends too late")
    }

    async fn renew(&self, _: &LeaseId) -> Result<(), StoreError> {
        panic!("there is none")
    }

    async fn revoke(&self, _: &LeaseId) -> Result<(), StoreError> {
        panic!("there is none")
    }
}

fn shared() -> (Arc<dyn Store>, Arc<dyn Persistence>) {
    (Arc::new(Memory::new()), Arc::new(Storage::new()))
}

#[tokio::test]
async fn one_leads_and_another_takes_over() {
    let (store, storage) = shared();
    let mut first = Control::new(&store, &storage, "http://first");
    eventually(async || first.leads()).await;
    assert_eq!(first.state.leader.epoch(), Some(1));
    let second = Control::new(&store, &storage, "http://second");
    eventually(async || {
        may_change(&second.state)
            .await
            .is_err_and(|reason| reason.contains("http://first"))
    })
    .await;
    assert!(!second.leads() && !may_act(&second.state));

    first.freeze();
    let frozen = Instant::now();
    eventually(async || second.leads()).await;
    assert!(
        frozen.elapsed() < Duration::from_secs(10),
        "{:?}",
        frozen.elapsed()
    );
    assert!(!first.leads(), "its own clock ended it before");
    assert_eq!(second.state.leader.epoch(), Some(2));
    // The first wakes: it is asked for a change before its task could run.
    let refusal = may_change(&first.state).await.unwrap_err();
    assert!(refusal.contains("http://second"), "{refusal}");
    assert!(!may_act(&first.state));
    second.end().await;
}

#[tokio::test]
async fn who_leaves_makes_room_at_once() {
    let (store, storage) = shared();
    let first = Control::new(&store, &storage, "http://first");
    eventually(async || first.leads()).await;
    let second = Control::new(&store, &storage, "http://second");
    first.end().await;
    let left = Instant::now();
    eventually(async || second.leads()).await;
    assert!(left.elapsed() < TTL / 2, "{:?}", left.elapsed());
    second.end().await;
}

#[tokio::test]
async fn other_artifacts_do_not_lead() {
    let (store, storage) = shared();
    let first = Control::new(&store, &storage, "http://first");
    eventually(async || first.leads()).await;
    first.end().await;
    let other: Arc<dyn Persistence> = Arc::new(Storage::new());
    let stranger = Control::new(&store, &other, "http://stranger");
    eventually(async || {
        may_change(&stranger.state)
            .await
            .is_err_and(|reason| reason.contains("another storage"))
    })
    .await;
    assert!(!stranger.leads() && !may_act(&stranger.state));
    stranger.end().await;
    let again = Control::new(&store, &storage, "http://again");
    eventually(async || again.leads()).await;
    again.end().await;
}

/// What was under way when a leader froze meets another manifest.
#[tokio::test]
async fn a_late_write_of_a_frozen_leader_changes_nothing() {
    let (store, storage) = shared();
    let snapshot = |generation| {
        weir_model::Snapshot::new("default", weir_model::Generation(generation), Vec::new()).unwrap()
    };
    let mut first = Control::new(&store, &storage, "http://first");
    eventually(async || first.leads()).await;
    let prefix = first.state.config.prefix.clone();
    protocol::publish(&*store, &prefix, &snapshot(1), None)
        .await
        .unwrap();
    // It reads where the manifest is, finds that it leads, and freezes before it writes.
    let place = protocol::place(&*store, &prefix).await.unwrap();
    assert!(first.leads());
    first.freeze();
    let second = Control::new(&store, &storage, "http://second");
    eventually(async || second.leads()).await;
    let late = protocol::publish(&*store, &prefix, &snapshot(2), place).await;
    assert!(
        matches!(late, Err(protocol::ProtocolError::Outdated { .. })),
        "{late:?}"
    );
    let read = protocol::read(&*store, &prefix).await.unwrap().unwrap();
    assert_eq!(
        read.generation,
        weir_model::Generation(1),
        "readers see what they saw"
    );
    second.end().await;
}

/// Without a lease that ends in time the key is the sign of life.
#[tokio::test]
async fn where_leases_end_late_another_takes_over_in_the_same_time() {
    let store = Arc::new(Late::default());
    let (shared, storage): (Arc<dyn Store>, Arc<dyn Persistence>) = (store.clone(), Arc::new(Storage::new()));
    let mut first = Control::new(&shared, &storage, "http://first");
    eventually(async || first.leads()).await;
    let second = Control::new(&shared, &storage, "http://second");
    let third = Control::new(&shared, &storage, "http://third");
    let key = key(&first.state);
    let beat = async || {
        let entry = store.get(&key).await.unwrap().unwrap();
        Record::of(&entry.value).unwrap().beat.unwrap()
    };
    // Longer than its length it lives by being written, though the answers are lost for a while.
    let begun = Instant::now();
    while begun.elapsed() < TTL + Duration::from_secs(1) {
        let is_lossy = (1_000..2_500).contains(&begun.elapsed().as_millis());
        store.loses_answers.store(is_lossy, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(first.leads() && !second.leads() && !third.leads());
    }
    assert!(beat().await >= 3, "{}", beat().await);

    first.freeze();
    let frozen = Instant::now();
    eventually(async || second.leads() || third.leads()).await;
    let took = frozen.elapsed();
    assert!(
        TTL - Duration::from_secs(2) < took && took < Duration::from_secs(10),
        "{took:?}"
    );
    assert!(!first.leads() && second.leads() != third.leads());
    let (leader, other) = if second.leads() {
        (second, third)
    } else {
        (third, second)
    };
    leader.end().await;
    let left = Instant::now();
    eventually(async || other.leads()).await;
    assert!(left.elapsed() < TTL / 2, "{:?}", left.elapsed());
    other.end().await;
    assert_eq!(
        store.get(&key).await.unwrap(),
        None,
        "who leaves takes its key along"
    );
}

/// A storage that is shared takes nothing of who led before, also what was decided while it led.
#[tokio::test]
async fn a_late_commit_of_a_frozen_leader_changes_nothing() {
    let (store, storage) = shared();
    let put = |value: u64| {
        let write = Write::Put {
            kind: "breeds".to_owned(),
            name: "a".to_owned(),
            body: json!(value),
            expect: None,
        };
        vec![write]
    };
    let mut first = Control::new(&store, &storage, "http://first");
    eventually(async || first.leads()).await;
    first.state.commit(put(1), Vec::new()).await.unwrap();
    assert!(first.leads());
    first.freeze();
    let second = Control::new(&store, &storage, "http://second");
    eventually(async || second.leads()).await;
    // Also before the second has written anything.
    let late = first.state.commit(put(2), Vec::new()).await.unwrap_err();
    assert!(is_fence(&late), "{late}");
    second.state.commit(put(3), Vec::new()).await.unwrap();
    let late = first.state.commit(put(4), Vec::new()).await.unwrap_err();
    assert!(is_fence(&late), "{late}");
    let stored = storage.get("breeds", "a").await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.body), (2, json!(3)));
    second.end().await;
}

/// A store that was wiped knows of no leader, but who led does not know that yet: others leave it its time.
#[tokio::test]
async fn who_led_a_store_that_was_wiped_leads_on() {
    let (store, storage) = shared();
    let mut first = Control::new(&store, &storage, "http://first");
    eventually(async || first.leads()).await;
    let second = Control::new(&store, &storage, "http://second");
    let wipe = async || {
        for entry in store.keys("").await.unwrap() {
            store.delete(&entry, Expect::Any).await.unwrap();
        }
    };
    wipe().await;
    let before = first.state.leader.epoch().unwrap();
    eventually(async || {
        assert!(!second.leads(), "the first may still write");
        first.state.leader.epoch().is_some_and(|epoch| epoch > before)
    })
    .await;
    // If it is gone, another one leads after that time.
    first.freeze();
    wipe().await;
    let wiped = Instant::now();
    eventually(async || second.leads()).await;
    assert!(!first.leads());
    assert!(
        TTL <= wiped.elapsed() && wiped.elapsed() < Duration::from_secs(10),
        "{:?}",
        wiped.elapsed()
    );
    second.end().await;
}

/// Settings that a leader has changed hold for who takes over, which read them when it started.
#[tokio::test]
async fn who_takes_over_has_the_settings_of_who_led() {
    let (store, storage) = shared();
    let first = Control::new(&store, &storage, "http://first");
    eventually(async || first.leads()).await;
    let second = Control::new(&store, &storage, "http://second");
    let write = Write::Put {
        kind: configuration::KIND.to_owned(),
        name: configuration::NAME.to_owned(),
        body: json!({"vamp.operation.metrics.window": "77s"}),
        expect: None,
    };
    first.state.commit(vec![write], Vec::new()).await.unwrap();
    assert_ne!(second.state.live().metrics_window, Duration::from_secs(77));
    first.end().await;
    eventually(async || second.leads()).await;
    assert_eq!(second.state.live().metrics_window, Duration::from_secs(77));
    second.end().await;
}

#[tokio::test]
async fn who_follows_removes_no_events() {
    let (store, storage) = shared();
    let first = Control::new(&store, &storage, "http://first");
    eventually(async || first.leads()).await;
    let second = Control::new(&store, &storage, "http://second");
    let old = EventDraft {
        tags: vec!["a".to_owned()],
        value: json!(null),
        timestamp_ms: 1,
        kind: "event".to_owned(),
    };
    first.state.commit(Vec::new(), vec![old]).await.unwrap();
    let count = async || storage.event_totals().await.unwrap().events;
    retention::look(&second.state, &mut None).await;
    assert_eq!(count().await, 1);
    retention::look(&first.state, &mut None).await;
    assert_eq!(count().await, 0);
    first.end().await;
    second.end().await;
}

/// A storage that was restored or failed over does not know the fence of who leads, which must not stand in the way for ever.
#[tokio::test]
async fn who_leads_a_storage_that_was_set_back_leads_on() {
    let (store, storage) = shared();
    let first = Control::new(&store, &storage, "http://first");
    eventually(async || first.leads()).await;
    let before = first.state.leader.epoch();
    let put = |kind: &str, name: &str, body| Write::Put {
        kind: kind.to_owned(),
        name: name.to_owned(),
        body,
        expect: None,
    };
    let moved = put(
        "weir-storage",
        "leader",
        json!({"control": first.state.control_id, "epoch": 1, "run": "restored"}),
    );
    storage.commit(vec![moved], Vec::new()).await.unwrap();
    let write = || vec![put("breeds", "a", json!(1))];
    let refused = first.state.commit(write(), Vec::new()).await.unwrap_err();
    assert!(is_fence(&refused), "{refused}");
    eventually(async || first.state.commit(write(), Vec::new()).await.is_ok()).await;
    eventually(async || first.leads()).await;
    assert!(first.state.leader.epoch() > before);
    first.end().await;
}

#[test]
fn what_an_earlier_leadership_required_is_not_held_against_the_next() {
    let leader = Leader::alone();
    let (kind, name) = ("weir-storage".to_owned(), "leader".to_owned());
    let require = |revision| {
        Some(Write::Require {
            kind: kind.clone(),
            name: name.clone(),
            revision,
        })
    };
    let refused = |expected| PersistError::Conflict {
        kind: kind.clone(),
        name: name.clone(),
        expected,
        found: 7,
    };
    leader.set_fence(require(5));
    leader.refused(&refused(4));
    assert!(!leader.is_fenced());
    leader.refused(&refused(5));
    assert!(leader.is_fenced());
    leader.set_fence(require(7));
    assert!(!leader.is_fenced());
}

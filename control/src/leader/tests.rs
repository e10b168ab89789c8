//! Several controls on one store. Clocks are real: a leader is frozen by not letting its task run.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use weir_driver::fake::Fake;
use weir_persist::{Persistence, memory::Memory as Storage};
use weir_store::{Store, memory::Memory, protocol};

use super::{TTL, may_act, may_change, start};
use crate::{Config, reconcile::tests::rig::eventually, state::State};

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

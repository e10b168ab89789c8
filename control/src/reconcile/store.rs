//! Actions as one commit.

use std::collections::HashMap;

use serde_json::Value;
use weir_artifact::{Artifact, Kind};
use weir_persist::{EventDraft, PersistError, Write};
use weir_plan::{Action, ServiceKey, Synchronization, apply};

use super::load::World;
use crate::state::{Shelf, Transaction, plural, put};

/// Kind under which what is remembered of services is stored, by `deployment/cluster/service`.
pub(super) const RECORDS: &str = "service-records";
/// Kind of single numbers.
const COUNTERS: &str = "counters";
/// Name of the port of the range that was given last.
const LAST_PORT: &str = "gateway-port";

/// Everything of the actions that is to be stored, and the events about it.
pub(super) fn writes(world: &World, actions: &[Action], now_ms: u64) -> (Vec<Write>, Vec<EventDraft>) {
    let mut writes = Vec::new();
    let mut events = Vec::new();
    let mut by_deployment: HashMap<&str, Vec<&Action>> = HashMap::new();
    for action in actions {
        if let Action::Runtime(key, _) | Action::Remove(key) = action {
            by_deployment.entry(&key.deployment).or_default().push(action);
        } else if let Action::RemoveDeployment(name) = action {
            by_deployment.entry(name).or_default().push(action);
        }
    }
    for deployment in &world.deployments {
        let Some(actions) = by_deployment.get(deployment.name.as_str()) else {
            continue;
        };
        let mut changed = deployment.clone();
        for action in actions {
            apply(&mut changed, action);
        }
        let removed = actions
            .iter()
            .any(|action| matches!(action, Action::RemoveDeployment(_)));
        // Removed in the run that took its last service: nobody needs to see it empty.
        if removed || (changed.clusters.is_empty() && !deployment.clusters.is_empty()) {
            writes.push(Write::Delete {
                kind: plural(Kind::Deployment).to_owned(),
                name: deployment.name.clone(),
            });
        } else if changed != *deployment {
            writes.push(put(&Artifact::Deployment(changed), None));
        }
    }
    for action in actions {
        match action {
            Action::Record(key, record) => writes.push(Write::Put {
                kind: RECORDS.to_owned(),
                name: key.to_string(),
                body: serde_json::to_value(record).expect("plain data with text keys always serialises"),
                expect: None,
            }),
            Action::Forget(key) => writes.push(Write::Delete {
                kind: RECORDS.to_owned(),
                name: key.to_string(),
            }),
            Action::Announce(key, what) => events.push(announcement(key, *what, now_ms)),
            _ => {}
        }
    }
    (writes, events)
}

fn announcement(key: &ServiceKey, what: Synchronization, now_ms: u64) -> EventDraft {
    EventDraft {
        tags: vec![
            format!("deployments:{}", key.deployment),
            format!("clusters:{}", key.cluster),
            format!("services:{}", key.service),
            format!("synchronization:{}", what.word()),
        ],
        value: Value::Null,
        timestamp_ms: now_ms,
        kind: "synchronization".to_owned(),
    }
}

/// The port of the range that was given last.
pub(super) async fn last_port(shelf: &Shelf) -> Result<Option<u16>, PersistError> {
    let stored = shelf.stored(COUNTERS, LAST_PORT).await?;
    let number = stored.and_then(|stored| stored.body.as_u64());
    Ok(number.and_then(|number| u16::try_from(number).ok()))
}

/// Stores it.
pub(super) fn put_last_port(tx: &mut Transaction<'_>, port: u16) {
    tx.put_record(COUNTERS, LAST_PORT, port.into());
}

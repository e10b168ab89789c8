//! What is the case: instances as the driver shows them, and which of them agents may still use.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::timeout;
use weir_driver::{InstanceHealth, InstanceState, InstanceStatus};
use weir_persist::{EventDraft, PersistError};
use weir_plan::{
    Held, InFlight, LifeState, Observed, SeenHealth, SeenInstance, ServiceKey, ServiceRecord, Stage,
};
use weir_store::protocol;

use super::{
    calls::{Calls, UnderWay},
    chain, trouble,
};
use crate::{
    state::{State, now_ms},
    traffic,
};

/// Longest answer of the driver.
const DRIVER_MAX: Duration = Duration::from_secs(15);
/// Longest answer of the store.
const STORE_MAX: Duration = Duration::from_secs(2);
/// Lines of an instance's output that are shown when it ended and the driver gave no reason.
const LOG_LINES: usize = 5;
/// Prefix of the labels of instances.
const LABELS: &str = "io.vamp";

/// Whether an instance is one of a deployment (and not of a workflow).
pub(super) fn is_of_deployment(labels: &BTreeMap<String, String>) -> bool {
    labels.contains_key(&format!("{LABELS}.deployment"))
}

/// What was seen, before it is known what is wanted.
#[derive(Debug)]
pub(super) struct Seen {
    under_way: UnderWay,
    instances: BTreeMap<String, SeenInstance>,
    unknown: BTreeMap<String, String>,
    held: Held,
    in_flight: Option<InFlight>,
}

/// An event about an instance that ended without being asked to.
fn end(status: &InstanceStatus) -> EventDraft {
    let tags = ["deployment", "cluster", "service"]
        .into_iter()
        .filter_map(|label| {
            let name = status.labels.get(&format!("{LABELS}.{label}"))?;
            Some(format!("{label}s:{name}"))
        });
    let reason = status.message.as_deref().unwrap_or("it did not say why");
    trouble(
        "container_driver",
        tags.collect(),
        &format!("instance {} ended: {reason}", status.id),
    )
}

/// Looks at driver and agents.
#[derive(Debug, Default)]
pub(super) struct Observer {
    /// Last trouble with the driver, so that it is said once.
    trouble: Option<String>,
    /// For each leaving instance: the number of the publisher's newest cycle when that was first known
    /// after it was committed. A later cycle has published it.
    leaving: HashMap<String, u64>,
    /// Instances whose end was told.
    ended: BTreeSet<String>,
}

impl Observer {
    /// The error is for people: while the driver does not answer nothing is known of instances, and "not there"
    /// would be a guess.
    pub(super) async fn look(
        &mut self,
        state: &State,
        calls: &Calls,
    ) -> Result<Result<Seen, String>, PersistError> {
        // Before the list: a start that ends in between is then in the list.
        let under_way = calls.under_way();
        let survey = match timeout(DRIVER_MAX, state.driver.survey()).await {
            Ok(Ok(survey)) => Ok(survey),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("no answer within {} s", DRIVER_MAX.as_secs())),
        };
        let survey = match survey {
            Ok(survey) => survey,
            Err(error) => {
                self.say(state, Some(&error)).await?;
                return Ok(Err(error));
            }
        };
        let mut unknown = BTreeMap::new();
        for part in &survey.unknown {
            let error = format!("{}: {}", part.driver, chain(&part.error));
            unknown.extend(
                part.deployable_types
                    .iter()
                    .map(|of_type| ((*of_type).to_owned(), error.clone())),
            );
        }
        let troubles: BTreeSet<&String> = unknown.values().collect();
        let trouble = troubles
            .into_iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("; ");
        self.say(state, Some(&trouble).filter(|trouble| !trouble.is_empty()))
            .await?;
        let listed = survey.instances;
        let mut instances = BTreeMap::new();
        let mut ends = Vec::new();
        self.ended
            .retain(|id| listed.iter().any(|status| status.id == *id));
        for status in listed {
            let id = status.id.clone();
            if matches!(status.state, InstanceState::Exited { .. }) && self.ended.insert(id.clone()) {
                ends.push(end(&status));
            }
            instances.insert(id, seen(state, status).await);
        }
        if !ends.is_empty() {
            state.commit(Vec::new(), ends).await?;
        }
        let (held, in_flight) = routing(state).await;
        Ok(Ok(Seen {
            under_way,
            instances,
            unknown,
            held,
            in_flight,
        }))
    }

    /// Says each trouble with the driver once.
    async fn say(&mut self, state: &State, error: Option<&String>) -> Result<(), PersistError> {
        if let Some(error) = error
            && self.trouble.as_ref() != Some(error)
        {
            tracing::warn!(
                driver = state.driver.kind(),
                error,
                "the driver does not say what runs"
            );
            let event = trouble("container_driver", Vec::new(), error);
            state.commit(Vec::new(), vec![event]).await?;
        }
        self.trouble = error.cloned();
        Ok(())
    }

    /// Adds what the records say. Called with the write lock held.
    pub(super) fn complete(
        &mut self,
        seen: Seen,
        records: &BTreeMap<ServiceKey, ServiceRecord>,
        state: &State,
    ) -> Observed {
        let publication = &state.traffic.publication;
        let leaving: Vec<&String> = records
            .values()
            .flat_map(|record| &record.instances)
            .filter(|instance| matches!(instance.stage, Stage::Leaving { .. }))
            .map(|instance| &instance.id)
            .collect();
        let mut held = seen.held;
        let mut known = HashMap::with_capacity(leaving.len());
        for id in leaving {
            let cycle = self
                .leaving
                .get(id)
                .copied()
                .unwrap_or_else(|| publication.begun());
            known.insert(id.clone(), cycle);
            // The routing without it may not even be published yet.
            if let Held::Only(ids) = &mut held
                && !publication.is_after(cycle)
            {
                ids.insert(id.clone());
            }
        }
        self.leaving = known;
        Observed {
            instances: seen.instances,
            starting: seen.under_way.starting,
            stopping: seen.under_way.stopping,
            start_failures: seen.under_way.failures,
            unknown: seen.unknown,
            held,
            in_flight: seen.in_flight,
        }
    }

    /// Notes what is about to leave, with the write lock still held from before the commit.
    pub(super) fn leaves<'a>(&mut self, ids: impl Iterator<Item = &'a String>, state: &State) {
        let begun = state.traffic.publication.begun();
        for id in ids {
            self.leaving.entry(id.clone()).or_insert(begun);
        }
    }
}

/// Which instances agents may still use, and how many requests they have there.
async fn routing(state: &State) -> (Held, Option<InFlight>) {
    // Before it is asked who there is: who comes later is asked later.
    let now_ms = now_ms();
    let agents = protocol::agents(&*state.store, &state.config.prefix);
    match timeout(STORE_MAX, agents).await {
        Ok(Ok(agents)) => (
            state.traffic.publication.held(&agents),
            traffic::in_flight(state, &agents, now_ms),
        ),
        // The publisher says what is wrong with the store.
        Ok(Err(_)) | Err(_) => (Held::Unknown, None),
    }
}

async fn seen(state: &State, status: InstanceStatus) -> SeenInstance {
    let mut message = status.message;
    if matches!(status.state, InstanceState::Exited { .. }) && message.is_none() {
        message = last_lines(state, &status.id).await;
    }
    SeenInstance {
        of_deployment: is_of_deployment(&status.labels),
        host: status.host,
        ports: status.ports,
        state: match status.state {
            InstanceState::Starting => LifeState::Starting,
            InstanceState::Running => LifeState::Running,
            InstanceState::Stopping => LifeState::Stopping,
            InstanceState::Exited { code } => LifeState::Exited(code),
        },
        health: match status.health {
            InstanceHealth::Unknown => SeenHealth::Unknown,
            InstanceHealth::Healthy => SeenHealth::Healthy,
            InstanceHealth::Unhealthy => SeenHealth::Unhealthy,
        },
        message,
    }
}

async fn last_lines(state: &State, id: &str) -> Option<String> {
    let lines = timeout(STORE_MAX, state.driver.logs(id, LOG_LINES))
        .await
        .ok()?
        .ok()?;
    let lines: Vec<String> = lines.into_iter().map(|line| line.text).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::Arc,
    };

    use weir_driver::fake::Fake;
    use weir_persist::memory::Memory;
    use weir_plan::{Held, InstanceRecord, ServiceKey, ServiceRecord, Stage};

    use super::{Observer, Seen};
    use crate::{Config, reconcile::calls::Calls, state::State};

    /// An instance became ready, was loaded by the publisher and leaves before that is published: no
    /// published snapshot has it yet, but the next one will.
    #[tokio::test]
    async fn an_instance_is_held_until_a_later_cycle_is_published() {
        let store = Arc::new(weir_store::memory::Memory::new());
        let state = State::new(
            Config::new("unused", store),
            Arc::new(Memory::new()),
            Arc::new(Fake::new()),
        );
        let publication = &state.traffic.publication;
        let records = BTreeMap::from([(
            ServiceKey::new("shop", "front", "front:1"),
            ServiceRecord {
                instances: vec![InstanceRecord {
                    stage: Stage::Leaving {
                        since_ms: 0,
                        released_at_ms: None,
                        dead: true,
                    },
                    ..InstanceRecord::wanted("x".to_owned(), "", "", 0)
                }],
                ..ServiceRecord::default()
            },
        )]);
        let mut observer = Observer::default();
        let is_held = |observer: &mut Observer| {
            let seen = Seen {
                under_way: Calls::default().under_way(),
                instances: BTreeMap::new(),
                unknown: BTreeMap::new(),
                held: Held::Only(BTreeSet::new()),
                in_flight: None,
            };
            !observer.complete(seen, &records, &state).held.has_released("x")
        };
        let before = publication.begin();
        observer.leaves([&"x".to_owned()].into_iter(), &state);
        assert!(is_held(&mut observer));
        publication.complete(before);
        assert!(is_held(&mut observer), "that cycle had loaded it");
        let after = publication.begin();
        assert!(is_held(&mut observer));
        publication.complete(after);
        assert!(!is_held(&mut observer));
    }
}

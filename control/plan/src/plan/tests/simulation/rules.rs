//! The rules that must hold at any time.

use std::collections::{BTreeMap, BTreeSet};

use weir_artifact::{OrReference, Phase};

use super::world::Simulation;
use crate::{Action, LifeState, Observed, ServiceKey};

impl Simulation {
    /// Nothing is said to be done but what the driver showed to be so.
    pub(super) fn success_was_observed(&self, actions: &[Action], observed: &Observed) {
        for action in actions {
            let Action::Runtime(key, runtime) = action else {
                continue;
            };
            let why = &runtime.status.notification;
            match runtime.status.phase {
                Phase::Done => {
                    assert_eq!(*why, None, "{key}");
                    assert_eq!(runtime.instances.len(), self.target(key), "{key}");
                    for instance in &runtime.instances {
                        let seen = observed.instances.get(&instance.name);
                        assert!(
                            instance.deployed && seen.is_some_and(|seen| seen.state == LifeState::Running),
                            "{key} is done without {}: {seen:?}",
                            instance.name
                        );
                    }
                }
                Phase::Updating | Phase::Failed => {
                    assert!(
                        why.as_ref().is_some_and(|why| !why.is_empty()),
                        "{key} says no reason"
                    );
                }
                Phase::Initiated => panic!("{key}: nothing was done, yet it was stored"),
            }
        }
    }

    fn target(&self, key: &ServiceKey) -> usize {
        let cluster = self.deployments.iter().find_map(|d| d.clusters.get(&key.cluster));
        let service = cluster.and_then(|c| c.services.iter().find(|s| s.name() == key.service));
        match service.and_then(|service| service.scale.clone()) {
            Some(OrReference::Inline(scale)) => scale.instances as usize,
            _ => 0,
        }
    }

    /// What must hold at any time.
    pub(super) fn check(&self) {
        let mut ids = BTreeSet::new();
        for (key, record) in &self.records {
            let target = self.target(key);
            let mut forms: BTreeMap<&str, usize> = BTreeMap::new();
            for instance in &record.instances {
                assert!(ids.insert(&instance.id), "{} is there twice", instance.id);
                if instance.stage.is_current() && !instance.ill {
                    *forms.entry(&instance.fingerprint).or_default() += 1;
                }
            }
            let failed = self.deployments.iter().all(|deployment| {
                deployment
                    .clusters
                    .get(&key.cluster)
                    .and_then(|cluster| cluster.services.iter().find(|s| s.name() == key.service))
                    .and_then(|service| service.runtime.as_ref())
                    .is_none_or(|runtime| runtime.status.phase == Phase::Failed)
            });
            // An ill one that recovers stands beside its successor until the next run.
            let recovering = record
                .instances
                .iter()
                .any(|instance| instance.unhealthy_since_ms.is_some());
            for (form, count) in forms {
                assert!(
                    failed || recovering || count <= target,
                    "{key}: {count} of {form} instead of {target}"
                );
            }
        }
    }
}

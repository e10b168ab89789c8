//! Typed reading of what is stored, and of what a change would store.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use weir_artifact::{Artifact, Blueprint, Breed, Deployment, Gateway, Kind, NamedScale, OrReference};
use weir_persist::{Page, PersistError, Persistence, Stored};

use super::typed;

/// Kind and name.
pub(crate) type Key = (String, String);

/// Reads artifacts: those that are stored, and over them those that are about to be.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    persist: Arc<dyn Persistence>,
    /// What is about to be stored; `None`: removed. Empty outside transactions.
    pub(super) pending: BTreeMap<Key, Option<Value>>,
}

impl Shelf {
    pub(super) fn new(persist: Arc<dyn Persistence>) -> Self {
        Self {
            persist,
            pending: BTreeMap::new(),
        }
    }

    /// Reads one as it is stored. What is not committed yet has revision 0.
    pub(crate) async fn stored(&self, kind: &str, name: &str) -> Result<Option<Stored>, PersistError> {
        if !self.pending.is_empty() {
            let key = (kind.to_owned(), name.to_owned());
            if let Some(body) = self.pending.get(&key) {
                return Ok(body.clone().map(|body| pending(key, body)));
            }
        }
        self.persist.get(kind, name).await
    }

    /// Reads every one of a kind as it is stored, in order of names.
    pub(crate) async fn all_stored(&self, kind: &str) -> Result<Vec<Stored>, PersistError> {
        let (stored, _) = self.persist.list(kind, Page::ALL).await?;
        let from = (kind.to_owned(), String::new());
        let mut over = self
            .pending
            .range(from..)
            .take_while(|((other, _), _)| other == kind)
            .peekable();
        if over.peek().is_none() {
            return Ok(stored);
        }
        let mut all: BTreeMap<String, Stored> = stored
            .into_iter()
            .map(|stored| (stored.name.clone(), stored))
            .collect();
        for (key, body) in over {
            match body {
                Some(body) => all.insert(key.1.clone(), pending(key.clone(), body.clone())),
                None => all.remove(&key.1),
            };
        }
        Ok(all.into_values().collect())
    }

    /// Reads one artifact of a kind.
    pub(crate) async fn artifact(&self, kind: Kind, name: &str) -> Result<Option<Artifact>, PersistError> {
        match self.stored(kind.plural(), name).await? {
            Some(stored) => typed(kind, &stored).map(Some),
            None => Ok(None),
        }
    }

    /// Reads every artifact of a kind, in order of names.
    pub(crate) async fn artifacts(&self, kind: Kind) -> Result<Vec<Artifact>, PersistError> {
        let stored = self.all_stored(kind.plural()).await?;
        stored.iter().map(|stored| typed(kind, stored)).collect()
    }

    /// Reads a breed.
    pub(crate) async fn breed(&self, name: &str) -> Result<Option<Breed>, PersistError> {
        Ok(match self.artifact(Kind::Breed, name).await? {
            Some(Artifact::Breed(breed)) => Some(breed),
            _ => None,
        })
    }

    /// Reads a blueprint. Its inline breeds are as they are stored now (see [`Shelf::refresh`]).
    pub(crate) async fn blueprint(&self, name: &str) -> Result<Option<Blueprint>, PersistError> {
        Ok(match self.artifact(Kind::Blueprint, name).await? {
            Some(Artifact::Blueprint(mut blueprint)) => {
                self.refresh(&mut blueprint).await?;
                Some(blueprint)
            }
            _ => None,
        })
    }

    /// Replaces the inline breeds of a stored blueprint by the breeds that have their names now; by
    /// references to them when those were removed (spec of the core behaviour §12).
    pub(crate) async fn refresh(&self, blueprint: &mut Blueprint) -> Result<(), PersistError> {
        for cluster in blueprint.clusters.values_mut() {
            for service in &mut cluster.services {
                if let OrReference::Inline(breed) = &service.breed {
                    service.breed = match self.breed(&breed.name).await? {
                        Some(breed) => OrReference::Inline(breed),
                        None => OrReference::Reference(breed.name.clone()),
                    };
                }
            }
        }
        Ok(())
    }

    /// Reads a scale.
    pub(crate) async fn scale(&self, name: &str) -> Result<Option<NamedScale>, PersistError> {
        Ok(match self.artifact(Kind::Scale, name).await? {
            Some(Artifact::Scale(scale)) => Some(scale),
            _ => None,
        })
    }

    /// Reads a gateway as it is stored (`reconcile::operations::gateway_view` shows it as the API does).
    pub(crate) async fn gateway(&self, name: &str) -> Result<Option<Gateway>, PersistError> {
        Ok(match self.artifact(Kind::Gateway, name).await? {
            Some(Artifact::Gateway(gateway)) => Some(gateway),
            _ => None,
        })
    }

    /// Reads every gateway as it is stored, in order of names.
    pub(crate) async fn gateways(&self) -> Result<Vec<Gateway>, PersistError> {
        let all = self.artifacts(Kind::Gateway).await?;
        Ok(all
            .into_iter()
            .filter_map(|artifact| match artifact {
                Artifact::Gateway(gateway) => Some(gateway),
                _ => None,
            })
            .collect())
    }

    /// Reads a deployment.
    pub(crate) async fn deployment(&self, name: &str) -> Result<Option<Deployment>, PersistError> {
        Ok(match self.artifact(Kind::Deployment, name).await? {
            Some(Artifact::Deployment(deployment)) => Some(deployment),
            _ => None,
        })
    }

    /// Reads every deployment, in order of names.
    pub(crate) async fn deployments(&self) -> Result<Vec<Deployment>, PersistError> {
        let all = self.artifacts(Kind::Deployment).await?;
        Ok(all
            .into_iter()
            .filter_map(|artifact| match artifact {
                Artifact::Deployment(deployment) => Some(deployment),
                _ => None,
            })
            .collect())
    }
}

fn pending((kind, name): Key, body: Value) -> Stored {
    Stored {
        kind,
        name,
        revision: 0,
        body,
        at_ms: 0,
    }
}

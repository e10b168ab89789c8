//! Reading what is stored. Reading a document costs far more than comparing it, so what did not change since
//! the last time is not read again.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use weir_artifact::{Artifact, Deployment, Gateway, Kind, read};
use weir_persist::{Page, PersistError, Stored};
use weir_plan::{ServiceKey, ServiceRecord};

use super::store::RECORDS;
use crate::state::{State, plural};

/// What is stored about deployments and their gateways.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) records: BTreeMap<ServiceKey, ServiceRecord>,
}

/// Reads what is stored. The caller holds the write lock, so that the parts fit each other.
#[derive(Debug, Default)]
pub(crate) struct Loader {
    deployments: Cache<Deployment>,
    gateways: Cache<Gateway>,
    records: Cache<ServiceRecord>,
}

impl Loader {
    /// Deployments and gateways.
    pub(crate) async fn routing(&mut self, state: &State) -> Result<World, PersistError> {
        let (deployments, gateways) = self.artifacts(state).await?;
        Ok(World {
            deployments,
            gateways,
            records: BTreeMap::new(),
        })
    }

    /// All of it.
    pub(crate) async fn everything(&mut self, state: &State) -> Result<World, PersistError> {
        let (deployments, gateways) = self.artifacts(state).await?;
        let (stored, _) = state.persist.list(RECORDS, Page::ALL).await?;
        let names: Vec<String> = stored.iter().map(|stored| stored.name.clone()).collect();
        let records = self.records.take(stored, |stored| {
            serde_json::from_value(stored.body.clone()).map_err(|error| corrupt(stored, &error.to_string()))
        })?;
        let keyed = names
            .iter()
            .zip(records)
            .filter_map(|(name, record)| Some((ServiceKey::parse(name)?, record)));
        Ok(World {
            deployments,
            gateways,
            records: keyed.collect(),
        })
    }

    async fn artifacts(&mut self, state: &State) -> Result<(Vec<Deployment>, Vec<Gateway>), PersistError> {
        let (gateways, _) = state.persist.list(plural(Kind::Gateway), Page::ALL).await?;
        let (deployments, _) = state.persist.list(plural(Kind::Deployment), Page::ALL).await?;
        let gateways = self
            .gateways
            .take(gateways, |stored| match artifact(Kind::Gateway, stored)? {
                Artifact::Gateway(gateway) => Ok(gateway),
                _ => Err(corrupt(stored, "it is of another kind")),
            })?;
        let deployments =
            self.deployments
                .take(deployments, |stored| match artifact(Kind::Deployment, stored)? {
                    Artifact::Deployment(deployment) => Ok(deployment),
                    _ => Err(corrupt(stored, "it is of another kind")),
                })?;
        Ok((deployments, gateways))
    }
}

fn artifact(kind: Kind, stored: &Stored) -> Result<Artifact, PersistError> {
    read::one(kind, &stored.body.to_string())
        .map_err(|problems| corrupt(stored, &crate::error::messages(&problems)))
}

fn corrupt(stored: &Stored, what: &str) -> PersistError {
    PersistError::Corrupt(format!(
        "{} `{}` revision {}: {what}",
        stored.kind, stored.name, stored.revision
    ))
}

/// Typed values beside the documents that they were read from.
#[derive(Debug)]
struct Cache<T>(HashMap<String, (Value, T)>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone> Cache<T> {
    /// One value for each document, in their order; forgets all others.
    fn take(
        &mut self,
        stored: Vec<Stored>,
        read: impl Fn(&Stored) -> Result<T, PersistError>,
    ) -> Result<Vec<T>, PersistError> {
        let mut values = Vec::with_capacity(stored.len());
        let mut next = HashMap::with_capacity(stored.len());
        for stored in stored {
            let value = match self.0.remove(&stored.name) {
                Some((body, value)) if body == stored.body => value,
                _ => read(&stored)?,
            };
            values.push(value.clone());
            next.insert(stored.name, (stored.body, value));
        }
        self.0 = next;
        Ok(values)
    }
}

//! `expand_references` and `only_references`.

use futures::future::BoxFuture;
use weir_artifact::{Artifact, Breed, Cluster, Gateway, Kind, OrReference};

use super::{answer::ApiError, request::Parameters};
use crate::state::{State, plural};

/// Breeds within breeds; more is taken for a circle.
const DEPTH_MAX: usize = 16;
/// Breeds put in for references in one answer: a breed can be reached on many ways.
const EXPANDED_MAX: usize = 1_000;

/// How references in an answer are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum References {
    /// As they were given.
    Kept,
    /// Replaced by what they refer to.
    Expanded,
    /// What has a name replaced by a reference.
    Only,
}

impl References {
    pub(super) fn asked(parameters: &Parameters) -> Result<Self, ApiError> {
        let only = parameters.flag("only_references")?;
        let expanded = parameters.flag("expand_references")?;
        Ok(match (only, expanded) {
            (true, _) => Self::Only,
            (false, true) => Self::Expanded,
            (false, false) => Self::Kept,
        })
    }

    /// Changes an artifact as asked.
    ///
    /// # Errors
    /// A reference that leads nowhere, when they are to be expanded.
    pub(super) async fn apply(self, state: &State, mut artifact: Artifact) -> Result<Artifact, ApiError> {
        let mut left = EXPANDED_MAX;
        match &mut artifact {
            _ if self == Self::Kept => {}
            Artifact::Breed(breed) => self.breed(state, breed, DEPTH_MAX, &mut left).await?,
            Artifact::Blueprint(blueprint) => {
                for gateway in &mut blueprint.gateways {
                    self.gateway(state, gateway).await?;
                }
                for cluster in blueprint.clusters.values_mut() {
                    self.cluster(state, cluster, &mut left).await?;
                }
            }
            Artifact::Deployment(deployment) => {
                for cluster in deployment.clusters.values_mut() {
                    self.cluster(state, cluster, &mut left).await?;
                }
            }
            Artifact::Gateway(gateway) => self.gateway(state, gateway).await?,
            Artifact::Scale(_) | Artifact::Condition(_) => {}
        }
        Ok(artifact)
    }

    async fn cluster(self, state: &State, cluster: &mut Cluster, left: &mut usize) -> Result<(), ApiError> {
        for gateway in cluster.gateways.values_mut() {
            self.gateway(state, gateway).await?;
        }
        for service in &mut cluster.services {
            match (self, &mut service.breed) {
                (Self::Only, breed) => *breed = OrReference::Reference(name(breed).to_owned()),
                (_, OrReference::Inline(breed)) => self.breed(state, breed, DEPTH_MAX, left).await?,
                (_, breed @ OrReference::Reference(_)) => {
                    let mut found = stored_breed(state, name(breed)).await?;
                    self.breed(state, &mut found, DEPTH_MAX, left).await?;
                    *breed = OrReference::Inline(found);
                }
            }
            if let (Self::Expanded, Some(OrReference::Reference(name))) = (self, &service.scale) {
                let scale = state.scale(name).await?;
                let scale = scale.ok_or_else(|| missing(Kind::Scale, name))?;
                service.scale = Some(OrReference::Inline(scale.scale));
            }
        }
        Ok(())
    }

    /// Boxed, as breeds hold breeds.
    fn breed<'a>(
        self,
        state: &'a State,
        breed: &'a mut Breed,
        depth: usize,
        left: &'a mut usize,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(async move {
            for dependency in breed.dependencies.values_mut() {
                match (self, &mut *dependency) {
                    (Self::Only, OrReference::Inline(inline)) => {
                        *dependency = OrReference::Reference(inline.name.clone());
                    }
                    // What matches a prefix is known only when it is deployed.
                    (Self::Expanded, OrReference::Reference(name)) if !name.ends_with('*') => {
                        if depth == 0 {
                            return Err(ApiError::problem(
                                "RecursiveDependenciesError",
                                format!("Breed `{name}` depends on itself, by way of others."),
                            ));
                        }
                        let mut found = stored_breed(state, name).await?;
                        *left = left.checked_sub(1).ok_or_else(|| {
                            ApiError::bad_request(format!(
                                "More than {EXPANDED_MAX} breeds would be in the answer; ask without `expand_references`."
                            ))
                        })?;
                        self.breed(state, &mut found, depth - 1, left).await?;
                        *dependency = OrReference::Inline(Box::new(found));
                    }
                    (Self::Expanded, OrReference::Inline(inline)) => {
                        self.breed(state, inline, depth.saturating_sub(1), left).await?;
                    }
                    _ => {}
                }
            }
            Ok(())
        })
    }

    async fn gateway(self, state: &State, gateway: &mut Gateway) -> Result<(), ApiError> {
        if self != Self::Expanded {
            return Ok(());
        }
        for route in gateway.routes.values_mut() {
            if let OrReference::Inline(route) = route
                && let Some(OrReference::Reference(name)) = &route.condition
            {
                let condition = state.condition(name).await?;
                let condition = condition.ok_or_else(|| missing(Kind::Condition, name))?;
                route.condition = Some(OrReference::Inline(condition.condition));
            }
        }
        Ok(())
    }
}

fn name(breed: &OrReference<Breed>) -> &str {
    match breed {
        OrReference::Reference(name) => name,
        OrReference::Inline(breed) => &breed.name,
    }
}

async fn stored_breed(state: &State, name: &str) -> Result<Breed, ApiError> {
    let breed = state.breed(name).await?;
    breed.ok_or_else(|| missing(Kind::Breed, name))
}

fn missing(kind: Kind, name: &str) -> ApiError {
    ApiError::problem(
        "ArtifactNotFound",
        format!("`{name}` is referred to, but there is none in {}.", plural(kind)),
    )
}

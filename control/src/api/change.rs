//! Writes, shared by the paths of one artifact and by documents of many.
//!
//! **Invariant.** Every change that was made is told by an `archive` event with the text of the request.

use serde_json::{Map, Value};
use weir_artifact::{
    Artifact, Blueprint, Deployment, Gateway, Kind, OrReference, Scale, read::DeployRequest,
};
use weir_persist::{EventDraft, Write};

use super::{
    answer::ApiError,
    kinds::{Collection, later},
};
use crate::{
    error::OperationError,
    event::Archive,
    reconcile::{chain, operations},
    state::{State, kind_of, name_of, plural, put},
};

/// How a request wants its change to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) state: &'a State,
    pub(super) archive: Archive,
    /// Check, but change nothing.
    pub(super) validate_only: bool,
    /// Text of the request.
    pub(super) source: &'a str,
}

impl Change<'_> {
    fn event(&self, kind: &str, name: &str) -> EventDraft {
        self.archive.event(kind, name, self.source)
    }

    /// Tells of changes that an operation has made and committed by itself. The changes stand, so that a
    /// failure to tell of them is not the client's.
    async fn tell(&self, changed: impl IntoIterator<Item = (&str, &str)>) {
        if self.validate_only {
            return;
        }
        let events = changed
            .into_iter()
            .map(|(kind, name)| self.event(kind, name))
            .collect();
        if let Err(error) = self.state.commit(Vec::new(), events).await {
            tracing::error!(error = chain(&error), "a change is not in the archive");
        }
    }

    /// Stores artifacts of plain kinds, with inline breeds, all or none. Answers what was stored, breeds first.
    pub(super) async fn store(&self, artifacts: Vec<Artifact>) -> Result<Vec<Artifact>, ApiError> {
        let all: Vec<Artifact> = artifacts.into_iter().flat_map(with_inline_breeds).collect();
        if !self.validate_only && !all.is_empty() {
            let writes = all.iter().map(|artifact| put(artifact, None)).collect();
            let events = all
                .iter()
                .map(|artifact| self.event(plural(kind_of(artifact)), name_of(artifact)))
                .collect();
            let _lock = self.state.write_lock.lock().await;
            self.state.commit(writes, events).await?;
        }
        Ok(all)
    }

    /// Creates or updates a gateway.
    pub(super) async fn gateway(&self, gateway: Gateway) -> Result<Value, ApiError> {
        let create = self.archive == Archive::Create;
        let gateway = operations::put_gateway(self.state, gateway, create, self.validate_only).await?;
        self.tell([("gateways", gateway.name.as_str())]).await;
        let shown = match self.validate_only {
            true => None,
            false => operations::gateway_view(self.state, &gateway.name).await?,
        };
        Ok(weir_artifact::write::value(&Artifact::Gateway(
            shown.unwrap_or(gateway),
        )))
    }

    /// Creates a deployment or merges into one; `name`: the deployment's, if the path or document says it.
    ///
    /// Answers `[[stored inline breeds...], [deployment]]` for an inline blueprint, `[deployment]` for a
    /// reference, and the deployment that would be, when it is only checked.
    pub(super) async fn deploy(&self, name: Option<&str>, request: DeployRequest) -> Result<Value, ApiError> {
        let breeds = match &request {
            DeployRequest::Blueprint(blueprint) => Some(inline_breeds(blueprint)),
            DeployRequest::Reference(_) => None,
        };
        let deployment = operations::merge(self.state, name, request, self.validate_only).await?;
        // The merge has stored the breeds, too.
        let changed = breeds.iter().flatten().map(|breed| ("breeds", name_of(breed)));
        self.tell(changed.chain([("deployments", deployment.name.as_str())]))
            .await;
        let tree = deployment_tree(deployment);
        if self.validate_only {
            return Ok(tree);
        }
        Ok(match breeds {
            None => Value::Array(vec![tree]),
            Some(breeds) => {
                let breeds = breeds.iter().map(weir_artifact::write::value).collect();
                Value::Array(vec![breeds, Value::Array(vec![tree])])
            }
        })
    }

    /// Takes services away from a deployment; none if the request names none.
    pub(super) async fn undeploy(
        &self,
        name: &str,
        request: Option<DeployRequest>,
    ) -> Result<Value, ApiError> {
        let changes = request.is_some();
        let deployment = operations::slice(self.state, name, request, self.validate_only).await?;
        if changes {
            self.tell([("deployments", name)]).await;
        }
        Ok(deployment_tree(deployment))
    }

    /// Takes all services of a deployment away.
    pub(super) async fn undeploy_all(&self, name: &str) -> Result<Value, ApiError> {
        let blueprint = operations::deployment_as_blueprint(self.state, name).await?;
        let request = DeployRequest::Blueprint(Box::new(blueprint));
        self.undeploy(name, Some(request)).await
    }

    /// Sets a service's scale.
    pub(super) async fn scale(
        &self,
        [deployment, cluster, service]: [&str; 3],
        scale: OrReference<Scale>,
    ) -> Result<Value, ApiError> {
        let scale = if self.validate_only {
            match scale {
                OrReference::Inline(scale) => scale,
                OrReference::Reference(name) => match self.state.scale(&name).await? {
                    Some(scale) => scale.scale,
                    None => {
                        return Err(ApiError::problem(
                            "ArtifactNotFound",
                            format!("There is no scale `{name}`."),
                        ));
                    }
                },
            }
        } else {
            operations::set_scale(self.state, deployment, cluster, service, scale).await?
        };
        let name = format!("{deployment}/{cluster}/{service}");
        self.tell([("deployment-service-scales", name.as_str())]).await;
        Ok(scale_tree(scale))
    }

    /// Removes an artifact of any kind but deployments. What is not there is removed already.
    pub(super) async fn remove(&self, collection: Collection, name: &str) -> Result<(), ApiError> {
        match collection {
            Collection::Stored(kind) => self.remove_stored(kind, name).await,
            Collection::Gateways => {
                match operations::delete_gateway(self.state, name, self.validate_only).await {
                    Ok(()) => self.tell([("gateways", name)]).await,
                    Err(OperationError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                Ok(())
            }
            Collection::Later(kind) => Err(later(kind)),
            Collection::Deployments => self.undeploy_all(name).await.map(drop),
        }
    }

    async fn remove_stored(&self, kind: Kind, name: &str) -> Result<(), ApiError> {
        if self.validate_only {
            return Ok(());
        }
        let _lock = self.state.write_lock.lock().await;
        if self.state.persist.get(plural(kind), name).await?.is_none() {
            return Ok(());
        }
        let write = Write::Delete {
            kind: plural(kind).to_owned(),
            name: name.to_owned(),
        };
        self.state
            .commit(vec![write], vec![self.event(plural(kind), name)])
            .await?;
        Ok(())
    }
}

/// A deployment as it is printed.
pub(super) fn deployment_tree(deployment: Deployment) -> Value {
    weir_artifact::write::value(&Artifact::Deployment(deployment))
}

/// A scale as it is printed inside a service.
fn scale_tree(scale: Scale) -> Value {
    let named = weir_artifact::NamedScale {
        name: String::new(),
        metadata: Map::new(),
        scale,
    };
    match weir_artifact::write::value(&Artifact::Scale(named)) {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(key, _)| matches!(key.as_str(), "cpu" | "memory" | "instances"))
                .collect(),
        ),
        other => other,
    }
}

/// A blueprint's inline breeds are artifacts of their own; they come first.
fn with_inline_breeds(artifact: Artifact) -> Vec<Artifact> {
    let mut all = match &artifact {
        Artifact::Blueprint(blueprint) => inline_breeds(blueprint),
        _ => Vec::new(),
    };
    all.push(artifact);
    all
}

fn inline_breeds(blueprint: &Blueprint) -> Vec<Artifact> {
    let services = blueprint.clusters.values().flat_map(|cluster| &cluster.services);
    services
        .filter_map(|service| match &service.breed {
            OrReference::Inline(breed) => Some(Artifact::Breed(breed.clone())),
            OrReference::Reference(_) => None,
        })
        .collect()
}

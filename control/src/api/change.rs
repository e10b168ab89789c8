//! Writes, shared by the paths of one artifact and by documents of many.
//!
//! **Invariant.** Every change that was made is told by an `archive` event with the text of the request, in the
//! same commit.

use serde_json::Value;
use weir_artifact::{
    Artifact, Blueprint, Breed, Deployment, Gateway, Kind, OrReference, Problem, Scale, Workflow,
    WorkflowStatus,
    read::{DeployRequest, Read},
};

use super::{answer::ApiError, version::Preconditions};
use crate::{
    access::Principal,
    error::OperationError,
    event::Archive,
    reconcile::operations,
    state::{State, Transaction},
};

/// Changes of one request: all of them are made, or none.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) tx: Transaction<'a>,
    archive: Archive,
    /// Text of the request.
    source: &'a str,
    /// What is hardly meant as it stands in the request.
    pub(super) warnings: Vec<Problem>,
}

impl<'a> Change<'a> {
    pub(super) async fn begin(
        state: &'a State,
        principal: &Principal,
        archive: Archive,
        source: &'a str,
    ) -> Self {
        Self {
            tx: Transaction::begin(state, principal.name.clone()).await,
            archive,
            source,
            warnings: Vec::new(),
        }
    }

    /// What was read, its warnings kept for the answer.
    pub(super) fn noted<T>(&mut self, read: Read<T>) -> T {
        self.warnings.extend(read.warnings);
        read.value
    }

    /// Makes the changes, unless they were only tried.
    pub(super) async fn finish(self, validate_only: bool) -> Result<(), ApiError> {
        if !validate_only {
            self.tx.commit().await?;
        }
        Ok(())
    }

    /// Whether what is stored is what the request expects.
    pub(super) async fn expects(
        &self,
        preconditions: &Preconditions,
        kind: Kind,
        name: &str,
    ) -> Result<(), ApiError> {
        preconditions.hold(&self.tx, kind, name).await
    }

    fn tell(&mut self, kind: &str, name: &str) {
        let event = self.archive.event(kind, name, self.source);
        self.tx.tell(event);
    }

    /// The same, whatever the request's method says.
    fn tell_as(&mut self, archive: Archive, kind: &str, name: &str) {
        self.tx.tell(archive.event(kind, name, self.source));
    }

    /// Stores an artifact of a plain kind, with inline breeds. Answers what is stored, breeds first.
    pub(super) fn store(&mut self, artifact: Artifact) -> Vec<Artifact> {
        let all = with_inline_breeds(artifact);
        for artifact in &all {
            self.tell(artifact.kind().plural(), artifact.name());
            self.tx.put(artifact);
        }
        all
    }

    /// Stores an artifact of a plain kind, without anything in it.
    pub(super) fn store_alone(&mut self, artifact: Artifact) {
        self.tell(artifact.kind().plural(), artifact.name());
        self.tx.put(&artifact);
    }

    /// Stores a workflow, with an inline breed. Answers what is stored, the breed first.
    pub(super) async fn workflow(&mut self, workflow: Workflow) -> Result<Vec<Artifact>, ApiError> {
        let name = &workflow.name;
        if self.tx.stored(Kind::Deployment.plural(), name).await?.is_some() {
            return Err(operations::collision("deployment", name).into());
        }
        if let Some(Artifact::Workflow(known)) = self.tx.artifact(Kind::Workflow, name).await?
            && known.status != WorkflowStatus::Suspended
        {
            return Err(ApiError::problem(
                "WorkflowUpdateError",
                format!(
                    "The workflow `{name}` is {}; it can be changed only while it is suspended.",
                    known.status.word()
                ),
            ));
        }
        Ok(self.store(Artifact::Workflow(workflow)))
    }

    /// Sets what is wanted of a workflow.
    pub(super) async fn workflow_status(
        &mut self,
        name: &str,
        status: WorkflowStatus,
    ) -> Result<(), ApiError> {
        let Some(Artifact::Workflow(mut workflow)) = self.tx.artifact(Kind::Workflow, name).await? else {
            return Err(ApiError::not_found());
        };
        workflow.status = status;
        self.tell("workflow-statuses", name);
        self.tx.put(&Artifact::Workflow(workflow));
        Ok(())
    }

    /// Creates or updates a gateway. Answers it as it is to be stored.
    pub(super) async fn gateway(&mut self, gateway: Gateway) -> Result<Gateway, ApiError> {
        let create = self.archive == Archive::Create;
        let gateway = operations::put_gateway(&mut self.tx, gateway, create).await?;
        self.tell(Kind::Gateway.plural(), &gateway.name);
        Ok(gateway)
    }

    /// Creates a deployment or merges into one; `name`: the deployment's, if the path or document says it.
    /// Answers the inline breeds of a blueprint in place, and the deployment.
    pub(super) async fn deploy(
        &mut self,
        name: Option<&str>,
        request: DeployRequest,
    ) -> Result<(Option<Vec<Artifact>>, Deployment), ApiError> {
        let breeds = match &request {
            DeployRequest::Blueprint(blueprint) => Some(inline_breeds(blueprint)),
            DeployRequest::Reference(_) => None,
        };
        let deployment = operations::merge(&mut self.tx, name, request).await?;
        // The merge stores the breeds, too.
        for breed in breeds.iter().flatten() {
            self.tell(Kind::Breed.plural(), breed.name());
        }
        self.tell(Kind::Deployment.plural(), &deployment.name);
        Ok((breeds, deployment))
    }

    /// Takes services away from a deployment; none if the request names none. The deployment loses services; it
    /// is not deleted by that.
    pub(super) async fn undeploy(
        &mut self,
        name: &str,
        request: Option<DeployRequest>,
    ) -> Result<Deployment, ApiError> {
        let changes = request.is_some();
        let deployment = operations::slice(&mut self.tx, name, request).await?;
        if changes {
            self.tell_as(Archive::Update, Kind::Deployment.plural(), name);
        }
        Ok(deployment)
    }

    /// Takes all services of a deployment away.
    async fn undeploy_all(&mut self, name: &str) -> Result<(), ApiError> {
        let blueprint = operations::deployment_as_blueprint(&self.tx, name).await?;
        let request = DeployRequest::Blueprint(Box::new(blueprint));
        operations::slice(&mut self.tx, name, Some(request)).await?;
        self.tell(Kind::Deployment.plural(), name);
        Ok(())
    }

    /// Stores a deployment as it is given, without asking what runs of it.
    pub(super) fn put_deployment(&mut self, deployment: Deployment) {
        self.tell_as(Archive::Update, Kind::Deployment.plural(), &deployment.name);
        self.tx.put(&Artifact::Deployment(deployment));
    }

    /// Sets a service's scale.
    pub(super) async fn scale(
        &mut self,
        [deployment, cluster, service]: [&str; 3],
        scale: OrReference<Scale>,
    ) -> Result<Scale, ApiError> {
        let scale = operations::set_scale(&mut self.tx, deployment, cluster, service, scale).await?;
        let name = format!("{deployment}/{cluster}/{service}");
        self.tell("deployment-service-scales", &name);
        Ok(scale)
    }

    /// Removes an artifact. What is not there is removed already. Of a deployment all services are taken away.
    pub(super) async fn remove(&mut self, kind: Kind, name: &str) -> Result<(), ApiError> {
        match kind {
            Kind::Gateway => match operations::delete_gateway(&mut self.tx, name).await {
                Ok(()) => self.tell(kind.plural(), name),
                Err(OperationError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            },
            Kind::Deployment => self.undeploy_all(name).await?,
            // Workflows are not run yet: nothing is to be stopped before.
            _ => {
                if self.tx.stored(kind.plural(), name).await?.is_some() {
                    self.tell(kind.plural(), name);
                    self.tx.remove(kind.plural(), name);
                }
            }
        }
        Ok(())
    }
}

/// What a merge answers: `[[stored inline breeds...], [deployment]]` for an inline blueprint, `[deployment]` for a
/// reference.
pub(super) fn deployed(breeds: Option<Vec<Artifact>>, deployment: Deployment) -> Value {
    let tree = deployment_tree(deployment);
    match breeds {
        None => Value::Array(vec![tree]),
        Some(breeds) => {
            let breeds = breeds.iter().map(weir_artifact::write::value).collect();
            Value::Array(vec![breeds, Value::Array(vec![tree])])
        }
    }
}

/// A deployment as it is printed.
pub(super) fn deployment_tree(deployment: Deployment) -> Value {
    weir_artifact::write::value(&Artifact::Deployment(deployment))
}

/// Inline breeds of blueprints and workflows are artifacts of their own; they come first.
fn with_inline_breeds(artifact: Artifact) -> Vec<Artifact> {
    let mut all = match &artifact {
        Artifact::Blueprint(blueprint) => inline_breeds(blueprint),
        Artifact::Workflow(workflow) => inline(&workflow.breed).into_iter().collect(),
        _ => Vec::new(),
    };
    all.push(artifact);
    all
}

fn inline_breeds(blueprint: &Blueprint) -> Vec<Artifact> {
    let services = blueprint.clusters.values().flat_map(|cluster| &cluster.services);
    services.filter_map(|service| inline(&service.breed)).collect()
}

fn inline(breed: &OrReference<Breed>) -> Option<Artifact> {
    match breed {
        OrReference::Inline(breed) => Some(Artifact::Breed(breed.clone())),
        OrReference::Reference(_) => None,
    }
}

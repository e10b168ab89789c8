//! What the API does to deployments and gateways. Each operation holds the write lock from its first reading
//! to its commit, and commits everything or nothing. `archive` events are the API's.

use weir_artifact::{
    Artifact, Blueprint, Deployment, Gateway, Intention, Kind, OrReference, Phase, Problem, Scale,
    ServiceStatus, read::DeployRequest,
};
use weir_persist::Write;
use weir_plan::{Merged, gateway as rules};

use super::{
    resolve::Resolver,
    settings,
    store::{last_port, put_last_port},
};
use crate::{
    error::{OperationError, problem},
    state::{State, now_ms, plural, put},
};

pub(crate) use super::view::{deployment_as_blueprint, gateway_view, gateways_view};

/// Merges a blueprint into the deployment `name`, or into the one that is named as the blueprint. Answers the
/// deployment as it is stored, or would be.
pub(crate) async fn merge(
    state: &State,
    name: Option<&str>,
    request: DeployRequest,
    validate_only: bool,
) -> Result<Deployment, OperationError> {
    let _guard = state.write_lock.lock().await;
    let mut blueprint = requested(state, request).await?;
    let name = name.unwrap_or(&blueprint.name).to_owned();
    check_name(&name)?;
    let existing = state.deployment(&name).await?;
    let mut resolver = Resolver::new(state);
    resolver.blueprint(&mut blueprint, existing.as_ref()).await?;
    if !resolver.found.is_empty() {
        return Err(OperationError::Problems(resolver.found));
    }
    let gateways = state.gateways().await?;
    let world = rules::World {
        gateways: &gateways,
        last_port: last_port(state).await?,
    };
    let merged = weir_plan::merge(
        existing.as_ref(),
        &name,
        &blueprint,
        &world,
        &settings(state),
        now_ms(),
    )
    .map_err(OperationError::Problems)?;
    if !validate_only {
        let breeds = resolver.inline_breeds().map(|breed| put(&breed, None));
        let writes = breeds.chain(merged_writes(&merged, world.last_port)).collect();
        state.commit(writes, Vec::new()).await?;
    }
    Ok(merged.deployment)
}

/// Removes the services that the blueprint names from a deployment; without a request nothing. Answers the
/// deployment as it is stored, or would be.
pub(crate) async fn slice(
    state: &State,
    name: &str,
    request: Option<DeployRequest>,
    validate_only: bool,
) -> Result<Deployment, OperationError> {
    let _guard = state.write_lock.lock().await;
    let existing = deployment(state, name).await?;
    let Some(request) = request else {
        return Ok(existing);
    };
    let blueprint = requested(state, request).await?;
    let gateways = state.gateways().await?;
    let world = rules::World {
        gateways: &gateways,
        last_port: last_port(state).await?,
    };
    let sliced = weir_plan::slice(&existing, &blueprint, &world, &settings(state), now_ms())
        .map_err(OperationError::Problems)?;
    if !validate_only && sliced.deployment != existing {
        let writes = merged_writes(&sliced, world.last_port).collect();
        state.commit(writes, Vec::new()).await?;
    }
    Ok(sliced.deployment)
}

/// Sets the scale of a service, which is deployed anew with it. Answers the scale that was set.
pub(crate) async fn set_scale(
    state: &State,
    deployment_name: &str,
    cluster: &str,
    service: &str,
    scale: OrReference<Scale>,
) -> Result<Scale, OperationError> {
    let _guard = state.write_lock.lock().await;
    let scale = match scale {
        OrReference::Inline(scale) => scale,
        OrReference::Reference(name) => Resolver::new(state).scale(&name).await?.ok_or_else(|| {
            OperationError::problem("ArtifactNotFound", format!("there is no scale `{name}`"))
        })?,
    };
    let mut deployment = deployment(state, deployment_name).await?;
    let services = deployment
        .clusters
        .get_mut(cluster)
        .map(|cluster| &mut cluster.services);
    let found = services
        .into_iter()
        .flatten()
        .find(|other| other.name() == service)
        // One that is leaving has no route any more; merging brings it back, scaling does not.
        .and_then(|service| {
            let runtime = service.runtime.as_mut()?;
            (runtime.status.intention == Intention::Deployment).then_some((&mut service.scale, runtime))
        });
    let Some((stored, runtime)) = found else {
        return Err(OperationError::NotFound {
            kind: "service",
            name: format!("{deployment_name}/{cluster}/{service}"),
        });
    };
    *stored = Some(OrReference::Inline(scale));
    let now_ms = now_ms();
    runtime.status = ServiceStatus {
        intention: Intention::Deployment,
        since_ms: now_ms,
        phase: Phase::Initiated,
        phase_since_ms: now_ms,
        notification: None,
    };
    let writes = vec![put(&Artifact::Deployment(deployment), None)];
    state.commit(writes, Vec::new()).await?;
    Ok(scale)
}

/// Creates or replaces a gateway. Answers it as it is stored, or would be.
pub(crate) async fn put_gateway(
    state: &State,
    mut gateway: Gateway,
    create: bool,
    validate_only: bool,
) -> Result<Gateway, OperationError> {
    let _guard = state.write_lock.lock().await;
    let mut resolver = Resolver::new(state);
    resolver.gateway(&mut gateway).await?;
    if !resolver.found.is_empty() {
        return Err(OperationError::Problems(resolver.found));
    }
    let owner = owner(state, &gateway.name).await?;
    let gateways = state.gateways().await?;
    let world = rules::World {
        gateways: &gateways,
        last_port: last_port(state).await?,
    };
    let prepared = rules::prepare(gateway, create, owner.as_ref(), &world, &settings(state))
        .map_err(OperationError::Problems)?;
    if !validate_only {
        let mut writes = vec![put(&Artifact::Gateway(prepared.gateway.clone()), None)];
        writes.extend(
            prepared
                .deployment
                .map(|deployment| put(&Artifact::Deployment(deployment), None)),
        );
        writes.extend(counter(prepared.last_port, world.last_port));
        state.commit(writes, Vec::new()).await?;
    }
    Ok(prepared.gateway)
}

/// Removes a gateway. One that does not exist is [`OperationError::NotFound`].
pub(crate) async fn delete_gateway(
    state: &State,
    name: &str,
    validate_only: bool,
) -> Result<(), OperationError> {
    let _guard = state.write_lock.lock().await;
    let owner = owner(state, name).await?;
    rules::may_remove(name, owner.as_ref()).map_err(OperationError::Problems)?;
    if state.gateway(name).await?.is_none() {
        return Err(OperationError::NotFound {
            kind: "gateway",
            name: name.to_owned(),
        });
    }
    if !validate_only {
        state.commit(vec![delete_of(name)], Vec::new()).await?;
    }
    Ok(())
}

async fn requested(state: &State, request: DeployRequest) -> Result<Blueprint, OperationError> {
    match request {
        DeployRequest::Blueprint(blueprint) => Ok(*blueprint),
        DeployRequest::Reference(name) => {
            let stored = state.blueprint(&name).await?;
            stored.ok_or_else(|| {
                OperationError::problem("ArtifactNotFound", format!("there is no blueprint `{name}`"))
            })
        }
    }
}

/// The rule for names of artifacts (spec of the artifacts §1): a name in the path was not read by the reader.
fn check_name(name: &str) -> Result<(), OperationError> {
    let legal = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "/[]".contains(c));
    if legal {
        return Ok(());
    }
    let wrong: Problem = problem(
        "IllegalName",
        "name",
        format!("`{name}` cannot be the name of a deployment: no white space, `/`, `[` or `]`"),
    );
    Err(OperationError::Problems(vec![wrong]))
}

/// A deployment that must be there.
pub(super) async fn deployment(state: &State, name: &str) -> Result<Deployment, OperationError> {
    state
        .deployment(name)
        .await?
        .ok_or_else(|| OperationError::NotFound {
            kind: "deployment",
            name: name.to_owned(),
        })
}

/// The deployment that a gateway's name begins with.
async fn owner(state: &State, gateway: &str) -> Result<Option<Deployment>, OperationError> {
    match gateway.split_once('/') {
        Some((first, _)) => Ok(state.deployment(first).await?),
        None => Ok(None),
    }
}

fn merged_writes(merged: &Merged, last_port: Option<u16>) -> impl Iterator<Item = Write> {
    let deployment = put(&Artifact::Deployment(merged.deployment.clone()), None);
    let gateways = merged
        .gateways
        .iter()
        .map(|gateway| put(&Artifact::Gateway(gateway.clone()), None));
    let removed = merged.removed.iter().map(|name| delete_of(name));
    let counter = counter(merged.last_port, last_port);
    std::iter::once(deployment)
        .chain(gateways)
        .chain(removed)
        .chain(counter)
}

fn counter(now: Option<u16>, before: Option<u16>) -> Option<Write> {
    now.filter(|_| now != before).map(put_last_port)
}

fn delete_of(gateway: &str) -> Write {
    Write::Delete {
        kind: plural(Kind::Gateway).to_owned(),
        name: gateway.to_owned(),
    }
}

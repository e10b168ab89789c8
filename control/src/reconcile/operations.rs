//! What the API does to deployments and gateways, inside a [`Transaction`]: its end decides whether any of it is
//! stored. `archive` events are the API's.

use weir_artifact::{
    Artifact, Blueprint, Deployment, Gateway, Intention, Kind, OrReference, Phase, Problem, Scale,
    ServiceStatus, read::DeployRequest,
};
use weir_plan::{Merged, gateway as rules};

use super::{
    quota,
    resolve::Resolver,
    settings,
    store::{last_port, put_last_port},
};
use crate::{
    error::{OperationError, problem},
    state::{Shelf, Transaction, now_ms, plural},
};

pub(crate) use super::view::{blueprint_of, deployment_as_blueprint, gateway_view, gateways_view};

/// Merges a blueprint into the deployment `name`, or into the one that is named as the blueprint. Answers the
/// deployment as it is to be stored.
pub(crate) async fn merge(
    tx: &mut Transaction<'_>,
    name: Option<&str>,
    request: DeployRequest,
) -> Result<Deployment, OperationError> {
    let mut blueprint = requested(tx, request).await?;
    let name = name.unwrap_or(&blueprint.name).to_owned();
    check_name(&name)?;
    if tx.stored(plural(Kind::Workflow), &name).await?.is_some() {
        return Err(collision("workflow", &name));
    }
    let existing = tx.deployment(&name).await?;
    let mut resolver = Resolver::new(tx);
    resolver.blueprint(&mut blueprint, existing.as_ref()).await?;
    if !resolver.found.is_empty() {
        return Err(OperationError::Problems(resolver.found));
    }
    let breeds: Vec<Artifact> = resolver.inline_breeds().collect();
    let gateways = tx.gateways().await?;
    let world = rules::World {
        gateways: &gateways,
        last_port: last_port(tx).await?,
    };
    let merged = weir_plan::merge(
        existing.as_ref(),
        &name,
        &blueprint,
        &world,
        &settings(tx.state()),
        now_ms(),
    )
    .map_err(OperationError::Problems)?;
    quota::check(tx, existing.as_ref(), &merged.deployment).await?;
    for breed in &breeds {
        tx.put(breed);
    }
    put_merged(tx, &merged, world.last_port);
    Ok(merged.deployment)
}

/// Removes the services that the blueprint names from a deployment; without a request nothing. Answers the
/// deployment as it is to be stored.
pub(crate) async fn slice(
    tx: &mut Transaction<'_>,
    name: &str,
    request: Option<DeployRequest>,
) -> Result<Deployment, OperationError> {
    let existing = deployment(tx, name).await?;
    let Some(request) = request else {
        return Ok(existing);
    };
    let blueprint = requested(tx, request).await?;
    let gateways = tx.gateways().await?;
    let world = rules::World {
        gateways: &gateways,
        last_port: last_port(tx).await?,
    };
    let sliced = weir_plan::slice(&existing, &blueprint, &world, &settings(tx.state()), now_ms())
        .map_err(OperationError::Problems)?;
    if sliced.deployment != existing {
        put_merged(tx, &sliced, world.last_port);
    }
    Ok(sliced.deployment)
}

/// Sets the scale of a service, which is deployed anew with it. Answers the scale that is to be.
pub(crate) async fn set_scale(
    tx: &mut Transaction<'_>,
    deployment_name: &str,
    cluster: &str,
    service: &str,
    scale: OrReference<Scale>,
) -> Result<Scale, OperationError> {
    let scale = match scale {
        OrReference::Inline(scale) => scale,
        OrReference::Reference(name) => Resolver::new(tx).scale(&name).await?.ok_or_else(|| {
            OperationError::problem("ArtifactNotFound", format!("there is no scale `{name}`"))
        })?,
    };
    let existing = deployment(tx, deployment_name).await?;
    let mut wanted = existing.clone();
    if !rescale(&mut wanted, cluster, service, scale) {
        return Err(OperationError::NotFound {
            kind: "service",
            name: format!("{deployment_name}/{cluster}/{service}"),
        });
    }
    quota::check(tx, Some(&existing), &wanted).await?;
    tx.put(&Artifact::Deployment(wanted));
    Ok(scale)
}

/// Gives a service of a deployment another scale, with which it is deployed anew; whether it is there.
pub(crate) fn rescale(deployment: &mut Deployment, cluster: &str, service: &str, scale: Scale) -> bool {
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
        return false;
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
    true
}

/// Creates or replaces a gateway. Answers it as it is to be stored.
pub(crate) async fn put_gateway(
    tx: &mut Transaction<'_>,
    mut gateway: Gateway,
    create: bool,
) -> Result<Gateway, OperationError> {
    let mut resolver = Resolver::new(tx);
    resolver.gateway(&mut gateway).await?;
    if !resolver.found.is_empty() {
        return Err(OperationError::Problems(resolver.found));
    }
    let owner = owner(tx, &gateway.name).await?;
    let gateways = tx.gateways().await?;
    let before = last_port(tx).await?;
    let world = rules::World {
        gateways: &gateways,
        last_port: before,
    };
    let prepared = rules::prepare(gateway, create, owner.as_ref(), &world, &settings(tx.state()))
        .map_err(OperationError::Problems)?;
    tx.put(&Artifact::Gateway(prepared.gateway.clone()));
    if let Some(deployment) = prepared.deployment {
        tx.put(&Artifact::Deployment(deployment));
    }
    put_counter(tx, prepared.last_port, before);
    Ok(prepared.gateway)
}

/// Removes a gateway. One that does not exist is [`OperationError::NotFound`].
pub(crate) async fn delete_gateway(tx: &mut Transaction<'_>, name: &str) -> Result<(), OperationError> {
    let owner = owner(tx, name).await?;
    rules::may_remove(name, owner.as_ref()).map_err(OperationError::Problems)?;
    if tx.gateway(name).await?.is_none() {
        return Err(OperationError::NotFound {
            kind: "gateway",
            name: name.to_owned(),
        });
    }
    tx.remove(plural(Kind::Gateway), name);
    Ok(())
}

/// A workflow may not have the name of a deployment, and the reverse (spec of the artifacts §10).
pub(crate) fn collision(other: &str, name: &str) -> OperationError {
    OperationError::problem(
        "DeploymentWorkflowNameCollision",
        format!("there is a {other} `{name}`; deployments and workflows cannot share a name"),
    )
}

async fn requested(shelf: &Shelf, request: DeployRequest) -> Result<Blueprint, OperationError> {
    match request {
        DeployRequest::Blueprint(blueprint) => Ok(*blueprint),
        DeployRequest::Reference(name) => {
            let stored = shelf.blueprint(&name).await?;
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
pub(super) async fn deployment(shelf: &Shelf, name: &str) -> Result<Deployment, OperationError> {
    shelf
        .deployment(name)
        .await?
        .ok_or_else(|| OperationError::NotFound {
            kind: "deployment",
            name: name.to_owned(),
        })
}

/// The deployment that a gateway's name begins with.
async fn owner(shelf: &Shelf, gateway: &str) -> Result<Option<Deployment>, OperationError> {
    match gateway.split_once('/') {
        Some((first, _)) => Ok(shelf.deployment(first).await?),
        None => Ok(None),
    }
}

fn put_merged(tx: &mut Transaction<'_>, merged: &Merged, last_port: Option<u16>) {
    tx.put(&Artifact::Deployment(merged.deployment.clone()));
    for gateway in &merged.gateways {
        tx.put(&Artifact::Gateway(gateway.clone()));
    }
    for name in &merged.removed {
        tx.remove(plural(Kind::Gateway), name);
    }
    put_counter(tx, merged.last_port, last_port);
}

fn put_counter(tx: &mut Transaction<'_>, now: Option<u16>, before: Option<u16>) {
    if let Some(port) = now.filter(|_| now != before) {
        put_last_port(tx, port);
    }
}

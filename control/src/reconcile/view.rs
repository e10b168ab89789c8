//! What is stored, as the API shows it.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use weir_artifact::{
    Artifact, Blueprint, Cluster, Deployment, Gateway, Intention, Kind, OrReference, RouteTarget, Service,
};
use weir_model::Target;
use weir_persist::PersistError;

use super::settings;
use crate::{
    error::OperationError,
    state::{Shelf, State, typed},
};

/// A gateway with what is known of it at the moment: whether it is published, and where its routes lead.
pub(crate) async fn gateway_view(state: &State, name: &str) -> Result<Option<Gateway>, OperationError> {
    // The targets depend on the other gateways too.
    let all = gateways_view(state).await?;
    Ok(all.into_iter().find(|gateway| gateway.name == name))
}

/// Every gateway as [`gateway_view`] shows it, in order of names.
pub(crate) async fn gateways_view(state: &State) -> Result<Vec<Gateway>, OperationError> {
    let mut gateways = state.gateways().await?;
    let deployments = state.deployments().await?;
    let published = state.traffic.publication.gateways();
    show(&mut gateways, &deployments, &published, state);
    Ok(gateways)
}

/// Completes gateways as the API shows them; `published` are the names of those that agents serve.
pub(crate) fn show(
    gateways: &mut [Gateway],
    deployments: &[Deployment],
    published: &BTreeSet<String>,
    state: &State,
) {
    let lowered = weir_plan::lower(gateways, deployments, &settings(state));
    let ports: IndexMap<String, u16> = gateways
        .iter()
        .filter_map(|gateway| Some((gateway.name.clone(), gateway.port.as_ref()?.number)))
        .collect();
    for served in &lowered.gateways {
        let Some(gateway) = gateways
            .iter_mut()
            .find(|gateway| gateway.name == served.name.as_str())
        else {
            continue;
        };
        gateway.deployed = published.contains(&gateway.name);
        for route in &served.routes {
            if let Some(OrReference::Inline(shown)) = gateway.routes.get_mut(route.name.as_str()) {
                shown.targets = targets(&route.target, &ports);
            }
        }
    }
}

fn targets(target: &Target, ports: &IndexMap<String, u16>) -> Vec<RouteTarget> {
    match target {
        Target::Gateway(name) => vec![RouteTarget {
            name: name.to_string(),
            host: None,
            port: ports.get(name.as_str()).copied().unwrap_or_default(),
        }],
        Target::Instances(instances) => instances
            .iter()
            .map(|instance| RouteTarget {
                name: instance.id.to_string(),
                host: Some(instance.host.clone()),
                port: instance.port,
            })
            .collect(),
    }
}

/// A deployment as the blueprint that would make it: without what runs, with its external gateways. A
/// deployment that does not exist is [`OperationError::NotFound`].
pub(crate) async fn deployment_as_blueprint(shelf: &Shelf, name: &str) -> Result<Blueprint, OperationError> {
    let blueprint = blueprint_of(shelf, name).await?;
    blueprint.ok_or_else(|| OperationError::NotFound {
        kind: "deployment",
        name: name.to_owned(),
    })
}

/// The same; `None` for a deployment that does not exist.
pub(crate) async fn blueprint_of(shelf: &Shelf, name: &str) -> Result<Option<Blueprint>, PersistError> {
    let Some(deployment) = shelf.deployment(name).await? else {
        return Ok(None);
    };
    // Reading a gateway costs far more than passing over it.
    let prefix = format!("{name}/");
    let mut gateways = Vec::new();
    for stored in shelf.all_stored(Kind::Gateway.plural()).await? {
        if stored.name.starts_with(&prefix)
            && let Artifact::Gateway(gateway) = typed(Kind::Gateway, &stored)?
        {
            gateways.push(gateway);
        }
    }
    Ok(Some(as_blueprint(deployment, &gateways)))
}

fn as_blueprint(deployment: Deployment, gateways: &[Gateway]) -> Blueprint {
    let prefix = format!("{}/", deployment.name);
    let external = gateways.iter().filter_map(|gateway| {
        let key = gateway.name.strip_prefix(&prefix)?;
        (!key.contains('/')).then(|| external(gateway, &prefix))
    });
    Blueprint {
        gateways: external.collect(),
        clusters: deployment
            .clusters
            .into_iter()
            .map(|(name, cluster)| (name, bare(cluster)))
            .filter(|(_, cluster)| !cluster.services.is_empty())
            .collect(),
        name: deployment.name,
        metadata: deployment.metadata,
        environment_variables: deployment.environment_variables,
        dialects: deployment.dialects,
    }
}

fn bare(mut cluster: Cluster) -> Cluster {
    let wanted = |service: &Service| {
        let status = service.runtime.as_ref().map(|runtime| &runtime.status);
        status.is_none_or(|status| status.intention == Intention::Deployment)
    };
    cluster.services.retain(wanted);
    for service in &mut cluster.services {
        service.runtime = None;
    }
    for gateway in cluster.gateways.values_mut() {
        // Given by the core to every gateway: not part of what was asked for.
        gateway.deployed = false;
    }
    cluster
}

/// A deployment's external gateway as its blueprint has it: no name, routes without the deployment.
fn external(gateway: &Gateway, prefix: &str) -> Gateway {
    let routes = gateway.routes.iter().map(|(path, route)| {
        let path = path.strip_prefix(prefix).unwrap_or(path);
        (path.to_owned(), route.clone())
    });
    Gateway {
        name: String::new(),
        metadata: gateway.metadata.clone(),
        port: gateway.port.clone(),
        service: None,
        sticky: gateway.sticky,
        virtual_hosts: gateway.virtual_hosts.clone(),
        routes: routes.collect(),
        options: gateway.options.clone(),
        deployed: false,
    }
}

//! Blueprints, their clusters and services (spec of the artifacts, §5).

use std::collections::BTreeSet;

use indexmap::IndexMap;
use weir_model::document::GATEWAY_OPTIONS;

use super::{
    breed,
    common::{self, dialects, health_checks, key_name, kind, metadata, strict_key_name, text, variables},
    cursor::{Cursor, Table},
    deployment, gateway, scale, sla,
};
use crate::{
    Blueprint, Cluster, Gateway, OrReference, Service,
    check::{self, Issue, Scope},
};

/// What a blueprint is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be stored.
    Store,
    /// To be merged into a deployment. May be a printed deployment: what only those have is passed over.
    Deploy,
    /// As part of a stored deployment, with what runs.
    Deployment,
}

/// A blueprint, or what is deployed as one.
pub(super) fn blueprint(mut table: Table<'_>, purpose: Purpose) -> Blueprint {
    match purpose {
        Purpose::Deploy => {
            if let Some(cursor) = table.take("kind")
                && !cursor
                    .scalar()
                    .is_some_and(|kind| matches!(kind.text.as_str(), "deployment" | "deployments"))
            {
                kind(&mut table, "blueprint");
            }
            table.ignore(&["lookup_name", "ports", "hosts"]);
        }
        Purpose::Store | Purpose::Deployment => kind(&mut table, "blueprint"),
    }
    let blueprint = Blueprint {
        name: common::name(&mut table),
        metadata: metadata(&mut table),
        gateways: external_gateways(&mut table),
        clusters: clusters(&mut table, purpose),
        environment_variables: variables(&mut table, cluster_variable),
        dialects: dialects(&mut table),
    };
    let cursor = table.cursor.clone();
    table.finish();
    let scope = match purpose {
        Purpose::Store => Scope::Whole,
        Purpose::Deploy | Purpose::Deployment => Scope::Part,
    };
    cursor.check(|| check::blueprint_issues(&blueprint, scope));
    blueprint
}

/// `cluster.NAME`; the long form `cluster.environment_variables.NAME` is accepted.
pub(super) fn cluster_variable(_: &Cursor<'_>, key: &str) -> String {
    let parts: Vec<&str> = key.split('.').collect();
    match parts.as_slice() {
        [cluster, "environment_variables" | "env", name] => format!("{cluster}.{name}"),
        _ => key.to_owned(),
    }
}

fn external_gateways(table: &mut Table<'_>) -> Vec<Gateway> {
    let Some(cursor) = table.take("gateways") else {
        return Vec::new();
    };
    cursor
        .pairs()
        .into_iter()
        .filter(|(_, gateway)| !gateway.is_null())
        .map(|(key, gateway)| gateway::external(key, &gateway))
        .collect()
}

pub(super) fn clusters(table: &mut Table<'_>, purpose: Purpose) -> IndexMap<String, Cluster> {
    let Some(cursor) = table.take("clusters") else {
        return IndexMap::new();
    };
    let mut clusters = IndexMap::new();
    for (name, value) in cursor.pairs() {
        key_name(&cursor, name);
        if !value.is_null() {
            clusters.insert(name.to_owned(), cluster(&value, purpose));
        }
    }
    clusters
}

/// A cluster in any of its forms (§5.1): the name of a breed, a list of services, one service spread over the
/// cluster's map, or in full.
fn cluster(cursor: &Cursor<'_>, purpose: Purpose) -> Cluster {
    if !cursor.is_map() {
        return Cluster {
            services: services(&cursor.under("services"), purpose),
            ..Cluster::default()
        };
    }
    let Some(mut table) = cursor.table() else {
        return Cluster::default();
    };
    let mut cluster = Cluster {
        sla: table.take("sla").and_then(|cursor| sla::of_cluster(&cursor)),
        ..Cluster::default()
    };
    let gateways = table.take("gateways");
    if table.has("services") {
        table.ignore(&["kind", "name"]);
        cluster.services = table
            .take("services")
            .map(|cursor| services(&cursor, purpose))
            .unwrap_or_default();
        cluster.metadata = metadata(&mut table);
        cluster.network = text(&mut table, "network");
        cluster.dialects = dialects(&mut table);
        cluster.health_checks = health_checks(&mut table);
        table.finish();
    } else {
        table.take("services");
        // A breed in place keeps the metadata to itself.
        if table.has("breed") || !table.has("name") {
            cluster.metadata = metadata(&mut table);
        }
        if !table.is_exhausted() {
            table.descend("services");
            table.descend("0");
            cluster.services.push(service(table, purpose));
        }
    }
    if let Some(gateways) = gateways {
        cluster.gateways = internal_gateways(&gateways, &cluster.services);
    }
    cluster
}

fn services(cursor: &Cursor<'_>, purpose: Purpose) -> Vec<Service> {
    cursor
        .items_or_self()
        .iter()
        .filter_map(|item| match item.scalar() {
            Some(scalar) => Some(of_breed(OrReference::Reference(scalar.text.clone()))),
            None => item.table().map(|table| service(table, purpose)),
        })
        .collect()
}

fn of_breed(breed: OrReference<crate::Breed>) -> Service {
    Service {
        breed,
        environment_variables: IndexMap::new(),
        scale: None,
        arguments: Vec::new(),
        health_checks: None,
        network: None,
        dialects: serde_json::Map::new(),
        runtime: None,
    }
}

fn service(mut table: Table<'_>, purpose: Purpose) -> Service {
    let breed = if table.has("breed") {
        table.take("breed").map(|cursor| breed::or_reference(&cursor))
    } else if table.has("name") {
        return of_breed(OrReference::Inline(breed::breed(table)));
    } else if let Some(cursor) = table.take_either(["reference", "ref"]) {
        Some(OrReference::Reference(
            cursor.text().unwrap_or_default().to_owned(),
        ))
    } else {
        table
            .require("breed")
            .map(|_| OrReference::Reference(String::new()))
    };
    let mut service = of_breed(breed.unwrap_or_else(|| OrReference::Reference(String::new())));
    service.environment_variables = variables(&mut table, |map, key| {
        strict_key_name(map, key, key);
        key.to_owned()
    });
    service.scale = table
        .take("scale")
        .and_then(|cursor| scale::or_reference(&cursor));
    service.arguments = common::arguments(&mut table);
    service.health_checks = health_checks(&mut table);
    service.network = text(&mut table, "network");
    service.dialects = dialects(&mut table);
    old_dialects(&mut table, &mut service.dialects);
    match purpose {
        Purpose::Store => table.ignore(&["health"]),
        Purpose::Deploy => table.ignore(&["health", "status", "instances", "dependencies"]),
        Purpose::Deployment => service.runtime = deployment::runtime(&mut table),
    }
    table.finish();
    service
}

/// Drivers that Vamp 0.9.2 and earlier knew directly in services.
const OLD_DIALECTS: [&str; 4] = ["docker", "marathon", "kubernetes", "rancher"];

/// `docker: {...}` of a service, as Vamp 0.9.2 and earlier had it.
fn old_dialects(table: &mut Table<'_>, dialects: &mut serde_json::Map<String, serde_json::Value>) {
    for driver in OLD_DIALECTS {
        let Some(cursor) = table.take_aside(driver) else {
            continue;
        };
        if !cursor.is_map() {
            cursor.unexpected_type("a map");
            continue;
        }
        if dialects.contains_key(driver) {
            cursor.problem_with(
                "UnexpectedElement",
                format!("`{driver}` stands in `dialects` already"),
                "put both together there",
            );
            continue;
        }
        dialects.insert(driver.to_owned(), cursor.to_value());
        cursor.warn(|_| {
            vec![Issue {
                code: "OldDialect",
                path: Vec::new(),
                message: format!("this form of Vamp 0.9.2 is read as `dialects: {{{driver}: ...}}`"),
                hint: Some("write it so".to_owned()),
            }]
        });
    }
}

/// What only a gateway has, not a cluster's map of gateways; beside these its options.
const OF_GATEWAYS: [&str; 4] = ["routes", "sticky", "virtual_hosts", "selector"];

/// Whether a map is a gateway's own. An option's name may be a port's: under that stands a gateway.
fn is_gateway(cursor: &Cursor<'_>) -> bool {
    OF_GATEWAYS.iter().any(|key| cursor.has(key))
        || GATEWAY_OPTIONS.iter().any(|key| {
            let value = cursor.entry(key);
            value.is_some_and(|value| {
                let mut keys = OF_GATEWAYS.iter().chain(&GATEWAY_OPTIONS);
                !keys.any(|key| value.has(key))
            })
        })
}

/// A cluster's gateways: by the name of a port, or one body for the only port.
fn internal_gateways(cursor: &Cursor<'_>, services: &[Service]) -> IndexMap<String, Gateway> {
    if is_gateway(cursor) {
        let port = only_port(cursor, services);
        return [(port, gateway::internal(cursor))].into_iter().collect();
    }
    let mut gateways = IndexMap::new();
    for (key, value) in cursor.pairs() {
        if value.is_null() {
            continue;
        }
        let port = match key {
            Cluster::ANONYMOUS => only_port(&value, services),
            port => port.to_owned(),
        };
        gateways.insert(port, gateway::internal(&value));
    }
    gateways
}

/// The port that a gateway without the name of a port means.
fn only_port(cursor: &Cursor<'_>, services: &[Service]) -> String {
    let mut ports = BTreeSet::new();
    let mut all_inline = !services.is_empty();
    for service in services {
        match &service.breed {
            OrReference::Inline(breed) => ports.extend(breed.ports.keys()),
            OrReference::Reference(_) => all_inline = false,
        }
    }
    let anonymous = Cluster::ANONYMOUS.to_owned();
    match (ports.len(), ports.first()) {
        (1, Some(port)) => (*port).clone(),
        (0, _) => {
            if all_inline && !cursor.is_unchecked() {
                cursor.problem("UnresolvedGatewayPortError", "no breed of the cluster has a port");
            }
            anonymous
        }
        _ => {
            if !cursor.is_unchecked() {
                let names: Vec<&str> = ports.iter().map(|port| port.as_str()).collect();
                cursor.problem_with(
                    "IllegalAnonymousRoutingPortMappingError",
                    "the gateway must name its port: the breeds of the cluster have several",
                    format!("write `gateways: {{PORT: ...}}` with one of {}", names.join(", ")),
                );
            }
            anonymous
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Kind, read, write};

    #[test]
    fn options_of_the_only_ports_gateway_are_no_ports() {
        for (gateways, port, key) in [
            ("{accept_proxy_protocol: true}", "web", "accept_proxy_protocol"),
            (
                "{tls: {certificates: [{certificate: /a.pem, key: /b.pem}]}}",
                "web",
                "tls",
            ),
            ("{tls: {sticky: route}}", "tls", "sticky"),
            (
                "{tls: {accept_proxy_protocol: true}}",
                "tls",
                "accept_proxy_protocol",
            ),
            ("{tls: {routes: {}, sticky: route}, web: {}}", "tls", "sticky"),
            (
                "{web: {accept_proxy_protocol: true}}",
                "web",
                "accept_proxy_protocol",
            ),
        ] {
            let ports = match port {
                "tls" => "{tls: 443/http, web: 80/http}",
                _ => "{web: 80/http}",
            };
            let text = format!(
                "{{name: a, clusters: {{c: {{gateways: {gateways}, services: \
                 {{breed: {{name: b, deployable: x, ports: {ports}}}}}}}}}}}"
            );
            let read =
                read::one(Kind::Blueprint, &text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
            let value = write::value(&read);
            let gateway = &value["clusters"]["c"]["gateways"][port];
            assert!(
                gateway.get(key).is_some_and(|value| !value.is_null()),
                "{text}: {value}"
            );
            // As it is printed, it is read again.
            assert_eq!(
                read::one(Kind::Blueprint, &value.to_string()).as_ref(),
                Ok(&read),
                "{value}"
            );
        }
    }
}

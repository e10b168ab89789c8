//! Gateways and routes.

use serde_json::{Map, Value, json};
use weir_model::{Sticky, document::write_options, lookup};

use super::{Fields, map, reference};
use crate::{Gateway, NamedRoute, OrReference, Rewrite, Route, RouteTarget};

/// A gateway on its own, in full.
pub(super) fn gateway(gateway: &Gateway) -> Map<String, Value> {
    let service = gateway
        .service
        .as_ref()
        .map(|service| json!({ "host": service.host, "port": service.port.text }));
    let routes = gateway.routes.iter().map(|(path, route)| {
        let value = match route {
            OrReference::Reference(name) => reference(name),
            OrReference::Inline(route) => fields(path, route)
                .put("lookup_name", lookup::route(&gateway.name, path))
                .0
                .into(),
        };
        (path.clone(), value)
    });
    Fields::default()
        .head(&gateway.name, "gateway", &gateway.metadata)
        .put("lookup_name", lookup::gateway(&gateway.name))
        .put("internal", gateway.name.split('/').count() == 3)
        .put_some("service", service)
        .put("deployed", gateway.deployed)
        .put("port", gateway.port.as_ref().map(|port| port.text.clone()))
        .put("sticky", sticky(gateway.sticky))
        .put("virtual_hosts", gateway.virtual_hosts.clone())
        .put("routes", routes.collect::<Map<_, _>>())
        .put_all(&write_options(&gateway.options))
        .0
}

/// A blueprint's gateways, by port.
pub(super) fn external(gateways: &[Gateway]) -> Value {
    let body = |gateway: &Gateway| {
        let key = gateway
            .port
            .as_ref()
            .map_or_else(|| "0/http".to_owned(), |port| port.text.clone());
        (key, short(gateway))
    };
    Value::Object(gateways.iter().map(body).collect())
}

/// A gateway inside something else: without what the core decides.
pub(super) fn short(gateway: &Gateway) -> Value {
    let routes = gateway.routes.iter().map(|(path, route)| {
        let value = match route {
            OrReference::Reference(name) => reference(name),
            OrReference::Inline(route) => fields(path, route).0.into(),
        };
        (short_path(path).to_owned(), value)
    });
    Fields::default()
        .put("sticky", sticky(gateway.sticky))
        .put("virtual_hosts", gateway.virtual_hosts.clone())
        .put("routes", routes.collect::<Map<_, _>>())
        .put_all(&write_options(&gateway.options))
        .0
        .into()
}

/// A route on its own.
pub(super) fn named_route(route: &NamedRoute) -> Map<String, Value> {
    let mut head = Fields::default().head(&route.name, "route", &route.metadata).0;
    head.extend(fields("", &route.route).0);
    head
}

/// A full path shortened: four parts to the service, three to `cluster/port`.
fn short_path(path: &str) -> &str {
    if path.starts_with('[') {
        return path;
    }
    match path.split('/').count() {
        4 => path.split('/').nth(2).unwrap_or(path),
        3 => path.split_once('/').map_or(path, |(_, rest)| rest),
        _ => path,
    }
}

fn sticky(sticky: Sticky) -> &'static str {
    match sticky {
        Sticky::None => "none",
        Sticky::Route => "route",
        Sticky::Instance => "instance",
    }
}

fn fields(path: &str, route: &Route) -> Fields {
    let condition = route.condition.as_ref().map(|condition| match condition {
        OrReference::Reference(name) => reference(name),
        OrReference::Inline(condition) => json!({ "condition": condition.source() }),
    });
    let rewrite = |rewrite: &Rewrite| match rewrite {
        Rewrite::Reference(name) => reference(name),
        Rewrite::Path(path) => json!({ "path": path.source() }),
    };
    let targets = (!route.targets.is_empty()).then(|| {
        let targets = route.targets.iter().map(|target| self::target(path, target));
        targets.collect::<Value>()
    });
    Fields::default()
        .put("weight", route.weight.map(|weight| weight.to_string()))
        .put("condition", condition)
        .put(
            "condition_strength",
            route.condition_strength.map(|strength| strength.to_string()),
        )
        .put("rewrites", route.rewrites.iter().map(rewrite).collect::<Value>())
        .put("balance", route.balance.as_deref().unwrap_or("default"))
        .put_all(&write_options(&route.options))
        .put_some("targets", targets)
}

fn target(path: &str, target: &RouteTarget) -> Value {
    if path.starts_with('[') {
        return json!({ "url": target.name });
    }
    Fields::default()
        .put("name", target.name.clone())
        .put_some("host", target.host.clone())
        .put("port", target.port)
        .put("metadata", Map::new())
        .0
        .into()
}

/// A cluster's gateways, by port name; directly if no port is named.
pub(super) fn internal(gateways: &indexmap::IndexMap<String, Gateway>) -> Value {
    if gateways.len() == 1
        && let Some(gateway) = gateways.get(crate::Cluster::ANONYMOUS)
    {
        return short(gateway);
    }
    map(gateways, short)
}

//! Gateways (spec of the artifacts, §5.2 and §7): on their own, a blueprint's and a cluster's.

use indexmap::IndexMap;
use weir_model::{Protocol, Sticky};

use super::{
    common::{kind, metadata},
    cursor::{Cursor, Table},
    options, route,
};
use crate::{Gateway, GatewayService, OrReference, PortValue, Route, check, problem::shown, prove, units};

/// Where a gateway is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On its own.
    Own,
    /// At the top of a blueprint, under a port.
    External,
    /// In a cluster, under the name of a port.
    Internal,
}

/// A gateway on its own.
pub(super) fn gateway(mut table: Table<'_>) -> Gateway {
    let name = name(&mut table);
    let port = table.take("port").and_then(|cursor| port(&cursor));
    let service = table.take("service").and_then(|cursor| service(&cursor));
    let deployed = table.take("deployed").and_then(|cursor| cursor.boolean());
    let metadata = metadata(&mut table);
    let gateway = Gateway {
        name,
        metadata,
        port,
        service,
        deployed: deployed.unwrap_or_default(),
        ..body(&mut table, Place::Own)
    };
    let cursor = table.cursor.clone();
    table.finish();
    cursor.check(|| check::gateway_issues(&gateway));
    cursor.warn(|steps| prove::gateway(&gateway, steps));
    gateway
}

/// A blueprint's gateway. The key is a port, or a name beside which `port` stands inside.
pub(super) fn external(key: &str, cursor: &Cursor<'_>) -> Gateway {
    let by_key = units::strict_port(key);
    if by_key.is_none() && key.bytes().all(|b| b.is_ascii_digit()) {
        cursor.problem(
            "InvalidGatewayPortError",
            format!("`{}` is not {}", shown(key), units::PORT),
        );
    }
    let named = PortValue {
        text: key.to_owned(),
        number: 0,
        protocol: Protocol::Http,
    };
    let mut gateway = Gateway {
        port: Some(by_key.unwrap_or(named)),
        ..Gateway::default()
    };
    if !cursor.is_map() {
        gateway.routes = routes(cursor, Place::External);
        cursor.check(|| check::gateway_issues(&gateway));
        cursor.warn(|steps| prove::gateway(&gateway, steps));
        return gateway;
    }
    let Some(mut table) = cursor.table() else {
        return gateway;
    };
    if let Some(inside) = table.take("port").and_then(|cursor| port(&cursor))
        && inside.number != 0
    {
        gateway.port = Some(inside);
    }
    table.ignore(&["metadata", "service", "deployed"]);
    gateway = Gateway {
        port: gateway.port,
        ..body(&mut table, Place::External)
    };
    table.finish();
    cursor.check(|| check::gateway_issues(&gateway));
    cursor.warn(|steps| prove::gateway(&gateway, steps));
    gateway
}

/// A cluster's gateway.
pub(super) fn internal(cursor: &Cursor<'_>) -> Gateway {
    let Some(mut table) = cursor.table() else {
        return Gateway::default();
    };
    table.ignore(&["metadata", "service", "deployed"]);
    let gateway = body(&mut table, Place::Internal);
    table.finish();
    cursor.warn(|steps| prove::gateway(&gateway, steps));
    gateway
}

/// What gateways have everywhere.
fn body(table: &mut Table<'_>, place: Place) -> Gateway {
    kind(table, "gateway");
    table.ignore(&["internal", "proxy"]);
    no_selector(table, "the routes are named: `routes: {PATH: {weight: 100%}}`");
    Gateway {
        sticky: table
            .take("sticky")
            .map(|cursor| sticky(&cursor))
            .unwrap_or_default(),
        virtual_hosts: table
            .take("virtual_hosts")
            .map(|cursor| virtual_hosts(&cursor))
            .unwrap_or_default(),
        routes: table
            .take("routes")
            .map(|cursor| routes(&cursor, place))
            .unwrap_or_default(),
        options: options::gateway(table),
        ..Gateway::default()
    }
}

/// Refuses a selector of Vamp 0.9.6 and later: passed over, it would leave traffic nowhere to go. `instead` says how the same
/// is written.
pub(super) fn no_selector(table: &mut Table<'_>, instead: &str) {
    if let Some(cursor) = table.take_aside("selector") {
        cursor.problem_with(
            "UnsupportedSelectorError",
            "selectors of instances (Vamp 0.9.6 and later) are not supported",
            format!(
                "{instead}; the path `deployment/cluster/service/port` leads to all instances of a service, however many \
                 there are, `[host:port]` to something outside"
            ),
        );
    }
}

fn name(table: &mut Table<'_>) -> String {
    let Some(cursor) = table.require("name") else {
        return String::new();
    };
    let Some(text) = cursor.text() else {
        return String::new();
    };
    if !is_path(text) {
        cursor.problem_with(
            "UnsupportedGatewayNameError",
            format!("`{}` is not a gateway's name", shown(text)),
            "one to four parts separated by `/`, without white space and brackets",
        );
    }
    text.to_owned()
}

/// One to four parts without white space and brackets.
pub(super) fn is_path(text: &str) -> bool {
    const PARTS_MAX: usize = 4;
    !text.contains(|c: char| c.is_whitespace() || matches!(c, '[' | ']'))
        && text.split('/').all(|part| !part.is_empty())
        && text.split('/').count() <= PARTS_MAX
}

fn port(cursor: &Cursor<'_>) -> Option<PortValue> {
    let port = units::strict_port(cursor.text()?);
    if port.is_none() {
        let text = cursor.text().unwrap_or_default();
        cursor.problem(
            "InvalidGatewayPortError",
            format!("`{}` is not {}", shown(text), units::PORT),
        );
    }
    port
}

fn service(cursor: &Cursor<'_>) -> Option<GatewayService> {
    let mut table = cursor.table()?;
    let host = table
        .require("host")
        .and_then(|cursor| cursor.text().map(str::to_owned));
    let port = table.require("port").and_then(|cursor| port(&cursor));
    table.finish();
    Some(GatewayService {
        host: host?,
        port: port?,
    })
}

fn sticky(cursor: &Cursor<'_>) -> Sticky {
    match cursor
        .scalar()
        .map(|scalar| scalar.text.to_ascii_lowercase())
        .as_deref()
    {
        Some("route") => Sticky::Route,
        Some("instance") => Sticky::Instance,
        Some("none") => Sticky::None,
        _ => {
            let found = cursor.scalar().map_or("this", |scalar| &scalar.text);
            cursor.problem_with(
                "IllegalGatewayStickyValue",
                format!("`{}` is not a kind of stickiness", shown(found)),
                "route, instance or none",
            );
            Sticky::None
        }
    }
}

fn virtual_hosts(cursor: &Cursor<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for item in cursor.items_or_self() {
        match item.scalar() {
            Some(scalar) => hosts.push(scalar.text.clone()),
            None => item.problem("IllegalGatewayVirtualHosts", "virtual hosts are texts"),
        }
    }
    hosts
}

/// Routes: one path, a list of paths and maps, or a map of paths.
fn routes(cursor: &Cursor<'_>, place: Place) -> IndexMap<String, OrReference<Route>> {
    let mut routes = IndexMap::new();
    if let Some(scalar) = cursor.scalar() {
        add(&mut routes, cursor, &scalar.text, None, place);
    } else if cursor.is_map() {
        for (path, route) in cursor.pairs() {
            add(&mut routes, &route, path, Some(&route), place);
        }
    } else {
        for item in cursor.items() {
            match item.scalar() {
                Some(scalar) => add(&mut routes, &item, &scalar.text, None, place),
                None => {
                    for (path, route) in item.pairs() {
                        add(&mut routes, &route, path, Some(&route), place);
                    }
                }
            }
        }
    }
    routes
}

fn add(
    routes: &mut IndexMap<String, OrReference<Route>>,
    at: &Cursor<'_>,
    path: &str,
    body: Option<&Cursor<'_>>,
    place: Place,
) {
    route::check_path(at, path, place);
    let route = match body {
        Some(body) if !body.is_null() => route::or_reference(body, place),
        _ => OrReference::Inline(Route::default()),
    };
    routes.insert(path.to_owned(), route);
}

#[cfg(test)]
mod tests {
    use crate::{Kind, read};

    #[test]
    fn selectors_are_refused_wherever_they_stand() {
        for (kind, text, path) in [
            (
                Kind::Gateway,
                "{name: a, selector: image(x), port: 80}",
                "selector",
            ),
            (
                Kind::Gateway,
                "{name: a, routes: {b: {selector: id(x), weight: 100%}}}",
                "routes/b/selector",
            ),
            (Kind::Route, "{name: a, selector: true}", "selector"),
            (
                Kind::Blueprint,
                "{name: a, gateways: {80: {selector: x}}, clusters: {c: b}}",
                "gateways/80/selector",
            ),
            (
                Kind::Blueprint,
                "{name: a, clusters: {c: {services: b, gateways: {selector: x}}}}",
                "clusters/c/gateways/selector",
            ),
        ] {
            let problems = read::one(kind, text).unwrap_err();
            let found: Vec<_> = problems
                .iter()
                .map(|problem| (problem.code, problem.path.as_str()))
                .collect();
            assert_eq!(found, [("UnsupportedSelectorError", path)], "{text}");
            let hint = problems[0].hint.as_deref().unwrap();
            assert!(hint.contains("deployment/cluster/service/port"), "{hint}");
        }
    }
}

//! One artifact with everything that is known of it.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    Table,
    list::{condition, deployable, route_label, service_status},
};
use crate::{
    traffic::{self, GatewayTraffic},
    tree,
};

fn heading(text: &mut String, title: &str) {
    let _ = write!(text, "\n{title}\n");
}

/// A deployment: services, what they wait for, instances, and the gateways that lead to them.
pub(crate) fn deployment(deployment: &Value, gateways: &[Value], color: bool) -> String {
    let mut text = format!(
        "Name:    {}\nStatus:  {}\n",
        tree::name(deployment),
        super::list::deployment_status(deployment)
    );
    let mut services = Table::new(&[
        "SERVICE",
        "DEPLOYABLE",
        "STATUS",
        "CLUSTER",
        "CPU",
        "MEM",
        "INSTANCES",
        "RUNNING",
        "STAGED",
        "HEALTHY",
        "UNHEALTHY",
    ]);
    let mut instances = Table::new(&["INSTANCE", "SERVICE", "HOST", "PORTS", "DEPLOYED"]);
    let mut notes = String::new();
    let all = tree::entries(deployment, "/clusters")
        .flat_map(|(name, cluster)| tree::elements(cluster, "/services").map(move |service| (name, service)));
    for (cluster, service) in all {
        let name = service.pointer("/breed").map(tree::name).unwrap_or_default();
        let at = |pointer: &str| tree::text(service, pointer);
        services.row(vec![
            name.clone(),
            service.pointer("/breed").map(deployable).unwrap_or_default(),
            service_status(service).to_owned(),
            cluster.to_owned(),
            at("/scale/cpu"),
            at("/scale/memory"),
            at("/scale/instances"),
            at("/health/running"),
            at("/health/staged"),
            at("/health/healthy"),
            at("/health/unhealthy"),
        ]);
        let notification = at("/status/phase/notification");
        if !notification.is_empty() {
            let _ = writeln!(notes, "{cluster}/{name}: {notification}");
        }
        for instance in tree::elements(service, "/instances") {
            let ports = tree::entries(instance, "/ports")
                .map(|(name, port)| format!("{name}:{}", tree::scalar(port)))
                .collect::<Vec<_>>()
                .join(", ");
            instances.row(vec![
                tree::text(instance, "/name"),
                name.clone(),
                tree::text(instance, "/host"),
                ports,
                tree::text(instance, "/deployed"),
            ]);
        }
    }
    heading(&mut text, "Services");
    text.push_str(&services.render(color));
    if !notes.is_empty() {
        heading(&mut text, "Notifications");
        text.push_str(&notes);
    }
    if !instances.is_empty() {
        heading(&mut text, "Instances");
        text.push_str(&instances.render(color));
    }
    let mut routes = Table::new(&["GATEWAY", "PORT", "ROUTE", "WEIGHT", "CONDITION", "STRENGTH"]);
    for gateway in gateways {
        for (path, route) in tree::entries(gateway, "/routes") {
            routes.row(vec![
                tree::name(gateway),
                tree::text(gateway, "/port"),
                route_label(path).to_owned(),
                tree::text(route, "/weight"),
                condition(route),
                strength(route),
            ]);
        }
    }
    if !routes.is_empty() {
        heading(&mut text, "Routes");
        text.push_str(&routes.render(color));
    }
    text
}

/// The strength, where there is a condition for it.
fn strength(route: &Value) -> String {
    if condition(route).is_empty() {
        String::new()
    } else {
        tree::text(route, "/condition_strength")
    }
}

/// A gateway: what is intended, what the agents acknowledged, what traffic does.
pub(crate) fn gateway(gateway: &Value, traffic: Option<&GatewayTraffic>, color: bool) -> String {
    let name = tree::name(gateway);
    let at = |pointer: &str| tree::text(gateway, pointer);
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    let internal = match gateway.pointer("/internal").and_then(Value::as_bool) {
        Some(internal) => internal,
        None => name.split('/').count() == 3,
    };
    let mut text = String::new();
    let hosts: Vec<String> = tree::elements(gateway, "/virtual_hosts")
        .map(tree::scalar)
        .collect();
    for (label, value) in [
        ("Name:", name),
        ("Type:", if internal { "internal" } else { "external" }.to_owned()),
        ("Port:", or(at("/port"), "-")),
        ("Service host:", or(at("/service/host"), "-")),
        ("Service port:", or(at("/service/port"), "-")),
        ("Sticky:", or(at("/sticky").to_ascii_lowercase(), "none")),
        ("Virtual hosts:", or(hosts.join(", "), "-")),
        ("Deployed:", or(at("/deployed"), "false")),
    ] {
        let _ = writeln!(text, "{label:<15}{value}");
    }
    if let Some(traffic) = traffic {
        let _ = writeln!(
            text,
            "{:<15}{:.1} requests/s, {} since counting began",
            "Traffic:", traffic.rate, traffic.requests
        );
        let _ = writeln!(text, "{:<15}{}", "Acknowledged:", traffic.acknowledged_by());
    }
    let mut table = Table::new(&[
        "ROUTE",
        "WEIGHT",
        "ACKNOWLEDGED",
        "OBSERVED",
        "CONDITION",
        "STRENGTH",
        "RATE",
        "P50 MS",
        "P99 MS",
        "ERRORS",
        "TARGETS",
    ]);
    for (path, route) in tree::entries(gateway, "/routes") {
        let live = traffic.and_then(|traffic| traffic.routes.iter().find(|live| live.name == path));
        let targets = tree::elements(route, "/targets")
            .map(|target| {
                let url = tree::text(target, "/url");
                if url.is_empty() {
                    format!("{}:{}", tree::text(target, "/host"), tree::text(target, "/port"))
                } else {
                    url
                }
            })
            .collect::<Vec<_>>()
            .join(", ");
        table.row(vec![
            path.to_owned(),
            tree::text(route, "/weight"),
            live.and_then(|live| live.acknowledged)
                .map(tree::percent)
                .unwrap_or_default(),
            live.map(|live| traffic::share(live.observed)).unwrap_or_default(),
            condition(route),
            strength(route),
            live.map(|live| format!("{:.1}", live.rate)).unwrap_or_default(),
            live.map(|live| traffic::milliseconds(live.p50_ms))
                .unwrap_or_default(),
            live.map(|live| traffic::milliseconds(live.p99_ms))
                .unwrap_or_default(),
            live.map(|live| live.errors.to_string()).unwrap_or_default(),
            targets,
        ]);
    }
    heading(&mut text, "Routes");
    text.push_str(&table.render(color));
    let mut instances = Table::new(&["INSTANCE", "ROUTE", "ADDRESS", "REQUESTS", "HEALTHY"]);
    for route in traffic.into_iter().flat_map(|traffic| &traffic.routes) {
        for instance in &route.instances {
            instances.row(vec![
                instance.id.clone(),
                route_label(&route.name).to_owned(),
                instance.address.clone(),
                instance.requests.to_string(),
                instance
                    .healthy
                    .map(|healthy| healthy.to_string())
                    .unwrap_or_default(),
            ]);
        }
    }
    if !instances.is_empty() {
        heading(&mut text, "Instances");
        text.push_str(&instances.render(color));
    }
    text
}

/// Any other artifact, as YAML.
pub(crate) fn other(artifact: &Value) -> String {
    weir_artifact::write::yaml(artifact)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_deployment_tells_why_it_waits() {
        let deployment = json!({"name": "shop", "clusters": {"front": {"services": [{
            "breed": {"name": "front:1", "deployable": {"type": "command", "definition": "sleep 1"}},
            "status": {"intention": "Deployment", "phase": {"name": "Failed", "notification": "command not found"}},
            "scale": {"cpu": 0.1, "memory": "64.00MB", "instances": 2},
            "health": {"running": 1, "staged": 1, "healthy": 0, "unhealthy": 1},
            "instances": [{"name": "i1", "host": "127.0.0.1", "ports": {"web": 31000}, "deployed": true}],
        }]}}});
        let text = super::deployment(&deployment, &[], false);
        assert!(text.contains("Status:  Failed"), "{text}");
        assert!(text.contains("front/front:1: command not found"), "{text}");
        assert!(
            text.contains("i1        front:1  127.0.0.1  web:31000  true"),
            "{text}"
        );
    }
}

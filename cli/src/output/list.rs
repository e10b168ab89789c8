//! Tables of artifacts, one set of columns per kind.

use serde_json::Value;

use super::Table;
use crate::{kind::Kind, tree};

/// Longest text of a cell that is an excerpt, in characters.
const EXCERPT: usize = 60;

fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= EXCERPT {
        return line;
    }
    let mut short: String = line.chars().take(EXCERPT - 4).collect();
    short.push_str(" ...");
    short
}

fn keys(value: &Value, pointer: &str) -> String {
    tree::entries(value, pointer)
        .map(|(key, _)| key)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a breed runs: the definition, or the language of a script.
pub(crate) fn deployable(breed: &Value) -> String {
    match breed.pointer("/deployable") {
        Some(Value::String(definition)) => excerpt(definition),
        Some(tree) => {
            let kind = tree::text(tree, "/type");
            if kind == "application/javascript" {
                "javascript".to_owned()
            } else {
                excerpt(&tree::text(tree, "/definition"))
            }
        }
        None => String::new(),
    }
}

/// One word for a service's status.
pub(crate) fn service_status(service: &Value) -> &'static str {
    let phase = tree::text(service, "/status/phase/name");
    match tree::text(service, "/status/intention").as_str() {
        "Undeployment" if phase == "Failed" => "Failed",
        "Undeployment" if phase == "Done" => "Undeployed",
        "Undeployment" => "Undeploying",
        "Deployment" => match phase.as_str() {
            "Failed" => "Failed",
            "Initiated" => "Initiating",
            "Updating" => "Deploying",
            _ => "Deployed",
        },
        _ => "",
    }
}

/// One word for a deployment's status: that of the service which is worst off.
pub(crate) fn deployment_status(deployment: &Value) -> &'static str {
    const RISING: [&str; 6] = [
        "Undeployed",
        "Deployed",
        "Deploying",
        "Undeploying",
        "Initiating",
        "Failed",
    ];
    let rank = |status: &str| RISING.iter().position(|known| *known == status);
    tree::entries(deployment, "/clusters")
        .flat_map(|(_, cluster)| tree::elements(cluster, "/services"))
        .map(service_status)
        .max_by_key(|status| rank(status))
        .unwrap_or_default()
}

/// A workflow's schedule on one line.
pub(crate) fn schedule(workflow: &Value) -> String {
    match workflow.pointer("/schedule") {
        Some(Value::Object(map)) if map.contains_key("event") => "event".to_owned(),
        Some(other) => excerpt(&tree::scalar(other)),
        None => String::new(),
    }
}

/// What a route is called in tables: its last part that distinguishes it, the service for instances.
pub(crate) fn route_label(path: &str) -> &str {
    if path.starts_with('[') {
        return path;
    }
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [_, _, service, _] => service,
        _ => path,
    }
}

/// A condition of a route: text, tree or reference.
pub(crate) fn condition(route: &Value) -> String {
    match route.pointer("/condition") {
        Some(Value::Object(map)) => map
            .get("condition")
            .map(tree::scalar)
            .unwrap_or_else(|| tree::name(&Value::Object(map.clone()))),
        Some(other) => tree::scalar(other),
        None => String::new(),
    }
}

fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Deployments => &["NAME", "CLUSTERS", "PORTS", "STATUS"],
        Kind::Gateways => &[
            "NAME",
            "PORT",
            "SERVICE HOST",
            "SERVICE PORT",
            "STICKY",
            "TYPE",
            "ROUTES",
        ],
        Kind::Blueprints => &["NAME", "CLUSTERS", "GATEWAYS"],
        Kind::Breeds => &["NAME", "DEPLOYABLE"],
        Kind::Workflows => &["NAME", "SCHEDULE", "STATUS", "BREED"],
        Kind::Conditions | Kind::Rewrites => &["NAME", "CONDITION"],
        Kind::Scales => &["NAME", "CPU", "MEMORY", "INSTANCES"],
        Kind::Escalations | Kind::Slas => &["NAME", "TYPE"],
        Kind::Routes => &["NAME", "WEIGHT", "CONDITION", "STRENGTH"],
        Kind::Templates => &["NAME"],
    }
}

fn row(kind: Kind, artifact: &Value) -> Vec<String> {
    let name = tree::name(artifact);
    let at = |pointer: &str| tree::text(artifact, pointer);
    match kind {
        Kind::Deployments => {
            let ports = tree::entries(artifact, "/ports")
                .map(|(name, port)| format!("{name}:{}", tree::scalar(port)))
                .collect::<Vec<_>>()
                .join(", ");
            vec![
                name,
                keys(artifact, "/clusters"),
                ports,
                deployment_status(artifact).to_owned(),
            ]
        }
        Kind::Gateways => {
            let sticky = !matches!(at("/sticky").to_ascii_lowercase().as_str(), "" | "none");
            let internal = match artifact.pointer("/internal").and_then(Value::as_bool) {
                Some(internal) => internal,
                None => name.split('/').count() == 3,
            };
            let routes = tree::entries(artifact, "/routes")
                .map(|(path, route)| format!("{} {}", route_label(path), tree::text(route, "/weight")))
                .collect::<Vec<_>>()
                .join(", ");
            vec![
                name,
                at("/port"),
                at("/service/host"),
                at("/service/port"),
                sticky.to_string(),
                if internal { "internal" } else { "external" }.to_owned(),
                routes,
            ]
        }
        Kind::Blueprints => {
            let gateways = tree::entries(artifact, "/gateways")
                .map(|(port, gateway)| {
                    let routes = match gateway {
                        Value::String(route) => route.clone(),
                        other => keys(other, "/routes"),
                    };
                    format!("{port} -> {routes}")
                })
                .collect::<Vec<_>>()
                .join(", ");
            vec![name, keys(artifact, "/clusters"), gateways]
        }
        Kind::Breeds => vec![name, deployable(artifact)],
        Kind::Workflows => vec![
            name,
            schedule(artifact),
            at("/status"),
            artifact.pointer("/breed").map(tree::name).unwrap_or_default(),
        ],
        Kind::Conditions => vec![name, at("/condition")],
        Kind::Rewrites => vec![name, at("/path")],
        Kind::Scales => vec![name, at("/cpu"), at("/memory"), at("/instances")],
        Kind::Escalations | Kind::Slas => vec![name, at("/type")],
        Kind::Routes => vec![
            name,
            at("/weight"),
            condition(artifact),
            at("/condition_strength"),
        ],
        Kind::Templates => vec![name],
    }
}

/// Artifacts of one kind as a table.
pub(crate) fn list(kind: Kind, artifacts: &[Value]) -> Table {
    let mut table = Table::new(columns(kind));
    for artifact in artifacts {
        table.row(row(kind, artifact));
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{deployment_status, list, route_label};
    use crate::kind::Kind;

    #[test]
    fn deployments_show_the_worst_service() {
        let service = |intention: &str, phase: &str| json!({"status": {"intention": intention, "phase": {"name": phase}}});
        let deployment = json!({"name": "shop", "ports": {"front.web": "40001"}, "clusters": {
            "front": {"services": [service("Deployment", "Done"), service("Deployment", "Updating")]},
            "back": {"services": [service("Deployment", "Done")]},
        }});
        assert_eq!(deployment_status(&deployment), "Deploying");
        assert_eq!(
            list(Kind::Deployments, &[deployment]).render(false),
            "NAME  CLUSTERS     PORTS            STATUS\n\
             shop  front, back  front.web:40001  Deploying\n"
        );
        let failed = json!({"clusters": {"c": {"services": [
            service("Deployment", "Failed"), service("Undeployment", "Updating")]}}});
        assert_eq!(deployment_status(&failed), "Failed");
    }

    #[test]
    fn gateways_show_type_and_routes() {
        let gateway = json!({"name": "shop/front/web", "port": "40001/http", "sticky": null,
            "service": {"host": "127.0.0.1", "port": "40001/http"},
            "routes": {"shop/front/front:1/web": {"weight": "80%"}, "shop/front/front:2/web": {"weight": "20%"}}});
        assert_eq!(
            list(Kind::Gateways, &[gateway]).render(false),
            "NAME            PORT        SERVICE HOST  SERVICE PORT  STICKY  TYPE      ROUTES\n\
             shop/front/web  40001/http  127.0.0.1     40001/http    false   internal  front:1 80%, front:2 20%\n"
        );
    }

    #[test]
    fn routes_are_called_by_what_distinguishes_them() {
        assert_eq!(route_label("shop/front/front:1/web"), "front:1");
        assert_eq!(route_label("shop/front/web"), "shop/front/web");
        assert_eq!(route_label("[10.0.0.1:80]"), "[10.0.0.1:80]");
        assert_eq!(route_label("[a/b/c/d]"), "[a/b/c/d]");
    }
}

//! `/scheduler`: where instances run (spec of the API §9, of newer versions of Vamp).

mod selector;

use std::collections::BTreeMap;

use axum::extract::State;
use serde_json::{Value, json};
use weir_artifact::{Deployment, OrReference};
use weir_driver::InstanceState;

use self::selector::{Candidate, Selector};
use super::{
    Api,
    answer::{Answer, ApiError, ErrorBody},
    paging::Paging,
    request::Parameters,
};
use crate::reconcile::chain;

/// Lists the hosts that instances run on.
#[utoipa::path(get, path = "/scheduler/nodes", tag = "system",
    params(("page" = Option<u64>, Query), ("per_page" = Option<u64>, Query)),
    responses((status = 200, description = "`{name, capacity: {cpu, memory}}` of each; memory in megabytes",
            body = [Value]),
        (status = 400, description = "Wrong", body = ErrorBody)))]
pub(super) async fn nodes(paging: Paging) -> Result<Answer, ApiError> {
    // Drivers say nothing of hosts yet: it is this one.
    let name = tokio::fs::read_to_string("/proc/sys/kernel/hostname")
        .await
        .unwrap_or_default();
    let memory = tokio::fs::read_to_string("/proc/meminfo")
        .await
        .unwrap_or_default();
    let node = json!({
        "name": match name.trim() {
            "" => "localhost",
            name => name,
        },
        "capacity": {
            "cpu": std::thread::available_parallelism().map_or(1, usize::from),
            "memory": memory_mb(&memory).map(|mb| format!("{mb}.00MB")),
        },
    });
    let (nodes, total) = paging.of(vec![node]);
    Ok(paging.answer(nodes, total))
}

/// Of `/proc/meminfo`.
fn memory_mb(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kb: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kb / 1024)
}

/// Lists what runs, by service.
#[utoipa::path(get, path = "/scheduler/routing", tag = "system",
    params(("selector" = Option<String>, Query, description = "Only what it selects, see docs/api.md; default `true`"),
        ("page" = Option<u64>, Query), ("per_page" = Option<u64>, Query)),
    responses((status = 200, description = "`{name, kind, namespace, labels, image?, instances: [{ip, ports: [{host, \
            container}]}]}` of each", body = [Value]),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 503, description = "The driver does not answer", body = ErrorBody)))]
pub(super) async fn routing(
    State(api): State<Api>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Answer, ApiError> {
    let state = &*api.state;
    let text = parameters.one("selector").unwrap_or_default();
    let selector = Selector::parse(text, &state.config.namespace)
        .map_err(|why| ApiError::problem("InvalidSelectorError", format!("The selector is wrong: {why}.")))?;
    let instances = state.driver.list().await.map_err(|error| {
        ApiError::new(
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            format!("The driver does not say what runs: {}.", chain(&error)),
        )
    })?;
    let images = images(&state.deployments().await?);
    let mut services: BTreeMap<String, (BTreeMap<String, String>, Vec<Value>)> = BTreeMap::new();
    for instance in instances {
        if instance.state != InstanceState::Running {
            continue;
        }
        let label = |name: &str| instance.labels.get(name).map(String::as_str);
        let parts = ["io.vamp.deployment", "io.vamp.cluster", "io.vamp.service"].map(label);
        let name = match parts {
            [Some(deployment), Some(cluster), Some(service)] => format!("{deployment}/{cluster}/{service}"),
            _ => instance.id.clone(),
        };
        let candidate = Candidate {
            name: &name,
            kind: state.driver.kind(),
            namespace: &state.config.namespace,
            labels: &instance.labels,
            image: images.get(&name).map(String::as_str),
            ip: &instance.host,
            port: None,
        };
        let selected = |(index, port): (usize, &u16)| {
            let port = Some((*port, index));
            selector.matches(&Candidate { port, ..candidate })
        };
        let ports: Vec<Value> = instance
            .ports
            .values()
            .enumerate()
            .filter(|(index, port)| selected((*index, port)))
            .map(|(_, port)| json!({"host": port, "container": port}))
            .collect();
        if ports.is_empty() && (!instance.ports.is_empty() || !selector.matches(&candidate)) {
            continue;
        }
        let of_service = services
            .entry(name)
            .or_insert_with(|| (instance.labels.clone(), Vec::new()));
        of_service.1.push(json!({"ip": instance.host, "ports": ports}));
    }
    let all = services.into_iter().map(|(name, (labels, instances))| {
        let mut service = json!({
            "name": name,
            "kind": state.driver.kind(),
            "namespace": state.config.namespace,
            "labels": labels,
            "instances": instances,
        });
        if let Some(image) = images.get(&name) {
            service["image"] = json!(image);
        }
        service
    });
    let (part, total) = paging.of(all.collect());
    Ok(paging.answer(part, total))
}

/// What runs in the containers of each `deployment/cluster/service`.
fn images(deployments: &[Deployment]) -> BTreeMap<String, String> {
    let mut images = BTreeMap::new();
    for deployment in deployments {
        for (cluster, of_cluster) in &deployment.clusters {
            for service in &of_cluster.services {
                let OrReference::Inline(breed) = &service.breed else {
                    continue;
                };
                let kind = breed.deployable.kind.as_deref();
                if kind.is_none_or(|kind| kind.ends_with("docker")) {
                    let name = format!("{}/{cluster}/{}", deployment.name, breed.name);
                    images.insert(name, breed.deployable.definition.clone());
                }
            }
        }
    }
    images
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_read() {
        let text = "MemTotal:        8152920 kB\nMemFree:  1 kB\n";
        assert_eq!(super::memory_mb(text), Some(7961));
        assert_eq!(super::memory_mb(""), None);
    }
}

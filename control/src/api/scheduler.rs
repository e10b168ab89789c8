//! `/scheduler`: where instances run (spec of the API §9, of newer versions of Vamp).

use std::collections::BTreeMap;

use axum::extract::State;
use serde_json::{Value, json};
use weir_driver::InstanceState;

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
    params(("selector" = Option<String>, Query, description = "Only `true` is supported"),
        ("page" = Option<u64>, Query), ("per_page" = Option<u64>, Query)),
    responses((status = 200, description = "`{name, kind, namespace, labels, instances: [{ip, ports: [{host, \
            container}]}]}` of each", body = [Value]),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 503, description = "The driver does not answer", body = ErrorBody)))]
pub(super) async fn routing(
    State(api): State<Api>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Answer, ApiError> {
    if let Some(selector) = parameters.one("selector")
        && !matches!(selector.trim(), "" | "true" | "t" | "1")
    {
        return Err(ApiError::problem(
            "InvalidSelectorError",
            format!("Selector `{selector}` is not supported; only `true` is."),
        ));
    }
    let state = &*api.state;
    let instances = state.driver.list().await.map_err(|error| {
        ApiError::new(
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            format!("The driver does not say what runs: {}.", chain(&error)),
        )
    })?;
    let mut services: BTreeMap<String, (BTreeMap<String, String>, Vec<Value>)> = BTreeMap::new();
    for instance in instances {
        if instance.state != InstanceState::Running {
            continue;
        }
        let label = |name: &str| instance.labels.get(name).cloned();
        let parts = ["io.vamp.deployment", "io.vamp.cluster", "io.vamp.service"].map(label);
        let name = match parts {
            [Some(deployment), Some(cluster), Some(service)] => format!("{deployment}/{cluster}/{service}"),
            _ => instance.id.clone(),
        };
        let ports: Vec<Value> = instance
            .ports
            .values()
            .map(|port| json!({"host": port, "container": port}))
            .collect();
        let of_service = services
            .entry(name)
            .or_insert_with(|| (instance.labels.clone(), Vec::new()));
        of_service.1.push(json!({"ip": instance.host, "ports": ports}));
    }
    let all = services.into_iter().map(|(name, (labels, instances))| {
        json!({
            "name": name,
            "kind": state.driver.kind(),
            "namespace": state.config.namespace,
            "labels": labels,
            "instances": instances,
        })
    });
    let (part, total) = paging.of(all.collect());
    Ok(paging.answer(part, total))
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

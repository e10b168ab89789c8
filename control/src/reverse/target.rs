//! Where a path of the proxy leads.

use thiserror::Error;
use weir_artifact::{Artifact, Gateway, Kind, ServiceInstance};
use weir_model::Protocol;
use weir_persist::PersistError;

use crate::state::State;

/// Most segments of a gateway's name that are tried.
const GATEWAY_SEGMENTS_MAX: usize = 3;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Name or address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What of the path was for us, `/proxy/...` without a slash at its end.
    pub(crate) prefix: String,
    /// What is left; begins with a slash.
    pub(crate) path: String,
}

/// Why a path leads nowhere.
#[derive(Debug, Error)]
pub(crate) enum TargetError {
    /// It has none of the forms.
    #[error(
        "A path of the proxy is one of /proxy/gateways/GATEWAY/..., \
         /proxy/workflows/WORKFLOW/instances/INSTANCE/ports/PORT/..., \
         /proxy/deployments/DEPLOYMENT/clusters/CLUSTER/services/SERVICE/instances/INSTANCE/ports/PORT/... \
         and /proxy/host/HOST/port/PORT/..."
    )]
    Form,
    /// The address is nobody's here.
    #[error(
        "{host}:{port} is neither a gateway nor an instance of anything that is managed here; others are \
         reached only if the configuration names them (--proxy-host)."
    )]
    Forbidden { host: String, port: u16 },
    /// There is no such thing, or it does not listen.
    #[error("{0}")]
    Unavailable(String),
    /// The storage failed.
    #[error(transparent)]
    Persist(#[from] PersistError),
}

/// The path after `/proxy`, in segments.
struct Segments<'a> {
    path: &'a str,
    raw: Vec<&'a str>,
}

impl<'a> Segments<'a> {
    fn new(path: &'a str) -> Self {
        Self {
            path,
            raw: path.split('/').skip(1).collect(),
        }
    }

    /// A segment, decoded.
    fn text(&self, index: usize) -> Option<String> {
        decoded(self.raw.get(index)?).filter(|text| !text.is_empty())
    }

    /// Whether the segments at these places are these words.
    fn are(&self, words: &[(usize, &str)]) -> bool {
        words
            .iter()
            .all(|(index, word)| self.raw.get(*index).is_some_and(|raw| raw == word))
    }

    /// The first segments are ours, the others are the target's.
    fn split(&self, ours: usize) -> (String, String) {
        let length: usize = self.raw.iter().take(ours).map(|segment| segment.len() + 1).sum();
        let (prefix, path) = self.path.split_at_checked(length).unwrap_or((self.path, ""));
        let path = if path.is_empty() { "/" } else { path };
        (format!("/proxy{prefix}"), path.to_owned())
    }

    fn target(&self, ours: usize, host: String, port: u16) -> Target {
        let (prefix, path) = self.split(ours);
        Target {
            host,
            port,
            prefix,
            path,
        }
    }
}

/// The target of a path, which begins after `/proxy`.
pub(crate) async fn find(state: &State, path: &str) -> Result<Target, TargetError> {
    let segments = Segments::new(path);
    let text = |index| segments.text(index).ok_or(TargetError::Form);
    if segments.are(&[(0, "host"), (2, "port")]) {
        let host = text(1)?;
        let port = text(3)?.parse().map_err(|_| TargetError::Form)?;
        if !is_allowed(&state.config.proxied_hosts, &host, port) && !is_managed(state, &host, port).await? {
            return Err(TargetError::Forbidden { host, port });
        }
        return Ok(segments.target(4, host, port));
    }
    if segments.are(&[(0, "gateways")]) {
        return gateway(state, &segments).await;
    }
    if segments.are(&[(0, "workflows"), (2, "instances"), (4, "ports")]) {
        let (workflow, instance, port) = (text(1)?, text(3)?, text(5)?);
        let found = match state.artifact(Kind::Workflow, &workflow).await? {
            Some(Artifact::Workflow(workflow)) => listening(&workflow.instances, &instance, &port),
            _ => None,
        };
        let (host, port) = found.ok_or_else(|| {
            TargetError::Unavailable(format!(
                "Workflow `{workflow}` has no instance `{instance}` with a port `{port}`."
            ))
        })?;
        return Ok(segments.target(6, host, port));
    }
    let words = [
        (0, "deployments"),
        (2, "clusters"),
        (4, "services"),
        (6, "instances"),
        (8, "ports"),
    ];
    if segments.are(&words) {
        let (deployment, cluster, service) = (text(1)?, text(3)?, text(5)?);
        let (instance, port) = (text(7)?, text(9)?);
        let stored = state.deployment(&deployment).await?;
        let found = stored.as_ref().and_then(|stored| {
            let services = &stored.clusters.get(&cluster)?.services;
            let service = services.iter().find(|known| known.name() == service)?;
            listening(&service.runtime.as_ref()?.instances, &instance, &port)
        });
        let (host, port) = found.ok_or_else(|| {
            TargetError::Unavailable(format!(
                "Service `{service}` of cluster `{cluster}` of deployment `{deployment}` has no instance \
                 `{instance}` with a port `{port}`."
            ))
        })?;
        return Ok(segments.target(10, host, port));
    }
    Err(TargetError::Form)
}

async fn gateway(state: &State, segments: &Segments<'_>) -> Result<Target, TargetError> {
    let published = state.traffic.publication.gateways();
    for count in (1..=GATEWAY_SEGMENTS_MAX).rev() {
        let name: Option<Vec<String>> = (1..=count).map(|index| segments.text(index)).collect();
        let Some(name) = name.map(|name| name.join("/")) else {
            continue;
        };
        let Some(gateway) = state.gateway(&name).await? else {
            continue;
        };
        let (host, port) = reached(&gateway, published.contains(&name)).ok_or_else(|| {
            TargetError::Unavailable(format!(
                "Gateway `{name}` is not deployed, or its port does not speak HTTP."
            ))
        })?;
        return Ok(segments.target(count + 1, host, port));
    }
    let name = segments.text(1).ok_or(TargetError::Form)?;
    Err(TargetError::Unavailable(format!("There is no gateway `{name}`.")))
}

/// Where a gateway is reached.
fn reached(gateway: &Gateway, published: bool) -> Option<(String, u16)> {
    let service = gateway.service.as_ref()?;
    (published && service.port.protocol == Protocol::Http && service.port.number > 0)
        .then(|| (service.host.clone(), service.port.number))
}

fn listening(instances: &[ServiceInstance], name: &str, port: &str) -> Option<(String, u16)> {
    let instance = instances.iter().find(|instance| instance.name == name)?;
    let port = *instance.ports.get(port)?;
    (port > 0 && !instance.host.is_empty()).then(|| (instance.host.clone(), port))
}

/// Whether the configuration names an address.
fn is_allowed(allowed: &[String], host: &str, port: u16) -> bool {
    allowed.iter().any(|entry| {
        entry == "*"
            || entry.eq_ignore_ascii_case(host)
            || entry
                .rsplit_once(':')
                .is_some_and(|(name, number)| name.eq_ignore_ascii_case(host) && number == port.to_string())
    })
}

/// Whether an address is a gateway's or an instance's.
async fn is_managed(state: &State, host: &str, port: u16) -> Result<bool, PersistError> {
    let published = state.traffic.publication.gateways();
    let gateways = state.gateways().await?;
    let is_gateway = gateways.iter().any(|gateway| {
        reached(gateway, published.contains(&gateway.name))
            .is_some_and(|(own, number)| own.eq_ignore_ascii_case(host) && number == port)
    });
    if is_gateway {
        return Ok(true);
    }
    let is_one = |instance: &ServiceInstance| {
        instance.host.eq_ignore_ascii_case(host) && instance.ports.values().any(|number| *number == port)
    };
    let deployments = state.deployments().await?;
    let is_instance = deployments.iter().any(|deployment| {
        let services = deployment.clusters.values().flat_map(|cluster| &cluster.services);
        let mut instances =
            services.flat_map(|service| service.runtime.iter().flat_map(|runtime| &runtime.instances));
        instances.any(is_one)
    });
    if is_instance {
        return Ok(true);
    }
    let workflows = state.artifacts(Kind::Workflow).await?;
    Ok(workflows.iter().any(|artifact| match artifact {
        Artifact::Workflow(workflow) => workflow.instances.iter().any(is_one),
        _ => false,
    }))
}

/// Percent-encoding taken away; `None` if what is left is no text.
fn decoded(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{Segments, decoded, is_allowed};

    #[test]
    fn paths_are_split_where_ours_end() {
        for (path, ours, prefix, rest) in [
            ("/gateways/shop/80", 3, "/proxy/gateways/shop/80", "/"),
            ("/gateways/shop/80/", 3, "/proxy/gateways/shop/80", "/"),
            ("/gateways/shop/80/a//b/", 3, "/proxy/gateways/shop/80", "/a//b/"),
            (
                "/gateways/shop%2F80/a%2Fb",
                2,
                "/proxy/gateways/shop%2F80",
                "/a%2Fb",
            ),
        ] {
            assert_eq!(
                Segments::new(path).split(ours),
                (prefix.to_owned(), rest.to_owned()),
                "{path}"
            );
        }
        assert_eq!(decoded("shop%2f80%20%C3%A9").as_deref(), Some("shop/80 é"));
        for wrong in ["%", "%2", "%zz", "%FF", "a%"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_what_is_named_is_allowed() {
        let allowed = |entries: &[&str], host, port| {
            let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
            is_allowed(&entries, host, port)
        };
        assert!(!allowed(&[], "127.0.0.1", 80));
        assert!(allowed(&["*"], "127.0.0.1", 80));
        assert!(allowed(&["Db.local:81"], "db.local", 81));
        assert!(!allowed(&["db.local:81"], "db.local", 82));
        assert!(allowed(&["db.local"], "db.local", 82));
        assert!(!allowed(&["db.local"], "db.local.evil.example", 82));
        assert!(
            allowed(&["::1"], "::1", 80),
            "an address with colons is not a port"
        );
    }
}

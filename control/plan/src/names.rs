//! Names of things and how they are put together.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which service of which deployment. Its text form is `deployment/cluster/service`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// Name of the deployment.
    pub deployment: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the breed.
    pub service: String,
}

impl ServiceKey {
    /// Puts the names together.
    pub fn new(
        deployment: impl Into<String>,
        cluster: impl Into<String>,
        service: impl Into<String>,
    ) -> Self {
        Self {
            deployment: deployment.into(),
            cluster: cluster.into(),
            service: service.into(),
        }
    }

    /// Reads the text form; `None` if it has not three segments.
    pub fn parse(text: &str) -> Option<Self> {
        let mut segments = text.split('/');
        let key = Self::new(segments.next()?, segments.next()?, segments.next()?);
        segments.next().is_none().then_some(key)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.deployment, self.cluster, self.service)
    }
}

/// Longest readable part of an instance id in bytes; with the unique part it is a host name's label.
const READABLE_MAX: usize = 48;

/// Id of a new instance: a readable part and a part that is unique. Letters, digits, `-`, `_` and `.`.
pub fn instance_id(key: &ServiceKey, unique: &str) -> String {
    let readable = format!("{}-{}-{}", key.deployment, key.cluster, key.service);
    let readable: String = readable
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
                c
            } else {
                '-'
            }
        })
        .take(READABLE_MAX)
        .collect();
    format!("{readable}-{unique}")
}

/// Segments of a gateway's name or a route's path; an external target (`[host:port]`) is one.
pub(crate) fn segments(path: &str) -> Vec<&str> {
    if path.starts_with('[') {
        vec![path]
    } else {
        path.split('/').collect()
    }
}

/// Name of a cluster's gateway.
pub(crate) fn internal(deployment: &str, cluster: &str, port: &str) -> String {
    format!("{deployment}/{cluster}/{port}")
}

/// Path of a route that leads to a service's instances.
pub(crate) fn service_route(deployment: &str, cluster: &str, service: &str, port: &str) -> String {
    format!("{deployment}/{cluster}/{service}/{port}")
}

#[cfg(test)]
mod tests {
    use super::{ServiceKey, instance_id};

    #[test]
    fn ids_have_no_characters_that_a_driver_refuses() {
        let key = ServiceKey::new("shop", "front", "acme:front:1.0+ü");
        assert_eq!(instance_id(&key, "7f"), "shop-front-acme-front-1.0---7f");
        let long = ServiceKey::new("d".repeat(100), "c", "s");
        assert_eq!(instance_id(&long, "7f").len(), 48 + 3);
    }

    #[test]
    fn text_form_reads_back() {
        let key = ServiceKey::new("shop", "front", "front:1");
        assert_eq!(ServiceKey::parse(&key.to_string()), Some(key));
        assert_eq!(ServiceKey::parse("shop/front"), None);
        assert_eq!(ServiceKey::parse("a/b/c/d"), None);
    }
}

//! Wire form 1.x of a snapshot: one JSON object. Shares are parts per ten thousand, conditions are text.
//!
//! A reader takes any 1.x document and ignores fields that it does not know (they are additions); another
//! major version is refused. The digest is SHA-256 over the compact JSON of the list `gateways` exactly as
//! this module writes it, so it does not depend on the generation.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::{
    Balance, Condition, ConditionStrength, Digest, EmptyName, GatewayName, GatewayOptions, Generation,
    InstanceId, InstanceState, Listener, Protocol, Refusal, RouteName, RouteOptions, Snapshot,
    SnapshotProblemKind, Sticky, Weight,
};

/// Version that this module writes.
pub const VERSION: &str = "1.0";

#[derive(Deserialize)]
struct Document<'a> {
    version: String,
    namespace: String,
    generation: Generation,
    digest: Digest,
    #[serde(borrow)]
    gateways: Vec<&'a RawValue>,
}

#[derive(Serialize)]
struct DocumentOut<'a> {
    version: &'a str,
    namespace: &'a str,
    generation: Generation,
    digest: Digest,
    gateways: Vec<Gateway>,
}

/// A gateway on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    name: String,
    #[serde(default)]
    protocol: Protocol,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listener: Option<Listener>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    virtual_hosts: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    sticky: Sticky,
    routes: Vec<Route>,
    #[serde(default, skip_serializing_if = "is_default")]
    options: GatewayOptions,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Route {
    name: String,
    weight: Weight,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    condition_strength: ConditionStrength,
    #[serde(default, skip_serializing_if = "is_default")]
    balance: Balance,
    /// Exactly one of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instances: Option<Vec<Instance>>,
    #[serde(default, skip_serializing_if = "is_default")]
    options: RouteOptions,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Instance {
    id: String,
    host: String,
    port: u16,
    #[serde(default, skip_serializing_if = "is_default")]
    state: InstanceState,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Why a document cannot be used at all.
#[derive(Debug, Error)]
pub enum WireError {
    /// Not JSON, or not of this shape.
    #[error("the snapshot is not a document of this form: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another major version.
    #[error("the snapshot is of version {0}; this program reads 1.x")]
    Version(String),
    /// The content is not what the digest says.
    #[error("the snapshot's content has digest {actual}, but it says {stated}")]
    Digest {
        /// What the document says.
        stated: Digest,
        /// What its content gives.
        actual: Digest,
    },
}

/// A document that was read: what can be served, and what cannot and why.
#[derive(Debug)]
pub struct Reading {
    /// The gateways that are sound. Its digest is the document's only if nothing was refused and nothing in
    /// the document is unknown to this program.
    pub snapshot: Snapshot,
    /// Digest of the whole document.
    pub digest: Digest,
    /// Gateways that were refused.
    pub refused: Vec<Refusal>,
}

/// Reads a document.
///
/// # Errors
/// [`WireError`] when the document as a whole is unusable; faults of single gateways are in
/// [`Reading::refused`].
pub fn read(bytes: &[u8]) -> Result<Reading, WireError> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let Version { version } = serde_json::from_slice(bytes)?;
    if version.split('.').next() != Some("1") {
        return Err(WireError::Version(version.chars().take(20).collect()));
    }
    let document: Document<'_> = serde_json::from_slice(bytes)?;
    debug_assert_eq!(document.version, version);
    let actual = digest_of_raw(&document.gateways);
    if actual != document.digest {
        return Err(WireError::Digest {
            stated: document.digest,
            actual,
        });
    }
    let mut gateways = Vec::with_capacity(document.gateways.len());
    let mut refused = Vec::new();
    for (index, raw) in document.gateways.into_iter().enumerate() {
        let outcome = serde_json::from_str::<Gateway>(raw.get())
            .map_err(|error| error.to_string())
            .and_then(|wire| crate::Gateway::try_from(wire).map_err(|error| error.to_string()));
        match outcome {
            Ok(gateway) => gateways.push(gateway),
            Err(reason) => refused.push(Refusal {
                // The empty name would mean the whole document.
                gateway: name_in(raw).unwrap_or_else(|| format!("#{index}")),
                reason,
            }),
        }
    }
    let (snapshot, problems) = Snapshot::sound_part(document.namespace, document.generation, gateways);
    let unreadable: HashSet<String> = refused.iter().map(|refusal| refusal.gateway.clone()).collect();
    refused.extend(problems.into_iter().map(|problem| Refusal {
        gateway: problem.gateway.to_string(),
        reason: match problem.kind {
            SnapshotProblemKind::UnknownTarget { route, target } if unreadable.contains(target.as_str()) => {
                SnapshotProblemKind::RefusedTarget { route, target }.to_string()
            }
            kind => kind.to_string(),
        },
    }));
    Ok(Reading {
        snapshot,
        digest: actual,
        refused,
    })
}

fn name_in(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Name {
        name: String,
    }
    let Name { name } = serde_json::from_str(raw.get()).ok()?;
    (!name.is_empty()).then_some(name)
}

/// Writes a snapshot.
pub fn write(snapshot: &Snapshot) -> Vec<u8> {
    let document = DocumentOut {
        version: VERSION,
        namespace: snapshot.namespace(),
        generation: snapshot.generation(),
        digest: snapshot.digest(),
        gateways: snapshot.gateways().iter().map(Gateway::from).collect(),
    };
    serde_json::to_vec(&document).expect("plain data with text keys always serialises")
}

/// Digest of gateways as this form writes them.
pub fn digest(gateways: &[crate::Gateway]) -> Digest {
    let wire: Vec<Gateway> = gateways.iter().map(Gateway::from).collect();
    Digest::of(&serde_json::to_vec(&wire).expect("plain data with text keys always serialises"))
}

/// Digest of the list as it stands in the document, so that additions of later minor versions count too.
fn digest_of_raw(gateways: &[&RawValue]) -> Digest {
    let mut text = String::from("[");
    for (index, gateway) in gateways.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(gateway.get());
    }
    text.push(']');
    Digest::of(text.as_bytes())
}

/// Why a gateway on the wire is not one of the model.
#[derive(Debug, Error)]
enum GatewayError {
    #[error(transparent)]
    Name(#[from] EmptyName),
    #[error("condition of route `{route}`: {source}")]
    Condition {
        route: String,
        source: crate::ConditionError,
    },
    #[error("route `{0}` must lead either to a gateway or to instances")]
    Target(String),
}

impl TryFrom<Gateway> for crate::Gateway {
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn try_from(wire: Gateway) -> Result<Self, Self::Error> {
        Ok(checked(wire)?)
    }
}

fn checked(wire: Gateway) -> Result<crate::Gateway, GatewayError> {
    Ok(crate::Gateway {
        name: GatewayName::new(wire.name)?,
        protocol: wire.protocol,
        listener: wire.listener,
        virtual_hosts: wire.virtual_hosts,
        sticky: wire.sticky,
        options: wire.options,
        routes: wire
            .routes
            .into_iter()
            .map(checked_route)
            .collect::<Result<_, _>>()?,
    })
}

fn checked_route(wire: Route) -> Result<crate::Route, GatewayError> {
    let target = match (wire.gateway, wire.instances) {
        (Some(gateway), None) => crate::Target::Gateway(GatewayName::new(gateway)?),
        (None, Some(instances)) => {
            let checked = instances.into_iter().map(|instance| {
                Ok(crate::Instance {
                    id: InstanceId::new(instance.id)?,
                    host: instance.host,
                    port: instance.port,
                    state: instance.state,
                })
            });
            crate::Target::Instances(checked.collect::<Result<_, EmptyName>>()?)
        }
        _ => return Err(GatewayError::Target(wire.name)),
    };
    let condition = match wire.condition {
        None => None,
        Some(text) => match Condition::parse(&text) {
            Ok(condition) => Some(condition),
            Err(source) => {
                return Err(GatewayError::Condition {
                    route: wire.name,
                    source,
                });
            }
        },
    };
    Ok(crate::Route {
        name: RouteName::new(wire.name)?,
        weight: wire.weight,
        condition,
        condition_strength: wire.condition_strength,
        balance: wire.balance,
        target,
        options: wire.options,
    })
}

impl From<&crate::Gateway> for Gateway {
    fn from(gateway: &crate::Gateway) -> Self {
        Self {
            name: gateway.name.to_string(),
            protocol: gateway.protocol,
            listener: gateway.listener,
            virtual_hosts: gateway.virtual_hosts.clone(),
            sticky: gateway.sticky,
            options: gateway.options.clone(),
            routes: gateway.routes.iter().map(Route::from).collect(),
        }
    }
}

impl From<&crate::Route> for Route {
    fn from(route: &crate::Route) -> Self {
        let (gateway, instances) = match &route.target {
            crate::Target::Gateway(name) => (Some(name.to_string()), None),
            crate::Target::Instances(instances) => {
                let wire = instances.iter().map(|instance| Instance {
                    id: instance.id.to_string(),
                    host: instance.host.clone(),
                    port: instance.port,
                    state: instance.state,
                });
                (None, Some(wire.collect()))
            }
        };
        Self {
            name: route.name.to_string(),
            weight: route.weight,
            condition: route
                .condition
                .as_ref()
                .map(|condition| condition.source().to_owned()),
            condition_strength: route.condition_strength,
            balance: route.balance,
            gateway,
            instances,
            options: route.options.clone(),
        }
    }
}

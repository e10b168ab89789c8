//! Wire form 1.x of a snapshot: one JSON object. Shares are parts per ten thousand, conditions are text.
//!
//! A reader takes any 1.x document and ignores fields that it does not know (they are additions); another
//! major version is refused. The digest is SHA-256 over the compact JSON of the list `gateways` exactly as
//! it stands in the document, so it does not depend on the generation.
//!
//! A document may lie in parts ([`Parts`]): what is before the gateways, [`Section`]s of whole gateways, and what is after
//! them. A [`Reader`] reads only parts that are new, and in those only gateways that are new.

mod read;
mod section;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use read::{Document, Part, Parts, Reader, Reading, read};
pub use section::Section;
pub(crate) use section::Text;

use crate::{
    Balance, Condition, ConditionStrength, Digest, EmptyName, GatewayName, GatewayOptions, Generation,
    InstanceId, InstanceState, Listener, Protocol, RouteName, RouteOptions, Snapshot, Sticky, Weight,
};

/// Version that this module writes.
pub const VERSION: &str = "1.0";
/// What is before the first gateway of a document in parts.
const OPENING: &str = ",\"gateways\":[";
/// What is after the last gateway of a document in parts.
const CLOSING: &str = "],";

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
    /// The parts are not what they are said to be.
    #[error("the parts of the snapshot do not fit together: {0}")]
    Parts(&'static str),
}

/// Writes a snapshot as one text.
pub fn write(snapshot: &Snapshot) -> Vec<u8> {
    let mut document = Vec::with_capacity(bytes(snapshot));
    for piece in pieces(snapshot) {
        document.extend_from_slice(piece.as_bytes());
    }
    document
}

/// The text that [`write()`] gives, in pieces: without putting them together.
pub fn pieces(snapshot: &Snapshot) -> impl Iterator<Item = Cow<'_, str>> {
    let head = format!(
        r#"{{"version":"{VERSION}","namespace":{},"generation":{},"digest":"{}","gateways":["#,
        quoted(snapshot.namespace()),
        snapshot.generation(),
        snapshot.digest()
    );
    let gateways = snapshot.text().pieces().map(Cow::Borrowed);
    let around = (Cow::Owned(head), Cow::Borrowed("]}"));
    std::iter::once(around.0).chain(gateways).chain([around.1])
}

/// What is before the sections when a document is written in parts. The same as long as the namespace is.
pub fn head(namespace: &str) -> String {
    format!(
        r#"{{"version":"{VERSION}","namespace":{}{OPENING}"#,
        quoted(namespace)
    )
}

/// What is after the sections when a document is written in parts.
pub fn tail(generation: Generation, digest: Digest) -> String {
    format!(r#"{CLOSING}"generation":{generation},"digest":"{digest}"}}"#)
}

/// Length of a snapshot's document in bytes, in parts or as one text.
pub fn bytes(snapshot: &Snapshot) -> usize {
    let head = head(snapshot.namespace()).len();
    let tail = tail(snapshot.generation(), snapshot.digest()).len();
    head + snapshot.text().bytes() + tail
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text always serialises")
}

fn gateway_text(gateway: &crate::Gateway) -> String {
    serde_json::to_string(&Gateway::from(gateway)).expect("plain data with text keys always serialises")
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

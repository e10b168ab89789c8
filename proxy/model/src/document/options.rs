//! The keys that say how, not where.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    DocumentProblem,
    fields::{Fields, Place, Problems},
};
use crate::{GatewayOptions, RouteOptions, options::server_names};

/// Keys of a gateway that say how its socket is used.
pub const GATEWAY_OPTIONS: [&str; 2] = ["tls", "accept_proxy_protocol"];

/// Keys of a route that say how its instances are reached; without `rewrites`.
pub const ROUTE_OPTIONS: [&str; 8] = [
    "health",
    "timeouts",
    "tls",
    "send_proxy_protocol",
    "protocol",
    "slow_start",
    "ejection",
    "server_names",
];

/// Reads the options of a gateway from a map with [`GATEWAY_OPTIONS`].
///
/// # Errors
/// Every problem, with its place in the map.
pub fn gateway_options(map: Map<String, Value>) -> Result<GatewayOptions, Vec<DocumentProblem>> {
    alone(map, &GATEWAY_OPTIONS, gateway)
}

/// Reads the options of a route from a map with [`ROUTE_OPTIONS`].
///
/// # Errors
/// Every problem, with its place in the map.
pub fn route_options(map: Map<String, Value>) -> Result<RouteOptions, Vec<DocumentProblem>> {
    alone(map, &ROUTE_OPTIONS, route)
}

fn alone<T>(
    map: Map<String, Value>,
    keys: &[&str],
    read: fn(&mut Fields, &mut Problems) -> T,
) -> Result<T, Vec<DocumentProblem>> {
    let mut problems = Problems(Vec::new());
    let fields = Fields::open(Value::Object(map), Place(String::new()), keys, &mut problems);
    let options = fields.map(|mut fields| read(&mut fields, &mut problems));
    match options {
        Some(options) if problems.0.is_empty() => Ok(options),
        _ => Err(problems.0),
    }
}

/// Keys of a map inside the options, and those of the maps inside it.
struct Shape {
    keys: &'static [&'static str],
    inner: &'static [(&'static str, Shape)],
}

const fn flat(keys: &'static [&'static str]) -> Shape {
    Shape { keys, inner: &[] }
}

const TLS: Shape = Shape {
    keys: &[
        "certificates",
        "minimum",
        "client_ca",
        "client_certificate_optional",
    ],
    inner: &[("certificates", flat(&["certificate", "key"]))],
};
const UPSTREAM_TLS: Shape = Shape {
    keys: &["server_name", "authority", "insecure", "certificate"],
    inner: &[("certificate", flat(&["certificate", "key"]))],
};
const EJECTION: Shape = flat(&["errors", "pause"]);
const HEALTH: Shape = flat(&["protocol", "path", "interval", "timeout", "rise", "fall"]);
const TIMEOUTS: Shape = flat(&["connect", "first_byte", "idle", "request", "tunnel"]);

pub(super) fn gateway(fields: &mut Fields, problems: &mut Problems) -> GatewayOptions {
    let mut options = GatewayOptions::default();
    set(&mut options.tls, fields, "tls", Some(&TLS), problems);
    if let Some(tls) = &options.tls
        && tls.certificates.is_empty()
    {
        problems.add(
            &fields.place.key("tls").key("certificates"),
            "must have at least one certificate",
        );
    }
    set(
        &mut options.accept_proxy_protocol,
        fields,
        "accept_proxy_protocol",
        None,
        problems,
    );
    options
}

pub(super) fn route(fields: &mut Fields, problems: &mut Problems) -> RouteOptions {
    let mut options = RouteOptions::default();
    set(&mut options.health, fields, "health", Some(&HEALTH), problems);
    set(
        &mut options.timeouts,
        fields,
        "timeouts",
        Some(&TIMEOUTS),
        problems,
    );
    set(&mut options.tls, fields, "tls", Some(&UPSTREAM_TLS), problems);
    set(
        &mut options.send_proxy_protocol,
        fields,
        "send_proxy_protocol",
        None,
        problems,
    );
    set(&mut options.protocol, fields, "protocol", None, problems);
    set(&mut options.slow_start, fields, "slow_start", None, problems);
    set(
        &mut options.ejection,
        fields,
        "ejection",
        Some(&EJECTION),
        problems,
    );
    if let Some((value, place)) = fields.take("server_names") {
        options.server_names = problems.keep(&place, server_names(value)).unwrap_or_default();
    }
    set(&mut options.rewrites, fields, "rewrites", None, problems);
    options
}

fn set<T: DeserializeOwned>(
    option: &mut T,
    fields: &mut Fields,
    key: &str,
    shape: Option<&Shape>,
    problems: &mut Problems,
) {
    let Some((value, place)) = fields.take(key) else {
        return;
    };
    let value = match shape {
        None => Some(value),
        Some(shape) => known(value, &place, shape, problems),
    };
    if let Some(read) = value.and_then(|value| problems.keep(&place, serde_json::from_value(value))) {
        *option = read;
    }
}

/// The value if every key in it is known; nulls are left out.
fn known(value: Value, place: &Place, shape: &Shape, problems: &mut Problems) -> Option<Value> {
    let before = problems.0.len();
    let mut fields = Fields::open(value, place.clone(), shape.keys, problems)?;
    let mut map = Map::new();
    for key in shape.keys {
        let Some((value, place)) = fields.take(key) else {
            continue;
        };
        let inner = shape
            .inner
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, shape)| shape);
        let value = match (inner, value) {
            (Some(shape), Value::Array(list)) => Value::Array(
                list.into_iter()
                    .enumerate()
                    .filter_map(|(index, value)| known(value, &place.index(index), shape, problems))
                    .collect(),
            ),
            (Some(shape), value) => match known(value, &place, shape, problems) {
                Some(value) => value,
                None => continue,
            },
            // A version without quotes.
            (None, Value::Number(number)) if *key == "minimum" => Value::String(number.to_string()),
            (None, value) => value,
        };
        map.insert((*key).to_owned(), value);
    }
    (problems.0.len() == before).then_some(Value::Object(map))
}

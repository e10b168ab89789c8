//! From the tree to gateways.

use std::{collections::HashSet, net::IpAddr};

use serde_json::{Map, Value};

use super::{
    ADDRESS_DEFAULT, DocumentProblem,
    fields::{Fields, Place, Problems},
    host_and_port, joined, options, share,
};
use crate::{
    Balance, Condition, ConditionStrength, Gateway, GatewayName, Generation, Instance, InstanceId,
    InstanceState, Listener, Protocol, Route, RouteName, Snapshot, SnapshotProblemKind, Sticky, Target,
    Weight,
};

/// Reads a document from its tree.
///
/// # Errors
/// Every problem, in the order of the document, those between gateways last.
pub fn read(document: Value) -> Result<Vec<Gateway>, Vec<DocumentProblem>> {
    let mut problems = Problems(Vec::new());
    let mut gateways = Vec::new();
    let mut faulty = HashSet::new();
    let top = Place(String::new());
    if let Some(mut fields) = Fields::open(document, top, &["gateways"], &mut problems) {
        match fields.take("gateways") {
            Some((Value::Object(all), place)) => {
                for (name, body) in all {
                    let place = place.key(&name);
                    let before = problems.0.len();
                    let gateway = gateway(&name, body, place, &mut problems);
                    match gateway.filter(|_| problems.0.len() == before) {
                        Some(gateway) => gateways.push(gateway),
                        None => {
                            faulty.insert(name);
                        }
                    }
                }
            }
            Some((_, place)) => problems.add(&place, "must be a map from names to gateways"),
            None => problems.add(&fields.place, "must have the key `gateways`"),
        }
    }
    match Snapshot::new("", Generation(0), gateways) {
        Ok(snapshot) if problems.0.is_empty() => {
            return Ok(snapshot
                .gateways()
                .iter()
                .map(|gateway| Gateway::clone(gateway))
                .collect());
        }
        Ok(_) => {}
        Err(between) => {
            let top = Place("gateways".to_owned());
            for problem in between {
                // A gateway with a fault of its own is there all the same.
                let is_consequence = matches!(&problem.kind, SnapshotProblemKind::UnknownTarget { target, .. }
                    if faulty.contains(target.as_str()));
                if !is_consequence {
                    problems.add(&top.key(problem.gateway.as_str()), problem.kind.to_string());
                }
            }
        }
    }
    debug_assert!(!problems.0.is_empty(), "a consequence has a cause");
    Err(problems.0)
}

/// Besides [`options::GATEWAY_OPTIONS`].
const GATEWAY_KEYS: &[&str] = &["port", "address", "protocol", "sticky", "virtual_hosts", "routes"];

fn gateway(name: &str, body: Value, place: Place, problems: &mut Problems) -> Option<Gateway> {
    let keys = [GATEWAY_KEYS, &options::GATEWAY_OPTIONS].concat();
    let mut fields = Fields::open(body, place, &keys, problems)?;
    let (listener, protocol) = listener(&mut fields, problems);
    let sticky = match fields.take_text("sticky", problems) {
        None => Sticky::None,
        Some((word, place)) => match word.to_ascii_lowercase().as_str() {
            "none" => Sticky::None,
            "route" => Sticky::Route,
            "instance" => Sticky::Instance,
            _ => {
                problems.add(&place, format!("`{word}` is not one of route, instance, none"));
                Sticky::None
            }
        },
    };
    let virtual_hosts = virtual_hosts(&mut fields, problems);
    let routes = match fields.take("routes") {
        Some((Value::Object(routes), place)) => self::routes(routes, &place, protocol, problems),
        Some((_, place)) => {
            problems.add(&place, "must be a map from names to routes");
            Vec::new()
        }
        None => {
            problems.add(&fields.place, "must have the key `routes`");
            Vec::new()
        }
    };
    Some(Gateway {
        name: problems.keep(&fields.place, GatewayName::new(name))?,
        protocol,
        listener,
        virtual_hosts,
        sticky,
        options: options::gateway(&mut fields, problems),
        routes,
    })
}

fn listener(fields: &mut Fields, problems: &mut Problems) -> (Option<Listener>, Protocol) {
    let protocol_in = |word: &str| match word {
        "http" => Some(Protocol::Http),
        "tcp" => Some(Protocol::Tcp),
        _ => None,
    };
    let mut port = None;
    let mut protocol = None;
    let has_port = if let Some((text, place)) = fields.take_text("port", problems) {
        let (number, word) = text.split_once('/').unwrap_or((&text, "http"));
        port = number.parse::<u16>().ok().filter(|port| *port != 0);
        protocol = protocol_in(word);
        if port.is_none() || protocol.is_none() {
            problems.add(
                &place,
                format!("`{text}` is not a port; write 1 to 65535, alone or followed by /http or /tcp"),
            );
        } else if !text.contains('/') {
            protocol = None;
        }
        true
    } else {
        false
    };
    if let Some((word, place)) = fields.take_text("protocol", problems) {
        match protocol_in(&word) {
            None => problems.add(&place, format!("`{word}` is not one of http, tcp")),
            Some(said) if protocol.is_some_and(|by_port| by_port != said) => {
                problems.add(&place, "the port says another protocol");
            }
            said => protocol = said,
        }
    }
    let address = fields.take_text("address", problems).and_then(|(text, place)| {
        if !has_port {
            problems.add(&place, "an address needs a `port` beside it");
        }
        let parsed = text.parse::<IpAddr>();
        problems.keep(
            &place,
            parsed.map_err(|_| format!("`{text}` is not an IP address of this host")),
        )
    });
    let listener = port.map(|port| Listener {
        address: address.unwrap_or(ADDRESS_DEFAULT),
        port,
    });
    (listener, protocol.unwrap_or_default())
}

fn virtual_hosts(fields: &mut Fields, problems: &mut Problems) -> Vec<String> {
    let Some((value, place)) = fields.take("virtual_hosts") else {
        return Vec::new();
    };
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    let mut hosts = Vec::with_capacity(list.len());
    for (index, item) in list.into_iter().enumerate() {
        match item {
            Value::String(host) if !host.is_empty() && !host.contains(char::is_whitespace) => {
                hosts.push(host)
            }
            _ => problems.add(
                &place.index(index),
                "must be the name of a host, such as shop.example",
            ),
        }
    }
    hosts
}

fn routes(
    routes: Map<String, Value>,
    place: &Place,
    protocol: Protocol,
    problems: &mut Problems,
) -> Vec<Route> {
    let (given, mut read): (Vec<_>, Vec<_>) = routes
        .into_iter()
        .map(|(name, body)| route(&name, body, place.key(&name), protocol, problems))
        .unzip();
    match share::fill(&given) {
        Ok(weights) => {
            for (route, parts) in read.iter_mut().zip(weights) {
                if let (Some(route), Ok(weight)) = (route, Weight::from_parts(u64::from(parts))) {
                    route.weight = weight;
                }
            }
        }
        Err(total) => {
            let (percent, rest) = (total / 100, total % 100);
            problems.add(
                place,
                format!("the weights total {percent}.{rest:02}%, more than 100%"),
            );
        }
    }
    read.into_iter().flatten().collect()
}

/// Besides [`options::ROUTE_OPTIONS`].
const ROUTE_KEYS: &[&str] = &[
    "weight",
    "condition",
    "condition_strength",
    "balance",
    "instances",
    "gateway",
    "rewrites",
];

/// The given weight in parts, and the route with no weight yet.
fn route(
    name: &str,
    body: Value,
    place: Place,
    protocol: Protocol,
    problems: &mut Problems,
) -> (Option<u32>, Option<Route>) {
    let keys = [ROUTE_KEYS, &options::ROUTE_OPTIONS].concat();
    let Some(mut fields) = Fields::open(body, place, &keys, problems) else {
        return (Some(0), None);
    };
    let mut share = |fields: &mut Fields, key| {
        let (value, place) = fields.take(key)?;
        // A faulty share counts as nothing, so that the rest is not told off for it.
        Some(problems.keep(&place, share::parts(&value)).unwrap_or(0))
    };
    let weight = share(&mut fields, "weight");
    let strength = share(&mut fields, "condition_strength");
    let condition = fields
        .take_text("condition", problems)
        .filter(|(text, _)| !text.trim().is_empty())
        .and_then(|(text, place)| problems.keep(&place, Condition::parse(&text)));
    let strength = strength.and_then(|parts| ConditionStrength::from_parts(u64::from(parts)).ok());
    let balance = match fields.take_text("balance", problems) {
        Some((word, place)) if word != "default" => problems.keep(&place, word.parse()).unwrap_or_default(),
        _ => balance_default(protocol),
    };
    let target = target(&mut fields, problems);
    let options = options::route(&mut fields, problems);
    let name = problems.keep(&fields.place, RouteName::new(name));
    let route = name.zip(target).map(|(name, target)| Route {
        name,
        weight: Weight::ZERO,
        condition_strength: strength.unwrap_or_else(|| strength_default(condition.is_some())),
        condition,
        balance,
        target,
        options,
    });
    (weight, route)
}

/// All of the matching requests, if there is something to match.
pub(super) fn strength_default(has_condition: bool) -> ConditionStrength {
    if has_condition {
        ConditionStrength::FULL
    } else {
        ConditionStrength::ZERO
    }
}

/// What `balance: default` means (spec of the gateway agent, §3.6).
pub(super) fn balance_default(protocol: Protocol) -> Balance {
    match protocol {
        Protocol::Http => Balance::RoundRobin,
        Protocol::Tcp => Balance::LeastRequests,
    }
}

fn target(fields: &mut Fields, problems: &mut Problems) -> Option<Target> {
    let gateway = fields.take_text("gateway", problems);
    let instances = fields.take("instances");
    match (gateway, instances) {
        (Some((name, place)), None) => problems.keep(&place, GatewayName::new(name)).map(Target::Gateway),
        (None, Some((Value::Array(list), place))) => {
            let read = list.into_iter().enumerate();
            Some(Target::Instances(
                read.filter_map(|(index, value)| instance(value, place.index(index), problems))
                    .collect(),
            ))
        }
        (None, Some((_, place))) => {
            problems.add(
                &place,
                "must be a list of instances, such as [\"127.0.0.1:9001\"]",
            );
            None
        }
        _ => {
            problems.add(
                &fields.place,
                "must have exactly one of the keys `instances` and `gateway`",
            );
            None
        }
    }
}

fn instance(value: Value, place: Place, problems: &mut Problems) -> Option<Instance> {
    if let Value::String(text) = &value {
        let Some((host, port)) = host_and_port(text).filter(|(host, _)| is_host(host)) else {
            problems.add(
                &place,
                format!("`{text}` is not `host:port` (an IPv6 address is in brackets)"),
            );
            return None;
        };
        return Some(Instance {
            id: problems.keep(&place, InstanceId::new(joined(&host, port)))?,
            host,
            port,
            state: InstanceState::Serving,
        });
    }
    let mut fields = Fields::open(value, place, &["id", "host", "port", "state"], problems)?;
    let id = fields.take_text("id", problems);
    let host = match fields.take_text("host", problems) {
        Some((host, place)) => {
            let host = host
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .map_or(host.clone(), str::to_owned);
            let is_host = is_host(&host);
            if !is_host {
                problems.add(&place, format!("`{host}` is neither an IP address nor a name"));
            }
            is_host.then_some(host)
        }
        None => {
            problems.add(&fields.place, "must have the key `host`");
            None
        }
    };
    let port = match fields.take_text("port", problems) {
        Some((port, place)) => {
            let parsed = port.parse::<u16>().ok().filter(|port| *port != 0);
            problems.keep(
                &place,
                parsed.ok_or_else(|| format!("`{port}` is not a port (1 to 65535)")),
            )
        }
        None => {
            problems.add(&fields.place, "must have the key `port`");
            None
        }
    };
    let state = match fields.take_text("state", problems) {
        None => InstanceState::Serving,
        Some((word, place)) => match word.as_str() {
            "serving" => InstanceState::Serving,
            "draining" => InstanceState::Draining,
            _ => {
                problems.add(&place, format!("`{word}` is not one of serving, draining"));
                InstanceState::Serving
            }
        },
    };
    let (host, port) = host.zip(port)?;
    let (id, place) = id.unwrap_or_else(|| (joined(&host, port), fields.place));
    Some(Instance {
        id: problems.keep(&place, InstanceId::new(id))?,
        host,
        port,
        state,
    })
}

/// Whether it can be an address or a name: no URL, no port, no white space.
fn is_host(text: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty() && (text.chars().all(is_name) || text.parse::<IpAddr>().is_ok())
}

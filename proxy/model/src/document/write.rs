//! From gateways to the tree.

use serde_json::{Map, Value, json};

use super::{
    ADDRESS_DEFAULT, host_and_port, joined,
    read::{balance_default, strength_default},
};
use crate::{Balance, Gateway, Instance, InstanceState, Protocol, Route, Sticky, Target};

/// Writes gateways as a document that [`super::read()`] reads as the same. What is at its default is left out,
/// but for weights.
pub fn write(gateways: &[Gateway]) -> Value {
    let gateways: Map<String, Value> = gateways
        .iter()
        .map(|gateway| (gateway.name.to_string(), gateway_body(gateway)))
        .collect();
    json!({ "gateways": gateways })
}

fn gateway_body(gateway: &Gateway) -> Value {
    let mut body = Map::new();
    match (&gateway.listener, gateway.protocol) {
        (Some(listener), protocol) => {
            let port = match protocol {
                Protocol::Http => json!(listener.port),
                Protocol::Tcp => json!(format!("{}/tcp", listener.port)),
            };
            body.insert("port".to_owned(), port);
            if listener.address != ADDRESS_DEFAULT {
                body.insert("address".to_owned(), json!(listener.address.to_string()));
            }
        }
        (None, Protocol::Tcp) => {
            body.insert("protocol".to_owned(), json!("tcp"));
        }
        (None, Protocol::Http) => {}
    }
    if gateway.sticky != Sticky::None {
        body.insert("sticky".to_owned(), json!(gateway.sticky));
    }
    if !gateway.virtual_hosts.is_empty() {
        body.insert("virtual_hosts".to_owned(), json!(gateway.virtual_hosts));
    }
    body.extend(write_options(&gateway.options));
    let routes: Map<String, Value> = gateway
        .routes
        .iter()
        .map(|route| (route.name.to_string(), route_body(route, gateway.protocol)))
        .collect();
    body.insert("routes".to_owned(), Value::Object(routes));
    Value::Object(body)
}

/// The keys of a gateway's or a route's options that are not at their default, as they are read again.
pub fn write_options(options: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(options) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn route_body(route: &Route, protocol: Protocol) -> Value {
    let mut body = Map::new();
    body.insert("weight".to_owned(), json!(route.weight.to_string()));
    if let Some(condition) = &route.condition {
        body.insert("condition".to_owned(), json!(condition.source()));
    }
    if route.condition_strength != strength_default(route.condition.is_some()) {
        let strength = json!(route.condition_strength.to_string());
        body.insert("condition_strength".to_owned(), strength);
    }
    if route.balance != balance_default(protocol) {
        let word = match route.balance {
            Balance::RoundRobin => "roundrobin",
            Balance::LeastRequests => "leastconn",
            Balance::Source => "source",
            Balance::First => "first",
        };
        body.insert("balance".to_owned(), json!(word));
    }
    body.extend(write_options(&route.options));
    match &route.target {
        Target::Gateway(name) => body.insert("gateway".to_owned(), json!(name)),
        Target::Instances(instances) => {
            let list: Vec<Value> = instances.iter().map(instance_body).collect();
            body.insert("instances".to_owned(), Value::Array(list))
        }
    };
    Value::Object(body)
}

fn instance_body(instance: &Instance) -> Value {
    let address = joined(&instance.host, instance.port);
    let is_short = instance.id.as_str() == address
        && instance.state == InstanceState::Serving
        && host_and_port(&address).is_some();
    if is_short {
        return Value::String(address);
    }
    let mut body = Map::new();
    body.insert("id".to_owned(), json!(instance.id));
    body.insert("host".to_owned(), json!(instance.host));
    body.insert("port".to_owned(), json!(instance.port));
    if instance.state != InstanceState::Serving {
        body.insert("state".to_owned(), json!(instance.state));
    }
    Value::Object(body)
}

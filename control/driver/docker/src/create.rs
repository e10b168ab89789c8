//! From a spec to the engine's request.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::ContainerCreateBody;
use serde_json::{Map, Value, json};
use weir_driver::{DriverError, InstanceSpec, rules};

use crate::{
    Config, Reach,
    arguments::{Arguments, Pull},
    dialect,
    labels::{Record, Way, labels},
};

/// What this driver runs.
pub const DEPLOYABLE_TYPES: [&str; 2] = ["container/docker", "docker"];
/// Numbers inside of a container for ports that name none; each container has a network of its own.
const INSIDE: std::ops::RangeInclusive<u16> = 20_000..=29_999;
/// Tells an instance who it is: `<namespace>/<id>`.
const INSTANCE_VARIABLE: &str = "WEIR_INSTANCE";
/// Fewest processors that an engine can be asked for; less is no limit.
const CPU_MIN: f64 = 0.01;
/// Least memory that an engine takes as a limit, in bytes; less is raised to this.
const MEMORY_MIN: u64 = 6 << 20;

/// A container to be made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) pull: Pull,
    pub(crate) body: ContainerCreateBody,
    /// Ports of the host that were asked for by number.
    pub(crate) fixed: Vec<u16>,
}

/// Name of an instance's container. Only people look at it: somebody may rename it.
pub(crate) fn name(namespace: &str, id: &str) -> String {
    let clean: String = format!("weir-{namespace}-{id}")
        .chars()
        .map(|char| {
            if char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.') {
                char
            } else {
                '-'
            }
        })
        .collect();
    clean
}

/// Judges all of a spec that can be judged without the engine.
pub(crate) fn plan(spec: &InstanceSpec, config: &Config) -> Result<Plan, DriverError> {
    let fault = |message: String| DriverError::Definition(message);
    if !DEPLOYABLE_TYPES.contains(&spec.deployable_type.as_str()) {
        return Err(DriverError::UnsupportedDeployable(spec.deployable_type.clone()));
    }
    rules::check(spec)?;
    let image = spec.definition.trim();
    if image.is_empty() {
        return Err(fault("the deployable has no image".to_owned()));
    }
    if image
        .chars()
        .any(|char| char.is_whitespace() || char.is_control())
    {
        return Err(fault(format!("`{image}` is not the name of an image")));
    }
    let arguments = Arguments::of(spec)?;
    let (network, way) = network(spec, config)?;
    let ports = inside(spec, &way)?;
    let record = Record::new(spec, ports, way);
    let own = own(spec, config, &arguments, &record, network);
    let merged = match &spec.dialect {
        Some(dialect) => dialect::merge(dialect, own)?,
        None => own,
    };
    let body: ContainerCreateBody = serde_json::from_value(merged.clone())
        .map_err(|error| fault(format!("the dialect `docker` does not fit a container: {error}")))?;
    let read = serde_json::to_value(&body).unwrap_or(Value::Null);
    let lost = dialect::lost(&merged, &read);
    if !lost.is_empty() {
        return Err(fault(format!(
            "the dialect `docker` has fields that a container has not: {}",
            lost.join(", ")
        )));
    }
    let fixed = if arguments.fixed_ports {
        record.ports.values().copied().collect()
    } else {
        Vec::new()
    };
    Ok(Plan {
        name: name(&config.namespace, &spec.id),
        image: image.to_owned(),
        pull: arguments.pull,
        body,
        fixed,
    })
}

/// The engine's network mode (`None`: the dialect's, or its usual one) and the way in.
fn network(spec: &InstanceSpec, config: &Config) -> Result<(Option<String>, Way), DriverError> {
    let name = spec.network.as_deref().unwrap_or(&config.network);
    let in_dialect = || {
        let dialect = spec.dialect.as_ref()?;
        let mode = dialect
            .pointer("/HostConfig/NetworkMode")
            .or(dialect.get("net"))?;
        mode.as_str().map(str::to_owned)
    };
    let usual = || match config.reach {
        Reach::Published => Way::Published,
        Reach::Address => Way::Address(String::new()),
    };
    Ok(match name.to_ascii_uppercase().as_str() {
        // A dialect's network counts where the service says nothing in particular.
        "BRIDGE" | "DEFAULT" => match in_dialect() {
            None => (None, usual()),
            Some(mode) if mode == "bridge" || mode == "default" => (None, usual()),
            Some(mode) if mode == "host" => (None, Way::Host),
            Some(mode) if mode == "none" => (None, Way::None),
            Some(mode) => (None, Way::Address(mode)),
        },
        "HOST" => (Some("host".to_owned()), Way::Host),
        "NONE" => (Some("none".to_owned()), Way::None),
        "USER" => match in_dialect() {
            Some(mode) => (None, Way::Address(mode)),
            None => {
                return Err(DriverError::Definition(
                    "the network `USER` needs its name: as `network`, or as `net` in the dialect `docker`"
                        .to_owned(),
                ));
            }
        },
        _ => (Some(name.to_owned()), Way::Address(name.to_owned())),
    })
}

/// Numbers of the ports inside of the container.
fn inside(spec: &InstanceSpec, way: &Way) -> Result<BTreeMap<String, u16>, DriverError> {
    let given: BTreeSet<u16> = spec.ports.iter().map(|port| port.number).collect();
    let mut free = INSIDE.filter(|number| !given.contains(number));
    spec.ports
        .iter()
        .map(|port| {
            let number = match port.number {
                0 if *way == Way::Host => {
                    return Err(DriverError::Definition(format!(
                        "in the network `HOST` the port `{}` needs a number",
                        port.name
                    )));
                }
                0 => free.next().unwrap_or(*INSIDE.start()),
                number => number,
            };
            Ok((port.name.clone(), number))
        })
        .collect()
}

/// What control says of a container, in the engine's own words.
fn own(
    spec: &InstanceSpec,
    config: &Config,
    arguments: &Arguments,
    record: &Record,
    network: Option<String>,
) -> Value {
    let mut environment: BTreeMap<String, String> = spec.environment.clone();
    environment.extend(rules::port_variables(spec, &record.ports));
    environment.insert(
        INSTANCE_VARIABLE.to_owned(),
        format!("{}/{}", config.namespace, spec.id),
    );
    let mut variables: Vec<String> = arguments.environment.clone();
    variables.extend(
        environment
            .into_iter()
            .map(|(name, value)| format!("{name}={value}")),
    );

    let mut host = Map::new();
    host.extend(arguments.host.clone());
    host.insert("RestartPolicy".to_owned(), json!({"Name": "no"}));
    host.insert("AutoRemove".to_owned(), Value::Bool(false));
    if let Some(network) = network {
        host.insert("NetworkMode".to_owned(), Value::String(network));
    }
    if let Some(bytes) = rules::memory_bytes(spec) {
        let bytes = bytes.max(MEMORY_MIN);
        host.insert("Memory".to_owned(), Value::from(bytes));
        // Without more of swap the limit is one.
        host.insert("MemorySwap".to_owned(), Value::from(bytes));
    }
    if spec.cpu >= CPU_MIN {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast from a float saturates, and nobody has 2^63 billionths of a processor"
        )]
        let billionths = (spec.cpu * 1e9).round() as i64;
        host.insert("NanoCpus".to_owned(), Value::from(billionths));
    }
    let exposed: BTreeSet<String> = record
        .ports
        .values()
        .map(|number| format!("{number}/tcp"))
        .collect();
    let published = record.way == Way::Published || (arguments.fixed_ports && record.way != Way::Host);
    if published {
        let bindings: Map<String, Value> = record
            .ports
            .values()
            .map(|number| {
                let at = if arguments.fixed_ports { *number } else { 0 };
                let binding =
                    json!([{"HostIp": config.publish_address.to_string(), "HostPort": at.to_string()}]);
                (format!("{number}/tcp"), binding)
            })
            .collect();
        host.insert("PortBindings".to_owned(), Value::Object(bindings));
    }
    let mut body = Map::new();
    body.extend(arguments.fields.clone());
    body.extend([
        (
            "Image".to_owned(),
            Value::String(spec.definition.trim().to_owned()),
        ),
        ("Env".to_owned(), Value::from(variables)),
        (
            "Labels".to_owned(),
            json!(labels(spec, record, &config.namespace, &config.label_namespace)),
        ),
        ("HostConfig".to_owned(), Value::Object(host)),
    ]);
    if !exposed.is_empty() {
        let exposed: Map<String, Value> = exposed.into_iter().map(|port| (port, json!({}))).collect();
        body.insert("ExposedPorts".to_owned(), Value::Object(exposed));
    }
    if let Some(folder) = &spec.working_directory {
        body.insert("WorkingDir".to_owned(), Value::String(folder.clone()));
    }
    Value::Object(body)
}

#[cfg(test)]
pub(crate) mod tests;

//! One service of a Compose file.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{Notes, VERSION, text};
use crate::tree::{Data, Entry, Node};

/// What of a service a cluster can say.
#[derive(Debug, Default)]
pub(super) struct Service {
    image: String,
    /// Container port to protocol.
    pub(super) ports: IndexMap<u16, &'static str>,
    /// `None`: somebody else must say.
    pub(super) environment: IndexMap<String, Option<String>>,
    pub(super) dependencies: Vec<String>,
    command: Option<Value>,
}

impl Service {
    /// Reads a service; `None` if it is not one.
    pub(super) fn read(name: &str, path: &str, node: &Node, notes: &mut Notes) -> Option<Self> {
        let Data::Map(entries) = &node.data else {
            notes.unexpected(path, node, "a map");
            return None;
        };
        let mut service = Self::default();
        let value = |key: &str| {
            entries
                .get(key)
                .map(|entry| &entry.node)
                .filter(|node| !node.is_null())
        };
        service.image = match (value("image").and_then(text), value("build")) {
            (Some(image), build) => {
                if build.is_some() {
                    notes.say(format!("{name}: `build` is not taken over, the image is used"));
                }
                image
            }
            (None, Some(_)) => {
                notes.say(format!(
                    "{name}: `build` is not taken over; build the image and write its name as `deployable` of the breed"
                ));
                name.to_owned()
            }
            (None, None) => {
                let message = "a service needs an `image`";
                notes.problem(
                    "MissingPathValueError",
                    format!("{path}/image"),
                    Some(node),
                    message,
                );
                return None;
            }
        };
        for (key, Entry { node, .. }) in entries {
            if node.is_null() {
                continue;
            }
            let path = format!("{path}/{key}");
            match key.as_str() {
                "image" | "build" => {}
                "ports" => service.ports(name, &path, node, notes),
                "expose" => service.exposed(name, &path, node, notes),
                "environment" => service.environment(name, &path, node, notes),
                "depends_on" => service.depends_on(name, &path, node, notes),
                "command" => service.command = Some(node.to_value()),
                other => notes.say(format!("{name}: `{other}` is not taken over")),
            }
        }
        Some(service)
    }

    /// The cluster of a blueprint.
    pub(super) fn cluster(&self, name: &str) -> Value {
        let mut breed = Map::new();
        breed.insert("name".to_owned(), format!("{name}:{VERSION}").into());
        breed.insert("deployable".to_owned(), self.image.clone().into());
        let mut put = |key: &str, entries: Map<String, Value>| {
            if !entries.is_empty() {
                breed.insert(key.to_owned(), Value::Object(entries));
            }
        };
        let ports = self.ports.iter();
        put(
            "ports",
            ports
                .map(|(port, protocol)| (port_name(*port), format!("{port}/{protocol}").into()))
                .collect(),
        );
        put(
            "environment_variables",
            self.environment
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().into()))
                .collect(),
        );
        put(
            "dependencies",
            self.dependencies
                .iter()
                .map(|name| (name.clone(), format!("{name}:{VERSION}").into()))
                .collect(),
        );
        let mut service = Map::new();
        service.insert("breed".to_owned(), Value::Object(breed));
        if let Some(command) = &self.command {
            service.insert("dialects".to_owned(), json!({ "docker": { "command": command } }));
        }
        json!({ "services": [service] })
    }

    fn ports(&mut self, name: &str, path: &str, node: &Node, notes: &mut Notes) {
        for (index, item) in items(node).enumerate() {
            let path = format!("{path}/{index}");
            let (target, protocol) = match &item.data {
                Data::Map(entries) => {
                    let field = |key: &str| entries.get(key).and_then(|entry| text(&entry.node));
                    for key in entries.keys() {
                        if !matches!(key.as_str(), "target" | "protocol") {
                            notes.say(format!("{name}: `{key}` of a port is not taken over"));
                        }
                    }
                    (field("target").unwrap_or_default(), field("protocol"))
                }
                _ => {
                    let Some(written) = text(item) else {
                        notes.unexpected(
                            path,
                            item,
                            "a port such as `80`, `8080:80` or a map with `target`",
                        );
                        continue;
                    };
                    let (address, protocol) = match written.rsplit_once('/') {
                        Some((address, protocol)) => (address, Some(protocol.to_owned())),
                        None => (written.as_str(), None),
                    };
                    let target = match address.rsplit_once(':') {
                        Some((host, target)) => {
                            notes.say(format!(
                                "{name}: `{host}` of port `{written}` is not taken over; gateways listen"
                            ));
                            target
                        }
                        None => address,
                    };
                    (target.to_owned(), protocol)
                }
            };
            self.port(name, path, item, (&target, protocol.as_deref()), notes);
        }
    }

    fn exposed(&mut self, name: &str, path: &str, node: &Node, notes: &mut Notes) {
        for (index, item) in items(node).enumerate() {
            let path = format!("{path}/{index}");
            let Some(written) = text(item) else {
                notes.unexpected(path, item, "a port");
                continue;
            };
            let (target, protocol) = match written.split_once('/') {
                Some((target, protocol)) => (target, Some(protocol)),
                None => (written.as_str(), None),
            };
            self.port(name, path, item, (target, protocol), notes);
        }
    }

    fn port(
        &mut self,
        name: &str,
        path: String,
        node: &Node,
        (target, protocol): (&str, Option<&str>),
        notes: &mut Notes,
    ) {
        let protocol = match protocol.map(str::to_ascii_lowercase).as_deref() {
            None => "http",
            Some("tcp") => "tcp",
            Some(other) => {
                let message = format!("the protocol `{other}` of port {target} is not supported, only tcp");
                notes.problem("UnsupportedProtocolError", path, Some(node), message);
                return;
            }
        };
        let is_range = target
            .split_once('-')
            .is_some_and(|(low, high)| low.parse::<u16>().is_ok() && high.parse::<u16>().is_ok());
        if is_range {
            notes.say(format!("{name}: the range of ports `{target}` is not taken over"));
            return;
        }
        match target.parse::<u16>() {
            Ok(port) if port != 0 => {
                self.ports.entry(port).or_insert(protocol);
            }
            _ if target.contains('$') => {
                notes.say(format!(
                    "{name}: the port `{target}` is a variable of the shell and not taken over"
                ));
            }
            _ => {
                let message = format!("`{target}` is not a port from 1 to 65535");
                notes.problem("UnexpectedTypeError", path, Some(node), message);
            }
        }
    }

    fn environment(&mut self, name: &str, path: &str, node: &Node, notes: &mut Notes) {
        let mut pairs: Vec<(String, Option<String>)> = Vec::new();
        match &node.data {
            Data::Map(entries) => {
                for (key, entry) in entries {
                    match text(&entry.node) {
                        None if !entry.node.is_null() => {
                            notes.unexpected(format!("{path}/{key}"), &entry.node, "a value");
                        }
                        value => pairs.push((key.clone(), value)),
                    }
                }
            }
            Data::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    match text(item) {
                        None => notes.unexpected(format!("{path}/{index}"), item, "`NAME=value`"),
                        Some(pair) => pairs.push(match pair.split_once('=') {
                            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                            None => (pair, None),
                        }),
                    }
                }
            }
            Data::Scalar(_) => notes.unexpected(path, node, "a list or a map of variables"),
        }
        for (variable, value) in pairs {
            let is_name = super::is_name(&variable) && !variable.contains('.');
            if !is_name {
                notes.say(format!(
                    "{name}: the variable `{variable}` has a name that breeds cannot have"
                ));
                continue;
            }
            if value.is_none() {
                notes.say(format!(
                    "{name}: the variable `{variable}` came from the shell; give it a value"
                ));
            }
            if value
                .as_deref()
                .is_some_and(|value| value.replace("$$", "").contains('$'))
            {
                notes.say(format!(
                    "{name}: `{variable}` has a variable of the shell in its value, which stands as it is written"
                ));
            }
            let value = value.map(|value| value.replace("$$", "$").replace('$', "$$"));
            self.environment.insert(variable, value);
        }
    }

    fn depends_on(&mut self, name: &str, path: &str, node: &Node, notes: &mut Notes) {
        match &node.data {
            Data::Map(entries) => {
                for (dependency, entry) in entries {
                    if !entry.node.is_null() {
                        notes.say(format!("{name}: what `depends_on` says of `{dependency}` besides its name is not taken over"));
                    }
                    self.dependencies.push(dependency.clone());
                }
            }
            _ => {
                for (index, item) in items(node).enumerate() {
                    match text(item) {
                        Some(dependency) => self.dependencies.push(dependency),
                        None => notes.unexpected(format!("{path}/{index}"), item, "the name of a service"),
                    }
                }
            }
        }
    }
}

/// The items of a list, or the thing itself as the only one.
fn items(node: &Node) -> impl Iterator<Item = &Node> {
    match &node.data {
        Data::List(items) => items.iter(),
        _ => std::slice::from_ref(node).iter(),
    }
}

fn port_name(port: u16) -> String {
    format!("port_{port}")
}

/// Replaces `service:port` by references, and tells which there were. Names with signs that end a reference are
/// left alone.
pub(super) fn references(value: &str, own: &str, names: &[String]) -> (String, Vec<(String, u16)>) {
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut out = String::new();
    let mut found = Vec::new();
    let mut rest = value;
    loop {
        let start = rest.find(in_name).unwrap_or(rest.len());
        let (before, word) = rest.split_at(start);
        out.push_str(before);
        if word.is_empty() {
            return (out, found);
        }
        let end = word.find(|c| !in_name(c)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        let port = after.strip_prefix(':').and_then(|after| {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let (digits, after) = after.split_at(end);
            let port = digits.parse::<u16>().ok().filter(|port| *port != 0)?;
            (!after.starts_with(in_name)).then_some((port, after))
        });
        let is_other = word != own && !word.contains('.') && names.iter().any(|name| name == word);
        match port {
            // `$$` in front would hide the reference.
            Some((port, after)) if is_other && !before.ends_with('$') => {
                let port_name = port_name(port);
                // A name goes on as far as it can, so what follows may need to be kept off.
                let ends = |c: char| {
                    c.is_whitespace() || matches!(c, '/' | ',' | ';' | ':' | '[' | ']' | '{' | '}' | '$')
                };
                out.push_str(&match after.is_empty() || after.starts_with(ends) {
                    true => format!("${word}.host:${word}.ports.{port_name}"),
                    false => format!("${word}.host:${{{word}.ports.{port_name}}}"),
                });
                found.push((word.to_owned(), port));
                rest = after;
            }
            _ => {
                out.push_str(word);
                rest = after;
            }
        }
    }
}

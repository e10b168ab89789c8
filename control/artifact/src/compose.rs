//! Docker Compose files as blueprints (spec of the artifacts, §15).
//!
//! **Job.** A text of any version of the Compose file to the YAML of a blueprint, with comments at its head
//! about everything that a blueprint cannot say.
//!
//! **Invariants.** Pure. Nothing is lost silently: what is not taken over is named in a comment. What comes out
//! reads as a blueprint, unless services depend on each other in a circle, which a blueprint may not.
//!
//! **Absent.** No `build`, no variables of the shell, no other files (`env_file`, `extends`): they are named.

mod service;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use self::service::Service;
use crate::{
    Problem, Severity,
    problem::shown,
    tree::{self, Data, Entry, Node},
    write,
};

/// Version that every imported breed gets.
const VERSION: &str = "1.0.0";

/// A Compose file as the YAML of a blueprint of that name.
///
/// # Errors
/// `YamlParsingError`, `UnexpectedTypeError` or `MissingPathValueError`: not a Compose file;
/// `UnsupportedProtocolError`: a port of another protocol than TCP; `IllegalName`: a name that no blueprint or
/// cluster can have; `NoServiceError`. All problems of the file at once.
pub fn import(name: &str, text: &str) -> Result<String, Vec<Problem>> {
    let mut notes = Notes::default();
    if !is_name(name) {
        let message = format!("`{}` is not a name of a blueprint", shown(name));
        notes.problem("IllegalName", "name", None, message);
    }
    let nodes = tree::documents(text).map_err(|problem| vec![*problem])?;
    let services = match nodes.as_slice() {
        [node] => services(node, &mut notes),
        _ => {
            let message = format!("expected one Compose file, found {} documents", nodes.len());
            notes.problem("UnexpectedTypeError", "/", None, message);
            IndexMap::new()
        }
    };
    let services = connected(services, &mut notes);
    if notes.problems.is_empty() && services.is_empty() {
        notes.problem("NoServiceError", "services", None, "there is no service");
    }
    if !notes.problems.is_empty() {
        return Err(notes.problems);
    }
    let clusters: Map<String, Value> = services
        .iter()
        .map(|(name, service)| (name.clone(), service.cluster(name)))
        .collect();
    let blueprint = json!({ "name": name, "kind": "blueprint", "clusters": clusters });
    Ok(notes.comments() + &write::yaml(&blueprint))
}

/// What is to be said about a file.
#[derive(Default)]
struct Notes {
    version: Option<String>,
    /// What is not taken over, or taken over otherwise.
    lines: Vec<String>,
    problems: Vec<Problem>,
}

impl Notes {
    fn problem(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        node: Option<&Node>,
        message: impl Into<String>,
    ) {
        self.problems.push(Problem {
            severity: Severity::Error,
            code,
            path: path.into(),
            position: node.and_then(|node| node.position),
            message: message.into(),
            hint: None,
        });
    }

    fn unexpected(&mut self, path: impl Into<String>, node: &Node, expected: &str) {
        let message = format!("expected {expected}, found {}", node.what());
        self.problem("UnexpectedTypeError", path, Some(node), message);
    }

    fn say(&mut self, line: impl Into<String>) {
        let line = line.into();
        if self.lines.last() != Some(&line) {
            self.lines.push(line);
        }
    }

    fn comments(&self) -> String {
        let mut text = String::from("# Imported from a Docker Compose file");
        if let Some(version) = &self.version {
            text += " of version ";
            text += &one_line(version);
        }
        text += ".\n";
        if !self.lines.is_empty() {
            text += "# What differs from it:\n";
        }
        for line in &self.lines {
            text += "# - ";
            text += &one_line(line);
            text.push('\n');
        }
        text
    }
}

/// A text that cannot end a comment.
fn one_line(text: &str) -> String {
    text.chars()
        .map(
            |c| match c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') {
                true => ' ',
                false => c,
            },
        )
        .collect()
}

/// Names of clusters, breeds and blueprints.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '[' | ']'))
}

/// The services of a file: under `services`, or, in files of version 1, at the top.
fn services(root: &Node, notes: &mut Notes) -> IndexMap<String, Service> {
    let Data::Map(entries) = &root.data else {
        notes.unexpected("/", root, "a map with `services`");
        return IndexMap::new();
    };
    notes.version = entries.get("version").and_then(|entry| text(&entry.node));
    let is_first_version = !entries.contains_key("services") && !entries.contains_key("version");
    let (at, entries): (&str, &IndexMap<String, Entry>) = if is_first_version {
        ("", entries)
    } else {
        for key in entries.keys() {
            if !matches!(key.as_str(), "version" | "services" | "name") {
                notes.say(format!("`{key}` at the top is not taken over"));
            }
        }
        match entries.get("services").map(|entry| &entry.node) {
            None => {
                notes.problem(
                    "MissingPathValueError",
                    "services",
                    Some(root),
                    "`services` is missing",
                );
                return IndexMap::new();
            }
            Some(node) if node.is_null() => return IndexMap::new(),
            Some(Node {
                data: Data::Map(services),
                ..
            }) => ("services/", services),
            Some(node) => {
                notes.unexpected("services", node, "a map of services");
                return IndexMap::new();
            }
        }
    };
    let mut services = IndexMap::new();
    for (name, entry) in entries {
        let path = format!("{at}{}", shown(name));
        if !is_name(name) {
            let message = format!("`{}` is not a name of a cluster", shown(name));
            notes.problem("IllegalName", &path, Some(&entry.node), message);
        }
        if let Some(service) = Service::read(name, &path, &entry.node, notes) {
            services.insert(name.clone(), service);
        }
    }
    services
}

/// Addresses of other services in values of variables become references, which need the port and the dependency.
fn connected(mut services: IndexMap<String, Service>, notes: &mut Notes) -> IndexMap<String, Service> {
    let names: Vec<String> = services.keys().cloned().collect();
    let mut needed: Vec<(String, u16)> = Vec::new();
    for (own, service) in &mut services {
        for (variable, value) in &mut service.environment {
            let Some(text) = value else { continue };
            let (new, found) = service::references(text, own, &names);
            for (other, port) in found {
                notes.say(format!(
                    "{own}: `{other}:{port}` in {variable} leads through the gateway of cluster {other}"
                ));
                if !service.dependencies.contains(&other) {
                    service.dependencies.push(other.clone());
                }
                needed.push((other, port));
            }
            *text = new;
        }
        service.dependencies.retain(|dependency| {
            let is_there = names.contains(dependency) && dependency != own;
            if !is_there {
                notes.say(format!(
                    "{own}: depends on `{dependency}`, which is no other service"
                ));
            }
            is_there
        });
    }
    for (name, port) in needed {
        if let Some(service) = services.get_mut(&name) {
            service.ports.entry(port).or_insert("http");
        }
    }
    services
}

/// A scalar as written.
fn text(node: &Node) -> Option<String> {
    match &node.data {
        Data::Scalar(scalar) if !scalar.is_null() => Some(scalar.text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

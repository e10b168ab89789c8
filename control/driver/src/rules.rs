//! What holds of every spec, whatever runs it.

use std::collections::BTreeMap;

use crate::{DriverError, InstanceSpec};

/// Longest id, in bytes; it is the name of a folder, of a container, ...
pub const ID_BYTES_MAX: usize = 200;

/// Looks at the parts of a spec that every driver understands: the id, names of ports, ports of health
/// checks, variables.
///
/// # Errors
/// [`DriverError::Definition`] with what is wrong.
pub fn check(spec: &InstanceSpec) -> Result<(), DriverError> {
    let fault = |message: String| Err(DriverError::Definition(message));
    let id = spec.id.as_str();
    let valid = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.starts_with('.') || !id.chars().all(valid) {
        return fault(format!(
            "`{id}` cannot be the id of an instance: 1 to {ID_BYTES_MAX} of letters, digits, `-`, `_`, `.`, \
             and no `.` at the beginning"
        ));
    }
    let mut names = BTreeMap::new();
    for port in &spec.ports {
        if let Some(other) = names.insert(port_variable(&port.name), &port.name) {
            return fault(format!(
                "the ports `{other}` and `{}` have the same variable `{}`",
                port.name,
                port_variable(&port.name)
            ));
        }
    }
    for check in &spec.health_checks {
        if !spec.ports.iter().any(|port| port.name == check.port) {
            return fault(format!(
                "a health check names the port `{}`, which is not there",
                check.port
            ));
        }
        if check
            .path
            .chars()
            .any(|char| char.is_ascii_control() || char == ' ')
        {
            return fault(format!(
                "the path {:?} of a health check has a character that no path has",
                check.path
            ));
        }
    }
    for (name, value) in &spec.environment {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return fault(format!(
                "the variable {name:?} has a name or value that no variable can have"
            ));
        }
    }
    Ok(())
}

/// Bytes of the memory of a spec's scale; `None`: it has none.
#[must_use]
pub fn memory_bytes(spec: &InstanceSpec) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast from a float saturates, and more than u64::MAX bytes is no limit"
    )]
    let bytes = (spec.memory_mb * 1_048_576.0) as u64;
    (bytes > 0).then_some(bytes)
}

/// `PORT_<NAME>`: letters in upper case, all but letters and digits an underscore.
#[must_use]
pub fn port_variable(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|char| {
            if char.is_ascii_alphanumeric() {
                char.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    format!("PORT_{name}")
}

/// `PORT_<NAME>` for each port, and `PORT` for the first.
#[must_use]
pub fn port_variables(spec: &InstanceSpec, ports: &BTreeMap<String, u16>) -> BTreeMap<String, String> {
    let number = |name: &str| ports.get(name).map(u16::to_string);
    let mut variables: BTreeMap<String, String> = spec
        .ports
        .iter()
        .filter_map(|port| Some((port_variable(&port.name), number(&port.name)?)))
        .collect();
    if let Some(first) = spec.ports.first() {
        variables.extend(number(&first.name).map(|number| ("PORT".to_owned(), number)));
    }
    variables
}

//! What a dialect adds to a container.

use serde_json::{Map, Value};
use weir_driver::DriverError;

/// Puts what control says over what the dialect says: objects field by field, lists one after the other,
/// anything else replaced (core behaviour §7: Vamp's own values win).
///
/// A dialect has the fields of the engine's own request to make a container (`HostConfig`, `Labels`, ...), and
/// Vamp's short forms `labels`, `net` and `command`.
pub(crate) fn merge(dialect: &Value, own: Value) -> Result<Value, DriverError> {
    let fault = |message: &str| DriverError::Definition(format!("the dialect `docker` {message}"));
    let Value::Object(fields) = dialect else {
        return Err(fault("has to be a map of fields of a container"));
    };
    let mut base = Map::new();
    for (name, value) in fields {
        let (name, value) = match (name.as_str(), value) {
            ("labels", Value::Object(_)) => ("Labels", text_values(value)),
            ("labels", _) => return Err(fault("has `labels` that are no map")),
            ("net", Value::String(net)) => {
                let mut host = Map::new();
                host.insert("NetworkMode".to_owned(), Value::String(net.clone()));
                ("HostConfig", Value::Object(host))
            }
            ("net", _) => return Err(fault("has a `net` that is no name")),
            ("command", Value::Array(_)) => ("Cmd", value.clone()),
            ("command", _) => return Err(fault("has a `command` that is no list of words")),
            (name, value) => (name, value.clone()),
        };
        match base.get_mut(name) {
            Some(there) => over(there, value),
            None => {
                base.insert(name.to_owned(), value);
            }
        }
    }
    let mut base = Value::Object(base);
    over(&mut base, own);
    Ok(base)
}

/// Numbers and the like as the text that labels hold.
fn text_values(labels: &Value) -> Value {
    let Value::Object(labels) = labels else {
        return labels.clone();
    };
    let texts = labels.iter().map(|(name, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (name.clone(), Value::String(text))
    });
    Value::Object(texts.collect())
}

fn over(target: &mut Value, own: Value) {
    match (target, own) {
        (Value::Object(target), Value::Object(own)) => {
            for (name, value) in own {
                match target.get_mut(&name) {
                    Some(there) => over(there, value),
                    None => {
                        target.insert(name, value);
                    }
                }
            }
        }
        (Value::Array(target), Value::Array(own)) => target.extend(own),
        (target, own) => *target = own,
    }
}

/// Fields of `given` that did not survive being read: the engine's request has no such field, and would have
/// been sent without it.
pub(crate) fn lost(given: &Value, read: &Value) -> Vec<String> {
    fn walk(given: &Value, read: Option<&Value>, path: &str, lost: &mut Vec<String>) {
        match (given, read) {
            (Value::Null, _) => {}
            (Value::Object(given), Some(Value::Object(read))) => {
                for (name, value) in given {
                    let path = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}/{name}")
                    };
                    walk(value, read.get(name), &path, lost);
                }
            }
            (_, Some(_)) => {}
            (_, None) => lost.push(path.to_owned()),
        }
    }
    let mut names = Vec::new();
    walk(given, Some(read), "", &mut names);
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_control_says_wins_and_the_rest_stays() {
        let dialect = json!({
            "labels": {"team": "shop", "io.weir.instance": "stolen", "size": 3},
            "net": "blue",
            "HostConfig": {"ShmSize": 1, "Memory": 5, "CapAdd": ["NET_ADMIN"]},
            "Hostname": "front",
        });
        let own = json!({
            "Labels": {"io.weir.instance": "x"},
            "HostConfig": {"Memory": 7, "CapAdd": ["SYS_TIME"], "RestartPolicy": {"Name": "no"}},
        });
        assert_eq!(
            merge(&dialect, own).unwrap(),
            json!({
                "Labels": {"team": "shop", "io.weir.instance": "x", "size": "3"},
                "HostConfig": {
                    "NetworkMode": "blue", "ShmSize": 1, "Memory": 7, "CapAdd": ["NET_ADMIN", "SYS_TIME"],
                    "RestartPolicy": {"Name": "no"},
                },
                "Hostname": "front",
            })
        );
    }

    #[test]
    fn other_shapes_are_refused() {
        for dialect in [
            json!([]),
            json!({"net": 1}),
            json!({"labels": []}),
            json!({"command": "x"}),
        ] {
            merge(&dialect, json!({})).unwrap_err();
        }
    }

    #[test]
    fn lost_fields_are_named() {
        let given = json!({"A": 1, "B": {"C": 1, "D": null, "E": 2}, "F": []});
        let read = json!({"A": 1, "B": {"E": 2}});
        assert_eq!(lost(&given, &read), ["B/C", "F"]);
    }
}

//! The configuration in Vamp's words: keys that begin with `vamp.`, in layers.
//!
//! **Job.** Says what every setting is ([`Layers`]), takes changes of those that can change while control runs
//! ([`read`]), and gives their values to the rest ([`Live`]).
//!
//! **Invariants.** A key that is set at the start cannot be changed here: saying otherwise would be a lie. A change
//! is stored before it holds. Unknown keys below `vamp.` are kept for those who ask for them.
//!
//! **Absent.** No secrets: what is shown has none.

mod keys;
mod live;
mod read;

use std::{collections::BTreeMap, env};

use serde_json::{Map, Value};
use weir_persist::PersistError;

pub(crate) use self::{
    live::{Live, duration},
    read::read,
};
use crate::{config::Config, state::State};

/// Kind and name under which the dynamic layer is stored.
pub(crate) const KIND: &str = "configuration";
/// See [`KIND`].
pub(crate) const NAME: &str = "dynamic";
/// Begins every key.
pub(crate) const PREFIX: &str = "vamp.";

/// Dotted keys to values.
pub(crate) type Flat = BTreeMap<String, Value>;

/// Where values come from; the later wins.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layers {
    /// Defaults.
    pub(crate) reference: Flat,
    /// What this control was started with, where it differs.
    pub(crate) application: Flat,
    /// `VAMP_...` of the process, for keys that can change.
    pub(crate) environment: Flat,
    /// What was set here.
    pub(crate) dynamic: Flat,
}

impl Layers {
    /// The layers of a control that was started with this, and was told that.
    pub(crate) fn new(config: &Config, mut dynamic: Flat) -> Self {
        let reference = keys::of(&Config::new(
            &config.data_dir,
            std::sync::Arc::clone(&config.store),
        ));
        let mut application = keys::of(config);
        // What an earlier version did not know, and kept for others, may be set at the start by now.
        dynamic.retain(|key, _| keys::LIVE.contains(&key.as_str()) || !application.contains_key(key));
        application.retain(|key, value| reference.get(key) != Some(value));
        let environment = keys::LIVE
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), Value::from(env::var(variable(key)).ok()?))))
            .collect();
        Self {
            reference,
            application,
            environment,
            dynamic,
        }
    }

    /// What holds.
    pub(crate) fn applied(&self) -> Flat {
        let mut applied = self.reference.clone();
        for layer in [&self.application, &self.environment, &self.dynamic] {
            applied.extend(layer.clone());
        }
        applied
    }
}

/// Upper case, everything else than letters and digits replaced by `_`.
fn variable(key: &str) -> String {
    key.chars()
        .map(|character| match character.is_ascii_alphanumeric() {
            true => character.to_ascii_uppercase(),
            false => '_',
        })
        .collect()
}

/// Dotted keys as a tree. A key that is also the beginning of another one loses its value.
pub(crate) fn tree(flat: &Flat) -> Value {
    let mut root = Map::new();
    for (key, value) in flat {
        let mut place = &mut root;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                place.insert(part.to_owned(), value.clone());
                break;
            }
            let below = place
                .entry(part)
                .and_modify(|known| {
                    if !known.is_object() {
                        *known = Value::Object(Map::new());
                    }
                })
                .or_insert_with(|| Value::Object(Map::new()));
            match below {
                Value::Object(fields) => place = fields,
                _ => break,
            }
        }
    }
    Value::Object(root)
}

/// Reads the dynamic layer, and makes it hold. A value that cannot hold (of a newer version) is left out.
pub(crate) async fn load(state: &State) -> Result<(), PersistError> {
    let stored = state.stored(KIND, NAME).await?;
    let dynamic: Flat = match stored.map(|stored| stored.body) {
        Some(Value::Object(fields)) => fields.into_iter().collect(),
        _ => Flat::new(),
    };
    let layers = Layers::new(&state.config, dynamic);
    let (live, problems) = Live::of(&state.config, &layers.applied());
    for problem in problems {
        tracing::warn!(%problem, "a setting is passed over");
    }
    state.set_live(live);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::{Flat, Layers, Live, read, tree, variable};
    use crate::Config;

    fn config() -> Config {
        let mut config = Config::new("unused", Arc::new(weir_store::memory::Memory::new()));
        config.gateway_host = "edge".to_owned();
        config
    }

    #[test]
    fn later_layers_win_and_are_told_apart() {
        let dynamic = Flat::from([("vamp.operation.metrics.window".to_owned(), json!("60s"))]);
        let layers = Layers::new(&config(), dynamic);
        assert_eq!(layers.reference["vamp.gateway-driver.host"], "127.0.0.1");
        assert_eq!(layers.application["vamp.gateway-driver.host"], "edge");
        assert!(!layers.application.contains_key("vamp.namespace"));
        let applied = layers.applied();
        assert_eq!(applied["vamp.gateway-driver.host"], "edge");
        assert_eq!(applied["vamp.operation.metrics.window"], "60s");
        let (live, problems) = Live::of(&config(), &applied);
        assert_eq!(problems, []);
        assert_eq!(live.metrics_window.as_secs(), 60);
        assert_eq!(live.gateway_host, "edge");
    }

    #[test]
    fn keys_are_trees_and_variables() {
        let flat = Flat::from([
            ("vamp.a.b-c".to_owned(), json!(1)),
            ("vamp.a.d".to_owned(), json!([2])),
        ]);
        assert_eq!(tree(&flat), json!({"vamp": {"a": {"b-c": 1, "d": [2]}}}));
        assert_eq!(variable("vamp.gateway-driver.host"), "VAMP_GATEWAY_DRIVER_HOST");
    }

    #[test]
    fn bodies_are_trees_flat_or_lines() {
        let expected = Flat::from([
            ("vamp.gateway-driver.host".to_owned(), json!("edge2")),
            ("vamp.x.y".to_owned(), json!(1)),
        ]);
        for body in [
            "vamp:\n  gateway-driver: {host: edge2}\n  x:\n    y: 1\n  http-api: {port: 1}\n",
            r#"{"vamp.gateway-driver.host": "edge2", "vamp.x": {"y": 1}}"#,
            "vamp.gateway-driver.host = edge2\n# nothing\nvamp.x.y=1\n",
        ] {
            assert_eq!(read(&config(), body), Ok(expected.clone()), "{body}");
        }
        assert_eq!(read(&config(), " \n"), Ok(Flat::new()));
        // What is said as it is may be said.
        assert!(read(&config(), "vamp.namespace: default").is_ok());
        for body in [
            "vamp.namespace: other",
            "other.key: 1",
            "[1]",
            "nonsense",
            "vamp.operation.metrics.window: soon",
            "vamp.operation.gateway.port-range: 9-1",
            "vamp.operation.deployment.scale.memory: much",
            "vamp: 1",
        ] {
            let problems = read(&config(), body).unwrap_err();
            assert_eq!(problems[0].code, "InvalidConfigurationError", "{body}");
        }
    }
}

//! Vamp's variables, so that a host set up for its gateway agent needs no new ones
//! (spec of the gateway agent, §1.3).

/// What the variables say about the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FromVamp {
    /// Address of the store, for [`weir_store::connect`].
    pub store: Option<String>,
    /// What its keys begin with.
    pub prefix: Option<String>,
}

/// Reads `VAMP_KEY_VALUE_STORE_TYPE`, `_CONNECTION` and `_PATH`. `variable` gives a variable's value.
pub fn from_vamp(variable: impl Fn(&str) -> Option<String>) -> FromVamp {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let connection = given("VAMP_KEY_VALUE_STORE_CONNECTION").unwrap_or_default();
    let store = given("VAMP_KEY_VALUE_STORE_TYPE").map(|kind| {
        let hosts = connection
            .split_once("://")
            .map_or(&*connection, |(_, hosts)| hosts);
        format!("{kind}://{hosts}")
    });
    FromVamp {
        store,
        prefix: given("VAMP_KEY_VALUE_STORE_PATH").map(|path| prefix_of(&path)),
    }
}

/// `/vamp/vamp/gateways/haproxy/1.7/configuration` (for etcd with `/value`) names one key; the prefix is
/// what comes before `gateways`.
fn prefix_of(path: &str) -> String {
    let path = path.trim_matches('/');
    match path
        .find("/gateways/haproxy/")
        .and_then(|at| path.split_at_checked(at))
    {
        Some((prefix, _)) => prefix.to_owned(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{FromVamp, from_vamp};

    fn read(kind: &str, connection: &str, path: &str) -> FromVamp {
        from_vamp(|name| match name {
            "VAMP_KEY_VALUE_STORE_TYPE" => Some(kind.to_owned()),
            "VAMP_KEY_VALUE_STORE_CONNECTION" => Some(connection.to_owned()),
            "VAMP_KEY_VALUE_STORE_PATH" => Some(path.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn an_agent_of_vamp_is_understood() {
        let path = "/vamp/vamp/gateways/haproxy/1.7/configuration";
        let expected = |store: &str| FromVamp {
            store: Some(store.to_owned()),
            prefix: Some("vamp/vamp".to_owned()),
        };
        assert_eq!(
            read("zookeeper", "a:2181,b:2181", path),
            expected("zookeeper://a:2181,b:2181")
        );
        assert_eq!(read("consul", "c:8500", path), expected("consul://c:8500"));
        let etcd = read("etcd", "http://e:2379", &format!("{path}/value"));
        assert_eq!(etcd, expected("etcd://e:2379"));
        assert_eq!(read("", "", "/my/own").prefix.as_deref(), Some("my/own"));
        assert_eq!(from_vamp(|_| None), FromVamp::default());
    }
}

//! Vamp's variables, so that a host set up for its gateway agent needs no new ones
//! (spec of the gateway agent, §1.3).

use anyhow::{Context as _, bail};

/// What the variables say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FromVamp {
    /// Address of the store, for [`weir_store::connect`].
    pub store: Option<String>,
    /// What its keys begin with.
    pub prefix: Option<String>,
    /// Where records of requests are shipped.
    pub elasticsearch: Option<String>,
    /// Port at which names of virtual hosts are answered; `None`: they are not.
    pub dns_port: Option<u16>,
}

/// Reads `VAMP_KEY_VALUE_STORE_TYPE`, `_CONNECTION`, `_PATH` and `_TOKEN`, `VAMP_ELASTICSEARCH_URL`, `VAMP_VGA_DNS_ENABLE` and `_PORT`.
/// `variable` gives a variable's value. One that is empty counts as not there.
///
/// # Errors
/// A variable that cannot be understood.
pub fn from_vamp(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<FromVamp> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let connection = given("VAMP_KEY_VALUE_STORE_CONNECTION");
    let token = given("VAMP_KEY_VALUE_STORE_TOKEN");
    let store = match (given("VAMP_KEY_VALUE_STORE_TYPE"), connection) {
        (Some(kind), Some(nodes)) => Some(address(&kind, &nodes, token.as_deref())),
        (None, None) => None,
        (Some(_), None) => {
            bail!("VAMP_KEY_VALUE_STORE_TYPE is set, and VAMP_KEY_VALUE_STORE_CONNECTION is not")
        }
        (None, Some(_)) => {
            bail!("VAMP_KEY_VALUE_STORE_CONNECTION is set, and VAMP_KEY_VALUE_STORE_TYPE is not")
        }
    };
    let dns_port = match (given("VAMP_VGA_DNS_ENABLE"), given("VAMP_VGA_DNS_PORT")) {
        (None, _) => None,
        (Some(_), None) => Some(crate::Dns::PORT_DEFAULT),
        (Some(_), Some(port)) => {
            let port = port.trim().parse();
            Some(port.context("VAMP_VGA_DNS_PORT is not a port")?)
        }
    };
    Ok(FromVamp {
        store,
        prefix: given("VAMP_KEY_VALUE_STORE_PATH").map(|path| prefix_of(&path)),
        elasticsearch: given("VAMP_ELASTICSEARCH_URL"),
        dns_port,
    })
}

/// The address of a store from its kind and its nodes, which may be URLs (etcd's). The token is Consul's: the other
/// stores know none.
fn address(kind: &str, nodes: &str, token: Option<&str>) -> String {
    let hosts: Vec<&str> = nodes
        .split(',')
        .map(|node| {
            node.trim()
                .split_once("://")
                .map_or(node.trim(), |(_, host)| host)
        })
        .map(|host| host.trim_end_matches('/'))
        .collect();
    let mut options = Vec::new();
    if nodes.contains("https://") {
        options.push("tls=true".to_owned());
    }
    if let Some(token) = token.filter(|_| kind == "consul") {
        let token = token.replace('%', "%25").replace('&', "%26");
        options.push(format!("token={token}"));
    }
    let mut address = format!("{kind}://{}", hosts.join(","));
    if !options.is_empty() {
        address.push('?');
        address.push_str(&options.join("&"));
    }
    address
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
        .unwrap()
    }

    #[test]
    fn an_agent_of_vamp_is_understood() {
        let path = "/vamp/vamp/gateways/haproxy/1.7/configuration";
        let expected = |store: &str| FromVamp {
            store: Some(store.to_owned()),
            prefix: Some("vamp/vamp".to_owned()),
            ..FromVamp::default()
        };
        assert_eq!(
            read("zookeeper", "a:2181,b:2181", path),
            expected("zookeeper://a:2181,b:2181")
        );
        assert_eq!(read("consul", "c:8500", path), expected("consul://c:8500"));
        let etcd = read("etcd", "http://e:2379", &format!("{path}/value"));
        assert_eq!(etcd, expected("etcd://e:2379"));
        assert_eq!(read("", "", "/my/own").prefix.as_deref(), Some("my/own"));
        assert_eq!(from_vamp(|_| None).unwrap(), FromVamp::default());
    }

    #[test]
    fn several_nodes_tls_and_a_token_are_understood() {
        let store = |kind: &'static str, nodes: &'static str| {
            let read = from_vamp(|name| match name {
                "VAMP_KEY_VALUE_STORE_TYPE" => Some(kind.to_owned()),
                "VAMP_KEY_VALUE_STORE_CONNECTION" => Some(nodes.to_owned()),
                "VAMP_KEY_VALUE_STORE_TOKEN" => Some("a&b".to_owned()),
                _ => None,
            });
            let store = read.unwrap().store.unwrap();
            weir_store::connect(&store).unwrap();
            store
        };
        assert_eq!(
            store("etcd", "http://a:2379, http://b:2379/"),
            "etcd://a:2379,b:2379"
        );
        assert_eq!(store("consul", "c:8500"), "consul://c:8500?token=a%26b");
        assert_eq!(store("zookeeper", "a:2181,b:2181"), "zookeeper://a:2181,b:2181");
        // The system's authorities may not be there on a small machine.
        assert_eq!(
            super::address("etcd", "https://a:2379", None),
            "etcd://a:2379?tls=true"
        );
    }

    #[test]
    fn its_log_destination_and_its_names_are_understood() {
        let read = |port: &'static str| {
            from_vamp(|name| match name {
                "VAMP_ELASTICSEARCH_URL" => Some("http://es:9200".to_owned()),
                "VAMP_VGA_DNS_ENABLE" => Some("1".to_owned()),
                "VAMP_VGA_DNS_PORT" => Some(port.to_owned()),
                _ => None,
            })
        };
        assert_eq!(read("").unwrap().elasticsearch.as_deref(), Some("http://es:9200"));
        assert_eq!(read("").unwrap().dns_port, Some(5353));
        assert_eq!(read("53").unwrap().dns_port, Some(53));
        let error = read("dns").unwrap_err().to_string();
        assert!(error.contains("VAMP_VGA_DNS_PORT"), "{error}");
    }

    #[test]
    fn half_of_a_store_is_told() {
        for (there, missing) in [("TYPE", "CONNECTION"), ("CONNECTION", "TYPE")] {
            let told = from_vamp(|name| name.ends_with(there).then(|| "etcd".to_owned()));
            let error = told.unwrap_err().to_string();
            assert!(error.ends_with(&format!("{missing} is not")), "{error}");
        }
    }

    #[test]
    fn a_chroot_of_zookeeper_stays_at_the_end() {
        let read = read("zookeeper", "a:2181,b:2181/vamp/root", "");
        assert_eq!(read.store.as_deref(), Some("zookeeper://a:2181,b:2181/vamp/root"));
        weir_store::connect(read.store.as_deref().unwrap()).unwrap();
    }
}

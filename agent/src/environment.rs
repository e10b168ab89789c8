//! Vamp's variables, so that a host set up for its gateway agent needs no new ones
//! (spec of the gateway agent, §1.3).

/// What the variables say about the store.
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
/// `variable` gives a variable's value.
pub fn from_vamp(variable: impl Fn(&str) -> Option<String>) -> FromVamp {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let connection = given("VAMP_KEY_VALUE_STORE_CONNECTION").unwrap_or_default();
    let token = given("VAMP_KEY_VALUE_STORE_TOKEN");
    let store = given("VAMP_KEY_VALUE_STORE_TYPE").map(|kind| address(&kind, &connection, token.as_deref()));
    FromVamp {
        store,
        prefix: given("VAMP_KEY_VALUE_STORE_PATH").map(|path| prefix_of(&path)),
        elasticsearch: given("VAMP_ELASTICSEARCH_URL"),
        dns_port: given("VAMP_VGA_DNS_ENABLE").map(|_| {
            given("VAMP_VGA_DNS_PORT")
                .and_then(|port| port.parse().ok())
                .unwrap_or(crate::Dns::PORT_DEFAULT)
        }),
    }
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
        assert_eq!(from_vamp(|_| None), FromVamp::default());
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
            let store = read.store.unwrap();
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
        assert_eq!(read("").elasticsearch.as_deref(), Some("http://es:9200"));
        assert_eq!(read("").dns_port, Some(5353));
        assert_eq!(read("53").dns_port, Some(53));
    }
}

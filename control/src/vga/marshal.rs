//! Gateways as sections of HAProxy (spec of the gateway agent, §3).
//!
//! A gateway `G` is a public frontend that looks at conditions, an internal one `o_G`, and one per route `R`; a backend
//! `o_G` that chooses a route by weight, one `im_R` per condition that sends its share to the route, and one `R` per route
//! that chooses an instance. Hops between them are Unix sockets.

use std::{collections::BTreeMap, sync::Arc};

use weir_model::{Balance, Gateway, InstanceState, Protocol, Route, Sticky, Target, lookup};

use super::acl::{self, Acls};

/// Highest weight of a server of HAProxy.
const WEIGHT_MAX: u32 = 256;
/// Weight of every instance: their number does not change a route's share.
const INSTANCE_WEIGHT: u32 = 100;
/// Between two checks of an instance, in milliseconds (Vamp's).
const CHECK_INTERVAL_MS: u64 = 2_000;
/// Name of the frontend of virtual hosts, as it is in logs.
const VIRTUAL_HOSTS: &str = "virtual_hosts";
/// Its port.
const VIRTUAL_HOSTS_PORT: u16 = 80;

/// All that a template can write.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sections {
    pub(crate) frontends: Vec<Frontend>,
    pub(crate) backends: Vec<Backend>,
    pub(crate) virtual_host_frontends: Vec<Frontend>,
    pub(crate) virtual_host_backends: Vec<Backend>,
    /// What could not be written as it is: gateway and reason.
    pub(crate) problems: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frontend {
    /// For people.
    pub(crate) name: String,
    /// Name of the section.
    pub(crate) lookup: String,
    pub(crate) bind_ip: Option<String>,
    pub(crate) bind_port: Option<u16>,
    pub(crate) mode: String,
    pub(crate) unix_sock: Option<String>,
    pub(crate) sock_protocol: Option<String>,
    pub(crate) conditions: Vec<Rule>,
    pub(crate) default_backend: String,
}

/// Which requests leave a frontend for which backend.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) destination: String,
    /// `None`: all.
    pub(crate) acls: Option<Acls>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Backend {
    pub(crate) name: String,
    pub(crate) lookup: String,
    pub(crate) mode: String,
    pub(crate) balance: String,
    pub(crate) sticky: bool,
    /// New path, and the ACL that must hold.
    pub(crate) rewrites: Vec<(String, String)>,
    pub(crate) proxy_servers: Vec<ProxyServer>,
    pub(crate) servers: Vec<Server>,
}

/// Another section, behind a Unix socket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProxyServer {
    pub(crate) name: String,
    pub(crate) lookup: String,
    pub(crate) unix_sock: String,
    pub(crate) weight: u32,
}

/// An instance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) lookup: String,
    /// `host:port` of an external target.
    pub(crate) url: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) weight: u32,
    pub(crate) check_interval: Option<u64>,
}

/// Rewrites by gateway and route, as written: `NEW if CONDITION`.
pub(crate) type Rewrites = BTreeMap<(String, String), Vec<String>>;

/// The sections of all gateways. `sockets`: folder of the Unix sockets on the agents' hosts.
pub(crate) fn sections(gateways: &[Arc<Gateway>], rewrites: &Rewrites, sockets: &str) -> Sections {
    let ports: BTreeMap<&str, u16> = gateways
        .iter()
        .filter_map(|gateway| Some((gateway.name.as_str(), gateway.listener?.port)))
        .collect();
    let mut writer = Writer {
        sections: Sections::default(),
        ports,
        rewrites,
        sockets: sockets.trim_end_matches('/'),
    };
    for gateway in gateways {
        writer.gateway(gateway);
    }
    writer.virtual_hosts(gateways);
    writer.sections
}

struct Writer<'a> {
    sections: Sections,
    ports: BTreeMap<&'a str, u16>,
    rewrites: &'a Rewrites,
    sockets: &'a str,
}

impl Writer<'_> {
    fn socket(&self, id: &str) -> String {
        format!("{}/{id}.sock", self.sockets)
    }

    fn internal(&self, name: String, lookup: &str, mode: &str) -> Frontend {
        Frontend {
            name,
            lookup: lookup.to_owned(),
            mode: mode.to_owned(),
            unix_sock: Some(self.socket(lookup)),
            sock_protocol: Some("accept-proxy".to_owned()),
            default_backend: lookup.to_owned(),
            ..Frontend::default()
        }
    }

    fn hop(&self, name: String, lookup: &str, weight: u32) -> ProxyServer {
        ProxyServer {
            name,
            lookup: lookup.to_owned(),
            unix_sock: self.socket(lookup),
            weight,
        }
    }

    fn gateway(&mut self, gateway: &Gateway) {
        let name = gateway.name.to_string();
        let own = lookup::gateway(&name);
        let other = format!("o_{own}");
        let mode = gateway.protocol.to_string();
        let sticky = gateway.sticky != Sticky::None;
        let lookups: Vec<String> = gateway
            .routes
            .iter()
            .map(|route| lookup::route(&name, route.name.as_str()))
            .collect();
        let mut conditions = Vec::new();
        let mut conditioned = Vec::new();
        for (route, id) in gateway.routes.iter().zip(&lookups) {
            let strength = u32::from(route.condition_strength.parts());
            let Some(condition) = route.condition.as_ref().filter(|_| strength > 0) else {
                continue;
            };
            let acls = match acl::acls(condition.expression()) {
                Ok(Some(acls)) => acls,
                // It never holds.
                Ok(None) => continue,
                Err(reason) => {
                    self.problem(
                        &name,
                        format!(
                            "route `{}`: its condition is left out of the text for HAProxy: {reason}",
                            route.name
                        ),
                    );
                    continue;
                }
            };
            let matched = format!("im_{id}");
            conditions.push(Rule {
                name: format!("{name}: {}", route.name),
                destination: matched.clone(),
                acls: acls.condition.is_some().then_some(acls),
            });
            let [taken, left] = shares([strength, 10_000 - strength]);
            conditioned.push(Backend {
                name: format!("{name}: {} by condition", route.name),
                lookup: matched,
                mode: mode.clone(),
                balance: balance(Balance::RoundRobin),
                sticky,
                proxy_servers: vec![
                    self.hop(route.name.to_string(), id, taken),
                    self.hop(format!("{name}: other"), &other, left),
                ],
                ..Backend::default()
            });
        }
        if let Some(listener) = gateway.listener {
            self.sections.frontends.push(Frontend {
                name: name.clone(),
                lookup: own,
                bind_ip: Some(listener.address.to_string()),
                bind_port: Some(listener.port),
                mode: mode.clone(),
                conditions,
                default_backend: other.clone(),
                ..Frontend::default()
            });
        }
        let internal = self.internal(format!("{name}: other"), &other, &mode);
        self.sections.frontends.push(internal);
        let weights = self.weights(gateway);
        let hops = gateway.routes.iter().zip(&lookups).zip(weights);
        let hops = hops.map(|((route, id), weight)| self.hop(route.name.to_string(), id, weight));
        // Connections have no rotation of their own (spec §3.6).
        let by_weight = match gateway.protocol {
            Protocol::Http => Balance::RoundRobin,
            Protocol::Tcp => Balance::LeastRequests,
        };
        let weighted = Backend {
            name: format!("{name}: by weight"),
            lookup: other,
            mode: mode.clone(),
            balance: balance(by_weight),
            sticky,
            proxy_servers: hops.collect(),
            ..Backend::default()
        };
        self.sections.backends.push(weighted);
        self.sections.backends.extend(conditioned);
        for (route, id) in gateway.routes.iter().zip(&lookups) {
            let frontend = self.internal(format!("{name}: {}", route.name), id, &mode);
            self.sections.frontends.push(frontend);
            let backend = self.route(gateway, route, id, &mode);
            self.sections.backends.push(backend);
        }
    }

    fn route(&mut self, gateway: &Gateway, route: &Route, id: &str, mode: &str) -> Backend {
        let name = gateway.name.to_string();
        let key = (name.clone(), route.name.to_string());
        let rewrites = self
            .rewrites
            .get(&key)
            .into_iter()
            .flatten()
            .filter_map(|text| text.rsplit_once(" if "))
            .map(|(path, condition)| (path.trim().to_owned(), braced(condition.trim())));
        Backend {
            name: format!("{name}: {}", route.name),
            lookup: id.to_owned(),
            mode: mode.to_owned(),
            balance: balance(route.balance),
            sticky: gateway.sticky == Sticky::Instance,
            rewrites: rewrites.collect(),
            proxy_servers: Vec::new(),
            servers: self.servers(route),
        }
    }

    fn servers(&self, route: &Route) -> Vec<Server> {
        let instances = match &route.target {
            Target::Gateway(name) => {
                let Some(port) = self.ports.get(name.as_str()) else {
                    return Vec::new();
                };
                return vec![Server {
                    name: name.to_string(),
                    lookup: lookup::instance(name.as_str()),
                    url: None,
                    host: Some("127.0.0.1".to_owned()),
                    port: Some(*port),
                    weight: INSTANCE_WEIGHT,
                    check_interval: Some(CHECK_INTERVAL_MS),
                }];
            }
            Target::Instances(instances) => instances,
        };
        let is_external = route.name.as_str().starts_with('[');
        let servers = instances
            .iter()
            .filter(|instance| instance.state == InstanceState::Serving)
            .map(|instance| {
                let address = if instance.host.contains(':') {
                    format!("[{}]:{}", instance.host, instance.port)
                } else {
                    format!("{}:{}", instance.host, instance.port)
                };
                Server {
                    name: instance.id.to_string(),
                    lookup: if is_external {
                        lookup::external(instance.id.as_str())
                    } else {
                        lookup::instance(instance.id.as_str())
                    },
                    url: is_external.then_some(address),
                    host: (!is_external).then(|| instance.host.clone()),
                    port: (!is_external).then_some(instance.port),
                    weight: INSTANCE_WEIGHT,
                    check_interval: Some(CHECK_INTERVAL_MS),
                }
            });
        servers.collect()
    }

    /// As percent where they are whole percent, which is what Vamp has; else as the nearest weights HAProxy can have.
    fn weights(&self, gateway: &Gateway) -> Vec<u32> {
        let parts: Vec<u32> = gateway
            .routes
            .iter()
            .map(|route| u32::from(route.weight.parts()))
            .collect();
        scaled(&parts)
    }

    fn virtual_hosts(&mut self, gateways: &[Arc<Gateway>]) {
        let mut rules = Vec::new();
        for gateway in gateways {
            let Some(listener) = gateway.listener else {
                continue;
            };
            let id = lookup::gateway(gateway.name.as_str());
            for host in &gateway.virtual_hosts {
                let definition = match acl::word(host) {
                    Ok(host) => format!("hdr(host) -i {host}"),
                    Err(reason) => {
                        let text = format!("virtual host is left out of the text for HAProxy: {reason}");
                        self.problem(gateway.name.as_str(), text);
                        continue;
                    }
                };
                let name = lookup::acl(&definition);
                rules.push(Rule {
                    name: host.clone(),
                    destination: format!("vh_{id}"),
                    acls: Some(Acls {
                        condition: Some(name.clone()),
                        acls: vec![acl::Acl { name, definition }],
                    }),
                });
            }
            if !gateway.virtual_hosts.is_empty() {
                self.sections.virtual_host_backends.push(Backend {
                    name: format!("{}: virtual hosts", gateway.name),
                    lookup: format!("vh_{id}"),
                    mode: "http".to_owned(),
                    balance: "roundrobin".to_owned(),
                    servers: vec![Server {
                        name: gateway.name.to_string(),
                        lookup: id,
                        url: None,
                        host: Some("127.0.0.1".to_owned()),
                        port: Some(listener.port),
                        weight: INSTANCE_WEIGHT,
                        check_interval: None,
                    }],
                    ..Backend::default()
                });
            }
        }
        if !rules.is_empty() {
            self.sections.virtual_host_frontends.push(Frontend {
                name: VIRTUAL_HOSTS.to_owned(),
                lookup: VIRTUAL_HOSTS.to_owned(),
                bind_ip: Some("0.0.0.0".to_owned()),
                bind_port: Some(VIRTUAL_HOSTS_PORT),
                mode: "http".to_owned(),
                conditions: rules,
                ..Frontend::default()
            });
        }
    }

    fn problem(&mut self, gateway: &str, reason: String) {
        self.sections.problems.push((gateway.to_owned(), reason));
    }
}

fn balance(balance: Balance) -> String {
    match balance {
        Balance::RoundRobin => "roundrobin",
        Balance::LeastRequests => "leastconn",
        Balance::Source => "source",
        Balance::First => "first",
    }
    .to_owned()
}

fn shares<const N: usize>(parts: [u32; N]) -> [u32; N] {
    let scaled = scaled(&parts);
    std::array::from_fn(|index| scaled.get(index).copied().unwrap_or_default())
}

/// Parts per 10 000 as weights of HAProxy: percent if that is exact; else the smallest equal ratio, rounded if even that
/// is above 256. What has a share keeps one.
fn scaled(parts: &[u32]) -> Vec<u32> {
    if parts.iter().all(|part| part % 100 == 0) {
        return parts.iter().map(|part| part / 100).collect();
    }
    let divisor = parts.iter().copied().fold(0, greatest_common_divisor).max(1);
    let most = parts.iter().max().copied().unwrap_or_default() / divisor;
    parts
        .iter()
        .map(|part| match part / divisor {
            0 => 0,
            part if most <= WEIGHT_MAX => part,
            part => ((part * WEIGHT_MAX + most / 2) / most).max(1),
        })
        .collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        b => greatest_common_divisor(b, a % b),
    }
}

/// An ACL in braces, unless it is in braces already.
fn braced(condition: &str) -> String {
    let bare = condition.trim_start_matches('!').trim_start();
    if bare.starts_with('{') {
        condition.to_owned()
    } else {
        format!("{{ {condition} }}")
    }
}

#[cfg(test)]
mod tests {
    use super::{braced, scaled};

    #[test]
    fn weights_are_percent_or_the_nearest_that_can_be_had() {
        assert_eq!(scaled(&[8_000, 2_000]), [80, 20]);
        assert_eq!(scaled(&[10_000, 0]), [100, 0]);
        assert_eq!(scaled(&[3_333, 3_333, 3_334]), [256, 256, 256]);
        assert_eq!(scaled(&[9_950, 50]), [199, 1]);
        assert_eq!(scaled(&[9_999, 1]), [256, 1], "what has a share keeps one");
        assert_eq!(scaled(&[]), [0; 0]);
    }

    #[test]
    fn conditions_of_rewrites_are_in_braces() {
        assert_eq!(braced("path_beg /a"), "{ path_beg /a }");
        assert_eq!(
            braced("{ path_beg /a } !{ method POST }"),
            "{ path_beg /a } !{ method POST }"
        );
        assert_eq!(braced("!{ method POST }"), "!{ method POST }");
    }
}

//! What the driver is told.

use std::{fmt, net::IpAddr, time::Duration};

use crate::Endpoint;

/// How gateways reach containers that are in the engine's usual network (`BRIDGE`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// At a port of the engine's host, chosen by the engine, on which the container's port is published.
    /// Works from wherever that host is reached.
    #[default]
    Published,
    /// At the container's own address. Saves a hop and works only on the engine's host.
    Address,
}

/// Who may pull from a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Host and port of the registry, as in the names of images; `docker.io` for names without one.
    pub server: String,
    /// Name.
    pub username: String,
    /// Secret.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("server", &self.server)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How to open a [`DockerDriver`](crate::DockerDriver).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where the engine is.
    pub endpoint: Endpoint,
    /// Whose containers these are; those of other namespaces are left alone.
    pub namespace: String,
    /// Name or address under which published ports, and ports in the network `HOST`, are reached. Default:
    /// that of the endpoint; 127.0.0.1 for a socket.
    pub host: String,
    /// Address of the engine's host on which ports are published. Default: 127.0.0.1 for a socket, else all
    /// addresses.
    pub publish_address: IpAddr,
    /// How containers in the usual network are reached.
    pub reach: Reach,
    /// Network of an instance that names none. Default `BRIDGE`.
    pub network: String,
    /// Prefix of Vamp's labels. Default `io.vamp`.
    pub label_namespace: String,
    /// For registries that ask who pulls.
    pub credentials: Vec<Credentials>,
    /// Between two looks at all containers while the engine tells changes by itself. Default 10 s.
    pub poll_period: Duration,
    /// The same while it does not. Default 2 s.
    pub poll_period_alone: Duration,
    /// Longest wait for an answer, but for pulls and stops, and for starts if it is less than a minute. Default
    /// 20 s.
    pub request_timeout: Duration,
}

impl Config {
    /// Defaults for this engine and namespace.
    #[must_use]
    pub fn new(endpoint: Endpoint, namespace: impl Into<String>) -> Config {
        let (host, publish_address) = match endpoint.host() {
            None => ("127.0.0.1".to_owned(), IpAddr::from([127, 0, 0, 1])),
            Some(host) => (host.to_owned(), IpAddr::from([0, 0, 0, 0])),
        };
        Config {
            endpoint,
            namespace: namespace.into(),
            host,
            publish_address,
            reach: Reach::default(),
            network: "BRIDGE".to_owned(),
            label_namespace: "io.vamp".to_owned(),
            credentials: Vec::new(),
            poll_period: Duration::from_secs(10),
            poll_period_alone: Duration::from_secs(2),
            request_timeout: Duration::from_secs(20),
        }
    }
}

//! Short ways to write artifacts in tests.

use weir_artifact::{
    Blueprint, Breed, Deployable, Deployment, EnvironmentVariable, Gateway, GatewayService, Health,
    Intention, OrReference, Phase, PortValue, Problem, Route, Scale, Service, ServiceRuntime, ServiceStatus,
};
use weir_model::{Protocol, Weight};

pub(crate) fn codes(problems: &[Problem]) -> Vec<&'static str> {
    problems.iter().map(|problem| problem.code).collect()
}

pub(crate) fn port(text: &str) -> PortValue {
    let (number, protocol) = match text.split_once('/') {
        Some((number, "tcp")) => (number, Protocol::Tcp),
        Some((number, _)) => (number, Protocol::Http),
        None => (text, Protocol::Http),
    };
    PortValue {
        text: text.to_owned(),
        number: number.parse().unwrap_or_default(),
        protocol,
    }
}

#[derive(Clone)]
pub(crate) struct BreedFixture(Breed);

pub(crate) fn breed(name: &str) -> BreedFixture {
    BreedFixture(Breed {
        name: name.to_owned(),
        deployable: Deployable {
            kind: None,
            definition: format!("run {name}"),
        },
        ..Breed::default()
    })
}

impl BreedFixture {
    pub(crate) fn port(mut self, name: &str, value: &str) -> Self {
        self.0.ports.insert(name.to_owned(), port(value));
        self
    }

    /// `NAME` or `NAME[ALIAS]`.
    pub(crate) fn variable(mut self, name: &str, value: Option<&str>) -> Self {
        let (name, alias) = match name.trim_end_matches(']').split_once('[') {
            Some((name, alias)) => (name, Some(alias.to_owned())),
            None => (name, None),
        };
        let variable = EnvironmentVariable {
            alias,
            value: value.map(str::to_owned),
        };
        self.0.environment_variables.insert(name.to_owned(), variable);
        self
    }

    pub(crate) fn constant(mut self, name: &str, value: &str) -> Self {
        self.0.constants.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn needs(mut self, alias: &str, breed: &str) -> Self {
        self.0
            .dependencies
            .insert(alias.to_owned(), OrReference::Reference(breed.to_owned()));
        self
    }

    pub(crate) fn argument(mut self, key: &str, value: &str) -> Self {
        self.0.arguments.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// A service of a deployment, wanted and begun at 0, one instance.
pub(crate) fn service(breed: BreedFixture) -> Service {
    Service {
        breed: OrReference::Inline(breed.0),
        environment_variables: Default::default(),
        scale: Some(OrReference::Inline(scale(1))),
        arguments: Vec::new(),
        health_checks: None,
        network: None,
        dialects: Default::default(),
        runtime: Some(ServiceRuntime {
            status: ServiceStatus {
                intention: Intention::Deployment,
                since_ms: 0,
                phase: Phase::Initiated,
                phase_since_ms: 0,
                notification: None,
            },
            instances: Vec::new(),
            dependencies: Default::default(),
            health: Health::default(),
        }),
    }
}

pub(crate) fn scale(instances: u32) -> Scale {
    Scale {
        cpu: 0.5,
        memory_mb: 64.0,
        instances,
    }
}

/// Adds a service to a cluster, which is made if it is not there.
pub(crate) trait With {
    fn with(self, cluster: &str, service: Service) -> Self;
}

impl With for Deployment {
    fn with(mut self, cluster: &str, service: Service) -> Self {
        let cluster = self.clusters.entry(cluster.to_owned()).or_default();
        cluster.services.push(service);
        self
    }
}

impl With for Blueprint {
    /// As a blueprint has it: nothing runs.
    fn with(mut self, cluster: &str, mut service: Service) -> Self {
        service.runtime = None;
        let cluster = self.clusters.entry(cluster.to_owned()).or_default();
        cluster.services.push(service);
        self
    }
}

/// Adds a route.
pub(crate) trait WithRoute {
    fn route(self, path: &str, percent: Option<u64>) -> Self;
}

impl WithRoute for Gateway {
    fn route(mut self, path: &str, percent: Option<u64>) -> Self {
        self.routes.insert(path.to_owned(), route(percent));
        self
    }
}

pub(crate) fn deployment(name: &str) -> Deployment {
    Deployment {
        name: name.to_owned(),
        ..Deployment::default()
    }
}

pub(crate) fn blueprint(name: &str) -> Blueprint {
    Blueprint {
        name: name.to_owned(),
        ..Blueprint::default()
    }
}

pub(crate) fn gateway(name: &str) -> Gateway {
    Gateway {
        name: name.to_owned(),
        ..Gateway::default()
    }
}

pub(crate) fn gateway_with_port(name: &str, number: u16) -> Gateway {
    let port = PortValue {
        text: format!("{number}/http"),
        number,
        protocol: Protocol::Http,
    };
    Gateway {
        name: name.to_owned(),
        port: Some(port.clone()),
        service: Some(GatewayService {
            host: "127.0.0.1".to_owned(),
            port,
        }),
        ..Gateway::default()
    }
}

/// Routes and their weights in parts per 10 000.
pub(crate) fn parts(gateway: &Gateway) -> Vec<(&str, u16)> {
    let parts = gateway.routes.iter().map(|(path, route)| match route {
        OrReference::Inline(route) => (path.as_str(), route.weight.map_or(u16::MAX, Weight::parts)),
        OrReference::Reference(_) => (path.as_str(), u16::MAX),
    });
    parts.collect()
}

pub(crate) fn route(percent: Option<u64>) -> OrReference<Route> {
    OrReference::Inline(Route {
        weight: percent.map(|percent| Weight::from_percent(percent).unwrap()),
        ..Route::default()
    })
}

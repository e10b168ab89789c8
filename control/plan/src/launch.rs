//! What an instance of a service is started with.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_artifact::{Breed, Cluster, Deployment, Gateway, HealthCheck, OrReference, Scale, Service};
use weir_model::Digest;

use crate::{ServiceKey, Settings, environment::dialect, validate::breed};

/// What an instance is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Unique, never reused.
    pub id: String,
    /// Whose instance it is.
    pub service: ServiceKey,
    /// By which it is found again.
    pub labels: BTreeMap<String, String>,
    /// `command`, `container/docker`, ...
    pub deployable_type: String,
    /// Command line, image, ...
    pub definition: String,
    /// Variables, references resolved.
    pub environment: BTreeMap<String, String>,
    /// Port name and number; 0: the driver chooses.
    pub ports: Vec<(String, u16)>,
    /// Driver arguments, in order.
    pub arguments: Vec<(String, String)>,
    /// Processors.
    pub cpu: f64,
    /// Megabytes.
    pub memory_mb: f64,
    /// Container network.
    pub network: Option<String>,
    /// Every one must pass.
    pub health_checks: Vec<HealthCheck>,
    /// The driver's own part of the dialects.
    pub dialect: Option<serde_json::Value>,
}

impl Launch {
    /// Everything but the id and how much: what differs in this is replaced, what differs only in
    /// processors, memory or checks is not, unless the settings say so (Vamp: `check.cpu`, ... are off).
    pub(crate) fn fingerprint(&self, settings: &Settings) -> String {
        #[derive(Serialize)]
        struct What<'a> {
            deployable: (&'a str, &'a str),
            environment: &'a BTreeMap<String, String>,
            ports: &'a [(String, u16)],
            arguments: &'a [(String, String)],
            network: &'a Option<String>,
            dialect: &'a Option<serde_json::Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            cpu: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            memory_mb: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            health_checks: Option<String>,
        }
        let what = What {
            deployable: (&self.deployable_type, &self.definition),
            environment: &self.environment,
            ports: &self.ports,
            arguments: &self.arguments,
            network: &self.network,
            dialect: &self.dialect,
            cpu: settings.check_cpu.then_some(self.cpu),
            memory_mb: settings.check_memory.then_some(self.memory_mb),
            health_checks: settings
                .check_health_checks
                .then(|| format!("{:?}", self.health_checks)),
        };
        let bytes = serde_json::to_vec(&what).expect("plain data with text keys always serialises");
        Digest::of(&bytes).short()
    }
}

/// What instances of a service are started with; the id is still empty. `None` while the breed is a
/// reference.
pub(crate) fn template(
    key: &ServiceKey,
    deployment: &Deployment,
    cluster: &Cluster,
    service: &Service,
    environment: &BTreeMap<String, String>,
    gateways: &[Gateway],
    settings: &Settings,
) -> Option<Launch> {
    let breed = breed(service)?;
    let scale = scale(service, settings);
    let label = |name: &str| format!("{}.{name}", settings.label_namespace);
    let deployable_type = deployable_type(breed, settings);
    let driver = settings
        .dialects
        .get(deployable_type)
        .unwrap_or(&settings.dialect);
    let chosen = [&service.dialects, &cluster.dialects, &deployment.dialects]
        .into_iter()
        .find_map(|dialects| dialects.get(driver));
    Some(Launch {
        id: String::new(),
        service: key.clone(),
        labels: BTreeMap::from([
            (label("deployment"), key.deployment.clone()),
            (label("cluster"), key.cluster.clone()),
            (label("service"), key.service.clone()),
        ]),
        deployable_type: deployable_type.to_owned(),
        definition: breed.deployable.definition.clone(),
        environment: environment.clone(),
        ports: breed
            .ports
            .iter()
            .map(|(name, value)| (name.clone(), value.number))
            .collect(),
        arguments: service.arguments.clone(),
        cpu: scale.cpu,
        memory_mb: scale.memory_mb,
        network: service.network.clone().or_else(|| cluster.network.clone()),
        health_checks: health_checks(breed, service, cluster),
        dialect: chosen.map(|value| dialect(value, deployment, &key.cluster, service, gateways, settings)),
    })
}

/// The type of what a breed runs.
pub(crate) fn deployable_type<'a>(breed: &'a Breed, settings: &'a Settings) -> &'a str {
    breed
        .deployable
        .kind
        .as_ref()
        .unwrap_or(&settings.default_deployable_type)
}

/// The scale of a deployment's service.
pub(crate) fn scale(service: &Service, settings: &Settings) -> Scale {
    match &service.scale {
        Some(OrReference::Inline(scale)) => *scale,
        _ => settings.default_scale,
    }
}

/// The service's checks if it says any (also none), and those of the cluster that look at another path than
/// one of them; else the cluster's; else the breed's (core behaviour §7). Checks of ports that the breed does
/// not have do not count.
pub(crate) fn health_checks(breed: &Breed, service: &Service, cluster: &Cluster) -> Vec<HealthCheck> {
    let of_cluster = cluster.health_checks.iter().flatten();
    let possible = of_cluster.filter(|check| breed.ports.contains_key(&check.port));
    match (
        &service.health_checks,
        &cluster.health_checks,
        &breed.health_checks,
    ) {
        (Some(own), _, _) => {
            let others = possible.filter(|check| own.iter().any(|other| other.path != check.path));
            own.iter().chain(others).cloned().collect()
        }
        (None, Some(_), _) => possible.cloned().collect(),
        (None, None, of_breed) => of_breed.iter().flatten().cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use weir_artifact::{Deployment, HealthCheck, OrReference, Service};

    use super::{Launch, template};
    use crate::{
        ServiceKey, Settings,
        fixtures::{With, breed, deployment, scale, service},
    };

    fn launch(shop: &Deployment) -> Launch {
        let cluster = &shop.clusters["front"];
        let key = ServiceKey::new("shop", "front", "front:1");
        let service = &cluster.services[0];
        let environment = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        template(
            &key,
            shop,
            cluster,
            service,
            &environment,
            &[],
            &Settings::default(),
        )
        .unwrap()
    }

    fn front() -> Service {
        service(breed("front:1").port("web", "8080/http").port("admin", "0"))
    }

    fn check(path: &str, port: &str) -> HealthCheck {
        HealthCheck {
            path: path.to_owned(),
            port: port.to_owned(),
            initial_delay_s: 1,
            timeout_s: 1,
            interval_s: 1,
            failures: 1,
            protocol: "HTTP".to_owned(),
        }
    }

    #[test]
    fn labels_say_whose_it_is() {
        let launch = launch(&deployment("shop").with("front", front()));
        assert_eq!(launch.labels["io.vamp.deployment"], "shop");
        assert_eq!(launch.labels["io.vamp.cluster"], "front");
        assert_eq!(launch.labels["io.vamp.service"], "front:1");
        assert_eq!(launch.deployable_type, "container/docker");
        assert_eq!(launch.ports, [("web".to_owned(), 8080), ("admin".to_owned(), 0)]);
    }

    #[test]
    fn how_much_is_no_reason_to_replace_and_what_is() {
        let shop = deployment("shop").with("front", front());
        let before = launch(&shop).fingerprint(&Settings::default());
        let mut more = shop.clone();
        let mut bigger = scale(5);
        bigger.memory_mb = 4096.0;
        more.clusters["front"].services[0].scale = Some(OrReference::Inline(bigger));
        assert_eq!(launch(&more).fingerprint(&Settings::default()), before);
        let checked = Settings {
            check_memory: true,
            ..Settings::default()
        };
        assert_ne!(
            launch(&more).fingerprint(&checked),
            launch(&shop).fingerprint(&checked)
        );
        let mut other = shop;
        other.clusters["front"].services[0].network = Some("host".to_owned());
        assert_ne!(launch(&other).fingerprint(&Settings::default()), before);
    }

    #[test]
    fn the_nearest_dialect_counts_alone_and_is_resolved() {
        let mut shop = deployment("shop").with("front", front());
        shop.dialects
            .insert("process".to_owned(), json!({"a": "$front.host", "b": ["$ 5"]}));
        assert_eq!(
            launch(&shop).dialect,
            Some(json!({"a": "127.0.0.1", "b": ["$ 5"]}))
        );
        let nearest = &mut shop.clusters["front"].services[0].dialects;
        nearest.insert("docker".to_owned(), json!({"x": 1}));
        assert_eq!(
            launch(&shop).dialect,
            Some(json!({"a": "127.0.0.1", "b": ["$ 5"]}))
        );
        let nearest = &mut shop.clusters["front"].services[0].dialects;
        nearest.insert("process".to_owned(), json!({"c": 1}));
        assert_eq!(launch(&shop).dialect, Some(json!({"c": 1})));
    }

    #[test]
    fn health_checks_of_three_levels() {
        let paths = |shop: &Deployment| -> Vec<String> {
            launch(shop)
                .health_checks
                .into_iter()
                .map(|check| check.path)
                .collect()
        };
        let mut shop = deployment("shop").with("front", front());
        let OrReference::Inline(breed) = &mut shop.clusters["front"].services[0].breed else {
            panic!("in place")
        };
        breed.health_checks = Some(vec![check("/breed", "web")]);
        assert_eq!(paths(&shop), ["/breed"]);
        shop.clusters["front"].health_checks = Some(vec![check("/cluster", "web"), check("/none", "gone")]);
        assert_eq!(paths(&shop), ["/cluster"]);
        let own = &mut shop.clusters["front"].services[0].health_checks;
        *own = Some(vec![check("/own", "web")]);
        assert_eq!(paths(&shop), ["/own", "/cluster"]);
        let own = &mut shop.clusters["front"].services[0].health_checks;
        *own = Some(Vec::new());
        assert_eq!(paths(&shop), [""; 0]);
    }
}

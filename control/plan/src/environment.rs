//! Variables of an instance (core behaviour §4).

use std::collections::BTreeMap;

use serde_json::Value;
use weir_artifact::{
    Breed, Cluster, Deployment, Gateway, Service,
    value::{TraitGroup, ValueError},
};

use crate::{
    Settings, names,
    validate::breed,
    values::{self, Lookup},
};

/// Variables may refer to variables; this deep, then nothing is known any more (a cycle ends here too).
const DEPTH_MAX: usize = 8;

/// Variables of a service's instances by the name that the instance sees, references resolved. Precedence:
/// breed, then the deployment's `cluster.NAME`, then the service.
///
/// # Errors
/// The first malformed value.
pub fn environment(
    deployment: &Deployment,
    cluster: &str,
    service: &Service,
    gateways: &[Gateway],
    settings: &Settings,
) -> Result<BTreeMap<String, String>, ValueError> {
    let scope = Scope::new(deployment, cluster, service, gateways, settings);
    let mut resolved = BTreeMap::new();
    let Some(breed) = breed(service) else {
        return Ok(resolved);
    };
    for (name, variable) in &breed.environment_variables {
        if let Some(text) = scope.variable(name) {
            let seen_as = variable.alias.as_ref().unwrap_or(name);
            resolved.insert(seen_as.clone(), values::resolve(text, &scope)?);
        }
    }
    Ok(resolved)
}

/// Everything that the environment is resolved from, apart from other services: as long as it stays the
/// same, the variables that were resolved once stay too.
pub(crate) fn source(deployment: &Deployment, cluster: &str, service: &Service) -> String {
    let scope = |name: &str| {
        let given = service.environment_variables.get(name).cloned().flatten();
        given.or_else(|| {
            let key = format!("{cluster}.{name}");
            deployment.environment_variables.get(&key).cloned().flatten()
        })
    };
    let mut source = String::new();
    if let Some(breed) = breed(service) {
        for (name, variable) in &breed.environment_variables {
            let value = scope(name).or_else(|| variable.value.clone());
            source.push_str(&format!("{name}[{:?}]={value:?}\n", variable.alias));
        }
    }
    weir_model::Digest::of(source.as_bytes()).short()
}

/// Strings of the dialect with references resolved. A string that is no value stays as it is: dialects are
/// other programs' words.
pub(crate) fn dialect(
    value: &Value,
    deployment: &Deployment,
    cluster: &str,
    service: &Service,
    gateways: &[Gateway],
    settings: &Settings,
) -> Value {
    resolved(
        value,
        &Scope::new(deployment, cluster, service, gateways, settings),
    )
}

fn resolved(value: &Value, scope: &Scope<'_>) -> Value {
    match value {
        Value::String(text) => Value::String(values::resolve(text, scope).unwrap_or_else(|_| text.clone())),
        Value::Array(items) => items.iter().map(|item| resolved(item, scope)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            Value::Object(
                fields
                    .map(|(key, value)| (key.clone(), resolved(value, scope)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

/// Where a value stands.
struct Scope<'a> {
    deployment: &'a Deployment,
    cluster: &'a str,
    service: &'a Service,
    gateways: &'a [Gateway],
    settings: &'a Settings,
    depth: usize,
}

impl<'a> Scope<'a> {
    fn new(
        deployment: &'a Deployment,
        cluster: &'a str,
        service: &'a Service,
        gateways: &'a [Gateway],
        settings: &'a Settings,
    ) -> Self {
        Self {
            deployment,
            cluster,
            service,
            gateways,
            settings,
            depth: 0,
        }
    }

    fn variable(&self, name: &str) -> Option<&'a str> {
        let given = self.service.environment_variables.get(name);
        if let Some(Some(value)) = given {
            return Some(value);
        }
        let key = format!("{}.{name}", self.cluster);
        if let Some(Some(value)) = self.deployment.environment_variables.get(&key) {
            return Some(value);
        }
        breed(self.service)?
            .environment_variables
            .get(name)?
            .value
            .as_deref()
    }

    fn deeper(&self, cluster: &'a str, service: &'a Service) -> Option<Self> {
        (self.depth < DEPTH_MAX).then_some(Self {
            cluster,
            service,
            depth: self.depth + 1,
            ..*self
        })
    }

    /// A cluster by its name, or by the alias of a dependency (which comes first).
    fn cluster(&self, name: &str) -> Option<(&'a str, &'a Cluster)> {
        let runtime = self.service.runtime.as_ref();
        let name = runtime
            .and_then(|runtime| runtime.dependencies.get(name))
            .map_or(name, String::as_str);
        let (name, cluster) = self.deployment.clusters.get_key_value(name)?;
        Some((name, cluster))
    }

    fn gateway(&self, cluster: &str, port: &str) -> Option<&'a Gateway> {
        let name = names::internal(&self.deployment.name, cluster, port);
        self.gateways.iter().find(|gateway| gateway.name == name)
    }
}

fn breeds(cluster: &Cluster) -> impl Iterator<Item = (&Service, &Breed)> {
    cluster
        .services
        .iter()
        .filter_map(|service| Some((service, breed(service)?)))
}

impl Lookup for Scope<'_> {
    fn local(&self, name: &str) -> Option<String> {
        if let Some(text) = self.variable(name) {
            return values::resolve(text, &self.deeper(self.cluster, self.service)?).ok();
        }
        breed(self.service)?.constants.get(name).cloned()
    }

    fn host(&self, cluster: &str) -> Option<String> {
        let (name, _) = self.cluster(cluster)?;
        let host = self.deployment.hosts.get(name);
        Some(host.unwrap_or(&self.settings.gateway_host).clone())
    }

    fn group(&self, cluster: &str, group: TraitGroup, name: &str) -> Option<String> {
        let (cluster_name, cluster) = self.cluster(cluster)?;
        match group {
            TraitGroup::Hosts => (name == "host").then(|| self.host(cluster_name)).flatten(),
            TraitGroup::Ports => {
                let gateway = self.gateway(cluster_name, name)?;
                let assigned = gateway.port.as_ref().map(|port| port.number);
                assigned
                    .filter(|number| *number != 0)
                    .map(|number| number.to_string())
            }
            TraitGroup::Constants => {
                breeds(cluster).find_map(|(_, breed)| breed.constants.get(name).cloned())
            }
            TraitGroup::EnvironmentVariables => breeds(cluster)
                .filter(|(_, breed)| breed.environment_variables.contains_key(name))
                .find_map(|(service, _)| {
                    let scope = self.deeper(cluster_name, service)?;
                    values::resolve(scope.variable(name)?, &scope).ok()
                }),
        }
    }

    fn address(&self, cluster: &str, port: &str) -> Option<String> {
        let (name, _) = self.cluster(cluster)?;
        match self
            .gateway(name, port)
            .and_then(|gateway| gateway.service.as_ref())
        {
            Some(service) => Some(format!("{}:{}", service.host, service.port.number)),
            None => {
                let port = self.group(cluster, TraitGroup::Ports, port).unwrap_or_default();
                Some(format!("{}:{port}", self.host(cluster)?))
            }
        }
    }

    fn external(&self, _scheme: &str, _path: &str) -> Option<String> {
        // Configuration and the process environment are not the services' to read.
        None
    }
}

#[cfg(test)]
mod tests {
    use weir_artifact::{Deployment, Service};

    use super::{environment, source};
    use crate::{
        Settings,
        fixtures::{With, breed, deployment, gateway_with_port, service},
    };

    #[test]
    fn takes_the_nearest_value_and_the_name_that_the_instance_sees() {
        let mut front = service(breed("front:1").variable("URL[BACKEND_URL]", Some("breed")));
        let mut shop = deployment("shop").with("front", front.clone());
        let found = |shop: &Deployment, front: &Service| {
            environment(shop, "front", front, &[], &Settings::default()).unwrap()
        };
        assert_eq!(found(&shop, &front)["BACKEND_URL"], "breed");
        shop.environment_variables
            .insert("front.URL".to_owned(), Some("deployment".to_owned()));
        assert_eq!(found(&shop, &front)["BACKEND_URL"], "deployment");
        front
            .environment_variables
            .insert("URL".to_owned(), Some("service".to_owned()));
        assert_eq!(found(&shop, &front)["BACKEND_URL"], "service");
        assert!(!found(&shop, &front).contains_key("URL"));
    }

    #[test]
    fn refers_to_a_dependency_by_its_alias() {
        let mut front = service(breed("front:1").variable("URL", Some("http://$db.host:$db.ports.sql/x")));
        let runtime = front.runtime.as_mut().unwrap();
        runtime.dependencies.insert("db".to_owned(), "store".to_owned());
        let shop = deployment("shop")
            .with("front", front.clone())
            .with("store", service(breed("pg:1").port("sql", "5432/tcp")));
        let gateways = [gateway_with_port("shop/store/sql", 40_007)];
        let found = environment(&shop, "front", &front, &gateways, &Settings::default()).unwrap();
        assert_eq!(found["URL"], "http://127.0.0.1:40007/x");
    }

    #[test]
    fn variables_and_constants_of_other_clusters() {
        let front = service(
            breed("front:1")
                .variable(
                    "A",
                    Some("$back.env.NAME/$back.constants.K/$back.ports.none/$own"),
                )
                .constant("own", "mine"),
        );
        let back = service(
            breed("back:1")
                .variable("NAME", Some("$self"))
                .variable("self", Some("deep"))
                .constant("K", "7"),
        );
        let shop = deployment("shop").with("front", front.clone()).with("back", back);
        let found = environment(&shop, "front", &front, &[], &Settings::default()).unwrap();
        assert_eq!(found["A"], "deep/7//mine");
    }

    #[test]
    fn a_circle_of_variables_ends_empty() {
        let front = service(
            breed("front:1")
                .variable("A", Some("$B"))
                .variable("B", Some("$A")),
        );
        let shop = deployment("shop").with("front", front.clone());
        let found = environment(&shop, "front", &front, &[], &Settings::default()).unwrap();
        assert_eq!(found["A"], "");
    }

    #[test]
    fn the_source_changes_with_what_is_given_and_not_with_others() {
        let front = service(breed("front:1").variable("A", Some("$back.host")));
        let shop = deployment("shop").with("front", front.clone());
        let before = source(&shop, "front", &front);
        let more = shop.clone().with("back", service(breed("back:1")));
        assert_eq!(source(&more, "front", &front), before);
        let mut given = front;
        given
            .environment_variables
            .insert("A".to_owned(), Some("x".to_owned()));
        assert_ne!(source(&shop, "front", &given), before);
    }
}

//! Which instances are meant: what `logs` and `exec` have in common.

use serde_json::Value;

use super::{Context, deploy::services, get::missing};
use crate::{client, failure::Failure, kind::Kind, tree};

/// Where an instance is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) deployment: String,
    pub(super) cluster: String,
    pub(super) service: String,
    pub(super) instance: String,
}

impl Place {
    /// The path of something below it.
    pub(super) fn path(&self, what: &str) -> String {
        format!(
            "{}/clusters/{}/services/{}/instances/{}/{what}",
            client::artifact(Kind::Deployments, &self.deployment),
            client::encode(&self.cluster),
            client::encode(&self.service),
            client::encode(&self.instance),
        )
    }
}

/// The instances that `what` means: `DEPLOYMENT`, `DEPLOYMENT/CLUSTER`, `DEPLOYMENT/CLUSTER/SERVICE`, with an
/// instance's name or without.
pub(super) async fn find(context: &Context, what: &str) -> Result<Vec<Place>, Failure> {
    let mut segments = what.splitn(4, '/');
    let name = segments.next().unwrap_or_default();
    let wanted: Vec<&str> = segments.collect();
    let deployment = context
        .client
        .get(&client::artifact(Kind::Deployments, name), &[])
        .await
        .map_err(|error| missing(error, Kind::Deployments, name))?;
    let found = matching(&deployment, name, &wanted);
    if found.is_empty() {
        let all: Vec<String> = matching(&deployment, name, &[])
            .into_iter()
            .map(|place| format!("{name}/{}/{}/{}", place.cluster, place.service, place.instance))
            .collect();
        return Err(Failure::NotFound(match all.is_empty() {
            true => format!("deployment {name} has no instances"),
            false => format!("`{what}` has no instances; there are {}", all.join(", ")),
        }));
    }
    Ok(found)
}

/// `wanted`: cluster, service and instance, as far as they are given.
fn matching(deployment: &Value, name: &str, wanted: &[&str]) -> Vec<Place> {
    let is = |index: usize, name: &str| wanted.get(index).is_none_or(|wanted| *wanted == name);
    let mut found = Vec::new();
    for (cluster, service) in services(deployment) {
        let breed = service.pointer("/breed").map(tree::name).unwrap_or_default();
        if !is(0, cluster) || !is(1, &breed) {
            continue;
        }
        for instance in tree::elements(service, "/instances").map(tree::name) {
            if is(2, &instance) {
                found.push(Place {
                    deployment: name.to_owned(),
                    cluster: cluster.to_owned(),
                    service: breed.clone(),
                    instance,
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::matching;

    #[test]
    fn as_much_of_a_name_as_is_needed() {
        let deployment = json!({"clusters": {
            "front": {"services": [{"breed": {"name": "a:1"}, "instances": [{"name": "x"}, {"name": "y"}]}]},
            "back": {"services": [{"breed": {"name": "b:1"}, "instances": [{"name": "z"}]}]}}});
        let found = |wanted: &[&str]| -> Vec<String> {
            matching(&deployment, "shop", wanted)
                .into_iter()
                .map(|place| place.instance)
                .collect()
        };
        assert_eq!(found(&[]), ["x", "y", "z"]);
        assert_eq!(found(&["front"]), ["x", "y"]);
        assert_eq!(found(&["front", "a:1", "y"]), ["y"]);
        assert_eq!(found(&["front", "b:1"]), [""; 0]);
    }
}

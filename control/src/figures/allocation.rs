//! What a deployment takes.

use serde_json::{Value, json};
use weir_artifact::{Deployment, OrReference};

/// Sums over the services: instances, and processors and megabytes of all of them (whole megabytes, two decimals
/// of processors, as Vamp's workflow gave them).
pub(super) fn of(deployment: &Deployment) -> Value {
    let (mut cpu, mut memory_mb, mut instances) = (0.0, 0.0, 0_u64);
    let services = deployment.clusters.values().flat_map(|cluster| &cluster.services);
    for service in services {
        if let Some(OrReference::Inline(scale)) = &service.scale {
            cpu += scale.cpu * f64::from(scale.instances);
            memory_mb += scale.memory_mb.trunc() * f64::from(scale.instances);
            instances += u64::from(scale.instances);
        }
    }
    json!({
        "cpu": (cpu * 100.0_f64).round() / 100.0,
        "memory": (memory_mb * 100.0_f64).round() / 100.0,
        "instances": instances,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_artifact::{Artifact, Kind, read};

    #[test]
    fn services_are_added_up() {
        let tree = json!({"name": "shop", "clusters": {"a": {"services": [
            {"breed": {"name": "a:1", "deployable": "x"}, "scale": {"cpu": 0.2, "memory": "64MB", "instances": 3}},
            {"breed": {"name": "a:2", "deployable": "x"}, "scale": {"cpu": 1, "memory": "10.5MB", "instances": 1}},
        ]}}});
        let Artifact::Deployment(deployment) = read::stored(Kind::Deployment, &tree).unwrap() else {
            panic!("it is a deployment")
        };
        assert_eq!(
            super::of(&deployment),
            json!({"cpu": 1.6, "memory": 202.0, "instances": 4})
        );
    }
}

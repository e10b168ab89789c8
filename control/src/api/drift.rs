//! How what is wanted would differ: the answer of `/plan`.

use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::state::Difference;

/// Differences of one artifact that are told; more are counted.
const CHANGES_MAX: usize = 500;
/// Deepest place that is compared by itself; what is below is compared as a whole.
const DEPTH_MAX: usize = 32;

/// What applying documents would change.
#[derive(ToSchema)]
#[schema(as = Plan)]
#[expect(
    dead_code,
    reason = "the form of `shown`, for the description of the interface"
)]
pub(super) struct PlanBody {
    /// Artifacts by what would happen to them.
    summary: Summary,
    /// Each artifact that the documents write, also those that come with them (internal gateways, inline breeds).
    artifacts: Vec<PlannedBody>,
}

/// How many artifacts.
#[derive(ToSchema)]
#[schema(as = PlanSummary)]
#[expect(
    dead_code,
    reason = "the form of a part of `shown`, for the description of the interface"
)]
struct Summary {
    create: u64,
    update: u64,
    unchanged: u64,
    delete: u64,
}

/// What would happen to one artifact.
#[derive(ToSchema)]
#[schema(as = PlannedArtifact)]
#[expect(
    dead_code,
    reason = "the form of a part of `shown`, for the description of the interface"
)]
struct PlannedBody {
    kind: String,
    name: String,
    /// `create`, `update`, `unchanged` or `delete`.
    action: String,
    /// `{path, before, after}` of each place that differs; absent is `null`.
    changes: Vec<Value>,
    /// Of a deployment: `{cluster, service, action}`, the action being `deploy`, `undeploy`, `scale` or `redeploy`.
    services: Option<Vec<Value>>,
}

/// The answer of `/plan`.
pub(super) fn shown(differences: &[Difference]) -> Value {
    let mut counts = [0_u64; 4];
    let artifacts: Vec<Value> = differences
        .iter()
        .map(|difference| {
            let (index, action) = match (&difference.before, &difference.after) {
                (None, _) => (0, "create"),
                (_, None) => (3, "delete"),
                (before, after) if before == after => (2, "unchanged"),
                _ => (1, "update"),
            };
            if let Some(count) = counts.get_mut(index) {
                *count += 1;
            }
            artifact(difference, action)
        })
        .collect();
    let [create, update, unchanged, delete] = counts;
    json!({
        "summary": {"create": create, "update": update, "unchanged": unchanged, "delete": delete},
        "artifacts": artifacts,
    })
}

fn artifact(difference: &Difference, action: &str) -> Value {
    let mut changes = Vec::new();
    if let ("update", Some(before), Some(after)) = (action, &difference.before, &difference.after) {
        compare("", before, after, 0, &mut changes);
    }
    let left_out = changes.len().saturating_sub(CHANGES_MAX);
    changes.truncate(CHANGES_MAX);
    let mut shown = json!({
        "kind": difference.kind.singular(),
        "name": difference.name,
        "action": action,
        "changes": changes,
    });
    if left_out > 0 {
        shown["changes_left_out"] = json!(left_out);
    }
    if difference.kind == weir_artifact::Kind::Deployment {
        let nothing = Value::Null;
        shown["services"] = services(
            difference.before.as_ref().unwrap_or(&nothing),
            difference.after.as_ref().unwrap_or(&nothing),
        );
    }
    shown
}

/// Every place in which two trees differ. Lists of things with names are compared by name.
fn compare(path: &str, before: &Value, after: &Value, depth: usize, changes: &mut Vec<Value>) {
    if before == after {
        return;
    }
    let below = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}/{key}"),
    };
    let pairs = match (before, after) {
        _ if depth >= DEPTH_MAX => None,
        (Value::Object(before), Value::Object(after)) => {
            let keys = before
                .keys()
                .chain(after.keys().filter(|key| !before.contains_key(*key)));
            let pair = |key: &String| (key.clone(), before.get(key), after.get(key));
            Some(keys.map(pair).collect::<Vec<_>>())
        }
        (Value::Array(before), Value::Array(after)) => by_name(before, after),
        _ => None,
    };
    match pairs {
        Some(pairs) => {
            for (key, before, after) in pairs {
                let (before, after) = (before.unwrap_or(&Value::Null), after.unwrap_or(&Value::Null));
                compare(&below(&key), before, after, depth + 1, changes);
            }
        }
        None => changes.push(json!({"path": path, "before": before, "after": after})),
    }
}

type Pair<'a> = (String, Option<&'a Value>, Option<&'a Value>);

/// Items of two lists by their names; `None` if some have none, or their order differs alone.
fn by_name<'a>(before: &'a [Value], after: &'a [Value]) -> Option<Vec<Pair<'a>>> {
    let named = |items: &'a [Value]| -> Option<Vec<(String, &'a Value)>> {
        items
            .iter()
            .map(|item| Some((name(item)?.to_owned(), item)))
            .collect()
    };
    let (before, after) = (named(before)?, named(after)?);
    let find = |items: &[(String, &'a Value)], name: &str| {
        items
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, item)| *item)
    };
    let mut pairs: Vec<Pair<'a>> = Vec::with_capacity(before.len());
    for (name, item) in &before {
        pairs.push((name.clone(), Some(item), find(&after, name)));
    }
    for (name, item) in &after {
        if find(&before, name).is_none() {
            pairs.push((name.clone(), None, Some(item)));
        }
    }
    let same = pairs.iter().all(|(_, before, after)| before == after);
    (!same).then_some(pairs)
}

/// The name of a service (its breed's) or of anything else.
fn name(item: &Value) -> Option<&str> {
    let breed = item.get("breed").unwrap_or(item);
    breed
        .get("name")
        .or_else(|| breed.get("reference"))
        .or(Some(breed))?
        .as_str()
}

/// What would happen to the services of a deployment, by their printed blueprints.
fn services(before: &Value, after: &Value) -> Value {
    let all = |tree: &Value| -> Vec<(String, String, Value)> {
        let clusters = tree.get("clusters").and_then(Value::as_object);
        let of_cluster = |(cluster, tree): (&String, &Value)| {
            let services = tree.get("services").and_then(Value::as_array).cloned();
            let named = services.unwrap_or_default().into_iter().filter_map(|service| {
                let name = name(&service)?.to_owned();
                Some((cluster.clone(), name, service))
            });
            named.collect::<Vec<_>>()
        };
        clusters.into_iter().flatten().flat_map(of_cluster).collect()
    };
    let (before, after) = (all(before), all(after));
    let find = |items: &[(String, String, Value)], cluster: &str, name: &str| {
        items
            .iter()
            .find(|(other, service, _)| other == cluster && service == name)
            .map(|(_, _, tree)| tree.clone())
    };
    let mut actions = Vec::new();
    let mut act = |cluster: &str, service: &str, action: &str| {
        actions.push(json!({"cluster": cluster, "service": service, "action": action}));
    };
    for (cluster, name, was) in &before {
        match find(&after, cluster, name) {
            None => act(cluster, name, "undeploy"),
            Some(is) if is == *was => {}
            Some(is) if without_scale(is.clone()) == without_scale(was.clone()) => {
                act(cluster, name, "scale")
            }
            Some(_) => act(cluster, name, "redeploy"),
        }
    }
    for (cluster, name, _) in &after {
        if find(&before, cluster, name).is_none() {
            act(cluster, name, "deploy");
        }
    }
    Value::Array(actions)
}

fn without_scale(mut service: Value) -> Value {
    if let Value::Object(fields) = &mut service {
        fields.remove("scale");
    }
    service
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{compare, services};

    fn changes(before: Value, after: Value) -> Value {
        let mut changes = Vec::new();
        compare("", &before, &after, 0, &mut changes);
        Value::Array(changes)
    }

    #[test]
    fn every_place_that_differs_is_told_once() {
        assert_eq!(
            changes(json!({"a": {"b": [1]}}), json!({"a": {"b": [1]}})),
            json!([])
        );
        assert_eq!(
            changes(
                json!({"a": {"b": 1, "c": 2}, "d": [1]}),
                json!({"a": {"b": 3}, "d": [2]})
            ),
            json!([
                {"path": "a/b", "before": 1, "after": 3},
                {"path": "a/c", "before": 2, "after": null},
                {"path": "d", "before": [1], "after": [2]},
            ])
        );
    }

    #[test]
    fn lists_of_services_are_compared_by_name() {
        let service = |name: &str, cpu: u32| json!({"breed": {"name": name}, "scale": {"cpu": cpu}});
        assert_eq!(
            changes(
                json!([service("a", 1), service("b", 1)]),
                json!([service("b", 2), service("c", 1)])
            ),
            json!([
                {"path": "a", "before": service("a", 1), "after": null},
                {"path": "b/scale/cpu", "before": 1, "after": 2},
                {"path": "c", "before": null, "after": service("c", 1)},
            ])
        );
        let cluster = |services: Value| json!({"clusters": {"front": {"services": services}}});
        assert_eq!(
            services(
                &cluster(json!([service("a", 1), service("b", 1)])),
                &cluster(json!([service("b", 2), service("c", 1)]))
            ),
            json!([
                {"cluster": "front", "service": "a", "action": "undeploy"},
                {"cluster": "front", "service": "b", "action": "scale"},
                {"cluster": "front", "service": "c", "action": "deploy"},
            ])
        );
    }
}

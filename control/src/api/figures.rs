//! `/metrics/...` and `/health/...` (spec of the API §8; of metrics and events §3.1).
//!
//! **Invariants.** The newest event within the window is the answer, whoever published it; only where there is none
//! the agents' own figures are. What nobody knows is 404, not 0.

use std::time::Duration;

use axum::{extract::State, http::Uri};
use serde_json::Value;
use weir_persist::{EventQuery, Page};

use super::{
    Api,
    answer::{Answer, ApiError},
    request::Parameters,
};
use crate::{configuration, figures, state::now_ms, traffic};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Gateway(String),
    Route(String, String),
    /// Gateway, path of the route, id.
    Instance(String, String, String),
    Deployment(String),
    Cluster(String, String),
    Service(String, String, String),
    /// Deployment, cluster, service, id.
    InstanceOf(String, String, String, String),
}

/// `GET /metrics/{*rest}`
pub(super) async fn metrics(
    State(api): State<Api>,
    uri: Uri,
    parameters: Parameters,
) -> Result<Answer, ApiError> {
    let segments = segments(&uri, "metrics");
    let (subject, metric) = metrics_subject(&segments).ok_or_else(ApiError::not_found)?;
    let window = window(&parameters, api.state.live().metrics_window)?;
    let tags = match &subject {
        Subject::Gateway(gateway) => vec![
            format!("gateways:{gateway}"),
            "gateway".to_owned(),
            format!("metrics:{metric}"),
        ],
        Subject::Route(gateway, route) => vec![
            format!("gateways:{gateway}"),
            format!("routes:{route}"),
            "route".to_owned(),
            format!("metrics:{metric}"),
        ],
        Subject::Instance(_, route, instance) => vec![
            format!("routes:{route}"),
            format!("instances:{instance}"),
            format!("instance-metrics:{metric}"),
        ],
        _ => return Err(ApiError::not_found()),
    };
    if let Some(value) = newest(&api, tags, window).await? {
        return Ok(Answer::ok(value));
    }
    let measured = traffic::measured(&api.state, window).await.unwrap_or_default();
    let found = match &subject {
        Subject::Gateway(gateway) => measured.get(gateway).map(|gateway| gateway.whole),
        Subject::Route(gateway, route) => measured
            .get(gateway)
            .and_then(|gateway| gateway.routes.get(route))
            .map(|route| route.whole),
        Subject::Instance(gateway, route, instance) => measured
            .get(gateway)
            .and_then(|gateway| gateway.routes.get(route))
            .and_then(|route| route.instances.get(instance))
            .copied(),
        _ => None,
    };
    let value = found.and_then(|measured| figures::value_of(&measured, &metric));
    value
        .map(|value| Answer::ok(Value::from(value)))
        .ok_or_else(ApiError::not_found)
}

/// `GET /health/{*rest}`
pub(super) async fn health(
    State(api): State<Api>,
    uri: Uri,
    parameters: Parameters,
) -> Result<Answer, ApiError> {
    let segments = segments(&uri, "health");
    let subject = health_subject(&segments).ok_or_else(ApiError::not_found)?;
    let window = window(&parameters, api.state.live().health_window)?;
    let mut tags = match &subject {
        Subject::Gateway(gateway) => vec![format!("gateways:{gateway}"), "gateway".to_owned()],
        Subject::Route(gateway, route) => vec![
            format!("gateways:{gateway}"),
            format!("routes:{route}"),
            "route".to_owned(),
        ],
        Subject::Deployment(deployment) => {
            vec![format!("deployments:{deployment}"), "deployment".to_owned()]
        }
        Subject::Cluster(deployment, cluster) => vec![
            format!("deployments:{deployment}"),
            format!("clusters:{cluster}"),
            "cluster".to_owned(),
        ],
        Subject::Service(deployment, cluster, service) => vec![
            format!("deployments:{deployment}"),
            format!("clusters:{cluster}"),
            format!("services:{service}"),
            "service".to_owned(),
        ],
        Subject::Instance(..) | Subject::InstanceOf(..) => Vec::new(),
    };
    if !tags.is_empty() {
        tags.push("health".to_owned());
        if let Some(value) = newest(&api, tags, window).await? {
            return Ok(Answer::ok(value));
        }
    }
    let known = known_health(&api, &subject, window).await?;
    known
        .map(|value| Answer::ok(Value::from(value)))
        .ok_or_else(ApiError::not_found)
}

async fn known_health(api: &Api, subject: &Subject, window: Duration) -> Result<Option<u8>, ApiError> {
    let state = &*api.state;
    let deployments = state.deployments().await?;
    if let Subject::InstanceOf(deployment, cluster, service, id) = subject {
        let found = deployments
            .iter()
            .find(|known| known.name == *deployment)
            .and_then(|deployment| deployment.clusters.get(cluster))
            .into_iter()
            .flat_map(|cluster| &cluster.services)
            .find(|known| known.name() == service)
            .and_then(|service| service.runtime.as_ref())
            .into_iter()
            .flat_map(|runtime| &runtime.instances)
            .find(|instance| instance.name == *id);
        return Ok(found.map(|instance| u8::from(instance.deployed)));
    }
    let Some(measured) = traffic::measured(state, window).await else {
        return Ok(None);
    };
    let published = state.traffic.publication.gateways();
    let healths = figures::healths(&published, &measured, &deployments);
    Ok(match subject {
        Subject::Gateway(gateway) => healths.gateways.get(gateway).copied(),
        Subject::Route(gateway, route) => healths.routes.get(&(gateway.clone(), route.clone())).copied(),
        Subject::Deployment(deployment) => healths.deployment(deployment),
        Subject::Cluster(deployment, cluster) => healths.cluster(deployment, cluster),
        Subject::Service(deployment, cluster, service) => healths
            .services
            .get(&(deployment.clone(), cluster.clone(), service.clone()))
            .copied(),
        Subject::Instance(..) | Subject::InstanceOf(..) => None,
    })
}

/// The value of the newest matching event, if it is a number.
async fn newest(api: &Api, tags: Vec<String>, window: Duration) -> Result<Option<Value>, ApiError> {
    let query = EventQuery {
        tags,
        from_ms: Some(now_ms().saturating_sub(u64::try_from(window.as_millis()).unwrap_or(u64::MAX))),
        ..EventQuery::default()
    };
    let page = Page { offset: 0, limit: 1 };
    let (events, _) = api.state.persist.events(&query, page).await?;
    let value = events.into_iter().next().map(|event| event.value);
    // Some clients publish numbers as text.
    Ok(value.and_then(|value| match value {
        Value::String(text) => text.trim().parse::<f64>().ok().map(Value::from),
        value => value.is_number().then_some(value),
    }))
}

fn window(parameters: &Parameters, default: Duration) -> Result<Duration, ApiError> {
    match parameters.one("window") {
        None => Ok(default),
        Some(text) => {
            // A number alone is in seconds here.
            let seconds = text
                .parse::<u32>()
                .ok()
                .map(|seconds| Duration::from_secs(seconds.into()));
            seconds
                .or_else(|| configuration::duration(&Value::from(text)))
                .ok_or_else(|| {
                    ApiError::bad_request(format!(
                        "Query parameter `window` is a duration such as 30s, which `{text}` is not."
                    ))
                })
        }
    }
}

/// The segments after `/{root}/`, each decoded by itself: names have slashes as `%2F`.
fn segments(uri: &Uri, root: &str) -> Vec<String> {
    let all = uri.path().split('/').skip_while(|segment| *segment != root);
    all.skip(1).map(decoded).collect()
}

/// Percent-decoded; what is no text in UTF-8 stays as it is.
fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: Vec<u8> = rest.clone().take(2).collect();
            let value = std::str::from_utf8(&digits)
                .ok()
                .filter(|digits| digits.len() == 2);
            if let Some(value) = value.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                bytes.push(value);
                rest.nth(1);
                continue;
            }
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).unwrap_or_else(|_| segment.to_owned())
}

fn metrics_subject(segments: &[String]) -> Option<(Subject, String)> {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let own = str::to_owned;
    Some(match parts.as_slice() {
        ["gateways", gateway, metric] => (Subject::Gateway(own(gateway)), own(metric)),
        ["gateways", gateway, "routes", route, metric] => {
            (Subject::Route(own(gateway), own(route)), own(metric))
        }
        ["gateways", gateway, "routes", route, "instances", id, metric] => {
            (Subject::Instance(own(gateway), own(route), own(id)), own(metric))
        }
        ["deployments", d, "clusters", c, "ports", p, metric] => {
            (Subject::Gateway(format!("{d}/{c}/{p}")), own(metric))
        }
        ["deployments", d, "clusters", c, "services", s, "ports", p, metric] => {
            let subject = Subject::Route(format!("{d}/{c}/{p}"), format!("{d}/{c}/{s}/{p}"));
            (subject, own(metric))
        }
        [
            "deployments",
            d,
            "clusters",
            c,
            "services",
            s,
            "instances",
            i,
            "ports",
            p,
            metric,
        ] => {
            let (gateway, route) = (format!("{d}/{c}/{p}"), format!("{d}/{c}/{s}/{p}"));
            (Subject::Instance(gateway, route, own(i)), own(metric))
        }
        _ => return None,
    })
}

fn health_subject(segments: &[String]) -> Option<Subject> {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let own = str::to_owned;
    Some(match parts.as_slice() {
        ["gateways", gateway] => Subject::Gateway(own(gateway)),
        ["gateways", gateway, "routes", route] => Subject::Route(own(gateway), own(route)),
        ["deployments", d] => Subject::Deployment(own(d)),
        ["deployments", d, "clusters", c] => Subject::Cluster(own(d), own(c)),
        ["deployments", d, "clusters", c, "services", s] => Subject::Service(own(d), own(c), own(s)),
        ["deployments", d, "clusters", c, "services", s, "instances", i] => {
            Subject::InstanceOf(own(d), own(c), own(s), own(i))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Subject, decoded, health_subject, metrics_subject, segments};

    #[test]
    fn names_are_single_segments_and_decoded() {
        let uri = "/api/v1/metrics/gateways/sava%2Fsava%2Fweb/routes/sava%2Fsava%2Fsava%3A1.0%2Fweb/rate";
        let segments = segments(&uri.parse().unwrap(), "metrics");
        let (subject, metric) = metrics_subject(&segments).unwrap();
        assert_eq!(metric, "rate");
        assert_eq!(
            subject,
            Subject::Route("sava/sava/web".to_owned(), "sava/sava/sava:1.0/web".to_owned())
        );
        assert_eq!(decoded("a%2fb%zz%F"), "a/b%zz%F");
        assert_eq!(decoded("%FF"), "%FF");
    }

    #[test]
    fn ports_of_clusters_are_gateways() {
        let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            metrics_subject(&parts("deployments/d/clusters/c/ports/p/rate"))
                .unwrap()
                .0,
            Subject::Gateway("d/c/p".to_owned())
        );
        assert_eq!(
            metrics_subject(&parts("deployments/d/clusters/c/services/s/ports/p/rate"))
                .unwrap()
                .0,
            Subject::Route("d/c/p".to_owned(), "d/c/s/p".to_owned())
        );
        assert!(metrics_subject(&parts("deployments/d/rate")).is_none());
        assert_eq!(
            health_subject(&parts("deployments/d/clusters/c")),
            Some(Subject::Cluster("d".to_owned(), "c".to_owned()))
        );
        assert!(health_subject(&parts("gateways")).is_none());
    }
}

//! The answers of `/agents` and `/traffic`: what was intended, what agents acknowledged, what traffic did.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use weir_artifact::{Deployment, Gateway, OrReference, Route};
use weir_model::{Acknowledgement, Digest, Generation, Refusal, Target};

use super::{
    FRESH_MS,
    past::{GatewayTotals, RouteTotals, Totals},
    read,
    window::{self, GatewayFigures, RouteFigures, real},
};
use crate::{
    error::OperationError,
    reconcile::settings,
    state::{State, now_ms},
};

/// Window if none is asked for, in seconds.
const WINDOW_S: u64 = 10;
/// Longest window in seconds: as long as frames are kept.
const WINDOW_MAX_S: u64 = 110;

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct AgentView {
    pub(crate) agent: String,
    /// Where its admin listener is: `host:port`, `https://host:port` or `unix:path`.
    pub(crate) admin: Option<String>,
    /// Generation that it serves.
    #[schema(value_type = u64)]
    pub(crate) generation: Generation,
    /// Digest that it serves; null: it serves nothing.
    #[schema(value_type = Option<String>)]
    pub(crate) digest: Option<Digest>,
    /// Newest generation that it saw.
    #[schema(value_type = u64)]
    pub(crate) seen: Generation,
    /// What it did not take of the newest snapshot: `{gateway, reason}`; an empty gateway: all of it.
    #[schema(value_type = Vec<Object>)]
    pub(crate) refused: Vec<Refusal>,
    /// Of the program.
    pub(crate) version: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) started_at_ms: u64,
    /// When it said so, milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    /// Whether its lease is not over.
    pub(crate) live: bool,
    /// `live`; `stale`: it serves, and its store does not answer it; `unreachable`: it does not answer control;
    /// `gone`: neither.
    pub(crate) state: &'static str,
    /// How long its store was silent when it answered last, in milliseconds; `None`: not known.
    pub(crate) stale_ms: Option<u64>,
    /// How many generations it is behind what is published; `None`: nothing is.
    pub(crate) lag: Option<u64>,
    /// Since when what is published is not served by it, in milliseconds; 0: it is.
    pub(crate) lag_ms: Option<u64>,
    /// Time since it started, in milliseconds, by control's clock.
    pub(crate) uptime_ms: u64,
    /// When it answered control last, milliseconds since the Unix epoch.
    pub(crate) reached_at_ms: Option<u64>,
    /// Why it did not answer control well when it was asked last, if it did not.
    pub(crate) problem: Option<String>,
}

/// What is asked of `/traffic`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrafficQuery {
    /// This gateway alone.
    pub(crate) gateway: Option<String>,
    /// Seconds, 1 to 110; 10 if not given.
    pub(crate) window_s: Option<u64>,
}

/// What traffic did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TrafficView {
    /// Generation that is published.
    pub(crate) generation: Option<Generation>,
    /// Digest that is published.
    pub(crate) digest: Option<Digest>,
    /// When it was published, milliseconds since the Unix epoch.
    pub(crate) published_at_ms: Option<u64>,
    /// Why what is intended is not published, if it is not.
    pub(crate) publish_error: Option<String>,
    /// What cannot be served as written: gateway and reason.
    pub(crate) problems: Vec<(String, String)>,
    /// Length of the window in seconds.
    pub(crate) window_s: u64,
    pub(crate) gateways: Vec<GatewayView>,
}

/// A gateway's traffic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct GatewayView {
    pub(crate) name: String,
    pub(crate) port: Option<u16>,
    /// Requests per second in the window.
    pub(crate) rate: f64,
    /// Since counting began.
    pub(crate) requests: u64,
    pub(crate) agents: Vec<AgentState>,
    pub(crate) routes: Vec<RouteView>,
}

/// Whether an agent serves a gateway as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AgentState {
    pub(crate) agent: String,
    pub(crate) generation: Generation,
    /// It serves the published generation and did not refuse the gateway.
    pub(crate) current: bool,
}

/// A route's traffic. Shares in parts per 10 000, or of 1 for what was observed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RouteView {
    pub(crate) name: String,
    /// What the artifact says.
    pub(crate) intended: u16,
    /// What every live agent has taken; `None` if not known.
    pub(crate) acknowledged: Option<u16>,
    /// Share of the gateway's requests in the window; `None` without any.
    pub(crate) observed: Option<f64>,
    /// As written.
    pub(crate) condition: Option<String>,
    /// `None` without a condition.
    pub(crate) condition_strength: Option<u16>,
    /// Since counting began.
    pub(crate) requests: u64,
    pub(crate) window_requests: u64,
    /// Requests per second in the window.
    pub(crate) rate: f64,
    /// Of the window; `None` without any.
    pub(crate) p50_ms: Option<f64>,
    /// Of the window; `None` without any.
    pub(crate) p99_ms: Option<f64>,
    /// Since counting began: 5xx, and errors without an answer.
    pub(crate) errors: u64,
    /// Of the requests that ended in the window; `None` without any.
    pub(crate) error_rate: Option<f64>,
    pub(crate) instances: Vec<InstanceView>,
}

/// An instance's traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct InstanceView {
    pub(crate) id: String,
    /// `host:port`.
    pub(crate) address: String,
    /// Through this route, since counting began.
    pub(crate) requests: u64,
    /// Whether it is ready and every agent that checks it can reach it; `None` if nobody knows.
    pub(crate) healthy: Option<bool>,
}

/// Every agent that was seen in the last minutes, in order of ids.
pub(crate) async fn agents(state: &State) -> Result<Vec<AgentView>, OperationError> {
    read(state, FRESH_MS).await;
    let published = state.traffic.publication.status();
    let now_ms = now_ms();
    let logs = state.traffic.agents();
    let views = logs.values().map(|log| {
        let condition = log.condition();
        // What it said last to whom it can reach: the store, or control.
        let told = log.latest().map(|frame| frame.generation);
        let serves = told.unwrap_or_default().max(log.acknowledgement.generation);
        let lag = published
            .generation
            .map(|newest| newest.0.saturating_sub(serves.0));
        let Acknowledgement {
            agent,
            admin,
            generation,
            digest,
            seen,
            refused,
            version,
            started_at_ms,
            at_ms,
            stale_ms,
        } = log.acknowledgement.clone();
        AgentView {
            agent: agent.to_string(),
            admin,
            generation,
            digest,
            seen,
            refused,
            version,
            started_at_ms,
            at_ms,
            live: log.live,
            state: match (log.live, condition.is_stale, condition.is_unreachable) {
                (false, _, true) => "gone",
                (_, _, true) => "unreachable",
                (_, true, _) => "stale",
                (true, ..) => "live",
                (false, ..) if log.reached_at_ms.is_some() => "stale",
                (false, ..) => "gone",
            },
            stale_ms: log.stale_ms.or((stale_ms > 0).then_some(stale_ms)),
            lag,
            lag_ms: lag.map(|lag| match (lag, published.published_at_ms) {
                (1.., Some(at_ms)) => now_ms.saturating_sub(at_ms),
                _ => 0,
            }),
            uptime_ms: now_ms.saturating_sub(started_at_ms),
            reached_at_ms: log.reached_at_ms,
            problem: log.problem.clone(),
        }
    });
    Ok(views.collect())
}

/// What traffic did, by gateway and route, in order of names.
pub(crate) async fn traffic(state: &State, query: TrafficQuery) -> Result<TrafficView, OperationError> {
    read(state, FRESH_MS).await;
    let window_s = query.window_s.unwrap_or(WINDOW_S).clamp(1, WINDOW_MAX_S);
    let gateways = state.gateways().await?;
    let deployments = state.deployments().await?;
    if let Some(name) = &query.gateway
        && !gateways.iter().any(|gateway| gateway.name == *name)
    {
        return Err(OperationError::NotFound {
            kind: "gateway",
            name: name.clone(),
        });
    }
    let mut figures = BTreeMap::new();
    let mut totals = Totals::default();
    let mut live = Vec::new();
    for log in state.traffic.agents().values() {
        if log.live {
            live.push(log.acknowledgement.clone());
        }
        // What was counted stays counted, whatever became of who counted it.
        log.add_to(&mut totals);
        if let Some(latest) = log.latest().filter(|_| log.is_fresh()) {
            let base = log.base(window_s * 1_000);
            window::add(&mut figures, latest, base.map(|base| &**base));
        }
    }
    let published = state.traffic.publication.status();
    let lowered = weir_plan::lower(&gateways, &deployments, &settings(state));
    let targets = lowered
        .gateways
        .iter()
        .flat_map(|gateway| {
            let routes = gateway.routes.iter();
            routes.map(|route| ((gateway.name.as_str(), route.name.as_str()), &route.target))
        })
        .collect();
    let view = View {
        state,
        live: &live,
        published: published.generation,
        targets,
        ready: readiness(&deployments),
    };
    let asked = gateways
        .iter()
        .filter(|gateway| query.gateway.as_ref().is_none_or(|name| gateway.name == *name));
    Ok(TrafficView {
        generation: published.generation,
        digest: published.digest,
        published_at_ms: published.published_at_ms,
        publish_error: published.error,
        problems: published.problems,
        window_s,
        gateways: asked
            .map(|gateway| view.gateway(gateway, figures.get(&gateway.name), totals.0.get(&gateway.name)))
            .collect(),
    })
}

struct View<'a> {
    state: &'a State,
    live: &'a [Acknowledgement],
    published: Option<Generation>,
    targets: HashMap<(&'a str, &'a str), &'a Target>,
    ready: HashMap<&'a str, bool>,
}

impl View<'_> {
    fn gateway(
        &self,
        gateway: &Gateway,
        figures: Option<&GatewayFigures>,
        totals: Option<&GatewayTotals>,
    ) -> GatewayView {
        let (nothing, none) = (GatewayFigures::default(), GatewayTotals::default());
        let (figures, totals) = (figures.unwrap_or(&nothing), totals.unwrap_or(&none));
        let total = figures.routes.values().map(|route| route.window_requests).sum();
        let routes = gateway.routes.iter().filter_map(|(path, route)| match route {
            OrReference::Inline(route) => {
                let counted = (figures.routes.get(path), totals.routes.get(path));
                Some(self.route(&gateway.name, path, route, counted, total))
            }
            OrReference::Reference(_) => None,
        });
        let agents = self.live.iter().map(|agent| AgentState {
            agent: agent.agent.to_string(),
            generation: agent.generation,
            current: Some(agent.generation) == self.published
                && !agent
                    .refused
                    .iter()
                    .any(|refusal| refusal.gateway == gateway.name),
        });
        GatewayView {
            name: gateway.name.clone(),
            port: gateway.port.as_ref().map(|port| port.number),
            rate: figures.rate,
            requests: totals.requests,
            agents: agents.collect(),
            routes: routes.collect(),
        }
    }

    fn route(
        &self,
        gateway: &str,
        path: &str,
        route: &Route,
        (figures, totals): (Option<&RouteFigures>, Option<&RouteTotals>),
        total: u64,
    ) -> RouteView {
        let (nothing, none) = (RouteFigures::default(), RouteTotals::default());
        let (figures, totals) = (figures.unwrap_or(&nothing), totals.unwrap_or(&none));
        let percentile = |percent| {
            let us = figures.latency.percentile_us(percent)?;
            Some(real(us) / 1_000.0)
        };
        let share = |part: u64, whole: u64| (whole > 0).then(|| real(part) / real(whole));
        let condition = match &route.condition {
            Some(OrReference::Inline(condition)) => Some(condition.source().to_owned()),
            Some(OrReference::Reference(name)) => Some(name.clone()),
            None => None,
        };
        RouteView {
            name: path.to_owned(),
            intended: route.weight.map_or(0, |weight| weight.parts()),
            acknowledged: self
                .state
                .traffic
                .publication
                .acknowledged(self.live, gateway, path),
            observed: share(figures.window_requests, total),
            condition_strength: condition.is_some().then(|| {
                route
                    .condition_strength
                    .map_or(10_000, |strength| strength.parts())
            }),
            condition,
            requests: totals.requests,
            window_requests: figures.window_requests,
            rate: figures.rate,
            p50_ms: percentile(50.0),
            p99_ms: percentile(99.0),
            errors: totals.errors,
            error_rate: share(figures.window_errors, figures.window_ended),
            instances: self.instances(gateway, path, figures, totals),
        }
    }

    /// Those that the route leads to now, also without traffic, then those that it led to.
    fn instances(
        &self,
        gateway: &str,
        path: &str,
        figures: &RouteFigures,
        totals: &RouteTotals,
    ) -> Vec<InstanceView> {
        let mut views: Vec<InstanceView> = match self.targets.get(&(gateway, path)) {
            Some(Target::Instances(instances)) => instances
                .iter()
                .map(|instance| InstanceView {
                    id: instance.id.to_string(),
                    address: address(&instance.host, instance.port),
                    requests: 0,
                    healthy: self.ready.get(instance.id.as_str()).copied(),
                })
                .collect(),
            _ => Vec::new(),
        };
        for (id, counted) in &figures.instances {
            match views.iter_mut().find(|view| view.id == *id) {
                Some(view) => {
                    view.healthy = healthy(view.healthy, counted.reachable);
                }
                None => views.push(InstanceView {
                    id: id.clone(),
                    address: counted.address.clone(),
                    requests: 0,
                    healthy: healthy(self.ready.get(id.as_str()).copied(), counted.reachable),
                }),
            }
        }
        for view in &mut views {
            view.requests = totals.instances.get(&view.id).copied().unwrap_or(0);
        }
        views
    }
}

/// What control and the agents know together.
fn healthy(ready: Option<bool>, reachable: Option<bool>) -> Option<bool> {
    match (ready, reachable) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (ready, reachable) => ready.or(reachable),
    }
}

/// `host:port`, an IPv6 address in brackets.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn readiness(deployments: &[Deployment]) -> HashMap<&str, bool> {
    deployments
        .iter()
        .flat_map(|deployment| deployment.clusters.values())
        .flat_map(|cluster| &cluster.services)
        .filter_map(|service| service.runtime.as_ref())
        .flat_map(|runtime| &runtime.instances)
        .map(|instance| (instance.name.as_str(), instance.deployed))
        .collect()
}

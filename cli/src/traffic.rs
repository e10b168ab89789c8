//! What `/traffic` and `/agents` answer: intended, acknowledged and observed shares.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::{
    client::{Client, ClientError},
    output::Table,
    tree,
};

/// Seconds over which shares are observed when nothing else is said.
pub(crate) const WINDOW_S: u64 = 10;

/// Figures of gateways.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Traffic {
    /// Newest generation that control published; `None`: none yet.
    pub(crate) generation: Option<u64>,
    /// Why what is intended is not published, if it is not.
    pub(crate) publish_error: Option<String>,
    /// What cannot be served as written: gateway and reason.
    pub(crate) problems: Vec<(String, String)>,
    /// Gateways asked for.
    pub(crate) gateways: Vec<GatewayTraffic>,
}

/// Figures of one gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GatewayTraffic {
    /// Which.
    pub(crate) name: String,
    /// Port, if it has one.
    pub(crate) port: Option<serde_json::Value>,
    /// Requests per second in the window.
    pub(crate) rate: f64,
    /// Requests since counting began.
    pub(crate) requests: u64,
    /// What each live agent serves.
    pub(crate) agents: Vec<AgentState>,
    /// Its routes.
    pub(crate) routes: Vec<RouteTraffic>,
}

/// What one agent serves.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AgentState {
    /// Who.
    pub(crate) agent: String,
    /// Generation served.
    pub(crate) generation: u64,
    /// Whether it serves what is published.
    pub(crate) current: bool,
}

/// Figures of one route.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RouteTraffic {
    /// Which.
    pub(crate) name: String,
    /// Share that was asked for, parts per ten thousand.
    pub(crate) intended: u32,
    /// Share that every agent serves; `None`: they differ, or there are none.
    pub(crate) acknowledged: Option<u32>,
    /// Share of the window's requests, 0 to 1; `None`: there were none.
    pub(crate) observed: Option<f64>,
    /// Condition as written.
    pub(crate) condition: Option<String>,
    /// Share of the matching requests, parts per ten thousand.
    pub(crate) condition_strength: Option<u32>,
    /// Since counting began.
    pub(crate) requests: u64,
    /// Requests per second in the window.
    pub(crate) rate: f64,
    /// Median latency in the window.
    pub(crate) p50_ms: Option<f64>,
    /// 99th percentile of latency in the window.
    pub(crate) p99_ms: Option<f64>,
    /// Server errors since counting began.
    pub(crate) errors: u64,
    /// Its instances.
    pub(crate) instances: Vec<InstanceTraffic>,
}

/// Figures of one instance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InstanceTraffic {
    /// Which.
    pub(crate) id: String,
    /// `host:port`.
    pub(crate) address: String,
    /// Since counting began.
    pub(crate) requests: u64,
    /// What checks say; `None`: not known.
    pub(crate) healthy: Option<bool>,
}

/// One agent, as `/agents` tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Agent {
    /// Who.
    pub(crate) agent: String,
    /// Where its admin listener is: `host:port`, `https://host:port` or `unix:path`.
    pub(crate) admin: Option<String>,
    /// Generation served.
    pub(crate) generation: u64,
    /// Newest generation seen.
    pub(crate) seen: u64,
    /// Digest served.
    pub(crate) digest: Option<String>,
    /// Gateways that it did not take.
    pub(crate) refused: Vec<Refused>,
    /// Version of the program.
    pub(crate) version: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) started_at_ms: i64,
    /// Whether it is there now.
    pub(crate) live: bool,
    /// `live`, `stale`, `unreachable`, `gone`; empty: an older control, which does not tell.
    pub(crate) state: String,
    /// How long its store is silent; `None`: not known.
    pub(crate) stale_ms: Option<u64>,
    /// How many generations it is behind; `None`: nothing is published.
    pub(crate) lag: Option<u64>,
    /// Time since it started.
    pub(crate) uptime_ms: u64,
    /// Why it did not answer control well, if it did not.
    pub(crate) problem: Option<String>,
}

/// A gateway that an agent did not take.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Refused {
    /// Which; empty: the whole document.
    pub(crate) gateway: String,
    /// Why.
    pub(crate) reason: String,
}

/// Reads the figures, of one gateway if it is named.
pub(crate) async fn read(
    client: &Client,
    gateway: Option<&str>,
    window_s: u64,
) -> Result<Traffic, ClientError> {
    let window = window_s.to_string();
    let mut query = vec![("window", window.as_str())];
    if let Some(gateway) = gateway {
        query.push(("gateway", gateway));
    }
    let value = client.get("/traffic", &query).await?;
    decode(value, "GET /traffic")
}

/// Reads the agents.
pub(crate) async fn agents(client: &Client) -> Result<Vec<Agent>, ClientError> {
    decode(client.get("/agents", &[]).await?, "GET /agents")
}

fn decode<T: serde::de::DeserializeOwned>(value: serde_json::Value, action: &str) -> Result<T, ClientError> {
    serde_json::from_value(value).map_err(|error| ClientError::Unreadable {
        action: action.to_owned(),
        reason: error.to_string(),
    })
}

/// A share of 0 to 1 as percent with one decimal.
pub(crate) fn share(share: Option<f64>) -> String {
    share
        .map(|share| format!("{:.1}%", share * 100.0))
        .unwrap_or_default()
}

/// A latency; below 10 ms with two decimals.
pub(crate) fn milliseconds(ms: Option<f64>) -> String {
    ms.map(|ms| {
        if ms < 10.0 {
            format!("{ms:.2}")
        } else {
            format!("{ms:.0}")
        }
    })
    .unwrap_or_default()
}

impl GatewayTraffic {
    /// How many agents serve what is published.
    pub(crate) fn current(&self) -> usize {
        self.agents.iter().filter(|agent| agent.current).count()
    }

    /// A sentence for people.
    pub(crate) fn acknowledged_by(&self) -> String {
        match self.agents.len() {
            0 => "no agent is running".to_owned(),
            total => format!("by {}/{total} agents", self.current()),
        }
    }
}

/// The figures as blocks of text, a line end at each line.
pub(crate) fn render(traffic: &Traffic, color: bool) -> String {
    let mut text = String::new();
    for (index, gateway) in traffic.gateways.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let port = gateway.port.as_ref().map(tree::scalar).unwrap_or_default();
        let port = if port.is_empty() || port == "0" {
            String::new()
        } else {
            format!(" :{port}")
        };
        let (bold, plain) = if color { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let _ = writeln!(
            text,
            "{bold}{}{plain}{port}  {:.1} requests/s, {} in all; generation {} acknowledged {}",
            gateway.name,
            gateway.rate,
            gateway.requests,
            traffic.generation.unwrap_or(0),
            gateway.acknowledged_by(),
        );
        let mut table = Table::new(&[
            "ROUTE",
            "INTENDED",
            "ACKNOWLEDGED",
            "OBSERVED",
            "REQUESTS",
            "RATE",
            "P50 MS",
            "P99 MS",
            "ERRORS",
            "INSTANCES",
            "CONDITION",
        ])
        .right(&[
            "INTENDED",
            "ACKNOWLEDGED",
            "OBSERVED",
            "REQUESTS",
            "RATE",
            "P50 MS",
            "P99 MS",
            "ERRORS",
            "INSTANCES",
        ]);
        for route in &gateway.routes {
            let condition = match (&route.condition, route.condition_strength) {
                (Some(condition), Some(strength)) if strength != 10_000 => {
                    format!("{condition} ({})", tree::percent(strength))
                }
                (Some(condition), _) => condition.clone(),
                (None, _) => String::new(),
            };
            let healthy = route
                .instances
                .iter()
                .filter(|instance| instance.healthy != Some(false))
                .count();
            table.row(vec![
                crate::output::route_label(&route.name).to_owned(),
                tree::percent(route.intended),
                route.acknowledged.map(tree::percent).unwrap_or_default(),
                share(route.observed),
                route.requests.to_string(),
                format!("{:.1}", route.rate),
                milliseconds(route.p50_ms),
                milliseconds(route.p99_ms),
                route.errors.to_string(),
                if route.instances.is_empty() {
                    String::new()
                } else {
                    format!("{healthy}/{}", route.instances.len())
                },
                condition,
            ]);
        }
        text.push_str(&table.render(color));
    }
    if let Some(error) = &traffic.publish_error {
        let _ = writeln!(text, "\nNot published: {error}");
    }
    for (gateway, reason) in &traffic.problems {
        let _ = writeln!(text, "\nNot served as written: {gateway}: {reason}");
    }
    if traffic.gateways.is_empty() {
        text.push_str("There are no gateways yet. Next: weir deploy FILE\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Traffic, milliseconds, render};

    #[test]
    fn shows_all_three_shares() {
        let traffic: Traffic = serde_json::from_value(serde_json::json!({
            "generation": 7, "digest": "sha256:00", "window_s": 10,
            "gateways": [{"name": "shop/9050", "port": 9050, "rate": 50.0, "requests": 1200,
                "agents": [{"agent": "a", "generation": 7, "current": true}, {"agent": "b", "generation": 6, "current": false}],
                "routes": [
                    {"name": "shop/front/front:1/web", "intended": 8000, "acknowledged": null, "observed": 0.8,
                     "condition": null, "condition_strength": null, "requests": 960, "window_requests": 400, "rate": 40.0,
                     "p50_ms": 0.5, "p99_ms": 12.4, "errors": 0, "error_rate": 0.0,
                     "instances": [{"id": "i", "address": "127.0.0.1:1", "requests": 9, "healthy": true}]},
                    {"name": "shop/front/front:2/web", "intended": 2000, "acknowledged": 1000, "observed": null,
                     "condition": "User-Agent == Firefox", "condition_strength": 5000, "requests": 0,
                     "rate": 0.0, "p50_ms": null, "p99_ms": null, "errors": 3, "instances": []}]}]
        }))
        .unwrap();
        assert_eq!(
            render(&traffic, false),
            "shop/9050 :9050  50.0 requests/s, 1200 in all; generation 7 acknowledged by 1/2 agents\n\
             ROUTE    INTENDED  ACKNOWLEDGED  OBSERVED  REQUESTS  RATE  P50 MS  P99 MS  ERRORS  INSTANCES  CONDITION\n\
             front:1       80%             -     80.0%       960  40.0    0.50      12       0        1/1  -\n\
             front:2       20%           10%         -         0   0.0       -       -       3          -  User-Agent == Firefox (50%)\n"
        );
    }

    #[test]
    fn latencies_are_short() {
        assert_eq!(milliseconds(Some(0.123)), "0.12");
        assert_eq!(milliseconds(Some(1234.5)), "1234");
        assert_eq!(milliseconds(None), "");
    }
}

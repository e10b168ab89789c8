//! Waiting until a change is served, not only stored.

use std::time::{Duration, Instant};

use crate::{
    client::{Client, ClientError},
    traffic::{self, Traffic},
};

/// Between two questions.
const POLL: Duration = Duration::from_millis(25);

/// What must be served.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Which gateway.
    pub(crate) gateway: String,
    /// Generation that was published before the change; the change is in a later one.
    pub(crate) after: u64,
    /// Weight in parts per ten thousand of each route.
    pub(crate) weights: Vec<(String, u32)>,
}

/// How far a change has come.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// Agents that serve it.
    pub(crate) agents: usize,
    /// Agents that are there.
    pub(crate) total: usize,
    /// Since waiting began.
    pub(crate) elapsed: Duration,
    /// What agents do not take: who and why.
    pub(crate) refused: Vec<(String, String)>,
    /// Why control has not published it.
    pub(crate) unpublished: Option<String>,
}

impl Acknowledged {
    /// Whether every agent serves it (and there is one).
    pub(crate) fn complete(&self) -> bool {
        self.total > 0 && self.agents == self.total
    }

    /// A sentence for people.
    pub(crate) fn sentence(&self) -> String {
        if self.total == 0 {
            return "no agent is running; the change is stored and served when one starts".to_owned();
        }
        let mut text = format!(
            "acknowledged by {}/{} agents in {} ms",
            self.agents,
            self.total,
            self.elapsed.as_millis()
        );
        for (agent, reason) in &self.refused {
            text.push_str(&format!("\nrefused by agent {agent}: {reason}"));
        }
        if let Some(reason) = &self.unpublished {
            text.push_str(&format!("\nnot published: {reason}"));
        } else if !self.complete() && self.refused.is_empty() {
            text.push_str(" (still waiting: see `weir agents`)");
        }
        text
    }
}

fn serving(traffic: &Traffic, wanted: &Wanted) -> (usize, usize) {
    let Some(gateway) = traffic
        .gateways
        .iter()
        .find(|gateway| gateway.name == wanted.gateway)
    else {
        return (0, 0);
    };
    let total = gateway.agents.len();
    let published = traffic
        .generation
        .is_some_and(|generation| generation > wanted.after)
        && wanted.weights.iter().all(|(name, parts)| {
            gateway
                .routes
                .iter()
                .any(|route| route.name == *name && route.intended == *parts)
        });
    if !published {
        return (0, total);
    }
    let agents = gateway
        .agents
        .iter()
        .filter(|agent| agent.current && agent.generation > wanted.after)
        .count();
    let confirmed = wanted.weights.iter().all(|(name, parts)| {
        gateway
            .routes
            .iter()
            .any(|route| route.name == *name && route.acknowledged == Some(*parts))
    });
    // Agents that are current serve the published weights; the figures per route follow the agents' own
    // report, so both must agree before it is called done.
    if agents == total && !confirmed {
        return (agents.saturating_sub(1), total);
    }
    (agents, total)
}

/// Waits until every agent serves the change, one refuses it, or the time is over.
pub(crate) async fn acknowledged(
    client: &Client,
    wanted: &Wanted,
    at_most: Duration,
) -> Result<Acknowledged, ClientError> {
    let began = Instant::now();
    loop {
        let traffic = match traffic::read(client, Some(&wanted.gateway), traffic::WINDOW_S).await {
            // Not published yet.
            Err(error) if error.is_not_found() => Traffic::default(),
            read => read?,
        };
        let (agents, total) = serving(&traffic, wanted);
        let nobody = total == 0 && !traffic.gateways.is_empty();
        let elapsed = began.elapsed();
        let mut state = Acknowledged {
            agents,
            total,
            elapsed,
            refused: Vec::new(),
            unpublished: unpublished(&traffic, wanted),
        };
        if state.complete() {
            return Ok(state);
        }
        if elapsed >= at_most || nobody {
            state.refused = refusals(client, wanted).await?;
            return Ok(state);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn unpublished(traffic: &Traffic, wanted: &Wanted) -> Option<String> {
    let of_gateway = traffic
        .problems
        .iter()
        .find(|(gateway, _)| *gateway == wanted.gateway);
    of_gateway
        .map(|(_, reason)| reason.clone())
        .or_else(|| traffic.publish_error.clone())
}

async fn refusals(client: &Client, wanted: &Wanted) -> Result<Vec<(String, String)>, ClientError> {
    let agents = traffic::agents(client).await?;
    Ok(agents
        .into_iter()
        .filter(|agent| agent.live)
        .flat_map(|agent| {
            let name = agent.agent;
            agent
                .refused
                .into_iter()
                .filter(|refused| refused.gateway == wanted.gateway || refused.gateway.is_empty())
                .map(move |refused| (name.clone(), refused.reason))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{Wanted, serving};
    use crate::traffic::Traffic;

    fn traffic(generation: u64, agent: u64, intended: u32, acknowledged: Option<u32>) -> Traffic {
        serde_json::from_value(serde_json::json!({"generation": generation, "gateways": [{
            "name": "g",
            "agents": [{"agent": "a", "generation": agent, "current": agent == generation}],
            "routes": [{"name": "r", "intended": intended, "acknowledged": acknowledged}]}]}))
        .unwrap()
    }

    #[test]
    fn only_a_later_generation_with_the_weights_counts() {
        let wanted = Wanted {
            gateway: "g".to_owned(),
            after: 4,
            weights: vec![("r".to_owned(), 5_000)],
        };
        assert_eq!(serving(&traffic(4, 4, 8_000, Some(8_000)), &wanted), (0, 1));
        assert_eq!(serving(&traffic(5, 4, 5_000, None), &wanted), (0, 1));
        assert_eq!(serving(&traffic(5, 5, 8_000, Some(8_000)), &wanted), (0, 1));
        assert_eq!(serving(&traffic(5, 5, 5_000, Some(8_000)), &wanted), (0, 1));
        assert_eq!(serving(&traffic(5, 5, 5_000, Some(5_000)), &wanted), (1, 1));
        assert_eq!(serving(&Traffic::default(), &wanted), (0, 0));
    }
}

//! What an agent tells: which snapshot it serves, and what its traffic did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AgentId, Digest, GatewayName, Generation, InstanceId, RouteName};

/// A gateway of a snapshot that an agent did not take. The gateway's last good form, if any, keeps serving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The gateway as it is named in the document; empty when the whole document was refused.
    pub gateway: String,
    /// For people: what is wrong and where.
    pub reason: String,
}

/// What an agent writes to its key in the store after each snapshot, under a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub agent: AgentId,
    /// `host:port` of the agent's admin listener, where frames and metrics are read.
    pub admin: Option<String>,
    /// Generation now served.
    pub generation: Generation,
    /// Digest now served; `None` before the first snapshot.
    pub digest: Option<Digest>,
    /// Newest generation seen, higher than `generation` while a document is refused as a whole.
    pub seen: Generation,
    /// What was not taken of the newest document.
    pub refused: Vec<Refusal>,
    /// Version of the program.
    pub version: String,
    /// When the process started, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// When this was written, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How long what is published could not be read when this was written, in milliseconds; 0: it can be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stale_ms: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Cumulative figures of one agent since it started. Two frames of the same `started_at_ms` can be
/// subtracted, frames of several agents added; neither loses anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Who.
    pub agent: AgentId,
    /// When counting began, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// When the figures were read, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Generation served at that moment.
    pub generation: Generation,
    /// Digest served at that moment.
    pub digest: Option<Digest>,
    /// How long the agent's store has been silent, in milliseconds; 0 while it answers, `None` without a store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_ms: Option<u64>,
    /// Every gateway of the table, also those without traffic.
    pub gateways: Vec<GatewayFrame>,
    /// Instances that left the table while requests to them were under way, as long as there are such requests;
    /// `None`: the agent does not tell (an older one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub departed: Option<Vec<DepartedFrame>>,
}

/// An instance that is no longer in a route of the table and still has requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartedFrame {
    /// Gateway through which they came.
    pub gateway: GatewayName,
    /// Route by which they came.
    pub route: RouteName,
    /// Which.
    pub instance: InstanceId,
    /// Requests not yet ended.
    pub in_flight: u64,
}

/// Figures of one gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayFrame {
    /// Which.
    pub name: GatewayName,
    /// Requests (HTTP) or connections (TCP) that entered, also through another gateway's route.
    pub requests: u64,
    /// Requests answered by the gateway itself since no route could be taken.
    pub unrouted: u64,
    /// Its routes.
    pub routes: Vec<RouteFrame>,
}

/// Figures of one route of one gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteFrame {
    /// Which.
    pub name: RouteName,
    /// Requests that were sent this way.
    pub requests: u64,
    /// Of those, by condition.
    pub by_condition: u64,
    /// Of those, by sticky cookie.
    pub by_cookie: u64,
    /// Requests not yet ended.
    pub in_flight: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// How they ended.
    pub outcomes: OutcomeCounts,
    /// Body and head bytes received from clients.
    pub bytes_in: u64,
    /// Body and head bytes sent to clients.
    pub bytes_out: u64,
    /// From the first byte of the request to the last of the answer.
    pub latency: LatencyCounts,
    /// Its instances; empty for a route that leads to another gateway.
    pub instances: Vec<InstanceFrame>,
}

/// Figures of one instance of one route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceFrame {
    /// Which.
    pub id: InstanceId,
    /// `host:port` at the time of reading.
    pub address: String,
    /// Requests sent to it.
    pub requests: u64,
    /// Requests not yet ended.
    pub in_flight: u64,
    /// How they ended.
    pub outcomes: OutcomeCounts,
    /// From the first byte of the request to the last of the answer.
    pub latency: LatencyCounts,
    /// Whether the agent sends it requests.
    #[serde(default)]
    pub state: EndpointState,
    /// What the agent's last check of it saw, for people; `None`: it was not checked yet, or is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check: Option<String>,
}

/// What an agent thinks of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// Its checks succeed.
    Up,
    /// Its checks fail: it takes nothing.
    Down,
    /// Requests could not connect to it lately: it is passed over for a while.
    Ejected,
    /// It takes nothing new because the snapshot says so.
    Draining,
    /// It was not checked yet, or is not checked; it takes requests.
    #[default]
    Unknown,
}

/// Ended requests by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeCounts {
    /// By class of the status that the client received: index 0 is 1xx (upgrades), 4 is 5xx.
    /// A TCP connection that ended well counts as 2xx.
    pub classes: [u64; 5],
    /// By error of ours or the instance's (`connect_refused`, ...); such a request is in `classes` too
    /// if the client received an answer.
    pub errors: BTreeMap<String, u64>,
}

/// A latency distribution: (highest value of a bucket in microseconds, requests in it), ascending, no
/// empty buckets. The buckets are those of a high dynamic range histogram with two significant digits
/// between 1 µs and 1 h, so distributions of different agents and times add and subtract exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LatencyCounts(pub Vec<(u64, u64)>);

impl LatencyCounts {
    /// Requests counted.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Value in microseconds that `percent` (0 to 100) of the requests did not exceed; `None` if there are none.
    pub fn percentile_us(&self, percent: f64) -> Option<u64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rank is needed to the request only below 2^53"
        )]
        let rank = (percent.clamp(0.0, 100.0) / 100.0 * total as f64).ceil().max(1.0);
        let mut seen = 0u64;
        for (value, count) in &self.0 {
            seen += count;
            #[expect(clippy::cast_precision_loss, reason = "as above")]
            if seen as f64 >= rank {
                return Some(*value);
            }
        }
        self.0.last().map(|(value, _)| *value)
    }

    /// Adds another distribution.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    /// What came after `earlier`, an older reading of the same distribution.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        rest.combine(earlier, u64::saturating_sub);
        rest.0.retain(|(_, count)| *count > 0);
        rest
    }

    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        let mut buckets: BTreeMap<u64, u64> = self.0.iter().copied().collect();
        for (value, count) in &other.0 {
            let bucket = buckets.entry(*value).or_default();
            *bucket = with(*bucket, *count);
        }
        self.0 = buckets.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::LatencyCounts;

    #[test]
    fn adding_and_subtracting_loses_nothing() {
        let first = LatencyCounts(vec![(100, 3), (200, 1)]);
        let mut both = first.clone();
        both.add(&LatencyCounts(vec![(150, 2), (200, 4)]));
        assert_eq!(both.0, [(100, 3), (150, 2), (200, 5)]);
        assert_eq!(both.since(&first).0, [(150, 2), (200, 4)]);
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let counts = LatencyCounts(vec![(100, 98), (900, 1), (5_000, 1)]);
        assert_eq!(counts.percentile_us(50.0), Some(100));
        assert_eq!(counts.percentile_us(99.0), Some(900));
        assert_eq!(counts.percentile_us(100.0), Some(5_000));
        assert_eq!(LatencyCounts::default().percentile_us(50.0), None);
    }
}

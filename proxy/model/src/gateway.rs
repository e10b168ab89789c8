//! Gateways and what they route to.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Condition, ConditionStrength, GatewayName, GatewayOptions, InstanceId, RouteName, RouteOptions, Weight,
};

/// A stable entry point: an address, and rules that choose one of several routes for each request.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Unique within a snapshot.
    pub name: GatewayName,
    /// What the gateway carries, whether it has a socket of its own or not.
    pub protocol: Protocol,
    /// Socket of its own; `None`: reached only as another gateway's route or by virtual host.
    pub listener: Option<Listener>,
    /// Host header values that lead here on the shared virtual host listener. Compared whole and without
    /// regard to case, port included (Vamp's rule).
    pub virtual_hosts: Vec<String>,
    /// Whether a client stays with its first choice.
    pub sticky: Sticky,
    /// In order: the first route whose condition matches wins.
    pub routes: Vec<Route>,
    /// How its socket is to be used.
    pub options: GatewayOptions,
}

/// A socket to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// Local address; the unspecified address means all.
    pub address: IpAddr,
    /// 1 to 65535.
    pub port: u16,
}

/// What a gateway carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1 requests, each routed on its own.
    #[default]
    Http,
    /// Connections, each routed as a whole.
    Tcp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        })
    }
}

/// Whether a client stays with its first choice, by cookie. HTTP only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sticky {
    /// Each request is decided on its own.
    #[default]
    None,
    /// The client stays with the route.
    Route,
    /// The client stays with the route and the instance.
    Instance,
}

/// One of the ways a gateway can take.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique within its gateway.
    pub name: RouteName,
    /// Share of the gateway's traffic.
    pub weight: Weight,
    /// Requests that match may come here whatever the weight. HTTP only.
    pub condition: Option<Condition>,
    /// Share of the matching requests that do come here.
    pub condition_strength: ConditionStrength,
    /// How an instance is chosen.
    pub balance: Balance,
    /// Where it leads.
    pub target: Target,
    /// How its instances are to be reached.
    pub options: RouteOptions,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Another gateway of the same snapshot, resolved inside the table without a hop.
    Gateway(GatewayName),
    /// Instances; empty answers 503 (HTTP) or closes (TCP).
    Instances(Vec<Instance>),
}

/// One address that serves requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Unique within its route; counters and health follow it over changes of address.
    pub id: InstanceId,
    /// IP address or DNS name.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// Whether it takes new requests.
    pub state: InstanceState,
}

/// Whether an instance takes new requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Takes new requests.
    #[default]
    Serving,
    /// Finishes what it has (sticky clients move on); takes nothing new.
    Draining,
}

/// How a route chooses among its instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, exactly, over all workers together.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight, as this agent sees it.
    LeastRequests,
    /// By hash of the client's address.
    Source,
    /// The first in the list that can.
    First,
}

/// A balance word that is not native.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "balance `{0}` is not supported; use one of default, roundrobin, static-rr, leastconn, source, first"
)]
pub struct UnknownBalance(pub String);

/// Reads Vamp's and HAProxy's words (spec of the gateway agent, §3.6); `default` is the protocol's own:
/// round robin for HTTP. For TCP gateways the caller maps `default` to least requests.
impl FromStr for Balance {
    type Err = UnknownBalance;

    fn from_str(text: &str) -> Result<Self, UnknownBalance> {
        match text {
            "default" | "roundrobin" | "static-rr" | "round_robin" => Ok(Self::RoundRobin),
            "leastconn" | "least_requests" => Ok(Self::LeastRequests),
            "source" => Ok(Self::Source),
            "first" => Ok(Self::First),
            other => Err(UnknownBalance(other.chars().take(80).collect())),
        }
    }
}

//! The one thing that is swapped: a snapshot compiled to what the request path reads.
//!
//! **Invariants.** Immutable. A gateway that did not change is the same allocation in the next table. Every
//! place that a route leads to is in the table. What changes while it serves (counters, health, addresses of
//! names) is behind the `live` parts, which outlive it.

mod compile;
mod difference;
mod retired;
mod slots;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use self::slots::Slots;
pub(crate) use self::{compile::Compiler, retired::Retired};
use weir_model::{Balance, Digest, GatewayName, Generation, InstanceId, Protocol, Snapshot, Sticky};

use crate::{
    access_log::{GatewayNames, RouteNames},
    condition::Compiled,
    live::{EndpointLive, GatewayLive, RouteLive},
    resolve::Address,
    rewrite::Rewrites,
    schedule::Schedule,
    tls::Acceptor,
    upstream::{Preamble, Preambles},
};

/// Longest host name that is looked up, in bytes (RFC 1035 §2.3.4 allows 255, a port adds six).
const HOST_BYTES_MAX: usize = 264;

/// Everything that is served at one moment.
#[derive(Debug)]
pub(crate) struct Table {
    /// Differs between any two tables of a process.
    pub(crate) serial: u64,
    pub(crate) generation: Generation,
    pub(crate) digest: Option<Digest>,
    gateways: Slots,
    /// Slots in the order of the snapshot.
    order: Vec<u32>,
    /// Shared with the table before if no socket changed.
    listeners: Arc<HashMap<SocketAddr, u32>>,
    /// Host names in lower case; shared as well.
    hosts: Arc<HashMap<Box<[u8]>, u32>>,
}

/// A gateway, compiled.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// What it was made of: equal content is not compiled again.
    pub(crate) source: Arc<weir_model::Gateway>,
    pub(crate) live: Arc<GatewayLive>,
    /// Routes with a condition and a strength over zero, in order.
    pub(crate) conditioned: Box<[u16]>,
    /// `None`: every weight is zero.
    pub(crate) weights: Option<Schedule>,
    pub(crate) routes: Box<[Route]>,
    /// Names of cookies that it sets, if it is sticky.
    pub(crate) cookies: Option<GatewayCookies>,
    /// Handshakes at its socket, if TLS ends there.
    pub(crate) tls: Option<Arc<Acceptor>>,
    /// Names in the access log.
    pub(crate) names: GatewayNames,
    /// A route has names that clients ask for by TLS.
    pub(crate) reads_names: bool,
}

/// Cookies of a sticky gateway (spec of the gateway agent, §3.3).
#[derive(Debug)]
pub(crate) struct GatewayCookies {
    /// `o_<gateway>`: which route the weights chose.
    pub(crate) weighted: Box<[u8]>,
}

/// A route, compiled.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) live: Arc<RouteLive>,
    pub(crate) condition: Option<Compiled>,
    /// Split between the route (0) and the weights (1) for matching requests; `None`: always the route.
    pub(crate) strength: Option<Schedule>,
    pub(crate) next: Next,
    /// Bounds of waiting that differ from the configuration's.
    pub(crate) timeouts: Option<Box<weir_model::RouteTimeouts>>,
    pub(crate) cookies: Option<RouteCookies>,
    /// What connections to its instances begin with.
    pub(crate) preambles: Preambles,
    /// How paths are changed on the way to it.
    pub(crate) rewrites: Option<Box<Rewrites>>,
    /// Names in the access log.
    pub(crate) names: RouteNames,
}

/// Cookies of a route of a sticky gateway.
#[derive(Debug)]
pub(crate) struct RouteCookies {
    /// Lookup name of the route: the value by which the client comes back, and the name of the cookie
    /// that holds the instance.
    pub(crate) lookup: Box<[u8]>,
    /// `im_<route>`: whether a matching request took the route or the weights.
    pub(crate) matched: Box<[u8]>,
    /// `Set-Cookie` values: chosen by weight, taken by condition, left to the weights by condition.
    pub(crate) set_weighted: Box<[u8]>,
    pub(crate) set_taken: Box<[u8]>,
    pub(crate) set_left: Box<[u8]>,
}

/// Where a route leads.
#[derive(Debug)]
pub(crate) enum Next {
    /// The gateway in this slot.
    Gateway(u32),
    /// One of these.
    Endpoints(Endpoints),
}

/// The instances of a route.
#[derive(Debug)]
pub(crate) struct Endpoints {
    pub(crate) balance: Balance,
    /// How long an instance that became well takes to get its full share; 0: none.
    pub(crate) slow_start_ms: u64,
    /// When one is passed over because of its answers.
    pub(crate) ejection: Option<weir_model::Ejection>,
    /// Those that take new requests come first.
    pub(crate) all: Box<[Endpoint]>,
    /// How many take new requests.
    pub(crate) serving: usize,
}

/// An instance, compiled.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: InstanceId,
    pub(crate) live: Arc<EndpointLive>,
    pub(crate) address: Address,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Differs between any two (instance, address) of a process: by it connections are pooled.
    key: u64,
    /// What a connection to it begins with.
    pub(crate) preamble: Option<Arc<Preamble>>,
    /// It speaks HTTP/2.
    pub(crate) is_http2: bool,
    /// Name in the access log: its lookup name.
    pub(crate) name: Box<str>,
    /// Value of the instance cookie, if the gateway is sticky to instances.
    pub(crate) lookup: Option<Box<[u8]>>,
    pub(crate) set_cookie: Option<Box<[u8]>>,
}

impl Endpoint {
    /// Where it is; `None` while its name is not resolved.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address.current()
    }

    /// By which connections to it are pooled.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Whether its connections may serve several clients one after the other.
    pub(crate) fn is_pooled(&self) -> bool {
        self.preamble
            .as_ref()
            .is_none_or(|preamble| !preamble.is_of_one_client())
    }

    /// Whether its connections may serve several clients at a time.
    pub(crate) fn shares_connections(&self) -> bool {
        self.is_http2 && self.is_pooled()
    }

    /// A connection was made.
    pub(crate) fn connected(&self, now_ms: u64) {
        self.live.connected(now_ms);
    }

    /// A connection could not be made.
    pub(crate) fn connect_failed(&self, now_ms: u64) {
        self.live.connect_failed(now_ms);
    }
}

impl Gateway {
    pub(crate) fn name(&self) -> &GatewayName {
        &self.source.name
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.source.protocol
    }

    pub(crate) fn sticky(&self) -> Sticky {
        self.source.sticky
    }

    /// Gateways that its routes lead to.
    fn leads_to(&self) -> impl Iterator<Item = u32> {
        self.routes.iter().filter_map(|route| match route.next {
            Next::Gateway(slot) => Some(slot),
            Next::Endpoints(_) => None,
        })
    }

    /// Whether this cookie is one that the gateway sets, and that its services therefore must not see.
    pub(crate) fn is_own_cookie(&self, name: &[u8]) -> bool {
        self.cookies.as_ref().is_some_and(|cookies| {
            *cookies.weighted == *name
                || self
                    .routes
                    .iter()
                    .filter_map(|route| route.cookies.as_ref())
                    .any(|route| *route.matched == *name || *route.lookup == *name)
        })
    }
}

impl Table {
    /// Serves nothing.
    pub(crate) fn empty() -> Self {
        Self {
            serial: 0,
            generation: Generation::default(),
            digest: None,
            gateways: Slots::default(),
            order: Vec::new(),
            listeners: Arc::default(),
            hosts: Arc::default(),
        }
    }

    /// The gateway in a slot.
    pub(crate) fn gateway(&self, slot: u32) -> Option<&Arc<Gateway>> {
        self.gateways.get(slot)
    }

    /// Whether the name that a client of TLS asks for matters at a gateway, or at one that it leads to.
    pub(crate) fn reads_names(&self, slot: u32) -> bool {
        self.reads_names_within(slot, Snapshot::CHAIN_MAX)
    }

    /// Looks at up to `left` gateways in a row: beyond an old form of a refused one there may be more.
    fn reads_names_within(&self, slot: u32, left: usize) -> bool {
        let Some(left) = left.checked_sub(1) else {
            return false;
        };
        self.gateway(slot).is_some_and(|gateway| {
            gateway.reads_names || gateway.leads_to().any(|slot| self.reads_names_within(slot, left))
        })
    }

    /// Whether more gateways are in a row, this one included, than a request may cross; always so in a circle.
    fn is_deep(&self, slot: u32) -> bool {
        let mut row = BTreeSet::from([slot]);
        for _ in 0..Snapshot::CHAIN_MAX {
            let here = row.iter().filter_map(|slot| self.gateway(*slot));
            row = here.flat_map(|gateway| gateway.leads_to()).collect();
        }
        !row.is_empty()
    }

    /// The gateway that has this socket.
    pub(crate) fn by_listener(&self, address: SocketAddr) -> Option<u32> {
        self.listeners.get(&address).copied()
    }

    /// The gateway that has this host name, whatever its case; a port is part of the name (Vamp's rule).
    pub(crate) fn by_host(&self, host: &[u8]) -> Option<u32> {
        let mut lower = [0; HOST_BYTES_MAX];
        let lower = lower.get_mut(..host.len())?;
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        self.hosts.get(&*lower).copied()
    }

    /// Gateways that differ: here and in `after`.
    pub(crate) fn changes<'t>(
        &'t self,
        after: &'t Self,
    ) -> impl Iterator<Item = (Option<&'t Arc<Gateway>>, Option<&'t Arc<Gateway>>)> {
        self.gateways.changes(&after.gateways)
    }

    /// Whether both want the same sockets; `false` says nothing.
    pub(crate) fn shares_sockets(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.listeners, &other.listeners) && self.has_hosts() == other.has_hosts()
    }

    /// Its gateways in the order of the snapshot.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = &Arc<Gateway>> {
        self.order.iter().filter_map(|slot| self.gateway(*slot))
    }

    /// Sockets that it needs, with what they carry.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.keys().copied()
    }

    /// Whether any gateway has a host name.
    pub(crate) fn has_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }
}

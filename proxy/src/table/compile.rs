//! Snapshot to table.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use weir_model::{
    Balance, Digest, Generation, Instance, InstanceState, Protocol, Refusal, Snapshot, Sticky, Target,
    UpstreamProtocol, lookup,
};

use super::{Endpoint, Endpoints, Gateway, GatewayCookies, Next, Route, RouteCookies, Table};
use crate::{
    access_log::{GatewayNames, RouteNames},
    condition::Compiled,
    live::Registry,
    resolve::Resolver,
    rewrite::Rewrites,
    schedule::Schedule,
    tls::{Acceptor, Watch},
    upstream::Preambles,
};

/// Makes tables, each from a snapshot and the table before it.
#[derive(Debug)]
pub(crate) struct Compiler {
    registry: Registry,
    resolver: Resolver,
    serial: u64,
    endpoint_key: AtomicU64,
    certificates: Watch,
    refused: Vec<Refusal>,
    /// When the proxy's clock began.
    epoch: Instant,
    /// Milliseconds of that clock at the time of compiling.
    now_ms: u64,
}

impl Compiler {
    pub(crate) fn new(workers: usize, resolver: Resolver, epoch: Instant) -> Self {
        Self {
            registry: Registry::new(workers),
            resolver,
            serial: 0,
            endpoint_key: AtomicU64::new(1),
            certificates: Watch::default(),
            refused: Vec::new(),
            epoch,
            now_ms: 0,
        }
    }

    /// Compiles what differs from `before` and shares the rest. `digest` and `generation` are those of the
    /// document that the snapshot came from.
    pub(crate) fn compile(
        &mut self,
        snapshot: &Snapshot,
        generation: Generation,
        digest: Option<Digest>,
        before: &Table,
        now: Instant,
    ) -> Table {
        self.now_ms =
            u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX);
        // Slots first: routes lead to gateways that stand later in the document.
        let slots: HashMap<&str, u32> = snapshot
            .gateways()
            .iter()
            .map(|gateway| (gateway.name.as_str(), self.registry.gateway(&gateway.name).slot))
            .collect();
        let mut table = Table {
            serial: self.serial.wrapping_add(1),
            generation,
            digest,
            gateways: vec![None; self.registry.slots()],
            order: Vec::with_capacity(slots.len()),
            listeners: HashMap::with_capacity(slots.len()),
            hosts: HashMap::new(),
        };
        self.serial = table.serial;
        for source in snapshot.gateways() {
            let Some(slot) = slots.get(source.name.as_str()).copied() else {
                continue;
            };
            let same = before
                .gateway(slot)
                .filter(|old| old.source == *source && leads_to_same(old, &slots));
            let old = before.gateway(slot).filter(|old| leads_to_same(old, &slots));
            let hollow;
            let mut source = source;
            let prepared = match same {
                Some(_) => Ok(Prepared::default()),
                None => self.prepare(source, before.gateway(slot)),
            };
            let is_as_asked = prepared.is_ok();
            let (same, prepared) = match (same, prepared, old) {
                (same, Ok(prepared), _) => (same, prepared),
                (_, Err(reason), old) => {
                    tracing::error!(gateway = %source.name, reason, "a gateway is not served as asked");
                    self.refuse(source, reason);
                    match old {
                        // Its last good form, but not in the way of another's socket.
                        Some(old) => source = &old.source,
                        None => {
                            hollow = hollow_form(source);
                            source = &hollow;
                        }
                    }
                    (old, Prepared::hollow())
                }
            };
            if let Some(reason) = same.and_then(|same| same.tls.as_ref()?.fault()) {
                self.refuse(source, reason);
            }
            let gateway = match same {
                Some(same) => Arc::clone(same),
                None => {
                    let gateway = Arc::new(self.gateway(source, prepared, &slots, before.gateway(slot)));
                    self.registry.sweep_gateway(
                        &source.name,
                        |route, instance| has(source, route, instance),
                        now,
                    );
                    gateway
                }
            };
            if let Some(listener) = source.listener {
                let address = SocketAddr::new(listener.address, listener.port);
                if is_as_asked {
                    table.listeners.insert(address, slot);
                } else {
                    table.listeners.entry(address).or_insert(slot);
                }
            }
            if source.protocol == Protocol::Http {
                for host in &source.virtual_hosts {
                    table
                        .hosts
                        .insert(host.to_ascii_lowercase().into_bytes().into(), slot);
                }
            }
            table.order.push(slot);
            if let Some(place) = table.gateways.get_mut(slot as usize) {
                *place = Some(gateway);
            }
        }
        self.registry.sweep(|name| slots.contains_key(name.as_str()), now);
        table
    }

    /// Takes the refusals of the table compiled last.
    pub(crate) fn take_refused(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refused)
    }

    fn refuse(&mut self, source: &weir_model::Gateway, reason: String) {
        self.refused.push(Refusal {
            gateway: source.name.to_string(),
            reason,
        });
    }

    /// Does what may fail.
    fn prepare(
        &mut self,
        source: &weir_model::Gateway,
        before: Option<&Arc<Gateway>>,
    ) -> Result<Prepared, String> {
        let acceptor = match &source.options.tls {
            None => None,
            Some(tls) => {
                let old = before.and_then(|before| before.tls.as_ref());
                Some(match old.filter(|old| old.is_of(tls, source.protocol)) {
                    Some(old) => Arc::clone(old),
                    None => {
                        let acceptor = Arc::new(Acceptor::new(tls, source.protocol)?);
                        self.certificates.add(&acceptor);
                        acceptor
                    }
                })
            }
        };
        let preambles = source
            .routes
            .iter()
            .map(|route| {
                let wrong = |reason| format!("route {}: {reason}", route.name);
                let old = old_route(before, route).map(|old| &old.preambles);
                let (protocol, options) = (source.protocol, &route.options);
                let misplaced = match protocol {
                    Protocol::Tcp if options.protocol != UpstreamProtocol::Http1 => {
                        Some("HTTP gateways have a `protocol`")
                    }
                    Protocol::Tcp if options.ejection.is_some() => Some("HTTP gateways have an `ejection`"),
                    Protocol::Http if !options.server_names.is_empty() => {
                        Some("TCP gateways have `server_names`")
                    }
                    _ => None,
                };
                if let Some(misplaced) = misplaced {
                    return Err(wrong(format!("only routes of {misplaced}")));
                }
                let preambles = Preambles::new(&route.options, old).map_err(wrong)?;
                if let Target::Instances(instances) = &route.target {
                    for instance in instances {
                        preambles.of(&instance.host).map_err(wrong)?;
                    }
                }
                Ok(preambles)
            })
            .collect::<Result<_, String>>()?;
        Ok(Prepared { acceptor, preambles })
    }

    fn gateway(
        &mut self,
        source: &weir_model::Gateway,
        prepared: Prepared,
        slots: &HashMap<&str, u32>,
        before: Option<&Arc<Gateway>>,
    ) -> Gateway {
        let live = self.registry.gateway(&source.name);
        let gateway_lookup = lookup::gateway(source.name.as_str());
        let sticky = source.sticky != Sticky::None;
        let routes: Box<[Route]> = source
            .routes
            .iter()
            .zip(prepared.preambles)
            .map(|(route, preambles)| self.route(source, &gateway_lookup, route, preambles, slots, before))
            .collect();
        Gateway {
            live,
            conditioned: (0..=u16::MAX)
                .zip(&source.routes)
                .filter(|(_, route)| route.condition.is_some() && !route.condition_strength.is_zero())
                .map(|(index, _)| index)
                .collect(),
            weights: Schedule::new(source.routes.iter().map(|route| route.weight.parts())),
            routes,
            cookies: sticky.then(|| GatewayCookies {
                weighted: format!("o_{gateway_lookup}").into_bytes().into(),
            }),
            names: GatewayNames::new(&gateway_lookup),
            tls: prepared.acceptor,
            reads_names: source
                .routes
                .iter()
                .any(|route| !route.options.server_names.is_empty()),
            source: source.clone(),
        }
    }

    fn route(
        &mut self,
        gateway: &weir_model::Gateway,
        gateway_lookup: &str,
        source: &weir_model::Route,
        preambles: Preambles,
        slots: &HashMap<&str, u32>,
        before: Option<&Arc<Gateway>>,
    ) -> Route {
        let live = self.registry.route(&gateway.name, &source.name);
        let route_lookup = lookup::route(gateway.name.as_str(), source.name.as_str());
        let next = match &source.target {
            Target::Gateway(name) => Next::Gateway(
                slots
                    .get(name.as_str())
                    .copied()
                    .expect("a snapshot's routes lead to gateways that it has"),
            ),
            Target::Instances(instances) => {
                let old_route = old_route(before, source);
                let is_same_link = old_route.is_some_and(|old| old.preambles.is_same(&preambles));
                let old = old_route.and_then(|route| match &route.next {
                    Next::Endpoints(endpoints) => Some(endpoints),
                    Next::Gateway(_) => None,
                });
                let cookie = (gateway.sticky == Sticky::Instance).then_some(route_lookup.as_str());
                let (serving, draining): (Vec<_>, Vec<_>) = instances
                    .iter()
                    .partition(|instance| instance.state == InstanceState::Serving);
                let all = serving
                    .iter()
                    .chain(&draining)
                    .map(|instance| {
                        let mut endpoint = self.endpoint(gateway, source, instance, cookie, old);
                        if !is_same_link {
                            endpoint.key = self.endpoint_key.fetch_add(1, Ordering::Relaxed);
                        }
                        endpoint.is_http2 = preambles.is_http2();
                        endpoint.preamble = preambles
                            .of(&instance.host)
                            .expect("what cannot be had was refused before");
                        endpoint
                    })
                    .collect();
                Next::Endpoints(Endpoints {
                    balance: balance(gateway, source),
                    slow_start_ms: source.options.slow_start.map_or(0, |time| {
                        u64::try_from(time.duration().as_millis()).unwrap_or(u64::MAX)
                    }),
                    ejection: source.options.ejection,
                    all,
                    serving: serving.len(),
                })
            }
        };
        let strength = source.condition_strength.parts();
        Route {
            live,
            preambles,
            condition: source.condition.as_ref().map(Compiled::new),
            rewrites: Rewrites::of(&source.options.rewrites),
            strength: if strength == 10_000 {
                None
            } else {
                Schedule::new([strength, 10_000 - strength])
            },
            next,
            timeouts: Some(source.options.timeouts)
                .filter(|timeouts| *timeouts != weir_model::RouteTimeouts::default())
                .map(Box::new),
            names: RouteNames::new(&route_lookup, &source.target),
            cookies: (gateway.sticky != Sticky::None).then(|| {
                let text = |text: String| text.into_bytes().into_boxed_slice();
                RouteCookies {
                    matched: text(format!("im_{route_lookup}")),
                    set_weighted: text(format!("o_{gateway_lookup}={route_lookup}; path=/")),
                    set_taken: text(format!("im_{route_lookup}={route_lookup}; path=/")),
                    set_left: text(format!("im_{route_lookup}=o_{gateway_lookup}; path=/")),
                    lookup: text(route_lookup.clone()),
                }
            }),
        }
    }

    fn endpoint(
        &mut self,
        gateway: &weir_model::Gateway,
        route: &weir_model::Route,
        instance: &Instance,
        cookie: Option<&str>,
        old: Option<&Endpoints>,
    ) -> Endpoint {
        let live = self.registry.endpoint(&gateway.name, &route.name, &instance.id);
        let is_addition = old.is_some_and(|old| !old.all.is_empty());
        let old = old.and_then(|old| {
            old.all
                .iter()
                .find(|old| old.id == instance.id && old.host == instance.host && old.port == instance.port)
        });
        let (key, address) = match old {
            Some(old) => (old.key, old.address.clone()),
            None => {
                live.reset(if is_addition { self.now_ms.max(1) } else { 0 });
                (
                    self.endpoint_key.fetch_add(1, Ordering::Relaxed),
                    self.resolver.address(&instance.host, instance.port),
                )
            }
        };
        let instance_lookup = lookup::instance(instance.id.as_str());
        Endpoint {
            id: instance.id.clone(),
            live,
            address,
            host: instance.host.clone(),
            port: instance.port,
            key,
            preamble: None,
            is_http2: false,
            set_cookie: cookie.map(|route| format!("{route}={instance_lookup}; path=/").into_bytes().into()),
            lookup: cookie.map(|_| instance_lookup.as_bytes().into()),
            name: instance_lookup.into(),
        }
    }
}

/// The parts of a gateway that may not be had.
#[derive(Debug, Default)]
struct Prepared {
    acceptor: Option<Arc<Acceptor>>,
    /// Of each route.
    preambles: Vec<Preambles>,
}

impl Prepared {
    /// For a gateway without routes.
    fn hollow() -> Self {
        Self::default()
    }
}

/// What stands for a gateway that cannot be served: routes may lead to it, nothing else does.
fn hollow_form(source: &weir_model::Gateway) -> weir_model::Gateway {
    weir_model::Gateway {
        listener: None,
        virtual_hosts: Vec::new(),
        routes: Vec::new(),
        ..source.clone()
    }
}

/// The route as it was in the table before.
fn old_route<'g>(before: Option<&'g Arc<Gateway>>, source: &weir_model::Route) -> Option<&'g Route> {
    let before = before?;
    let index = before
        .source
        .routes
        .iter()
        .position(|route| route.name == source.name)?;
    before.routes.get(index)
}

/// A shared gateway holds slots of others: they must still be theirs.
fn leads_to_same(gateway: &Gateway, slots: &HashMap<&str, u32>) -> bool {
    gateway
        .source
        .routes
        .iter()
        .zip(&gateway.routes)
        .all(|(source, route)| match (&source.target, &route.next) {
            (Target::Gateway(name), Next::Gateway(slot)) => slots.get(name.as_str()) == Some(slot),
            _ => true,
        })
}

fn has(
    gateway: &weir_model::Gateway,
    route: &weir_model::RouteName,
    instance: Option<&weir_model::InstanceId>,
) -> bool {
    gateway.routes.iter().any(|source| {
        source.name == *route
            && match (instance, &source.target) {
                (None, _) => true,
                (Some(id), Target::Instances(all)) => all.iter().any(|instance| instance.id == *id),
                (Some(_), Target::Gateway(_)) => false,
            }
    })
}

/// A TCP gateway's default is the fewest connections (spec of the gateway agent, §3.6).
fn balance(gateway: &weir_model::Gateway, route: &weir_model::Route) -> Balance {
    match (gateway.protocol, route.balance) {
        (Protocol::Tcp, Balance::RoundRobin) => Balance::LeastRequests,
        (_, balance) => balance,
    }
}

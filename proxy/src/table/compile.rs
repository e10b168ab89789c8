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
    Balance, Digest, Generation, Instance, InstanceState, Protocol, Snapshot, Sticky, Target, lookup,
};

use super::{Endpoint, Endpoints, Gateway, GatewayCookies, Next, Route, RouteCookies, Table};
use crate::{condition::Compiled, live::Registry, resolve::Resolver, schedule::Schedule};

/// Makes tables, each from a snapshot and the table before it.
#[derive(Debug)]
pub(crate) struct Compiler {
    registry: Registry,
    resolver: Resolver,
    serial: u64,
    endpoint_key: AtomicU64,
}

impl Compiler {
    pub(crate) fn new(workers: usize, resolver: Resolver) -> Self {
        Self {
            registry: Registry::new(workers),
            resolver,
            serial: 0,
            endpoint_key: AtomicU64::new(1),
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
            let gateway = match same {
                Some(same) => Arc::clone(same),
                None => {
                    let gateway = Arc::new(self.gateway(source, &slots, before.gateway(slot)));
                    self.registry.sweep_gateway(
                        &source.name,
                        |route, instance| has(source, route, instance),
                        now,
                    );
                    gateway
                }
            };
            if let Some(listener) = source.listener {
                table
                    .listeners
                    .insert(SocketAddr::new(listener.address, listener.port), slot);
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

    fn gateway(
        &mut self,
        source: &weir_model::Gateway,
        slots: &HashMap<&str, u32>,
        before: Option<&Arc<Gateway>>,
    ) -> Gateway {
        let live = self.registry.gateway(&source.name);
        let gateway_lookup = lookup::gateway(source.name.as_str());
        let sticky = source.sticky != Sticky::None;
        let routes: Box<[Route]> = source
            .routes
            .iter()
            .map(|route| self.route(source, &gateway_lookup, route, slots, before))
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
            source: source.clone(),
        }
    }

    fn route(
        &mut self,
        gateway: &weir_model::Gateway,
        gateway_lookup: &str,
        source: &weir_model::Route,
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
                let old = before
                    .and_then(|before| {
                        let index = before
                            .source
                            .routes
                            .iter()
                            .position(|route| route.name == source.name)?;
                        before.routes.get(index)
                    })
                    .and_then(|route| match &route.next {
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
                    .map(|instance| self.endpoint(gateway, source, instance, cookie, old))
                    .collect();
                Next::Endpoints(Endpoints {
                    balance: balance(gateway, source),
                    all,
                    serving: serving.len(),
                })
            }
        };
        let strength = source.condition_strength.parts();
        Route {
            live,
            condition: source.condition.as_ref().map(Compiled::new),
            strength: if strength == 10_000 {
                None
            } else {
                Schedule::new([strength, 10_000 - strength])
            },
            next,
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
        let old = old.and_then(|old| {
            old.all
                .iter()
                .find(|old| old.id == instance.id && old.host == instance.host && old.port == instance.port)
        });
        let (key, address) = match old {
            Some(old) => (old.key, old.address.clone()),
            None => (
                self.endpoint_key.fetch_add(1, Ordering::Relaxed),
                self.resolver.address(&instance.host, instance.port),
            ),
        };
        let instance_lookup = cookie.map(|_| lookup::instance(instance.id.as_str()));
        Endpoint {
            id: instance.id.clone(),
            live: self.registry.endpoint(&gateway.name, &route.name, &instance.id),
            address,
            host: instance.host.clone(),
            port: instance.port,
            key,
            set_cookie: cookie
                .zip(instance_lookup.as_ref())
                .map(|(route, instance)| format!("{route}={instance}; path=/").into_bytes().into()),
            lookup: instance_lookup.map(|lookup| lookup.into_bytes().into()),
        }
    }
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

//! One gateway of a snapshot to one of a table.

use std::sync::{Arc, atomic::Ordering};

use weir_model::{Balance, Instance, InstanceState, Protocol, Sticky, Target, lookup};

use super::Compiler;
use crate::{
    access_log::{GatewayNames, RouteNames},
    condition::Compiled,
    rewrite::Rewrites,
    schedule::Schedule,
    table::{Endpoint, Endpoints, Gateway, GatewayCookies, Next, Route, RouteCookies},
    tls::Acceptor,
    upstream::Preambles,
};

impl Compiler {
    /// Does what may fail.
    pub(super) fn prepare(
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
                if let Some((_, others)) = route.options.misplaced(source.protocol) {
                    return Err(wrong(format!("only routes of {others}")));
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

    pub(super) fn gateway(
        &mut self,
        source: &Arc<weir_model::Gateway>,
        prepared: Prepared,
        before: Option<&Arc<Gateway>>,
    ) -> Gateway {
        let live = self.registry.gateway(&source.name);
        let gateway_lookup = lookup::gateway(source.name.as_str());
        let sticky = source.sticky != Sticky::None;
        let routes: Box<[Route]> = source
            .routes
            .iter()
            .zip(prepared.preambles)
            .map(|(route, preambles)| self.route(source, &gateway_lookup, route, preambles, before))
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
            source: Arc::clone(source),
        }
    }

    fn route(
        &mut self,
        gateway: &weir_model::Gateway,
        gateway_lookup: &str,
        source: &weir_model::Route,
        preambles: Preambles,
        before: Option<&Arc<Gateway>>,
    ) -> Route {
        let live = self.registry.route(&gateway.name, &source.name);
        let route_lookup = lookup::route(gateway.name.as_str(), source.name.as_str());
        let next = match &source.target {
            Target::Gateway(name) => Next::Gateway(
                self.registry
                    .slot(name)
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
pub(super) struct Prepared {
    acceptor: Option<Arc<Acceptor>>,
    /// Of each route.
    preambles: Vec<Preambles>,
}

impl Prepared {
    /// For a gateway without routes.
    pub(super) fn hollow() -> Self {
        Self::default()
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

/// A TCP gateway's default is the fewest connections (spec of the gateway agent, §3.6).
fn balance(gateway: &weir_model::Gateway, route: &weir_model::Route) -> Balance {
    match (gateway.protocol, route.balance) {
        (Protocol::Tcp, Balance::RoundRobin) => Balance::LeastRequests,
        (_, balance) => balance,
    }
}

//! The routing order, the same for every lane (ARCHITECTURE.md, "How a request flows"):
//!
//! 1. listener to gateway, or virtual host to gateway;
//! 2. conditions of the routes in order: the first that matches takes the request with its strength, else
//!    the request goes to the weights;
//! 3. weights over *all* routes, the conditioned ones included;
//! 4. a route may lead to another gateway: the same again, without a hop;
//! 5. route to instance.
//!
//! Cookies of sticky gateways decide inside steps 2, 3 and 5, one for each decision. Vamp's order and cookies: spec of the
//! gateway agent, §3.

mod cookies;
mod decide;
mod pick;

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use weir_model::{Balance, Snapshot, Sticky};

use self::{
    cookies::cookie,
    decide::{by_name, decide},
    pick::{pick, remembered},
};
use crate::{
    condition::RequestView,
    error::ErrorKind,
    metrics::add,
    rewrite::Rewrites,
    table::{Endpoint, Endpoints, Gateway, Next, Route, Table},
    worker::{Context, CurrentTable},
};

/// Where a connection came in. Finds the gateway anew only when the table changed.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    listener: SocketAddr,
    virtual_hosts: bool,
    /// (serial of the table, slot): what the listener meant then.
    found: Cell<(u64, u32)>,
}

impl Entry {
    pub(crate) fn new(listener: SocketAddr, virtual_hosts: bool) -> Self {
        Self {
            listener,
            virtual_hosts,
            found: Cell::new((0, 0)),
        }
    }

    /// Whether gateways are told apart by host names here.
    pub(crate) fn virtual_hosts(&self) -> bool {
        self.virtual_hosts
    }

    /// The gateway that has the socket.
    pub(crate) fn slot(&self, table: &Table) -> Option<u32> {
        let (serial, slot) = self.found.get();
        if serial == table.serial && serial != 0 {
            return Some(slot);
        }
        let slot = table.by_listener(self.listener)?;
        self.found.set((table.serial, slot));
        Some(slot)
    }
}

/// How a route was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Weight,
    Condition,
    Cookie,
}

const SET_WEIGHTED: u8 = 1;
const SET_TAKEN: u8 = 2;
const SET_LEFT: u8 = 4;
const SET_INSTANCE: u8 = 8;

/// What came of a condition that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matched {
    /// None matched.
    Nothing,
    /// The request took its route.
    Taken,
    /// The request was left to the weights.
    Left,
}

/// One gateway that a request crosses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    pub(crate) gateway: u32,
    pub(crate) route: u16,
    pub(crate) by: By,
    pub(crate) taken: Matched,
    /// Route whose condition matched, if one did.
    pub(crate) matched: u16,
    set: u8,
}

impl Hop {
    /// Whether the client gets a cookie for what was decided here.
    pub(crate) fn sets_cookies(&self) -> bool {
        self.set != 0
    }
}

const NO_HOP: Hop = Hop {
    gateway: 0,
    route: 0,
    by: By::Weight,
    taken: Matched::Nothing,
    matched: 0,
    set: 0,
};

/// A request for which there is no instance.
#[derive(Debug)]
pub(crate) struct Unrouted {
    /// Why.
    pub(crate) kind: ErrorKind,
    /// How far it came; only if that is to be logged.
    pub(crate) way: Option<Box<Choice>>,
}

impl From<ErrorKind> for Unrouted {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, way: None }
    }
}

impl From<Unrouted> for ErrorKind {
    fn from(unrouted: Unrouted) -> Self {
        unrouted.kind
    }
}

/// What holds the gateways that were crossed.
#[derive(Debug)]
enum Held {
    /// The table of the moment: a local count, no shared cache line is touched.
    Table(CurrentTable),
    /// Only the gateways crossed: a tunnel may outlive many tables.
    Gateways(Vec<(u32, Arc<Gateway>)>),
}

/// The way of one request: gateways crossed, outermost first, and the instance.
#[derive(Debug)]
pub(crate) struct Choice {
    held: Held,
    hops: [Hop; Snapshot::CHAIN_MAX],
    count: usize,
    endpoint: usize,
    /// Instances tried, by place; those beyond 64 may be tried again.
    tried: u64,
    source: IpAddr,
    virtual_host: bool,
    /// A route on the way changes paths.
    rewrites: bool,
    /// Gateway that had no route for it.
    stopped_at: Option<u32>,
}

/// Chooses the way of a request.
pub(crate) fn choose<R: RequestView>(
    context: &Rc<Context>,
    entry: &Entry,
    request: &R,
) -> Result<Choice, Unrouted> {
    let table = context.table();
    let slot = if entry.virtual_hosts {
        host(request).and_then(|host| table.by_host(host))
    } else {
        entry.slot(&table)
    };
    let mut choice = Choice::new(table, request.source(), entry.virtual_hosts);
    let walked = choice.walk(context, slot.ok_or(ErrorKind::NoGateway)?, Some(request), None);
    choice.routed(context, walked)
}

/// Chooses the way of a connection. `name`: the one that the client asks for by TLS, in lower case.
pub(crate) fn choose_tcp(
    context: &Rc<Context>,
    entry: &Entry,
    peer: SocketAddr,
    name: Option<&str>,
) -> Result<Choice, Unrouted> {
    let table = context.table();
    let slot = entry.slot(&table).ok_or(ErrorKind::NoGateway)?;
    let mut choice = Choice::new(table, peer.ip(), false);
    let walked = choice.walk::<NoRequest>(context, slot, None, name);
    choice.routed(context, walked)
}

/// Stands for "no request to look at" where a connection is routed.
enum NoRequest {}

impl RequestView for NoRequest {
    fn method(&self) -> &[u8] {
        match *self {}
    }
    fn target(&self) -> &[u8] {
        match *self {}
    }
    fn header_count(&self) -> usize {
        match *self {}
    }
    fn header(&self, _: usize) -> (&[u8], &[u8]) {
        match *self {}
    }
    fn source(&self) -> IpAddr {
        match *self {}
    }
    fn destination(&self) -> IpAddr {
        match *self {}
    }
    fn destination_port(&self) -> u16 {
        match *self {}
    }
}

/// The host that the request is for: that of an absolute target wins (RFC 9112 §3.2.2).
fn host<R: RequestView>(request: &R) -> Option<&[u8]> {
    let target = request.target();
    if !target.starts_with(b"/")
        && let Some(colon) = memchr::memmem::find(target, b"://")
    {
        let authority = target.get(colon + 3..)?;
        let end = authority
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
            .unwrap_or(authority.len());
        return authority.get(..end);
    }
    (0..request.header_count())
        .map(|index| request.header(index))
        .find(|(name, _)| name.eq_ignore_ascii_case(b"host"))
        .map(|(_, value)| value)
}

impl Choice {
    fn new(table: CurrentTable, source: IpAddr, virtual_host: bool) -> Self {
        Self {
            held: Held::Table(table),
            hops: [NO_HOP; Snapshot::CHAIN_MAX],
            count: 0,
            endpoint: 0,
            tried: 0,
            source,
            virtual_host,
            rewrites: false,
            stopped_at: None,
        }
    }

    fn walk<R: RequestView>(
        &mut self,
        context: &Context,
        first: u32,
        request: Option<&R>,
        name: Option<&str>,
    ) -> Result<(), ErrorKind> {
        let mut slot = first;
        loop {
            let Held::Table(table) = &self.held else {
                return Err(ErrorKind::Internal);
            };
            let table = table.clone();
            let gateway = table.gateway(slot).ok_or(ErrorKind::NoGateway)?;
            let figures = gateway.live.shards.of(context.worker);
            add(&figures.requests, 1);
            let named = name.and_then(|name| by_name(gateway, slot, name));
            let Some(mut hop) = named.or_else(|| decide(gateway, slot, request)) else {
                add(&figures.unrouted, 1);
                self.stopped_at = Some(slot);
                return Err(ErrorKind::NoRoute);
            };
            let route = gateway
                .routes
                .get(usize::from(hop.route))
                .ok_or(ErrorKind::Internal)?;
            self.rewrites |= route.rewrites.is_some();
            match &route.next {
                Next::Gateway(next) => {
                    self.push(hop)?;
                    slot = *next;
                }
                Next::Endpoints(endpoints) => {
                    let sticky = gateway.sticky() == Sticky::Instance;
                    let remembered = if sticky { request } else { None }
                        .and_then(|request| cookie(request, &route.cookies.as_ref()?.lookup))
                        .and_then(|value| remembered(endpoints, value, context.now_ms()));
                    let picked = match remembered {
                        Some(index) => Some(index),
                        None => {
                            if sticky {
                                hop.set |= SET_INSTANCE;
                            }
                            pick(endpoints, route, self.source, 0, context.now_ms())
                        }
                    };
                    self.push(hop)?;
                    let Some(picked) = picked else {
                        self.unserved(context, ErrorKind::NoInstance);
                        return Err(ErrorKind::NoInstance);
                    };
                    self.endpoint = picked;
                    self.mark_tried(picked);
                    self.endpoint().live.chosen(context.now_ms());
                    return Ok(());
                }
            }
        }
    }

    fn routed(self, context: &Context, walked: Result<(), ErrorKind>) -> Result<Self, Unrouted> {
        match walked {
            Ok(()) => Ok(self),
            Err(kind) => Err(Unrouted {
                kind,
                way: context.log.is_some().then(|| Box::new(self)),
            }),
        }
    }

    fn push(&mut self, hop: Hop) -> Result<(), ErrorKind> {
        // A snapshot's chains are checked to be shorter.
        *self.hops.get_mut(self.count).ok_or(ErrorKind::Internal)? = hop;
        self.count += 1;
        Ok(())
    }

    fn mark_tried(&mut self, index: usize) {
        if let Some(bit) = u32::try_from(index)
            .ok()
            .and_then(|index| 1u64.checked_shl(index))
        {
            self.tried |= bit;
        }
    }

    /// Accounts a request whose route has no instance: the judge must see it at the route.
    fn unserved(&self, context: &Context, kind: ErrorKind) {
        for hop in self.hops() {
            if let Some(route) = self.route(hop) {
                let figures = route.live.shards.of(context.worker);
                add(&figures.requests, 1);
                figures
                    .outcomes
                    .record(kind.status(), Some(kind), std::time::Duration::ZERO);
            }
        }
    }

    /// The gateway that the request entered first.
    pub(crate) fn first_gateway(&self) -> Option<&Arc<Gateway>> {
        let slot = self.hops().next().map(|hop| hop.gateway).or(self.stopped_at)?;
        self.gateway(slot)
    }

    /// The gateway that had no route for the request.
    pub(crate) fn unrouted_gateway(&self) -> Option<&Arc<Gateway>> {
        self.gateway(self.stopped_at?)
    }

    /// Gateways crossed, outermost first.
    pub(crate) fn hops(&self) -> impl Iterator<Item = &Hop> {
        self.hops.iter().take(self.count)
    }

    pub(crate) fn gateway(&self, slot: u32) -> Option<&Arc<Gateway>> {
        match &self.held {
            Held::Table(table) => table.gateway(slot),
            Held::Gateways(gateways) => gateways
                .iter()
                .find(|(held, _)| *held == slot)
                .map(|(_, gateway)| gateway),
        }
    }

    pub(crate) fn route(&self, hop: &Hop) -> Option<&Route> {
        self.gateway(hop.gateway)?.routes.get(usize::from(hop.route))
    }

    fn endpoints(&self) -> Option<&Endpoints> {
        let hop = self.hops.get(self.count.checked_sub(1)?)?;
        match &self.route(hop)?.next {
            Next::Endpoints(endpoints) => Some(endpoints),
            Next::Gateway(_) => None,
        }
    }

    /// The instance.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.endpoints()
            .and_then(|endpoints| endpoints.all.get(self.endpoint))
            .expect("a choice is only made with an instance at its end")
    }

    /// When the instance is passed over because of its answers.
    pub(crate) fn ejection(&self) -> Option<weir_model::Ejection> {
        self.endpoints()?.ejection
    }

    /// Balance of the last route.
    pub(crate) fn balance(&self) -> Balance {
        self.endpoints()
            .map(|endpoints| endpoints.balance)
            .unwrap_or_default()
    }

    /// Moves on to an instance of the same route that was not tried yet; `false` if there is none.
    pub(crate) fn another_endpoint(&mut self, context: &Context) -> bool {
        let picked = self
            .hops
            .get(self.count.saturating_sub(1))
            .and_then(|hop| self.route(hop))
            .and_then(|route| match &route.next {
                Next::Endpoints(endpoints) => {
                    pick(endpoints, route, self.source, self.tried, context.now_ms())
                }
                Next::Gateway(_) => None,
            });
        let Some(picked) = picked else { return false };
        self.endpoint = picked;
        self.mark_tried(picked);
        self.endpoint().live.chosen(context.now_ms());
        if let Some(hop) = self.count.checked_sub(1).and_then(|last| self.hops.get_mut(last))
            && hop.set & SET_INSTANCE == 0
        {
            // A client that was bound to the instance that failed is bound to the new one.
            hop.set |= SET_INSTANCE;
        }
        true
    }

    /// The rewrites of the routes on the way, outermost first.
    pub(crate) fn rewrites(&self) -> impl Iterator<Item = &Rewrites> {
        let hops = if self.rewrites { self.count } else { 0 };
        self.hops
            .iter()
            .take(hops)
            .filter_map(|hop| self.route(hop)?.rewrites.as_deref())
    }

    /// Whether a route on the way changes paths.
    pub(crate) fn has_rewrites(&self) -> bool {
        self.rewrites
    }

    /// Whether the request came by a host name.
    pub(crate) fn via_virtual_host(&self) -> bool {
        self.virtual_host
    }

    /// Lets go of the table: only the gateways crossed are held from now on.
    pub(crate) fn pin(&mut self) {
        if let Held::Table(table) = &self.held {
            let gateways = self
                .hops()
                .filter_map(|hop| Some((hop.gateway, Arc::clone(table.gateway(hop.gateway)?))))
                .collect();
            self.held = Held::Gateways(gateways);
        }
    }
}

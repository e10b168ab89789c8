//! Snapshot to table.
//!
//! **Invariants.** What a reader kept (the same allocation in two snapshots) is not looked at again: a change costs what
//! changed, and a comparison of pointers for each other gateway. Gateways that are not served as asked are tried again
//! with every snapshot.

mod gateway;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use weir_model::{Digest, GatewayName, Generation, Protocol, Refusal, Snapshot, Target};

use self::gateway::Prepared;
use super::{Gateway, Next, Table, difference::Difference};
use crate::{live::Registry, resolve::Resolver, tls::Watch};

/// Makes tables, each from a snapshot and the table before it.
#[derive(Debug)]
pub(crate) struct Compiler {
    registry: Registry,
    resolver: Resolver,
    serial: u64,
    endpoint_key: AtomicU64,
    certificates: Watch,
    /// The gateways of the last snapshot, in its order.
    asked: Vec<Arc<weir_model::Gateway>>,
    /// Those of them that are not served as asked.
    unmet: BTreeSet<GatewayName>,
    /// Slots of gateways at whose socket TLS ends.
    with_tls: BTreeSet<u32>,
    /// What is refused, and the place in the snapshot.
    refused: Vec<(usize, Refusal)>,
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
            asked: Vec::new(),
            unmet: BTreeSet::new(),
            with_tls: BTreeSet::new(),
            refused: Vec::new(),
            epoch,
            now_ms: 0,
        }
    }

    /// Compiles what differs from `before`, the table made last (at first one without gateways), and shares the rest.
    /// `digest` and `generation` are those of the document that the snapshot came from.
    pub(crate) fn compile(
        &mut self,
        snapshot: &Snapshot,
        generation: Generation,
        digest: Option<Digest>,
        before: &Table,
        now: Instant,
    ) -> Table {
        debug_assert_eq!(before.serial, self.serial, "each table follows the one made last");
        self.now_ms =
            u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX);
        self.serial = self.serial.wrapping_add(1);
        self.refused.clear();
        let asked = snapshot.gateways();
        let difference = Difference::between(&self.asked, asked);
        let mut table = Table {
            serial: self.serial,
            generation,
            digest,
            gateways: before.gateways.clone(),
            order: Vec::new(),
            listeners: Arc::clone(&before.listeners),
            hosts: Arc::clone(&before.hosts),
        };
        let places = self.places(&difference, asked);
        // Slots first: routes lead to gateways that stand later in the document.
        for source in places.iter().filter_map(|place| asked.get(*place)) {
            self.registry.gateway(&source.name);
        }
        // What stands in the way of claims may be among what is taken out.
        let was_met = self.unmet.is_empty();
        self.take_out(&difference, &places, asked, &mut table, now);
        table.order = self.order(&difference, asked, before);
        for place in places {
            if let Some(source) = asked.get(place) {
                self.put_in(place, source, &mut table, now);
            }
        }
        self.empty_deep(&mut table, now);
        self.note_tls(before, &table);
        if was_met && self.unmet.is_empty() {
            table.claim_changes(before);
        } else {
            table.claim_all(|name| !self.unmet.contains(name));
        }
        self.follow(&difference, asked);
        self.registry.forget(now);
        table
    }

    /// Takes the refusals of the table compiled last, in the order of the snapshot.
    pub(crate) fn take_refused(&mut self) -> Vec<Refusal> {
        let mut refused = std::mem::take(&mut self.refused);
        refused.sort_by_key(|(place, _)| *place);
        refused.into_iter().map(|(_, refusal)| refusal).collect()
    }

    /// Places of the gateways to look at: those that differ, and those that could not be served as asked.
    fn places(&self, difference: &Difference, asked: &[Arc<weir_model::Gateway>]) -> BTreeSet<usize> {
        let mut places: BTreeSet<usize> = difference.come.iter().copied().collect();
        if !self.unmet.is_empty() {
            let unmet = (0..).zip(asked).filter(|(_, one)| self.unmet.contains(&one.name));
            places.extend(unmet.map(|(place, _)| place));
        }
        places
    }

    /// Takes out what the snapshot does not name any more.
    fn take_out(
        &mut self,
        difference: &Difference,
        places: &BTreeSet<usize>,
        asked: &[Arc<weir_model::Gateway>],
        table: &mut Table,
        now: Instant,
    ) {
        let named = places.iter().filter_map(|place| asked.get(*place));
        let named: HashSet<&GatewayName> = named.map(|gateway| &gateway.name).collect();
        let gone = difference.gone.iter().filter_map(|place| self.asked.get(*place));
        for gateway in gone.filter(|gateway| !named.contains(&gateway.name)) {
            self.unmet.remove(&gateway.name);
            if let Some(slot) = self.registry.leave(&gateway.name, now) {
                table.gateways.set(slot, None);
            }
        }
    }

    /// Slots in the order of the snapshot.
    fn order(&self, difference: &Difference, asked: &[Arc<weir_model::Gateway>], before: &Table) -> Vec<u32> {
        let (old, new) = &difference.middle;
        let middle = asked.get(new.clone()).unwrap_or_default();
        let was = self.asked.get(old.clone()).unwrap_or_default();
        let mut pairs = was.iter().zip(middle);
        if old == new && pairs.all(|(old, new)| Arc::ptr_eq(old, new) || old.name == new.name) {
            return before.order.clone();
        }
        let first = before.order.get(..old.start).unwrap_or_default().iter().copied();
        let last = before.order.get(old.end..).unwrap_or_default().iter().copied();
        let between = middle
            .iter()
            .filter_map(|gateway| self.registry.slot(&gateway.name));
        first.chain(between).chain(last).collect()
    }

    /// Puts a gateway into the table: as asked, or in its last good form.
    fn put_in(&mut self, place: usize, source: &Arc<weir_model::Gateway>, table: &mut Table, now: Instant) {
        let live = self.registry.gateway(&source.name);
        let before = table.gateway(live.slot).cloned();
        let old = before.as_ref().filter(|old| self.leads_to_same(old));
        if old.is_some_and(|old| is_same(&old.source, source)) {
            self.unmet.remove(&source.name);
            return;
        }
        let hollow;
        let (source, prepared) = match self.prepare(source, before.as_ref()) {
            Ok(prepared) => {
                self.unmet.remove(&source.name);
                (source, prepared)
            }
            Err(reason) => {
                tracing::error!(gateway = %source.name, reason, "a gateway is not served as asked");
                self.refuse(place, source, reason);
                self.unmet.insert(source.name.clone());
                // Its last good form, but not in the way of another's socket.
                if old.is_some() {
                    return;
                }
                hollow = Arc::new(hollow_form(source));
                (&hollow, Prepared::hollow())
            }
        };
        self.set(source, prepared, before.as_ref(), table, now);
    }

    /// Puts a form of a gateway into its slot.
    fn set(
        &mut self,
        source: &Arc<weir_model::Gateway>,
        prepared: Prepared,
        before: Option<&Arc<Gateway>>,
        table: &mut Table,
        now: Instant,
    ) {
        let gateway = Arc::new(self.gateway(source, prepared, before));
        let has = |route: &_, instance: Option<&_>| has(source, route, instance);
        self.registry.sweep_gateway(&source.name, has, now);
        table.gateways.set(gateway.live.slot, Some(gateway));
    }

    /// Old forms were never checked against the new ones beside them: those that begin too long a chain, or lead into
    /// a circle, serve nothing. One after the other by name, since each that goes makes chains of others shorter.
    fn empty_deep(&mut self, table: &mut Table, now: Instant) {
        let slots = self.unmet.iter().filter_map(|name| self.registry.slot(name));
        for slot in slots.collect::<Vec<u32>>() {
            if !table.is_deep(slot) {
                continue;
            }
            let Some(old) = table.gateway(slot).cloned() else {
                continue;
            };
            tracing::error!(gateway = %old.name(), "its form before leads too far by now: it serves nothing");
            let hollow = Arc::new(hollow_form(&old.source));
            self.set(&hollow, Prepared::hollow(), Some(&old), table, now);
        }
    }

    /// Refuses gateways whose certificates cannot be used any more: they are served with those before. Those in an old
    /// form are refused already.
    fn note_tls(&mut self, before: &Table, table: &Table) {
        for (old, new) in before.changes(table) {
            if let Some(old) = old {
                self.with_tls.remove(&old.live.slot);
            }
            if let Some(new) = new.filter(|new| new.tls.is_some()) {
                self.with_tls.insert(new.live.slot);
            }
        }
        let mut faults = Vec::new();
        for slot in &self.with_tls {
            let gateway = table.gateway(*slot);
            let gateway = gateway.filter(|gateway| !self.unmet.contains(gateway.name()));
            let fault = gateway.and_then(|gateway| Some((gateway, gateway.tls.as_ref()?.fault()?)));
            faults.extend(fault);
        }
        for (gateway, reason) in faults {
            let place = table.order.iter().position(|slot| *slot == gateway.live.slot);
            self.refuse(place.unwrap_or(usize::MAX), &gateway.source, reason);
        }
    }

    fn refuse(&mut self, place: usize, source: &weir_model::Gateway, reason: String) {
        let gateway = source.name.to_string();
        self.refused.push((place, Refusal { gateway, reason }));
    }

    /// Notes what was asked, for the next time.
    fn follow(&mut self, difference: &Difference, asked: &[Arc<weir_model::Gateway>]) {
        let (old, new) = difference.middle.clone();
        if old != new {
            let fresh = asked.get(new).unwrap_or_default();
            self.asked.splice(old, fresh.iter().cloned());
            return;
        }
        for place in new {
            if let (Some(old), Some(new)) = (self.asked.get_mut(place), asked.get(place))
                && !Arc::ptr_eq(old, new)
            {
                *old = Arc::clone(new);
            }
        }
    }

    /// A shared gateway holds slots of others: they must still be theirs.
    fn leads_to_same(&self, gateway: &Gateway) -> bool {
        let mut routes = gateway.source.routes.iter().zip(&gateway.routes);
        routes.all(|(source, route)| match (&source.target, &route.next) {
            (Target::Gateway(name), Next::Gateway(slot)) => self.registry.slot(name) == Some(*slot),
            _ => true,
        })
    }
}

impl Table {
    /// Sockets and host names of gateways that changed, where every gateway is served as asked: no two want the same.
    fn claim_changes(&mut self, before: &Self) {
        // Of those before, and of those now.
        let (mut sockets, mut hosts) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for (old, new) in before.changes(self) {
            if let (Some(old), Some(new)) = (old, new)
                && old.socket() == new.socket()
                && old.hosts().eq(new.hosts())
            {
                continue;
            }
            for (gateway, sockets, hosts) in [
                (old, &mut sockets.0, &mut hosts.0),
                (new, &mut sockets.1, &mut hosts.1),
            ] {
                let Some(gateway) = gateway else { continue };
                sockets.extend(gateway.socket().map(|socket| (socket, gateway.live.slot)));
                hosts.extend(gateway.hosts().map(|host| (lower(host), gateway.live.slot)));
            }
        }
        replace(&mut self.listeners, sockets.0, sockets.1);
        replace(&mut self.hosts, hosts.0, hosts.1);
    }

    /// Sockets and host names of all gateways. Those that are not served as asked are not in the way of others. A map
    /// that is as before stays shared.
    fn claim_all(&mut self, is_as_asked: impl Fn(&GatewayName) -> bool) {
        let mut listeners = HashMap::with_capacity(self.listeners.len());
        let mut hosts = HashMap::with_capacity(self.hosts.len());
        for gateway in self.gateways() {
            let slot = gateway.live.slot;
            let is_as_asked = is_as_asked(gateway.name());
            if let Some(socket) = gateway.socket() {
                claim(&mut listeners, socket, slot, is_as_asked);
            }
            for host in gateway.hosts() {
                claim(&mut hosts, lower(host), slot, is_as_asked);
            }
        }
        if *self.listeners != listeners {
            self.listeners = Arc::new(listeners);
        }
        if *self.hosts != hosts {
            self.hosts = Arc::new(hosts);
        }
    }
}

impl Gateway {
    fn socket(&self) -> Option<SocketAddr> {
        let listener = self.source.listener?;
        Some(SocketAddr::new(listener.address, listener.port))
    }

    fn hosts(&self) -> impl Iterator<Item = &String> {
        let is_http = self.source.protocol == Protocol::Http;
        self.source.virtual_hosts.iter().filter(move |_| is_http)
    }
}

fn lower(host: &str) -> Box<[u8]> {
    host.to_ascii_lowercase().into_bytes().into()
}

/// Sockets or host names, each with the slot of its gateway.
type Claims<K> = Vec<(K, u32)>;

/// Puts in; what is not served as asked takes nothing from another.
fn claim<K: Eq + Hash>(map: &mut HashMap<K, u32>, key: K, slot: u32, is_as_asked: bool) {
    if is_as_asked {
        map.insert(key, slot);
    } else {
        map.entry(key).or_insert(slot);
    }
}

/// Takes out and puts in; a map that does not change stays shared.
fn replace<K: Clone + Eq + Hash>(map: &mut Arc<HashMap<K, u32>>, out: Claims<K>, into: Claims<K>) {
    if out == into {
        return;
    }
    let map = Arc::make_mut(map);
    for (key, slot) in out {
        if map.get(&key) == Some(&slot) {
            map.remove(&key);
        }
    }
    map.extend(into);
}

/// A reader that knows what did not change keeps its allocation; another one's content tells.
fn is_same(old: &Arc<weir_model::Gateway>, new: &Arc<weir_model::Gateway>) -> bool {
    Arc::ptr_eq(old, new) || old == new
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

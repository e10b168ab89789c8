//! What is checked follows the table: what changed between two tables changes here, the rest is not looked at.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use weir_model::RouteOptions;

use super::{Checker, Key, Target, verdict::Verdict};
use crate::{
    live::EndpointLive,
    resolve::Address,
    table::{Endpoint, Gateway, Next, Table},
    upstream::Preamble,
};

/// What a change does to a target.
#[derive(Default)]
struct Move {
    /// Instances that the gateways had before they changed, by identity.
    left: HashSet<*const EndpointLive>,
    /// Instances that they have now.
    wanted: Option<Wanted>,
}

/// Instances of changed gateways at one target.
pub(super) struct Wanted {
    address: Address,
    preamble: Option<Arc<Preamble>>,
    lives: Vec<Arc<EndpointLive>>,
}

impl Checker {
    /// Takes up what is new in a table and lets go of what is gone.
    pub(super) fn follow(&mut self, table: Arc<Table>) {
        let now_ms = self.now_ms();
        let before = std::mem::replace(&mut self.followed, table);
        let begin = tokio::time::Instant::now();
        for (key, Move { left, wanted }) in self.moves(&before, now_ms) {
            let Some(target) = self.targets.get_mut(&key) else {
                if let Some(wanted) = wanted {
                    self.begin(key, wanted, begin, now_ms);
                }
                continue;
            };
            target.take(left, wanted, now_ms);
            if target.lives.is_empty() {
                if let Some(at) = target.due {
                    self.due.remove(&(at, target.serial));
                }
                self.targets.remove(&key);
            }
        }
    }

    /// What changed since the table before, by what is asked and where.
    fn moves(&self, before: &Table, now_ms: u64) -> HashMap<Key, Move> {
        let mut moves: HashMap<Key, Move> = HashMap::new();
        let key = |endpoint, options| Key::new(endpoint, options, self.default.as_ref());
        for (old, new) in before.changes(&self.followed) {
            // Where its instances were.
            let mut places = HashMap::new();
            for (endpoint, options) in old.into_iter().flat_map(instances) {
                let place = (endpoint.host.as_str(), endpoint.port);
                places.insert(Arc::as_ptr(&endpoint.live), place);
                if let Some(key) = key(endpoint, options) {
                    let change = moves.entry(key).or_default();
                    change.left.insert(Arc::as_ptr(&endpoint.live));
                }
            }
            for (endpoint, options) in new.into_iter().flat_map(instances) {
                let key = key(endpoint, options);
                let place = (endpoint.host.as_str(), endpoint.port);
                // A check of where it was may have ended after the table was made.
                let is_elsewhere = places.get(&Arc::as_ptr(&endpoint.live)) != Some(&place);
                if key.is_none() || is_elsewhere {
                    endpoint.live.checked(None, now_ms);
                    endpoint.live.saw(None);
                }
                let Some(key) = key else {
                    continue;
                };
                let wanted = &mut moves.entry(key).or_default().wanted;
                let wanted = wanted.get_or_insert_with(|| Wanted {
                    address: endpoint.address.clone(),
                    preamble: endpoint.preamble.clone(),
                    lives: Vec::new(),
                });
                wanted.lives.push(Arc::clone(&endpoint.live));
            }
        }
        moves
    }

    /// Begins to check what nobody asked for before.
    fn begin(&mut self, key: Key, wanted: Wanted, begin: tokio::time::Instant, now_ms: u64) {
        let Wanted {
            address,
            preamble,
            lives,
        } = wanted;
        self.serial += 1;
        // With other settings than before it is still the same instance.
        let verdict = Verdict::known(lives.iter().find_map(|live| live.is_well()));
        for live in &lives {
            live.checked(verdict.well(), now_ms);
        }
        // The first ones are spread over a fifth of the interval, at most half a second.
        let within = (key.interval / 5).min(Duration::from_millis(500));
        let at = begin + self.part_of(within);
        let key = Arc::new(key);
        let target = Target {
            address,
            preamble,
            lives,
            verdict,
            saw: None,
            serial: self.serial,
            due: Some(at),
        };
        self.targets.insert(Arc::clone(&key), target);
        self.due.insert((at, self.serial), key);
    }
}

impl Target {
    /// Lets go of instances and takes up others. What is known of the target is told to those that changed, too.
    fn take(&mut self, mut left: HashSet<*const EndpointLive>, wanted: Option<Wanted>, now_ms: u64) {
        let mut come = Vec::new();
        if let Some(wanted) = wanted {
            self.address = wanted.address;
            self.preamble = wanted.preamble;
            for live in wanted.lives {
                live.checked(self.verdict.well(), now_ms);
                live.saw(self.saw.as_ref());
                if !left.remove(&Arc::as_ptr(&live)) {
                    come.push(live);
                }
            }
        }
        if !left.is_empty() {
            self.lives.retain(|live| !left.contains(&Arc::as_ptr(live)));
        }
        self.lives.extend(come);
    }
}

/// The instances of a gateway's routes.
fn instances(gateway: &Arc<Gateway>) -> impl Iterator<Item = (&Endpoint, &RouteOptions)> {
    let routes = gateway.source.routes.iter().zip(&gateway.routes);
    routes.flat_map(|(source, route)| {
        let all = match &route.next {
            Next::Endpoints(endpoints) => &*endpoints.all,
            Next::Gateway(_) => &[],
        };
        all.iter().map(|endpoint| (endpoint, &source.options))
    })
}

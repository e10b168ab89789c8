//! What can be wrong between and within gateways. The time is linear in the document, but for gateways that
//! share a port, which are compared in pairs.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use super::{Snapshot, SnapshotProblemKind as Kind};
use crate::{Gateway, GatewayName, Instance, Listener, Protocol, Route, Sticky, Target};

/// Up to so many items are compared in pairs, which is quicker than a set.
const FEW: usize = 16;

/// A problem, and the index of the gateway that has it.
type Found = (usize, Kind);

/// Every problem, in the order of the gateways. Without those gateways that have one, and those that lead to
/// them, the rest has none.
pub(super) fn problems(gateways: &[Arc<Gateway>]) -> Vec<Found> {
    let by_name = by_name(gateways);
    let mut chains = chain_problems(gateways, &by_name);
    let mut shared = Shared::default();
    let mut found = Vec::new();
    for (index, gateway) in gateways.iter().enumerate() {
        let mut problem = |kind| found.push((index, kind));
        if by_name.get(gateway.name.as_str()) != Some(&index) {
            problem(Kind::DuplicateName);
            continue;
        }
        shared.problems(gateway, &mut problem);
        let protocol_of = |name: &GatewayName| {
            let target = by_name.get(name.as_str()).and_then(|index| gateways.get(*index));
            target.map(|target| target.protocol)
        };
        own_problems(gateway, &mut problem);
        target_problems(gateway, protocol_of, &mut problem);
        if let Some(kind) = chains.remove(&index) {
            problem(kind);
        }
    }
    found
}

/// Gateways without a problem of their own that lead to one that has a problem, however far.
pub(super) fn consequences(gateways: &[Arc<Gateway>], found: &[Found]) -> Vec<Found> {
    let by_name = by_name(gateways);
    let mut refused: HashSet<usize> = found.iter().map(|(index, _)| *index).collect();
    let mut led_here_by: HashMap<usize, Vec<(usize, &str)>> = HashMap::new();
    for (index, gateway) in gateways.iter().enumerate() {
        for route in &gateway.routes {
            if let Target::Gateway(target) = &route.target
                && let Some(target) = by_name.get(target.as_str())
            {
                led_here_by
                    .entry(*target)
                    .or_default()
                    .push((index, route.name.as_str()));
            }
        }
    }
    let mut consequences = Vec::new();
    let mut to_visit: Vec<usize> = refused.iter().copied().collect();
    to_visit.sort_unstable();
    while let Some(target) = to_visit.pop() {
        let Some(name) = gateways.get(target).map(|gateway| &gateway.name) else {
            continue;
        };
        for (index, route) in led_here_by.remove(&target).unwrap_or_default() {
            if refused.insert(index) {
                to_visit.push(index);
                consequences.push((
                    index,
                    Kind::RefusedTarget {
                        route: route.to_owned(),
                        target: name.clone(),
                    },
                ));
            }
        }
    }
    consequences.sort_by_key(|(index, _)| *index);
    consequences
}

/// Index of the first gateway of each name.
fn by_name(gateways: &[Arc<Gateway>]) -> HashMap<&str, usize> {
    let named = gateways.iter().enumerate().rev();
    named
        .map(|(index, gateway)| (gateway.name.as_str(), index))
        .collect()
}

/// What the gateways so far have taken.
#[derive(Default)]
struct Shared<'g> {
    /// By port.
    sockets: HashMap<u16, Vec<(Listener, &'g GatewayName)>>,
    /// By virtual host in lower case.
    hosts: HashMap<String, &'g GatewayName>,
}

impl<'g> Shared<'g> {
    fn problems(&mut self, gateway: &'g Gateway, problem: &mut impl FnMut(Kind)) {
        match gateway.listener {
            Some(listener) if listener.port == 0 => problem(Kind::PortZero("its listener".to_owned())),
            Some(listener) => {
                let users = self.sockets.entry(listener.port).or_default();
                match users.iter().find(|(theirs, _)| overlap(*theirs, listener)) {
                    Some((_, user)) => problem(Kind::DuplicateListener {
                        port: listener.port,
                        other: (*user).clone(),
                    }),
                    None => users.push((listener, &gateway.name)),
                }
            }
            None => {}
        }
        for host in &gateway.virtual_hosts {
            let user = *self
                .hosts
                .entry(host.to_ascii_lowercase())
                .or_insert(&gateway.name);
            if *user != gateway.name {
                problem(Kind::DuplicateVirtualHost {
                    host: host.clone(),
                    other: user.clone(),
                });
            }
        }
    }
}

/// Whether two listeners of one port cannot be open at once. The unspecified IPv6 address may take IPv4 too.
fn overlap(one: Listener, two: Listener) -> bool {
    one.address == two.address || one.address.is_unspecified() || two.address.is_unspecified()
}

/// What is wrong with a gateway whatever the others are.
fn own_problems(gateway: &Gateway, problem: &mut impl FnMut(Kind)) {
    if gateway.protocol == Protocol::Tcp && gateway.sticky != Sticky::None {
        problem(Kind::StickyOnTcp);
    }
    let weights = gateway.routes.iter().map(|route| u32::from(route.weight.parts()));
    let total = weights.fold(0, u32::saturating_add);
    if total != 0 && total != 10_000 {
        problem(Kind::WeightTotal(total));
    }
    for at in repeated(&gateway.routes, |route| &route.name) {
        if let Some(route) = gateway.routes.get(at) {
            problem(Kind::DuplicateRoute(route.name.to_string()));
        }
    }
    for route in &gateway.routes {
        if gateway.protocol == Protocol::Tcp && route.condition.is_some() {
            problem(Kind::ConditionOnTcp(route.name.to_string()));
        }
        if let Target::Instances(instances) = &route.target {
            instance_problems(route.name.as_str(), instances, problem);
        }
    }
}

/// Routes to gateways that are not there, or carry something else.
fn target_problems(
    gateway: &Gateway,
    protocol_of: impl Fn(&GatewayName) -> Option<Protocol>,
    problem: &mut impl FnMut(Kind),
) {
    for (route, target) in targets(gateway) {
        match protocol_of(target) {
            None => problem(Kind::UnknownTarget {
                route: route.name.to_string(),
                target: target.clone(),
            }),
            Some(protocol) if protocol != gateway.protocol => problem(Kind::ProtocolMismatch {
                route: route.name.to_string(),
                from: gateway.protocol,
                to: protocol,
            }),
            Some(_) => {}
        }
    }
}

/// The routes that lead to gateways.
fn targets(gateway: &Gateway) -> impl Iterator<Item = (&Route, &GatewayName)> {
    gateway.routes.iter().filter_map(|route| match &route.target {
        Target::Gateway(target) => Some((route, target)),
        Target::Instances(_) => None,
    })
}

fn instance_problems(route: &str, instances: &[Instance], problem: &mut impl FnMut(Kind)) {
    for instance in instances {
        if instance.port == 0 {
            problem(Kind::PortZero(format!("instance `{}`", instance.id)));
        }
        if instance.host.is_empty() {
            problem(Kind::EmptyHost(instance.id.to_string()));
        }
    }
    for at in repeated(instances, |instance| &instance.id) {
        if let Some(instance) = instances.get(at) {
            problem(Kind::DuplicateInstance {
                route: route.to_owned(),
                instance: instance.id.clone(),
            });
        }
    }
}

/// Where an item has the name of one before it.
fn repeated<T, N: Eq + Hash>(items: &[T], name: impl Fn(&T) -> &N) -> Vec<usize> {
    if items.len() <= FEW {
        let is_repeated = |at: &usize| {
            let (before, rest) = items.split_at(*at);
            let own = rest.first().map(&name);
            before.iter().any(|item| Some(name(item)) == own)
        };
        return (0..items.len()).filter(is_repeated).collect();
    }
    let mut names = HashSet::new();
    let repeated = items
        .iter()
        .enumerate()
        .filter(|(_, item)| !names.insert(name(item)));
    repeated.map(|(at, _)| at).collect()
}

/// Whether it is certain that there is no problem: `before` has none, and each gateway is the one of before in that place, or is
/// sound by itself and differs from it in nothing that another gateway could mind (name, protocol, socket, virtual hosts,
/// gateways that it leads to).
pub(super) fn is_sound_after(gateways: &[Arc<Gateway>], before: &[Arc<Gateway>]) -> bool {
    let is_sound = |(now, old): (&Arc<Gateway>, &Arc<Gateway>)| {
        Arc::ptr_eq(now, old) || {
            let mut sound = true;
            own_problems(now, &mut |_| sound = false);
            sound && is_same_to_others(now, old)
        }
    };
    gateways.len() == before.len() && gateways.iter().zip(before).all(is_sound)
}

fn is_same_to_others(now: &Gateway, old: &Gateway) -> bool {
    now.name == old.name
        && now.protocol == old.protocol
        && now.listener == old.listener
        && now.virtual_hosts == old.virtual_hosts
        && targets(now)
            .map(|(_, target)| target)
            .eq(targets(old).map(|(_, target)| target))
}

/// Cycles and chains that are too long, by index of the gateway. Of gateways that lie on several cycles at
/// least one is named, the others lead to it.
///
/// One walk, depth first, that enters each gateway once; its own stack, since a chain may have any length.
fn chain_problems(gateways: &[Arc<Gateway>], by_name: &HashMap<&str, usize>) -> HashMap<usize, Kind> {
    #[derive(Clone, Copy)]
    enum State {
        New,
        /// On the way to where the walk is, at this depth.
        Open(usize),
        /// Gateways on the longest way from here, itself included.
        Done(usize),
    }
    struct Visit {
        index: usize,
        targets: Vec<usize>,
        longest_after: usize,
    }
    let targets = |index: usize| -> Vec<usize> {
        let routes = gateways
            .get(index)
            .map_or(&[][..], |gateway| gateway.routes.as_slice());
        let gateways = routes.iter().filter_map(|route| match &route.target {
            Target::Gateway(target) => by_name.get(target.as_str()).copied(),
            Target::Instances(_) => None,
        });
        gateways.rev().collect()
    };
    let mut found = HashMap::new();
    let mut states = vec![State::New; gateways.len()];
    for root in 0..gateways.len() {
        let mut stack = Vec::new();
        let mut next = Some(root);
        loop {
            if let Some(index) = next.take() {
                match states.get(index) {
                    Some(State::New) => {
                        states[index] = State::Open(stack.len());
                        stack.push(Visit {
                            index,
                            targets: targets(index),
                            longest_after: 0,
                        });
                    }
                    Some(State::Done(longest)) => {
                        if let Some(visit) = stack.last_mut() {
                            visit.longest_after = visit.longest_after.max(*longest);
                        }
                    }
                    Some(State::Open(depth)) => {
                        // Of a long cycle the beginning and the gateway that closes it.
                        let members = stack.iter().skip(*depth).map(|visit| visit.index);
                        let is_long = members.len() > Snapshot::CHAIN_MAX;
                        let last = members.clone().next_back().filter(|_| is_long);
                        let cycle: Vec<usize> = members.take(Snapshot::CHAIN_MAX).chain(last).collect();
                        name_cycle(gateways, &cycle, &mut found);
                    }
                    None => {}
                }
            }
            let Some(visit) = stack.last_mut() else { break };
            next = visit.targets.pop();
            if next.is_none()
                && let Some(done) = stack.pop()
            {
                let longest = done.longest_after + 1;
                states[done.index] = State::Done(longest);
                if longest > Snapshot::CHAIN_MAX {
                    found.entry(done.index).or_insert(Kind::ChainTooLong);
                }
                if let Some(before) = stack.last_mut() {
                    before.longest_after = before.longest_after.max(longest);
                }
            }
        }
    }
    found
}

/// Notes the cycle for its gateways; for the last only (the one that closes it) if there are too many to show.
fn name_cycle(gateways: &[Arc<Gateway>], cycle: &[usize], found: &mut HashMap<usize, Kind>) {
    let is_long = cycle.len() > Snapshot::CHAIN_MAX;
    let named = if is_long { cycle.len() - 1 } else { 0 };
    for (at, index) in cycle.iter().enumerate().skip(named) {
        found.entry(*index).or_insert_with(|| {
            let way = cycle.iter().cycle().skip(at).take(cycle.len() + 1);
            let names = way
                .filter_map(|index| gateways.get(*index))
                .map(|gateway| gateway.name.as_str());
            let mut shown: Vec<&str> = names.take(Snapshot::CHAIN_MAX + 1).collect();
            if is_long {
                shown.push("…");
            }
            Kind::Cycle(shown.join(" -> "))
        });
    }
}

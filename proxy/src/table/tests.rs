//! What a table shares with the one before it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use proptest::prelude::*;
use weir_model::{
    Balance, ConditionStrength, Gateway, GatewayName, Generation, Instance, InstanceId, InstanceState,
    Listener, Protocol, Route, RouteName, Snapshot, Sticky, Target, UpstreamProtocol, Weight,
};

use super::{Compiler, Next, Retired, Table, difference::Difference};
use crate::resolve::Resolver;

fn instance(id: &str, port: u16) -> Instance {
    Instance {
        id: InstanceId::new(id).expect("name"),
        host: "127.0.0.1".to_owned(),
        port,
        state: InstanceState::Serving,
    }
}

fn gateway(name: &str, port: Option<u16>, target: Target) -> Gateway {
    Gateway {
        name: GatewayName::new(name).expect("name"),
        protocol: Protocol::Http,
        listener: port.map(|port| Listener {
            address: [127, 0, 0, 1].into(),
            port,
        }),
        virtual_hosts: vec![format!("{name}.Vamp")],
        options: Default::default(),
        sticky: Sticky::None,
        routes: vec![Route {
            name: RouteName::new("r").expect("name"),
            weight: Weight::FULL,
            condition: None,
            condition_strength: ConditionStrength::ZERO,
            balance: Balance::RoundRobin,
            options: Default::default(),
            target,
        }],
    }
}

fn chain(to: &str) -> Target {
    Target::Gateway(GatewayName::new(to).expect("name"))
}

/// What stands for a gateway that cannot be served.
fn hollow(gateway: &Gateway) -> Gateway {
    Gateway {
        listener: None,
        virtual_hosts: Vec::new(),
        routes: Vec::new(),
        ..gateway.clone()
    }
}

/// Sound in a snapshot, but refused by the compiler: an option that routes of that protocol cannot have.
fn refused(mut gateway: Gateway) -> Gateway {
    let options = &mut gateway.routes[0].options;
    match gateway.protocol {
        Protocol::Http => options.server_names = vec!["a.test".to_owned()],
        Protocol::Tcp => options.protocol = UpstreamProtocol::Http2,
    }
    gateway
}

struct Compiling {
    compiler: Compiler,
    table: Table,
}

impl Compiling {
    fn new() -> Self {
        Self {
            compiler: Compiler::new(1, Resolver::start().expect("thread"), Instant::now()),
            table: Table::empty(),
        }
    }

    fn next(&mut self, gateways: Vec<Gateway>) -> &Table {
        self.follow(&Snapshot::new("test", Generation(1), gateways).expect("sound"))
    }

    fn follow(&mut self, snapshot: &Snapshot) -> &Table {
        self.table = self.compiler.compile(
            snapshot,
            snapshot.generation(),
            Some(snapshot.digest()),
            &self.table,
            Instant::now(),
        );
        &self.table
    }

    fn named(&self, name: &str) -> Arc<super::Gateway> {
        Arc::clone(
            self.table
                .gateways()
                .find(|gateway| gateway.name().as_str() == name)
                .expect("there"),
        )
    }
}

#[test]
fn what_did_not_change_is_the_same_allocation() {
    let mut compiling = Compiling::new();
    let unchanged = gateway("a", Some(1), Target::Instances(vec![instance("i", 10)]));
    compiling.next(vec![unchanged.clone(), gateway("b", Some(2), chain("a"))]);
    let (a, b) = (compiling.named("a"), compiling.named("b"));
    compiling.next(vec![unchanged, gateway("b", Some(3), chain("a"))]);
    assert!(Arc::ptr_eq(&a, &compiling.named("a")));
    assert!(!Arc::ptr_eq(&b, &compiling.named("b")));
    assert_eq!(
        compiling.table.by_listener(([127, 0, 0, 1], 3).into()),
        Some(b.live.slot)
    );
    assert_eq!(compiling.table.by_listener(([127, 0, 0, 1], 2).into()), None);
}

#[test]
fn counters_follow_the_name_and_pools_the_address() {
    let mut compiling = Compiling::new();
    let with = |id, port| vec![gateway("a", None, Target::Instances(vec![instance(id, port)]))];
    let key = |gateway: &super::Gateway| match &gateway.routes[0].next {
        Next::Endpoints(endpoints) => (endpoints.all[0].key(), Arc::clone(&endpoints.all[0].live)),
        Next::Gateway(_) => panic!("instances"),
    };
    compiling.next(with("i", 10));
    let first = compiling.named("a");
    first.live.weights.next();
    key(&first).1.checked(Some(false), 0);
    compiling.next(with("i", 11));
    let moved = compiling.named("a");
    assert_eq!(moved.live.weights.next(), 1, "the decision's counter goes on");
    assert_ne!(
        key(&first).0,
        key(&moved).0,
        "connections to the old address are not reused"
    );
    assert!(
        Arc::ptr_eq(&key(&first).1, &key(&moved).1),
        "figures follow the instance"
    );
    assert!(
        !key(&moved).1.is_ill(),
        "what was found at the old address says nothing of the new one"
    );
    key(&moved).1.checked(Some(false), 0);
    let mut same_place = with("i", 11);
    same_place[0].virtual_hosts.clear();
    compiling.next(same_place);
    assert_eq!(
        key(&moved).0,
        key(&compiling.named("a")).0,
        "connections outlive other changes"
    );
    assert!(key(&moved).1.is_ill(), "so does what is known of the instance");
}

#[test]
fn draining_instances_come_last_and_take_nothing_new() {
    let mut compiling = Compiling::new();
    let mut leaving = instance("leaving", 1);
    leaving.state = InstanceState::Draining;
    compiling.next(vec![gateway(
        "a",
        None,
        Target::Instances(vec![leaving, instance("staying", 2)]),
    )]);
    let gateway = compiling.named("a");
    let Next::Endpoints(endpoints) = &gateway.routes[0].next else {
        panic!("instances")
    };
    assert_eq!(endpoints.serving, 1);
    assert_eq!(endpoints.all[0].id.as_str(), "staying");
}

#[test]
fn hosts_are_compared_whole_and_without_case() {
    let mut compiling = Compiling::new();
    let table = compiling.next(vec![gateway("shop", None, Target::Instances(Vec::new()))]);
    assert!(table.by_host(b"SHOP.vamp").is_some());
    assert_eq!(table.by_host(b"shop.vamp:8080"), None);
    assert_eq!(table.by_host(&[b'a'; 4096]), None);
}

#[test]
fn a_change_of_weights_shares_sockets_hosts_and_the_other_parts() {
    let mut compiling = Compiling::new();
    let many: Vec<Arc<Gateway>> = (0..200)
        .map(|index| {
            let target = Target::Instances(vec![instance("i", 10)]);
            Arc::new(gateway(&format!("g{index}"), Some(index + 1), target))
        })
        .collect();
    let snapshot =
        |all: &[Arc<Gateway>]| Snapshot::new_shared("test", Generation(1), all.to_vec()).expect("sound");
    compiling.follow(&snapshot(&many));
    let mut other = many.clone();
    Arc::make_mut(&mut other[150]).routes[0].balance = Balance::First;
    let before = std::mem::replace(&mut compiling.table, Table::empty());
    let next = snapshot(&other);
    let table =
        compiling
            .compiler
            .compile(&next, Generation(2), Some(next.digest()), &before, Instant::now());
    assert!(table.shares_sockets(&before) && Arc::ptr_eq(&table.hosts, &before.hosts));
    let changes: Vec<_> = before.changes(&table).collect();
    assert_eq!(changes.len(), 1);
    assert!(
        changes[0]
            .1
            .is_some_and(|new| Arc::ptr_eq(&new.source, &other[150]))
    );
    assert_eq!(table.gateways().count(), 200);
}

#[test]
fn what_a_reader_kept_is_not_compared() {
    let list = |names: &[&str]| -> Vec<Arc<Gateway>> {
        let gateways = names
            .iter()
            .map(|name| gateway(name, None, Target::Instances(Vec::new())));
        gateways.map(Arc::new).collect()
    };
    let all = list(&["a", "b", "c", "d", "e"]);
    let places = |before: &[Arc<Gateway>], after: &[Arc<Gateway>]| {
        let difference = Difference::between(before, after);
        (difference.gone, difference.come)
    };
    assert_eq!(places(&all, &all), (vec![], vec![]));
    assert_eq!(places(&[], &all[..2]), (vec![], vec![0, 1]));
    let mut changed = all.clone();
    changed[1] = list(&["b"]).remove(0);
    changed[3] = list(&["x"]).remove(0);
    assert_eq!(places(&all, &changed), (vec![1, 3], vec![1, 3]));
    let mut shorter = all.clone();
    shorter.remove(2);
    assert_eq!(places(&all, &shorter), (vec![2], vec![]));
    assert_eq!(places(&shorter, &all), (vec![], vec![2]));
    let turned: Vec<_> = all.iter().rev().cloned().collect();
    assert_eq!(places(&all, &turned), (vec![], vec![]));
    assert_eq!(Difference::between(&all, &turned).middle, (0..5, 0..5));
}

#[test]
fn a_table_is_freed_by_whoever_releases_it_last() {
    let retired = Retired::default();
    let (held, free) = (Arc::new(Table::empty()), Arc::new(Table::empty()));
    let watch = [Arc::downgrade(&held), Arc::downgrade(&free)];
    retired.keep(Arc::clone(&held));
    retired.keep(free);
    retired.release();
    assert!(watch[0].strong_count() == 2 && watch[1].strong_count() == 0);
    drop(held);
    assert_eq!(watch[0].strong_count(), 1, "not by the one who read it");
    retired.release();
    assert_eq!(watch[0].strong_count(), 0);
}

#[test]
fn what_is_left_of_a_refused_gateway_goes_without_what_another_took() {
    let mut compiling = Compiling::new();
    let instances = || Target::Instances(vec![instance("i", 10)]);
    let place = |name, port, host: &str| {
        let mut gateway = gateway(name, Some(port), instances());
        gateway.virtual_hosts = vec![host.to_owned()];
        gateway
    };
    let socket = SocketAddr::from(([127, 0, 0, 1], 80));
    let owner = |table: &Table| {
        let name = |slot: u32| table.gateway(slot).expect("there").name().to_string();
        (
            table.by_listener(socket).map(name),
            table.by_host(b"shop.test").map(name),
        )
    };
    let both = |name: &str| (Some(name.to_owned()), Some(name.to_owned()));
    // In any order: as asked comes before an old form.
    for turned in [false, true] {
        assert_eq!(
            owner(compiling.next(vec![place("a", 80, "shop.test")])),
            both("a")
        );
        let b = place("b", 80, "shop.test");
        let mut two = vec![refused(place("a", 81, "other.test")), b.clone()];
        if turned {
            two.reverse();
        }
        assert_eq!(owner(compiling.next(two.clone())), both("b"));
        assert_eq!(compiling.compiler.take_refused().len(), 1);
        // As long as it lasts, nothing is made anew.
        let (listeners, hosts) = (
            Arc::clone(&compiling.table.listeners),
            Arc::clone(&compiling.table.hosts),
        );
        let table = compiling.next(two);
        assert!(Arc::ptr_eq(&listeners, &table.listeners) && Arc::ptr_eq(&hosts, &table.hosts));
        assert_eq!(
            owner(compiling.next(vec![b])),
            both("b"),
            "what a left is not taken from b"
        );
        assert_eq!(owner(compiling.next(Vec::new())), (None, None));
    }
}

#[test]
fn an_old_form_that_leads_too_far_serves_nothing() {
    let instances = || Target::Instances(vec![instance("i", 10)]);
    for protocol in [Protocol::Tcp, Protocol::Http] {
        let of = |name: &str, target| {
            let mut gateway = gateway(name, None, target);
            gateway.protocol = protocol;
            gateway
        };
        let sound = || vec![of("a", chain("b")), of("b", instances())];
        let is_hollow = |compiling: &Compiling| {
            let a = compiling.named("a");
            assert!(!compiling.table.reads_names(a.live.slot));
            let b = compiling.named("b");
            assert!(!compiling.table.reads_names(b.live.slot));
            a.routes.is_empty() && a.source.virtual_hosts.is_empty()
        };
        let mut compiling = Compiling::new();
        compiling.next(sound());
        compiling.next(vec![refused(of("a", instances())), of("b", chain("a"))]);
        assert!(is_hollow(&compiling), "a circle");
        assert_eq!(compiling.compiler.take_refused().len(), 1);
        compiling.next(sound());
        assert!(!is_hollow(&compiling), "served as asked again");
        // As long as a request may cross, from b on; then one shorter.
        for (last, hollow) in [(Snapshot::CHAIN_MAX, true), (Snapshot::CHAIN_MAX - 1, false)] {
            compiling.next(sound());
            let mut gateways = vec![refused(of("a", instances())), of("b", chain("c2"))];
            for at in 2..last {
                gateways.push(of(&format!("c{at}"), chain(&format!("c{}", at + 1))));
            }
            gateways.push(of(&format!("c{last}"), instances()));
            compiling.next(gateways);
            assert_eq!(is_hollow(&compiling), hollow, "{last} gateways after it");
        }
    }
}

/// One gateway of a made-up snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Made {
    name: u8,
    port: Option<u16>,
    host: u8,
    to: Option<u8>,
    /// A route of HTTP cannot have names of TLS: the compiler refuses it.
    is_faulty: bool,
}

impl Made {
    fn gateway(&self) -> Gateway {
        let target = self.to.map_or_else(
            || Target::Instances(vec![instance("i", 10)]),
            |to| chain(&format!("g{to}")),
        );
        let mut made = gateway(&format!("g{}", self.name), self.port, target);
        made.virtual_hosts = vec![format!("h{}", self.host)];
        if self.is_faulty { refused(made) } else { made }
    }
}

fn made() -> impl Strategy<Value = Made> {
    let to = prop_oneof![3 => Just(None), 1 => (0..6_u8).prop_map(Some)];
    let is_faulty = prop_oneof![4 => Just(false), 1 => Just(true)];
    (0..6_u8, prop::option::of(1..5_u16), 0..5_u8, to, is_faulty).prop_map(
        |(name, port, host, to, is_faulty)| Made {
            name,
            port,
            host,
            to,
            is_faulty,
        },
    )
}

/// What a table must serve, worked out gateway by gateway from what the one before it served.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    served: Vec<(String, Gateway)>,
    sockets: BTreeMap<SocketAddr, String>,
    hosts: BTreeMap<String, String>,
    refused: Vec<String>,
}

impl Expected {
    fn after(&self, snapshot: &Snapshot) -> Self {
        let mut next = Self::default();
        let names: BTreeSet<&str> = snapshot.gateways().iter().map(|one| one.name.as_str()).collect();
        for asked in snapshot.gateways() {
            let name = asked.name.to_string();
            let is_faulty = !asked.routes[0].options.server_names.is_empty();
            let old = self.served.iter().find(|(served, _)| *served == name);
            let old = old.map(|(_, form)| form).filter(|form| {
                let mut routes = form.routes.iter();
                routes.all(|route| match &route.target {
                    Target::Gateway(to) => names.contains(to.as_str()),
                    Target::Instances(_) => true,
                })
            });
            let form = match (is_faulty, old) {
                (false, _) => Gateway::clone(asked),
                (true, Some(old)) => old.clone(),
                (true, None) => hollow(asked),
            };
            if is_faulty {
                next.refused.push(name.clone());
            }
            next.served.push((name, form));
        }
        let refused: BTreeSet<String> = next.refused.iter().cloned().collect();
        for name in &refused {
            if next.row(name, Snapshot::CHAIN_MAX) > Snapshot::CHAIN_MAX {
                let at = next.served.iter().position(|(served, _)| served == name);
                let form = &mut next.served[at.expect("served")].1;
                *form = hollow(form);
            }
        }
        // Old forms first: what is served as asked takes from them, and of them the first has it.
        let (old, as_asked): (Vec<_>, Vec<_>) =
            next.served.iter().partition(|(name, _)| refused.contains(name));
        for (name, form) in old.into_iter().rev().chain(as_asked) {
            if let Some(listener) = form.listener {
                let socket = SocketAddr::new(listener.address, listener.port);
                next.sockets.insert(socket, name.clone());
            }
            for host in &form.virtual_hosts {
                next.hosts.insert(host.clone(), name.clone());
            }
        }
        next
    }

    /// Most gateways in a row from this one on; beyond `most` it does not look.
    fn row(&self, name: &str, most: usize) -> usize {
        let form = self.served.iter().find(|(served, _)| served == name);
        let routes = form.map_or(&[][..], |(_, form)| &form.routes);
        let after = routes.iter().map(|route| match &route.target {
            Target::Gateway(to) if most > 0 => self.row(to.as_str(), most - 1),
            Target::Gateway(_) | Target::Instances(_) => 0,
        });
        1 + after.max().unwrap_or(0)
    }

    fn of(compiler: &mut Compiler, table: &Table) -> Self {
        let name = |slot: u32| table.gateway(slot).expect("a slot in use").name().to_string();
        let served = table
            .gateways()
            .map(|one| (one.name().to_string(), Gateway::clone(&one.source)));
        let hosts = table.hosts.iter();
        let refused = compiler.take_refused().into_iter();
        Self {
            served: served.collect(),
            sockets: table
                .listeners
                .iter()
                .map(|(socket, slot)| (*socket, name(*slot)))
                .collect(),
            hosts: hosts
                .map(|(host, slot)| (String::from_utf8_lossy(host).into_owned(), name(*slot)))
                .collect(),
            refused: refused.map(|refusal| refusal.gateway).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Whatever came before: what is shared, kept and changed adds up to what the snapshot asks for.
    #[test]
    fn one_change_after_the_other_gives_what_is_asked(
        steps in prop::collection::vec((prop::collection::vec(made(), 0..7), any::<bool>()), 1..8),
    ) {
        let mut compiling = Compiling::new();
        let mut expected = Expected::default();
        let mut kept: HashMap<Made, Arc<Gateway>> = HashMap::new();
        for (gateways, keeps) in steps {
            if !keeps {
                kept.clear();
            }
            let gateways = gateways
                .into_iter()
                .map(|made| Arc::clone(kept.entry(made.clone()).or_insert_with(|| Arc::new(made.gateway()))))
                .collect();
            let (snapshot, _) = Snapshot::sound_part_shared("test", Generation(1), gateways);
            compiling.follow(&snapshot);
            expected = expected.after(&snapshot);
            let Compiling { compiler, table } = &mut compiling;
            prop_assert_eq!(&Expected::of(compiler, table), &expected);
            for (place, one) in table.gateways().enumerate() {
                prop_assert!(!table.is_deep(one.live.slot), "{} leads in a circle", one.name());
                prop_assert_eq!(table.order[place], one.live.slot);
                for (source, route) in one.source.routes.iter().zip(&one.routes) {
                    if let (Target::Gateway(to), Next::Gateway(slot)) = (&source.target, &route.next) {
                        prop_assert_eq!(table.gateway(*slot).map(|one| one.name()), Some(to));
                    }
                }
            }
        }
    }
}

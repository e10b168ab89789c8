//! What a table shares with the one before it.

use std::{sync::Arc, time::Instant};

use weir_model::{
    Balance, ConditionStrength, Gateway, GatewayName, Generation, Instance, InstanceId, InstanceState,
    Listener, Protocol, Route, RouteName, Snapshot, Sticky, Target, Weight,
};

use super::{Compiler, Next, Table};
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
        let snapshot = Snapshot::new("test", Generation(1), gateways).expect("sound");
        self.table = self.compiler.compile(
            &snapshot,
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

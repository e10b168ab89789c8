//! What is checked after one table and after the next.

use std::{sync::Arc, time::Instant};

use weir_model::{
    Balance, ConditionStrength, Gateway, GatewayName, Generation, HealthCheck, Instance, InstanceId,
    InstanceState, Protocol, Route, RouteName, Snapshot, Sticky, Target, Weight,
};

use super::Checker;
use crate::{
    resolve::Resolver,
    table::{Compiler, Next, Table},
};

struct World {
    compiler: Compiler,
    table: Arc<Table>,
    checker: Checker,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            compiler: Compiler::new(1, Resolver::start().expect("thread"), now),
            table: Arc::new(Table::empty()),
            checker: Checker::new(Some(HealthCheck::tcp()), now),
        }
    }

    /// Gateways by name, each with one instance at a port.
    fn serve(&mut self, gateways: &[(&str, u16)]) {
        let gateways = gateways.iter().map(|(name, port)| gateway(name, *port)).collect();
        self.serve_all(gateways);
    }

    fn serve_all(&mut self, gateways: Vec<Gateway>) {
        self.compile(gateways);
        self.follow();
    }

    /// A table that is not followed yet.
    fn compile(&mut self, gateways: Vec<Gateway>) {
        let snapshot = Snapshot::new("test", Generation(1), gateways).expect("sound");
        let (table, digest) = (Arc::clone(&self.table), Some(snapshot.digest()));
        let table = self
            .compiler
            .compile(&snapshot, Generation(1), digest, &table, Instant::now());
        self.table = Arc::new(table);
    }

    fn follow(&mut self) {
        self.checker.follow(Arc::clone(&self.table));
    }

    /// Ports that are asked, and for how many instances.
    fn asked(&self) -> Vec<(u16, usize)> {
        let targets = &self.checker.targets;
        let mut asked: Vec<_> = targets
            .iter()
            .map(|(key, target)| (key.port, target.lives.len()))
            .collect();
        asked.sort_unstable();
        assert_eq!(self.checker.due.len(), asked.len(), "each is due once");
        for (key, target) in targets {
            let at = target.due.expect("nothing is asked yet");
            assert_eq!(self.checker.due.get(&(at, target.serial)), Some(key));
        }
        asked
    }

    fn is_ill(&self, name: &str) -> bool {
        let mut all = self.table.gateways();
        let gateway = all
            .find(|gateway| gateway.name().as_str() == name)
            .expect("there");
        match &gateway.routes[0].next {
            Next::Endpoints(endpoints) => endpoints.all[0].live.is_ill(),
            Next::Gateway(_) => panic!("instances"),
        }
    }

    /// Checks of a port fail until it is ill.
    fn fail(&mut self, port: u16) {
        let targets = self.checker.targets.iter();
        let mut found = targets.filter(|(key, _)| key.port == port);
        let (key, target) = found.next().expect("asked");
        let (key, serial) = (Arc::clone(key), target.serial);
        let seen = super::ask::Seen {
            well: false,
            text: "refused".into(),
        };
        for _ in 0..key.fall {
            let target = self.checker.targets.get_mut(&key).expect("asked");
            let at = target.due.take().expect("due");
            self.checker.due.remove(&(at, serial));
            self.checker.conclude(&key, serial, &seen);
        }
    }
}

fn gateway(name: &str, port: u16) -> Gateway {
    Gateway {
        name: GatewayName::new(name).expect("name"),
        protocol: Protocol::Http,
        listener: None,
        virtual_hosts: Vec::new(),
        options: Default::default(),
        sticky: Sticky::None,
        routes: vec![Route {
            name: RouteName::new("r").expect("name"),
            weight: Weight::FULL,
            condition: None,
            condition_strength: ConditionStrength::ZERO,
            balance: Balance::RoundRobin,
            options: Default::default(),
            target: Target::Instances(vec![Instance {
                id: InstanceId::new("i").expect("name"),
                host: "127.0.0.1".to_owned(),
                port,
                state: InstanceState::Serving,
            }]),
        }],
    }
}

#[test]
fn instances_at_one_address_are_asked_once_until_the_last_has_gone() {
    let mut world = World::new();
    world.serve(&[("a", 1), ("b", 1), ("c", 2)]);
    assert_eq!(world.asked(), [(1, 2), (2, 1)]);
    world.serve(&[("a", 1), ("c", 2)]);
    assert_eq!(world.asked(), [(1, 1), (2, 1)]);
    world.serve(&[("c", 2)]);
    assert_eq!(world.asked(), [(2, 1)]);
    world.serve(&[("a", 1), ("c", 1)]);
    assert_eq!(world.asked(), [(1, 2)]);
}

#[test]
fn what_is_known_outlives_changes_beside_it_and_is_told_to_who_comes() {
    let mut world = World::new();
    world.serve(&[("a", 1)]);
    world.fail(1);
    assert!(world.is_ill("a"));
    let mut sticky = gateway("a", 1);
    sticky.sticky = Sticky::Route;
    world.serve_all(vec![sticky, gateway("b", 1)]);
    assert!(world.is_ill("a") && world.is_ill("b"));
    assert_eq!(world.asked(), [(1, 2)]);
    world.serve(&[("a", 2), ("b", 1)]);
    assert!(!world.is_ill("a"), "another address");
    assert!(world.is_ill("b"));
    assert_eq!(world.asked(), [(1, 1), (2, 1)]);
}

#[test]
fn a_late_check_of_the_address_before_says_nothing_of_the_next() {
    let mut world = World::new();
    world.serve(&[("a", 1)]);
    world.fail(1);
    world.compile(vec![gateway("a", 2)]);
    world.fail(1);
    assert!(world.is_ill("a"), "the check ended after the table was made");
    world.follow();
    assert!(!world.is_ill("a"));
    assert_eq!(world.asked(), [(2, 1)]);
}

#[test]
fn other_settings_begin_with_what_is_known_and_none_ends_it() {
    let mut world = World::new();
    world.serve(&[("a", 1)]);
    world.fail(1);
    let with = |fall, protocol| {
        let mut gateway = gateway("a", 1);
        gateway.routes[0].options.health = Some(HealthCheck {
            fall,
            protocol,
            ..HealthCheck::tcp()
        });
        vec![gateway]
    };
    world.serve_all(with(7, weir_model::HealthProtocol::Tcp));
    assert!(world.is_ill("a"));
    assert_eq!(world.asked(), [(1, 1)]);
    world.serve_all(with(7, weir_model::HealthProtocol::None));
    assert!(!world.is_ill("a"));
    assert_eq!(world.asked(), []);
}

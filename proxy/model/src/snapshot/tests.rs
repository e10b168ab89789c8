//! Tests of what a snapshot refuses.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Snapshot, SnapshotProblem, SnapshotProblemKind as Kind};
use crate::{
    Balance, Condition, ConditionStrength, Gateway, GatewayName, Generation, Instance, InstanceId,
    InstanceState, Listener, Protocol, Route, RouteName, Sticky, Target, Weight,
};

fn name(name: &str) -> GatewayName {
    GatewayName::new(name).unwrap()
}

fn route(name: &str, percent: u64, target: Target) -> Route {
    Route {
        name: RouteName::new(name).unwrap(),
        weight: Weight::from_percent(percent).unwrap(),
        condition: None,
        condition_strength: ConditionStrength::ZERO,
        balance: Balance::default(),
        options: Default::default(),
        target,
    }
}

fn to(target: &str) -> Target {
    Target::Gateway(name(target))
}

fn instance(id: &str) -> Instance {
    Instance {
        id: InstanceId::new(id).unwrap(),
        host: "127.0.0.1".to_owned(),
        port: 9001,
        state: InstanceState::Serving,
    }
}

fn gateway(called: &str, routes: Vec<Route>) -> Gateway {
    Gateway {
        name: name(called),
        protocol: Protocol::Http,
        listener: None,
        virtual_hosts: Vec::new(),
        options: Default::default(),
        sticky: Sticky::None,
        routes,
    }
}

/// A gateway that leads on to others, with equal names of routes and targets.
fn leading(called: &str, targets: &[&str]) -> Gateway {
    let routes = targets
        .iter()
        .map(|target| route(target, 0, to(target)))
        .collect();
    gateway(called, routes)
}

fn sound(called: &str) -> Gateway {
    gateway(
        called,
        vec![route("r", 100, Target::Instances(vec![instance("i")]))],
    )
}

fn listening(called: &str, address: &str, port: u16) -> Gateway {
    Gateway {
        listener: Some(Listener {
            address: address.parse().unwrap(),
            port,
        }),
        ..sound(called)
    }
}

fn problems(gateways: Vec<Gateway>) -> Vec<(String, Kind)> {
    let named = |problem: SnapshotProblem| (problem.gateway.to_string(), problem.kind);
    match Snapshot::new("n", Generation(1), gateways) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.into_iter().map(named).collect(),
    }
}

/// The problem of the gateway `g`, which must be the only one.
fn problem(gateways: Vec<Gateway>) -> Kind {
    let mut found = problems(gateways);
    assert_eq!(found.len(), 1, "{found:?}");
    let (gateway, kind) = found.remove(0);
    assert_eq!(gateway, "g");
    kind
}

#[test]
fn what_is_sound_is_sealed() {
    let snapshot = Snapshot::new("n", Generation(7), vec![sound("a"), leading("b", &["a"])]).unwrap();
    assert_eq!(
        (snapshot.namespace(), snapshot.generation()),
        ("n", Generation(7))
    );
    assert_eq!(snapshot.gateway("b").unwrap().routes.len(), 1);
    let same = Snapshot::new_shared("other", Generation(8), snapshot.gateways().to_vec()).unwrap();
    assert_eq!(snapshot.digest(), same.digest());
    let less = Snapshot::new("n", Generation(7), vec![sound("a")]).unwrap();
    assert_ne!(snapshot.digest(), less.digest());
}

#[test]
fn names_are_unique() {
    assert_eq!(problem(vec![sound("g"), sound("g")]), Kind::DuplicateName);
    let twice = gateway("g", vec![route("r", 50, to("a")), route("r", 50, to("a"))]);
    assert_eq!(
        problem(vec![sound("a"), twice]),
        Kind::DuplicateRoute("r".to_owned())
    );
    let instances = Target::Instances(vec![instance("i"), instance("i")]);
    assert_eq!(
        problem(vec![gateway("g", vec![route("r", 100, instances)])]),
        Kind::DuplicateInstance {
            route: "r".to_owned(),
            instance: InstanceId::new("i").unwrap()
        }
    );
}

#[test]
fn sockets_are_taken_once() {
    let clash = Kind::DuplicateListener {
        port: 80,
        other: name("a"),
    };
    for (first, second) in [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("::", "0.0.0.0"),
    ] {
        let found = problem(vec![listening("a", first, 80), listening("g", second, 80)]);
        assert_eq!(found, clash, "{first} and {second}");
    }
    assert_eq!(
        problems(vec![
            listening("a", "127.0.0.1", 80),
            listening("b", "127.0.0.2", 80),
            listening("c", "127.0.0.1", 81),
        ]),
        []
    );
    assert_eq!(
        problem(vec![listening("g", "0.0.0.0", 0)]),
        Kind::PortZero("its listener".to_owned())
    );
}

#[test]
fn virtual_hosts_are_taken_once_whatever_their_case() {
    let with = |called: &str, hosts: &[&str]| Gateway {
        virtual_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ..sound(called)
    };
    assert_eq!(
        problem(vec![
            with("a", &["x.example", "X.example"]),
            with("g", &["X.EXAMPLE"])
        ]),
        Kind::DuplicateVirtualHost {
            host: "X.EXAMPLE".to_owned(),
            other: name("a")
        }
    );
    assert_eq!(problems(vec![with("a", &["x"]), with("b", &["x:80"])]), []);
}

#[test]
fn weights_total_everything_or_nothing() {
    let weighing = |percents: &[u64]| {
        let routes = percents.iter().enumerate();
        let routes = routes
            .map(|(index, percent)| route(&format!("r{index}"), *percent, Target::Instances(Vec::new())));
        gateway("g", routes.collect())
    };
    for good in [&[100][..], &[50, 50], &[0, 0], &[], &[100, 0]] {
        assert_eq!(problems(vec![weighing(good)]), [], "{good:?}");
    }
    assert_eq!(problem(vec![weighing(&[60, 30])]), Kind::WeightTotal(9_000));
    assert_eq!(problem(vec![weighing(&[60, 60])]), Kind::WeightTotal(12_000));
    assert_eq!(
        Kind::WeightTotal(9_005).to_string(),
        "the weights of its routes total 90.05% instead of 100% (or 0%)"
    );
}

#[test]
fn routes_lead_somewhere() {
    assert_eq!(
        problem(vec![leading("g", &["x"])]),
        Kind::UnknownTarget {
            route: "x".to_owned(),
            target: name("x")
        }
    );
    let mut nowhere = instance("i");
    nowhere.host = String::new();
    nowhere.port = 0;
    let found = problems(vec![gateway(
        "g",
        vec![route("r", 100, Target::Instances(vec![nowhere]))],
    )]);
    assert_eq!(
        found,
        [
            ("g".to_owned(), Kind::PortZero("instance `i`".to_owned())),
            ("g".to_owned(), Kind::EmptyHost("i".to_owned())),
        ]
    );
}

#[test]
fn tcp_has_no_requests() {
    let tcp = |gateway: Gateway| Gateway {
        protocol: Protocol::Tcp,
        ..gateway
    };
    assert_eq!(
        problem(vec![Gateway {
            sticky: Sticky::Instance,
            ..tcp(sound("g"))
        }]),
        Kind::StickyOnTcp
    );
    let mut conditional = tcp(sound("g"));
    conditional.routes[0].condition = Some(Condition::parse("host == a").unwrap());
    assert_eq!(problem(vec![conditional]), Kind::ConditionOnTcp("r".to_owned()));
    assert_eq!(
        problem(vec![sound("a"), tcp(leading("g", &["a"]))]),
        Kind::ProtocolMismatch {
            route: "a".to_owned(),
            from: Protocol::Tcp,
            to: Protocol::Http
        }
    );
    assert_eq!(problems(vec![tcp(sound("a")), tcp(leading("b", &["a"]))]), []);
}

#[test]
fn cycles_are_shown() {
    assert_eq!(
        problem(vec![leading("g", &["g"])]),
        Kind::Cycle("g -> g".to_owned())
    );
    assert_eq!(
        problems(vec![
            leading("before", &["a"]),
            leading("a", &["end", "b"]),
            leading("b", &["c"]),
            leading("c", &["end", "a"]),
            sound("end"),
        ]),
        [
            ("a".to_owned(), Kind::Cycle("a -> b -> c -> a".to_owned())),
            ("b".to_owned(), Kind::Cycle("b -> c -> a -> b".to_owned())),
            ("c".to_owned(), Kind::Cycle("c -> a -> b -> c".to_owned())),
        ]
    );
    // Two ways to one gateway are no cycle.
    assert_eq!(
        problems(vec![
            leading("a", &["b", "c"]),
            leading("b", &["d"]),
            leading("c", &["d"]),
            sound("d")
        ]),
        []
    );
}

fn chain(length: usize) -> Vec<Gateway> {
    let mut gateways = vec![sound("0")];
    for index in 1..length {
        let before = (index - 1).to_string();
        gateways.push(leading(&index.to_string(), &[&before]));
    }
    gateways
}

#[test]
fn a_request_crosses_a_bounded_number_of_gateways() {
    assert_eq!(problems(chain(Snapshot::CHAIN_MAX)), []);
    assert_eq!(
        problems(chain(Snapshot::CHAIN_MAX + 1)),
        [(Snapshot::CHAIN_MAX.to_string(), Kind::ChainTooLong)]
    );
    let mut reversed = chain(Snapshot::CHAIN_MAX + 1);
    reversed.reverse();
    assert_eq!(
        problems(reversed),
        [(Snapshot::CHAIN_MAX.to_string(), Kind::ChainTooLong)]
    );
}

fn refused(problems: &[SnapshotProblem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot
        .gateways()
        .iter()
        .map(|gateway| gateway.name.as_str())
        .collect()
}

#[test]
fn the_sound_part_keeps_the_first_of_two() {
    let mut second = sound("a");
    second.sticky = Sticky::Route;
    let (snapshot, problems) = Snapshot::sound_part(
        "n",
        Generation(1),
        vec![
            sound("a"),
            second,
            listening("b", "0.0.0.0", 80),
            listening("c", "127.0.0.1", 80),
        ],
    );
    assert_eq!(names(&snapshot), ["a", "b"]);
    assert_eq!(snapshot.gateway("a").unwrap().sticky, Sticky::None);
    assert_eq!(
        refused(&problems),
        [
            "gateway `a`: the name is used twice",
            "gateway `c`: port 80 is already used by gateway `b`",
        ]
    );
}

#[test]
fn a_faulty_gateway_with_a_double_is_told_once() {
    let faulty = gateway("a", vec![route("r", 50, Target::Instances(Vec::new()))]);
    let (snapshot, problems) = Snapshot::sound_part("n", Generation(1), vec![faulty, sound("a")]);
    assert!(names(&snapshot).is_empty());
    assert_eq!(
        refused(&problems),
        [
            "gateway `a`: the weights of its routes total 50.00% instead of 100% (or 0%)",
            "gateway `a`: the name is used twice",
        ]
    );
}

#[test]
fn who_leads_to_a_refused_gateway_is_refused() {
    let (snapshot, problems) = Snapshot::sound_part(
        "n",
        Generation(1),
        vec![
            leading("outer", &["fine", "inner"]),
            leading("inner", &["faulty"]),
            leading("faulty", &["missing"]),
            leading("loop", &["loop"]),
            leading("to loop", &["loop", "fine"]),
            leading("bystander", &["fine"]),
            sound("fine"),
        ],
    );
    assert_eq!(names(&snapshot), ["bystander", "fine"]);
    assert_eq!(
        refused(&problems),
        [
            "gateway `faulty`: route `missing` leads to gateway `missing`, which does not exist",
            "gateway `loop`: its routes lead back to itself: loop -> loop",
            "gateway `outer`: route `inner` leads to gateway `inner`, which is refused",
            "gateway `inner`: route `faulty` leads to gateway `faulty`, which is refused",
            "gateway `to loop`: route `loop` leads to gateway `loop`, which is refused",
        ]
    );
}

/// Bounds are far above what a linear walk needs and far below what another would take.
#[test]
fn ten_thousand_gateways_are_checked_quickly() {
    const COUNT: usize = 10_000;
    let began = Instant::now();
    // Every gateway leads to the next ten: 10^8 ways of eight steps from each.
    let ladder: Vec<Gateway> = (0..COUNT)
        .map(|index| {
            let targets: Vec<String> = (index + 1..COUNT.min(index + 11))
                .map(|next| next.to_string())
                .collect();
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            leading(&index.to_string(), &targets)
        })
        .collect();
    let (snapshot, problems) = Snapshot::sound_part("n", Generation(1), ladder);
    assert_eq!(snapshot.gateways().len(), Snapshot::CHAIN_MAX);
    assert_eq!(problems.len(), COUNT - Snapshot::CHAIN_MAX);

    // A ring of all, each with a way back to the first as well, and nobody outside.
    let ring: Vec<Gateway> = (0..COUNT)
        .map(|index| leading(&index.to_string(), &[&((index + 1) % COUNT).to_string(), "0 "]))
        .chain([leading("0 ", &["0"])])
        .collect();
    let (snapshot, problems) = Snapshot::sound_part("n", Generation(1), ring);
    assert_eq!(snapshot.gateways().len(), 0);
    assert!(problems.len() > COUNT);
    let longest = problems.iter().map(|problem| problem.to_string().len()).max();
    assert!(longest < Some(200), "{longest:?}");

    // A long way into a loop.
    let mut tail = chain(COUNT);
    tail[0] = leading("0", &["0"]);
    let (snapshot, problems) = Snapshot::sound_part("n", Generation(1), tail);
    assert_eq!((snapshot.gateways().len(), problems.len()), (0, COUNT));

    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "took {took:?}");
}

fn any_gateways() -> impl Strategy<Value = Vec<Gateway>> {
    let names = || prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]);
    let one = (
        names(),
        prop::collection::vec(names(), 0..3),
        prop::option::of((
            prop::sample::select(vec!["0.0.0.0", "127.0.0.1", "127.0.0.2"]),
            0u16..4,
        )),
        prop::sample::select(vec![0, 0, 0, 100, 50]),
        any::<bool>(),
        prop::collection::vec(names(), 0..2),
    );
    prop::collection::vec(one, 0..14).prop_map(|gateways| {
        type One<'a> = (
            &'a str,
            Vec<&'a str>,
            Option<(&'a str, u16)>,
            u64,
            bool,
            Vec<&'a str>,
        );
        let build = |(called, targets, listener, percent, is_tcp, hosts): One<'_>| {
            let mut gateway = leading(called, &targets);
            if let Some(first) = gateway.routes.first_mut() {
                first.weight = Weight::from_percent(percent).unwrap();
            }
            gateway.listener = listener.map(|(address, port)| Listener {
                address: address.parse().unwrap(),
                port,
            });
            gateway.virtual_hosts = hosts.into_iter().map(str::to_owned).collect();
            // Few, since a mismatch of protocols hides what else there is.
            if is_tcp && called == "l" {
                gateway.protocol = Protocol::Tcp;
            }
            gateway
        };
        gateways.into_iter().map(build).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_sound_part_is_sound_and_nothing_is_lost(gateways in any_gateways()) {
        let (snapshot, problems) = Snapshot::sound_part("n", Generation(1), gateways.clone());
        let again = Snapshot::new_shared("n", Generation(1), snapshot.gateways().to_vec());
        prop_assert_eq!(again.as_ref(), Ok(&snapshot));
        for gateway in &gateways {
            let is_told = problems.iter().any(|problem| problem.gateway == gateway.name);
            prop_assert!(is_told || snapshot.gateways().iter().any(|kept| **kept == *gateway), "{} is lost", gateway.name);
        }
        let is_whole = Snapshot::new("n", Generation(1), gateways.clone()).is_ok();
        prop_assert_eq!(is_whole, problems.is_empty());
        prop_assert_eq!(is_whole, snapshot.gateways().iter().map(|kept| &**kept).eq(&gateways));
    }
}

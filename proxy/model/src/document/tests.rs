//! Tests of the human document.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{read, write};
use crate::{
    Balance, Condition, ConditionStrength, Gateway, GatewayName, Instance, InstanceId, InstanceState,
    Listener, Protocol, Route, RouteName, Sticky, Target, Weight,
};

fn problems(document: Value) -> Vec<String> {
    match read(document) {
        Ok(gateways) => panic!("taken as {gateways:?}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// The only problem of a document with one gateway `shop`, without its place.
fn gateway_problem(body: Value) -> String {
    let found = problems(json!({"gateways": {"shop": body}}));
    assert_eq!(found.len(), 1, "{found:#?}");
    let first = &found[0];
    first
        .strip_prefix("gateways/shop")
        .unwrap_or_else(|| panic!("{first}"))
        .to_owned()
}

fn route_problem(body: Value) -> String {
    let problem = gateway_problem(json!({"routes": {"a": body}}));
    problem
        .strip_prefix("/routes/a")
        .unwrap_or_else(|| panic!("{problem}"))
        .to_owned()
}

#[test]
fn rewrites_are_a_list_of_texts() {
    let document = json!({"gateways": {"g": {"routes": {
        "r": {"instances": [], "rewrites": ["/x if path /y", "/%[path] if always_true"]},
    }}}});
    let gateways = read(document.clone()).unwrap();
    assert_eq!(gateways[0].routes[0].options.rewrites.len(), 2);
    assert_eq!(read(write(&gateways)), Ok(gateways));
    let faulty = json!({"gateways": {"g": {"routes": {"r": {"instances": [], "rewrites": ["/x"]}}}}});
    let problems = read(faulty).unwrap_err();
    assert_eq!(problems[0].path, "gateways/g/routes/r/rewrites");
    assert!(
        problems[0].message.contains("expected `NEW-PATH if CONDITION`"),
        "{}",
        problems[0].message
    );
}

#[test]
fn the_example_means_what_it_says() {
    let gateways = read(json!({"gateways": {
        "shop": {
            "port": 8080,
            "sticky": "route",
            "virtual_hosts": ["shop.example"],
            "routes": {
                "a": {"weight": "90%", "instances": ["127.0.0.1:9001", {"id": "x", "host": "h", "port": 1, "state": "draining"}]},
                "b": {"weight": "10%", "condition": "User-Agent == Firefox", "balance": "leastconn", "instances": ["[::1]:9002"]},
                "c": {"gateway": "other"},
            },
        },
        "other": {"port": "9090/http", "address": "127.0.0.1", "routes": {}},
        "database": {"port": "5432/tcp", "routes": {"p": {"instances": ["db:5432"]}, "q": {"instances": []}}},
    }}))
    .unwrap();
    let instance = |id: &str, host: &str, port, state| Instance {
        id: InstanceId::new(id).unwrap(),
        host: host.to_owned(),
        port,
        state,
    };
    let [shop, other, database] = gateways.as_slice() else {
        panic!("{gateways:?}");
    };
    assert_eq!(
        shop.listener,
        Some(Listener {
            address: "0.0.0.0".parse().unwrap(),
            port: 8080
        })
    );
    assert_eq!((shop.protocol, shop.sticky), (Protocol::Http, Sticky::Route));
    assert_eq!(shop.virtual_hosts, ["shop.example"]);
    let [a, b, c] = shop.routes.as_slice() else {
        panic!("{shop:?}");
    };
    assert_eq!([a, b, c].map(|route| route.weight.parts()), [9_000, 1_000, 0]);
    assert_eq!(
        a.target,
        Target::Instances(vec![
            instance("127.0.0.1:9001", "127.0.0.1", 9001, InstanceState::Serving),
            instance("x", "h", 1, InstanceState::Draining),
        ])
    );
    assert_eq!(
        (a.balance, a.condition_strength),
        (Balance::RoundRobin, ConditionStrength::ZERO)
    );
    assert_eq!(
        (b.balance, b.condition_strength),
        (Balance::LeastRequests, ConditionStrength::FULL)
    );
    assert_eq!(b.condition.as_ref().unwrap().source(), "User-Agent == Firefox");
    assert_eq!(
        b.target,
        Target::Instances(vec![instance("[::1]:9002", "::1", 9002, InstanceState::Serving)])
    );
    assert_eq!(c.target, Target::Gateway(GatewayName::new("other").unwrap()));
    assert_eq!(
        other
            .listener
            .map(|listener| listener.address.to_string())
            .as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(database.protocol, Protocol::Tcp);
    assert_eq!(database.routes[0].balance, Balance::LeastRequests);
    assert_eq!(
        database
            .routes
            .iter()
            .map(|route| route.weight.parts())
            .collect::<Vec<_>>(),
        [5_000, 5_000]
    );
}

#[test]
fn a_null_is_no_key() {
    let gateways = read(
        json!({"gateways": {"a": {"port": null, "sticky": null, "routes": {
            "r": {"weight": null, "condition": null, "gateway": null, "instances": []},
        }}}}),
    )
    .unwrap();
    assert_eq!(gateways[0].listener, None);
    assert_eq!(gateways[0].routes[0].weight, Weight::FULL);
}

#[test]
fn all_problems_at_once_with_their_places() {
    let found = problems(json!({
        "gatways": 1,
        "gateways": {
            "shop/9050": {"prot": 8080, "sticky": "maybe", "routes": {
                "a": {"wieght": "50%", "condition": "host ~ x", "instances": ["nowhere", {"host": "h"}]},
                "b": {"balance": "fair", "gateway": "x", "instances": []},
            }},
            "one": {"port": 80, "routes": {"r": {"gateway": "shop/9050"}}},
            "two": {"port": 80, "routes": {"r": {"gateway": "missing"}}},
        },
    }));
    assert_eq!(
        found,
        [
            "gatways: unknown key; did you mean `gateways`? known here are gateways",
            "gateways/\"shop/9050\"/prot: unknown key; did you mean `port`? known here are port, address, protocol, \
             sticky, virtual_hosts, routes, tls, accept_proxy_protocol",
            "gateways/\"shop/9050\"/sticky: `maybe` is not one of route, instance, none",
            "gateways/\"shop/9050\"/routes/a/wieght: unknown key; did you mean `weight`? known here are weight, \
             condition, condition_strength, balance, instances, gateway, rewrites, health, timeouts, tls, send_proxy_protocol, protocol, slow_start, ejection, server_names",
            "gateways/\"shop/9050\"/routes/a/condition: expected `==` or `!=`, found `~` (at character 6)",
            "gateways/\"shop/9050\"/routes/a/instances/0: `nowhere` is not `host:port` (an IPv6 address is in brackets)",
            "gateways/\"shop/9050\"/routes/a/instances/1: must have the key `port`",
            "gateways/\"shop/9050\"/routes/b/balance: balance `fair` is not supported; use one of default, roundrobin, \
             static-rr, leastconn, source, first",
            "gateways/\"shop/9050\"/routes/b: must have exactly one of the keys `instances` and `gateway`",
            "gateways/two: port 80 is already used by gateway `one`",
            "gateways/two: route `r` leads to gateway `missing`, which does not exist",
        ]
    );
}

#[test]
fn faults_of_shape() {
    assert_eq!(problems(json!([])), ["/: must be a map with the keys gateways"]);
    assert_eq!(problems(json!({})), ["/: must have the key `gateways`"]);
    assert_eq!(
        problems(json!({"gateways": ["shop"]})),
        ["gateways: must be a map from names to gateways"]
    );
    assert_eq!(
        problems(json!({"gateways": {"": {"routes": {}}}})),
        ["gateways/\"\": the name of the gateway must not be empty"]
    );
    for (body, problem) in [
        (json!("x"), ": must be a map with the keys port, address"),
        (json!({"port": 80}), ": must have the key `routes`"),
        (
            json!({"port": 80, "routes": []}),
            "/routes: must be a map from names",
        ),
        (json!({"port": 0, "routes": {}}), "/port: `0` is not a port"),
        (
            json!({"port": 65536, "routes": {}}),
            "/port: `65536` is not a port",
        ),
        (
            json!({"port": "80/udp", "routes": {}}),
            "/port: `80/udp` is not a port",
        ),
        (json!({"port": [80], "routes": {}}), "/port: must be a text"),
        (
            json!({"port": 80, "address": "localhost", "routes": {}}),
            "/address: `localhost` is not an IP address",
        ),
        (
            json!({"address": "::1", "routes": {}}),
            "/address: an address needs a `port`",
        ),
        (
            json!({"port": "80/http", "protocol": "tcp", "routes": {}}),
            "/protocol: the port says another",
        ),
        (
            json!({"protocol": "udp", "routes": {}}),
            "/protocol: `udp` is not one of",
        ),
        (
            json!({"virtual_hosts": ["a", 1], "routes": {}}),
            "/virtual_hosts/1: must be the name",
        ),
        (
            json!({"virtual_hosts": "a b", "routes": {}}),
            "/virtual_hosts/0: must be the name",
        ),
        (
            json!({"port": "1/tcp", "sticky": "route", "routes": {}}),
            ": a tcp gateway cannot be sticky",
        ),
        (
            json!({"port": "1/tcp", "routes": {"r": {"condition": "host == a", "instances": []}}}),
            ": route `r` has a condition, which a tcp",
        ),
        (
            json!({"routes": {"r": {"gateway": "shop"}}}),
            ": its routes lead back to itself",
        ),
        (
            json!({"routes": {"r": {"weight": "30%", "instances": []}}}),
            ": the weights of its routes total 30.00%",
        ),
        (
            json!({"routes": {"r": {"weight": "60%", "instances": []}, "s": {"weight": "60%", "instances": []}}}),
            "/routes: the weights total 120.00%, more than 100%",
        ),
        (
            json!({"completely_else": 1, "routes": {}}),
            "/completely_else: unknown key; known here are",
        ),
    ] {
        let found = gateway_problem(body);
        assert!(found.starts_with(problem), "{found}, not {problem}");
    }
    for (body, problem) in [
        (json!({}), ": must have exactly one of the keys"),
        (
            json!({"instances": {}}),
            "/instances: must be a list of instances",
        ),
        (
            json!({"instances": [], "weight": "1"}),
            "/weight: \"1\" is not a share",
        ),
        (
            json!({"instances": [], "weight": 0.5}),
            "/weight: 0.5 is not a share",
        ),
        (
            json!({"instances": [], "condition_strength": "101%"}),
            "/condition_strength: \"101%\" is not a share",
        ),
        (
            json!({"instances": [], "condition": ["a"]}),
            "/condition: must be a text",
        ),
        (
            json!({"gateway": ""}),
            "/gateway: the name of the gateway must not be empty",
        ),
        (
            json!({"instances": ["http://a:80"]}),
            "/instances/0: `http://a:80` is not `host:port`",
        ),
        (
            json!({"instances": ["a:0"]}),
            "/instances/0: `a:0` is not `host:port`",
        ),
        (
            json!({"instances": ["::1:80"]}),
            "/instances/0: `::1:80` is not `host:port`",
        ),
        (
            json!({"instances": [1]}),
            "/instances/0: must be a map with the keys id, host, port, state",
        ),
        (
            json!({"instances": [{"port": 1}]}),
            "/instances/0: must have the key `host`",
        ),
        (
            json!({"instances": [{"host": "a b", "port": 1}]}),
            "/instances/0/host: `a b` is neither",
        ),
        (
            json!({"instances": [{"host": "a", "port": "x"}]}),
            "/instances/0/port: `x` is not a port",
        ),
        (
            json!({"instances": [{"host": "a", "port": 1, "state": "up"}]}),
            "/instances/0/state: `up` is not one of",
        ),
        (
            json!({"instances": [{"host": "a", "port": 1, "id": ""}]}),
            "/instances/0/id: the name of the instance must not be empty",
        ),
    ] {
        let found = route_problem(body);
        assert!(found.starts_with(problem), "{found}, not {problem}");
    }
    let twice = gateway_problem(json!({"routes": {"r": {"instances": ["a:1", "a:1"]}}}));
    assert!(twice.contains("has instance `a:1` twice"), "{twice}");
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,6}",
        "[a-z]{1,3}/[0-9]{2}",
        "\\[[a-z]:[0-9]\\]",
        "\\PC{1,8}"
    ]
}

fn instances() -> impl Strategy<Value = Instance> {
    let host = prop::sample::select(vec!["127.0.0.1", "::1", "shop.example", "h_1"]);
    (host, 1u16.., prop::option::of(names()), any::<bool>()).prop_map(|(host, port, id, draining)| Instance {
        id: InstanceId::new(id.unwrap_or_else(|| super::joined(host, port))).unwrap(),
        host: host.to_owned(),
        port,
        state: if draining {
            InstanceState::Draining
        } else {
            InstanceState::Serving
        },
    })
}

fn routes(protocol: Protocol) -> impl Strategy<Value = Vec<Route>> {
    let balance = prop::sample::select(vec![
        Balance::RoundRobin,
        Balance::LeastRequests,
        Balance::Source,
        Balance::First,
    ]);
    let condition = prop::option::of(prop::sample::select(vec![
        "host == a",
        "<path_beg /x> or has cookie y",
        " misses header z\n",
    ]));
    let route = (
        0..=10_000u64,
        condition,
        balance,
        prop::collection::vec(instances(), 0..3),
        0..=10_000u64,
    );
    prop::collection::btree_map(names(), route, 0..4).prop_map(move |routes| {
        let mut left = 10_000;
        let count = routes.len();
        let mut read = Vec::new();
        for (index, (name, (weight, condition, balance, mut instances, strength))) in
            routes.into_iter().enumerate()
        {
            let weight = if index + 1 == count {
                left
            } else {
                weight.min(left)
            };
            left -= weight;
            let mut ids = std::collections::HashSet::new();
            instances.retain(|instance| ids.insert(instance.id.clone()));
            let condition = condition.filter(|_| protocol == Protocol::Http);
            read.push(Route {
                name: RouteName::new(name).unwrap(),
                weight: Weight::from_parts(weight).unwrap(),
                condition: condition.map(|text| Condition::parse(text).unwrap()),
                condition_strength: ConditionStrength::from_parts(strength).unwrap(),
                balance,
                options: Default::default(),
                target: Target::Instances(instances),
            });
        }
        read
    })
}

fn gateways() -> impl Strategy<Value = Vec<Gateway>> {
    let protocol = prop::sample::select(vec![Protocol::Http, Protocol::Tcp]);
    let gateway = protocol.prop_flat_map(|protocol| {
        (
            Just(protocol),
            any::<bool>(),
            prop::sample::select(vec!["0.0.0.0", "127.0.0.1", "::1", "::"]),
            prop::sample::select(vec![Sticky::None, Sticky::Route, Sticky::Instance]),
            any::<bool>(),
            routes(protocol),
        )
    });
    prop::collection::btree_map(names(), gateway, 0..5).prop_map(|gateways| {
        let mut read: Vec<Gateway> = Vec::new();
        for (index, (name, (protocol, listens, address, sticky, has_hosts, mut routes))) in
            gateways.into_iter().enumerate()
        {
            // A route to an earlier gateway makes no cycle.
            if let (Some(last), Some(route)) = (read.last(), routes.first_mut())
                && last.protocol == protocol
            {
                route.target = Target::Gateway(last.name.clone());
            }
            let port = 8_000 + u16::try_from(index).unwrap();
            read.push(Gateway {
                name: GatewayName::new(name).unwrap(),
                options: Default::default(),
                protocol,
                listener: listens.then(|| Listener {
                    address: address.parse().unwrap(),
                    port,
                }),
                virtual_hosts: if has_hosts {
                    vec![format!("h{index}:80")]
                } else {
                    Vec::new()
                },
                sticky: if protocol == Protocol::Http {
                    sticky
                } else {
                    Sticky::None
                },
                routes,
            });
        }
        read
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(gateways in gateways()) {
        let document = write(&gateways);
        let read = read(document.clone());
        prop_assert_eq!(read.as_ref(), Ok(&gateways), "{}", document);
        prop_assert_eq!(write(&read.unwrap()), document);
    }

    #[test]
    fn no_tree_panics(keys in prop::collection::vec(prop::sample::select(vec![
        "gateways", "a", "port", "routes", "weight", "instances", "id", "host", "condition", "gateway",
    ]), 0..8), leaf in prop::sample::select(vec![json!(null), json!(1), json!("x"), json!([1, {}]), json!({"": 0.5})])) {
        let tree = keys.iter().rev().fold(leaf, |inner, key| json!({ *key: inner }));
        if let Err(problems) = read(tree) {
            prop_assert!(!problems.is_empty());
        }
    }
}

#[test]
fn options_are_read_strictly_and_written_back() {
    let document = serde_json::json!({"gateways": {"shop": {
        "port": 8443,
        "tls": {"certificates": [{"certificate": "/a.pem", "key": "/a.key"}], "minimum": "1.3"},
        "accept_proxy_protocol": true,
        "routes": {"a": {
            "weight": "100%",
            "health": {"protocol": "http", "path": "/health", "interval": "1s", "fall": 2},
            "timeouts": {"connect": "500ms", "request": "1m"},
            "tls": {"server_name": "inner.example"},
            "send_proxy_protocol": "v2",
            "protocol": "http2",
            "slow_start": "10s",
            "server_names": ["Shop.test", "*.apps.test"],
            "instances": ["127.0.0.1:9001"]
        }}
    }}});
    let gateways = super::read(document).unwrap();
    let options = &gateways[0].routes[0].options;
    assert_eq!(options.timeouts.connect.unwrap().to_string(), "500ms");
    assert_eq!(options.health.as_ref().unwrap().rise, 2);
    assert_eq!(options.server_names, ["shop.test", "*.apps.test"]);
    assert_eq!(gateways[0].options.tls.as_ref().unwrap().certificates.len(), 1);
    assert_eq!(super::read(super::write(&gateways)).unwrap(), gateways);
    let wire = crate::Snapshot::new("x", crate::Generation(1), gateways.clone()).unwrap();
    assert_eq!(
        crate::wire::v1::read(&crate::wire::v1::write(&wire))
            .unwrap()
            .snapshot,
        wire
    );

    let faulty = serde_json::json!({"gateways": {"shop": {
        "tls": {"certificates": [{"certificate": "/a.pem", "kee": "/a.key"}]},
        "routes": {"a": {"timeouts": {"connect": "5"}, "health": {"protocol": "icmp"}, "instances": []},
            "b": {"server_names": ["*.*.test"], "instances": []}}
    }}});
    let problems: Vec<String> = super::read(faulty)
        .unwrap_err()
        .into_iter()
        .map(|problem| problem.to_string())
        .collect();
    assert!(
        problems
            .iter()
            .any(|p| p.starts_with("gateways/shop/tls/certificates/0/kee: unknown key")),
        "{problems:#?}"
    );
    assert!(
        problems
            .iter()
            .any(|p| p.starts_with("gateways/shop/routes/a/timeouts: `5` is not")),
        "{problems:#?}"
    );
    assert!(
        problems
            .iter()
            .any(|p| p.starts_with("gateways/shop/routes/a/health: unknown variant")),
        "{problems:#?}"
    );
    assert!(
        problems
            .iter()
            .any(|p| p.starts_with("gateways/shop/routes/b/server_names: `*.*.test` is no name")),
        "{problems:#?}"
    );
}

//! Who gets which share of the traffic, over real sockets and several workers, also while the rules change.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the support module is shared by suites")]

mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use support::{
    Peer, Port, World, eventually, gateway, header, instance, on_condition, one_worker, route, status,
    to_gateway,
};
use weir_model::{Gateway, Protocol, Route, Sticky};
use weir_proxy::Config;

/// An origin that answers every request with its name (and the cookies that it saw) until it is dropped.
struct Named {
    port: u16,
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Named {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::spawn(move || answer_all(stream, name));
            }
        });
        Self {
            port: address.port(),
            address,
            ended,
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the one that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn answer_all(stream: TcpStream, name: &str) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(&stream);
    loop {
        let (mut cookies, mut hops) = (String::new(), 0);
        let mut line = String::new();
        loop {
            line.clear();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => {
                    let lower = line.to_ascii_lowercase();
                    if lower.starts_with("cookie:") {
                        cookies = line.trim_end().to_owned();
                    }
                    hops += usize::from(lower.starts_with("x-forwarded-for:"));
                }
            }
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\nX-Saw: {cookies}\r\nX-Hops: {hops}\r\nContent-Length: {}\r\n\r\n{name}",
            name.len()
        );
        if (&stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// How often each body was the answer to `count` requests in a row, on one connection or on one each.
fn answers(world: &World, request: &str, count: usize, keep_alive: bool) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    let mut client = world.client();
    for number in 0..count {
        if !keep_alive && number > 0 {
            client = world.client();
        }
        client.send(request);
        let (head, body) = client.response();
        assert_eq!(status(&head), 200, "{body}");
        *seen.entry(body).or_default() += 1;
    }
    seen
}

fn counts(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

fn workers(workers: usize) -> Config {
    Config {
        workers,
        ..Config::default()
    }
}

#[test]
fn eighty_to_twenty_is_exactly_forty_to_ten() {
    let (old, new) = (Named::start("old"), Named::start("new"));
    for (count, keep_alive) in [(1, true), (1, false), (4, true), (4, false)] {
        let world = World::empty(workers(count));
        world.apply_routes(vec![
            route("old", 80, vec![instance("o", old.port)]),
            route("new", 20, vec![instance("n", new.port)]),
        ]);
        for round in 0..3 {
            let seen = answers(&world, GET, 50, keep_alive);
            assert_eq!(
                seen,
                counts(&[("old", 40), ("new", 10)]),
                "{count} workers, {keep_alive}, round {round}"
            );
        }
        eventually("all are accounted", || world.route("old").latency.total() == 120);
        assert_eq!(world.route("new").requests, 30);
    }
}

#[test]
fn instances_of_a_route_share_it_evenly() {
    let (one, two, other) = (Named::start("one"), Named::start("two"), Named::start("other"));
    let world = World::empty(workers(2));
    world.apply_routes(vec![
        route("r", 60, vec![instance("1", one.port), instance("2", two.port)]),
        route("s", 40, vec![instance("3", other.port)]),
    ]);
    assert_eq!(
        answers(&world, GET, 100, false),
        counts(&[("one", 30), ("two", 30), ("other", 40)])
    );
}

#[test]
fn a_condition_takes_its_strength_and_leaves_the_rest_to_the_weights() {
    let (old, new) = (Named::start("old"), Named::start("new"));
    let world = World::empty(one_worker());
    let with = |strength| {
        vec![
            route("old", 80, vec![instance("o", old.port)]),
            on_condition(
                route("new", 20, vec![instance("n", new.port)]),
                "User-Agent = Chrome",
                strength,
            ),
        ]
    };
    let chrome = "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: a Chrome b\r\n\r\n";
    world.apply_routes(with(50));
    assert_eq!(
        answers(&world, chrome, 50, true),
        counts(&[("old", 20), ("new", 30)])
    );
    assert_eq!(
        answers(&world, GET, 50, true),
        counts(&[("old", 40), ("new", 10)])
    );
    world.apply_routes(with(100));
    assert_eq!(answers(&world, chrome, 10, true), counts(&[("new", 10)]));
    world.apply_routes(with(0));
    assert_eq!(
        answers(&world, chrome, 50, true),
        counts(&[("old", 40), ("new", 10)])
    );
}

fn cookies(head: &str) -> Vec<(String, String)> {
    head.lines()
        .filter_map(|line| line.strip_prefix("Set-Cookie: "))
        .filter_map(|cookie| cookie.split(';').next()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn a_sticky_client_stays_where_it_was() {
    let (old, new, newer) = (Named::start("old"), Named::start("new"), Named::start("newer"));
    let world = World::empty(workers(2));
    let gateway_with = |sticky, percent: u64| Gateway {
        sticky,
        ..gateway(
            "g",
            Some(world.port.number),
            vec![
                route("old", 100 - percent, vec![instance("o", old.port)]),
                route(
                    "new",
                    percent,
                    vec![instance("n", new.port), instance("m", newer.port)],
                ),
            ],
        )
    };
    for (sticky, expected) in [(Sticky::Route, 1), (Sticky::Instance, 2)] {
        world.apply(vec![gateway_with(sticky, 50)]);
        for _ in 0..4 {
            let mut client = world.client();
            client.send(GET);
            let (head, first) = client.response();
            let set = cookies(&head);
            assert_eq!(set.len(), expected, "{head}");
            assert!(set[0].0.starts_with("o_"));
            assert!(
                head.contains("; path=/\r\n") && head.contains("Cache-Control: private"),
                "{head}"
            );
            let own: String = set
                .iter()
                .map(|(name, value)| format!("; {name}={value}"))
                .collect();
            let again = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: mine=1{own}; theirs=2\r\n\r\n");
            for _ in 0..5 {
                let mut client = world.client();
                client.send(&again);
                let (head, body) = client.response();
                match sticky {
                    Sticky::Instance => assert_eq!(body, first),
                    _ => assert_eq!(body == "old", first == "old"),
                }
                assert_eq!(cookies(&head), [], "{head}");
                assert_eq!(header(&head, "x-saw"), Some("Cookie: mine=1; theirs=2"));
            }
            // A route without weight keeps those who have it.
            world.apply(vec![gateway_with(sticky, 0)]);
            let mut client = world.client();
            client.send(&again);
            assert_eq!(client.response().1 == "old", first == "old");
            world.apply(vec![gateway_with(sticky, 50)]);
        }
    }
    // A value that means nothing is replaced.
    let mut client = world.client();
    client.send(GET);
    let name = cookies(&client.response().0)[0].0.clone();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: h\r\nCookie: {name}=nonsense\r\n\r\n"
    ));
    let (head, _) = client.response();
    assert_eq!(cookies(&head)[0].0, name);
    assert_eq!(header(&head, "x-saw"), Some(""));
}

#[test]
fn a_chain_of_gateways_is_one_hop_and_each_level_counts() {
    let (old, new) = (Named::start("old"), Named::start("new"));
    let world = World::empty(one_worker());
    world.apply(vec![
        gateway(
            "g",
            Some(world.port.number),
            vec![to_gateway("all", 100, "middle")],
        ),
        gateway("middle", None, vec![to_gateway("inner", 100, "inner")]),
        gateway(
            "inner",
            None,
            vec![
                route("old", 80, vec![instance("o", old.port)]),
                route("new", 20, vec![instance("n", new.port)]),
            ],
        ),
    ]);
    assert_eq!(
        answers(&world, GET, 50, true),
        counts(&[("old", 40), ("new", 10)])
    );
    let mut client = world.client();
    client.send(GET);
    assert_eq!(header(&client.response().0, "x-hops"), Some("1"));
    eventually("each level is accounted", || {
        let frame = world.frame();
        frame.gateways.len() == 3
            && frame.gateways.iter().all(|gateway| {
                gateway.requests == 51
                    && gateway
                        .routes
                        .iter()
                        .map(|route| route.latency.total())
                        .sum::<u64>()
                        == 51
            })
    });
}

#[test]
fn virtual_hosts_lead_to_their_gateways() {
    let (old, new) = (Named::start("old"), Named::start("new"));
    let hosts = Port::reserve();
    let world = World::empty(Config {
        virtual_hosts: Some(hosts.address()),
        ..one_worker()
    });
    let with_host = |name, host: &str, target: Vec<Route>| Gateway {
        virtual_hosts: vec![host.to_owned()],
        ..gateway(name, None, target)
    };
    world.apply(vec![
        with_host(
            "a",
            "a.vamp",
            vec![route("r", 100, vec![instance("o", old.port)])],
        ),
        with_host(
            "b",
            "b.vamp:8080",
            vec![route("r", 100, vec![instance("n", new.port)])],
        ),
    ]);
    let mut client = Peer::connect(hosts.address());
    for (host, expected) in [
        ("a.vamp", Some("old")),
        ("A.VAMP", Some("old")),
        ("b.vamp:8080", Some("new")),
        ("b.vamp", None),
        ("a.vamp:80", None),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let (head, body) = client.response();
        match expected {
            Some(name) => assert_eq!(body, name),
            None => assert_eq!(
                (status(&head), body.as_str()),
                (503, "503 Service Unavailable: no_gateway\n")
            ),
        }
    }
    client.send("GET http://b.vamp:8080/ HTTP/1.1\r\nHost: a.vamp\r\n\r\n");
    assert_eq!(client.response().1, "new");
}

/// Clients that ask without pause until told to stop; how many requests were answered, and what went wrong.
fn under_load(address: SocketAddr, clients: usize, while_running: impl FnOnce()) -> (u64, Vec<String>) {
    let stop = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients)
            .map(|number| {
                let (stop, done) = (&stop, &done);
                scope.spawn(move || {
                    let mut failures = Vec::new();
                    let mut client = Peer::connect(address);
                    let mut sent = 0;
                    while !stop.load(Ordering::Relaxed) {
                        // Half of the clients keep their connection, half come anew now and then.
                        sent += 1;
                        if number % 2 == 1 && sent % 20 == 0 {
                            client = Peer::connect(address);
                        }
                        client.send(GET);
                        let (head, body) = client.response();
                        if status(&head) != 200 {
                            failures.push(body);
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    failures
                })
            })
            .collect();
        while_running();
        stop.store(true, Ordering::Relaxed);
        for client in running {
            failures.extend(client.join().unwrap());
        }
    });
    (done.into_inner(), failures)
}

#[test]
fn a_thousand_changes_of_weight_fail_no_request() {
    let (old, new) = (Named::start("old"), Named::start("new"));
    let world = World::empty(workers(2));
    let with = |percent: u64| {
        vec![
            route("old", 100 - percent, vec![instance("o", old.port)]),
            route("new", percent, vec![instance("n", new.port)]),
        ]
    };
    world.apply_routes(with(0));
    let (done, failures) = under_load(world.port.address(), 6, || {
        for number in 0..1_000 {
            world.apply_routes(with(number % 101));
        }
    });
    assert_eq!(failures, Vec::<String>::new());
    assert!(done > 500, "{done}");
    eventually("all are accounted", || {
        let (old, new) = (world.route("old"), world.route("new"));
        old.latency.total() + new.latency.total() == done && old.in_flight + new.in_flight == 0
    });
    assert!(world.route("new").requests > 0);
}

#[test]
fn listeners_come_and_go_while_another_carries_traffic() {
    let origin = Named::start("origin");
    let world = World::empty(workers(2));
    let to_origin = || vec![route("r", 100, vec![instance("o", origin.port)])];
    world.apply_routes(to_origin());
    let (_, failures) = under_load(world.port.address(), 4, || {
        for _ in 0..30 {
            let port = Port::reserve();
            world.apply(vec![
                gateway("g", Some(world.port.number), to_origin()),
                gateway("extra", Some(port.number), to_origin()),
            ]);
            let mut client = Peer::connect(port.address());
            client.send(GET);
            assert_eq!(client.response().1, "origin");
            world.apply_routes(to_origin());
            eventually("the door is closed", || {
                TcpStream::connect(port.address()).is_err()
            });
        }
    });
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn tcp_connections_are_shared_and_each_side_ends_on_its_own() {
    let echo = |name: &'static str| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(10) {
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).unwrap();
                stream.write_all(name.as_bytes()).unwrap();
                stream.write_all(&heard).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            }
        });
        port
    };
    let (a, b) = (echo("a:"), echo("b:"));
    let world = World::empty(workers(2));
    world.apply(vec![Gateway {
        protocol: Protocol::Tcp,
        ..gateway(
            "g",
            Some(world.port.number),
            vec![
                route("a", 50, vec![instance("a", a)]),
                route("b", 50, vec![instance("b", b)]),
            ],
        )
    }]);
    let mut seen = BTreeMap::new();
    for _ in 0..20 {
        let mut client = world.client();
        client.send("hello").end_sending();
        *seen.entry(String::from_utf8(client.rest()).unwrap()).or_default() += 1;
    }
    assert_eq!(seen, counts(&[("a:hello", 10), ("b:hello", 10)]));
    eventually("all are accounted", || {
        world.route("a").latency.total() + world.route("b").latency.total() == 20
    });
}

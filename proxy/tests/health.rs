//! Instances that are checked, fall ill, come back and warm up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the support module is shared by suites")]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use support::{Port, World, errors, eventually, gateway, instance, one_worker, route, status};
use weir_model::{EndpointState, HealthCheck, HealthProtocol, Millis, Route};
use weir_proxy::Config;

/// A service on a thread of its own that answers every request with its name, until it is dropped.
struct Service {
    port: u16,
    /// Status of answers to `/health`.
    health: Arc<AtomicU16>,
    checks: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Service {
    fn start(name: &'static str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        Self::on(socket, name)
    }

    /// On a port that was reserved.
    fn at(port: &Port, name: &'static str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&port.address().into()).unwrap();
        Self::on(socket, name)
    }

    fn on(socket: Socket, name: &'static str) -> Self {
        socket.listen(128).unwrap();
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let health = Arc::new(AtomicU16::new(200));
        let checks = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let (status, count, end) = (Arc::clone(&health), Arc::clone(&checks), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let mut head = Vec::new();
                let mut bytes = [0; 1024];
                while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                    match stream.read(&mut bytes) {
                        Ok(read @ 1..) => head.extend_from_slice(&bytes[..read]),
                        _ => break,
                    }
                }
                let status = if head.starts_with(b"GET /health") {
                    count.fetch_add(1, Ordering::Relaxed);
                    status.load(Ordering::Relaxed)
                } else {
                    200
                };
                // Who checks a connection only, or is gone, reads no answer.
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} Whatever\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{name}",
                    name.len()
                );
            }
        });
        Self {
            port,
            health,
            checks,
            ended,
            thread: Some(thread),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn millis(ms: u64) -> Millis {
    Millis::new(ms).unwrap()
}

fn check(protocol: HealthProtocol) -> HealthCheck {
    HealthCheck {
        protocol,
        path: "/health".to_owned(),
        interval: millis(60),
        timeout: millis(1_000),
        rise: 2,
        fall: 3,
    }
}

fn checking(protocol: HealthProtocol) -> Config {
    Config {
        health: Some(check(protocol)),
        ..one_worker()
    }
}

fn get(world: &World) -> (u16, String) {
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let (head, body) = client.response();
    (status(&head), body)
}

fn state(world: &World, route: &str, id: &str) -> EndpointState {
    let route = world.route(route);
    let found = route.instances.iter().find(|instance| instance.id.as_str() == id);
    found.unwrap().state
}

#[test]
fn an_instance_that_is_killed_takes_nothing_until_it_is_back() {
    let port = Port::reserve();
    let one = Service::start("one");
    let two = Service::at(&port, "two");
    let world = World::empty(checking(HealthProtocol::Tcp));
    world.apply_routes(vec![route(
        "r",
        100,
        vec![instance("one", one.port), instance("two", port.number)],
    )]);
    eventually("both are checked", || {
        state(&world, "r", "one") == EndpointState::Up && state(&world, "r", "two") == EndpointState::Up
    });
    assert_eq!([get(&world).1, get(&world).1].concat().len(), "onetwo".len());
    drop(two);
    eventually("it is ill", || state(&world, "r", "two") == EndpointState::Down);
    assert_eq!(
        world.metric("weir_instance_up", "instance=\"two\"").to_string(),
        "0"
    );
    let retries = world.route("r").retries;
    for _ in 0..6 {
        assert_eq!(get(&world), (200, "one".to_owned()));
    }
    let seen = world.route("r");
    assert_eq!(seen.retries, retries, "nobody tries it any more");
    assert_eq!(
        seen.instances[1].last_check.as_deref(),
        Some("connection refused")
    );
    let _two = Service::at(&port, "two");
    eventually("it is back", || state(&world, "r", "two") == EndpointState::Up);
    let answers = [get(&world).1, get(&world).1];
    assert!(answers.contains(&"two".to_owned()), "{answers:?}");
}

#[test]
fn a_status_beyond_399_is_ill_and_asked_once_for_all_routes() {
    let service = Service::start("s");
    let world = World::empty(checking(HealthProtocol::Http));
    let weighted = |name, percent| route(name, percent, vec![instance("i", service.port)]);
    world.apply_routes(vec![weighted("a", 50), weighted("b", 50)]);
    eventually("well", || {
        state(&world, "a", "i") == EndpointState::Up && state(&world, "b", "i") == EndpointState::Up
    });
    assert_eq!(
        world.route("a").instances[0].last_check.as_deref(),
        Some("status 200")
    );
    service.health.store(500, Ordering::Relaxed);
    let before = service.checks.load(Ordering::Relaxed);
    eventually("ill in both", || {
        state(&world, "a", "i") == EndpointState::Down && state(&world, "b", "i") == EndpointState::Down
    });
    let checks = service.checks.load(Ordering::Relaxed) - before;
    assert!((3..=5).contains(&checks), "{checks} checks for three failures");
    assert_eq!(
        get(&world),
        (503, "503 Service Unavailable: no_instance\n".to_owned())
    );
}

#[test]
fn a_route_without_well_instances_answers_503_and_the_other_goes_on() {
    let well = Service::start("well");
    let nobody = Port::reserve();
    let world = World::empty(checking(HealthProtocol::Tcp));
    world.apply_routes(vec![
        route("well", 50, vec![instance("i", well.port)]),
        route("ill", 50, vec![instance("i", nobody.number)]),
    ]);
    eventually("it is found out", || {
        state(&world, "ill", "i") == EndpointState::Down
    });
    let mut seen = [0, 0];
    for _ in 0..10 {
        match get(&world) {
            (200, body) if body == "well" => seen[0] += 1,
            (503, body) if body.contains("no_instance") => seen[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, [5, 5], "there is no fail-over between routes");
    assert_eq!(errors(&world.route("well")), []);
}

#[test]
fn what_is_known_of_an_instance_outlives_other_changes_and_a_route_can_turn_checks_off() {
    let nobody = Port::reserve();
    let world = World::empty(checking(HealthProtocol::Tcp));
    let ill = || route("r", 100, vec![instance("i", nobody.number)]);
    world.apply_routes(vec![ill()]);
    eventually("ill", || state(&world, "r", "i") == EndpointState::Down);
    let mut changed = gateway("g", Some(world.port.number), vec![ill()]);
    changed.virtual_hosts = vec!["other".to_owned()];
    world.apply(vec![changed]);
    assert_eq!(state(&world, "r", "i"), EndpointState::Down);
    let mut unchecked: Route = ill();
    unchecked.options.health = Some(check(HealthProtocol::None));
    world.apply_routes(vec![unchecked]);
    eventually("it is not checked any more", || {
        state(&world, "r", "i") == EndpointState::Unknown
    });
    assert_eq!(world.route("r").instances[0].last_check, None);
}

#[test]
fn a_thousand_instances_are_checked_by_one_thread() {
    let service = Service::start("s");
    let world = World::empty(Config {
        health: Some(HealthCheck {
            interval: millis(1_000),
            ..check(HealthProtocol::Tcp)
        }),
        ..one_worker()
    });
    // Another address each: all of 127.0.0.0/8 is this machine, but only the first is listened on.
    let instances = (0..1_000u32)
        .map(|number| {
            let mut instance = instance(&format!("i{number}"), service.port);
            instance.host = format!("127.0.{}.{}", number / 250, number % 250 + 1);
            instance
        })
        .collect();
    world.apply_routes(vec![route("r", 100, instances)]);
    eventually("every one is found out", || {
        let route = world.route("r");
        route.instances[0].state == EndpointState::Up
            && route.instances[1..]
                .iter()
                .all(|instance| instance.state == EndpointState::Down)
    });
    assert_eq!(get(&world).0, 200);
}

#[test]
fn an_instance_that_came_back_gets_a_growing_share() {
    let port = Port::reserve();
    let one = Service::start("one");
    let world = World::empty(checking(HealthProtocol::Tcp));
    let mut warming = route(
        "r",
        100,
        vec![instance("one", one.port), instance("two", port.number)],
    );
    warming.options.slow_start = Some(millis(3_600_000));
    world.apply_routes(vec![warming.clone()]);
    eventually("two is not there", || {
        state(&world, "r", "two") == EndpointState::Down
    });
    let _two = Service::at(&port, "two");
    eventually("two came", || state(&world, "r", "two") == EndpointState::Up);
    let of_two = |requests: usize| (0..requests).filter(|_| get(&world).1 == "two").count();
    // Its turn is every second request; of those it takes a twentieth at first.
    assert_eq!(of_two(80), 2);
    warming.options.slow_start = None;
    world.apply_routes(vec![warming]);
    assert_eq!(of_two(20), 10);
}

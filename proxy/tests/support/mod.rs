//! A proxy between a scripted client and a scripted origin, all over real sockets of this machine.
//!
//! A test is one thread that plays both sides in turn: sockets hold what was sent until it is read.

#![allow(dead_code, reason = "each suite uses a part")]

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use socket2::{Domain, SockRef, Socket, Type};
use weir_model::{
    Balance, Condition, ConditionStrength, Frame, Gateway, GatewayName, Generation, Instance, InstanceId,
    InstanceState, Listener, Protocol, Route, RouteFrame, RouteName, Snapshot, Sticky, Target, Weight,
};
use weir_proxy::{Config, Proxy, Timeouts};

/// Long enough for a busy machine; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until it is so.
#[track_caller]
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A port that nobody else gets while this lives. It is bound but does not listen, so that the proxy can.
#[derive(Debug)]
pub struct Port {
    _socket: Socket,
    pub number: u16,
}

impl Port {
    pub fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        let number = socket.local_addr().unwrap().as_socket().unwrap().port();
        Self {
            _socket: socket,
            number,
        }
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// A scripted origin.
#[derive(Debug)]
pub struct Origin {
    listener: TcpListener,
    pub port: u16,
}

impl Origin {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    /// The next connection of the proxy.
    #[track_caller]
    pub fn accept(&self) -> Peer {
        let deadline = Instant::now() + PATIENCE;
        self.listener.set_nonblocking(true).unwrap();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    return Peer::new(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(Instant::now() < deadline, "the proxy did not connect");
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Whether the proxy has made a connection that was not accepted yet.
    pub fn has_visitor(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        self.listener.accept().is_ok()
    }
}

/// One end of a raw connection.
#[derive(Debug)]
pub struct Peer {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Peer {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends as far as the other side wants it.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 64 * 1024];
        let count = self.stream.read(&mut bytes)?;
        self.unread.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Reads to the end of a head.
    #[track_caller]
    pub fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.unread.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.unread, rest)).unwrap();
            }
            let count = self.fill().unwrap();
            assert!(
                count > 0,
                "closed within a head: {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        }
    }

    #[track_caller]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let more = self.fill().unwrap();
            assert!(
                more > 0,
                "closed after {} of {count} bytes: {:?}",
                self.unread.len(),
                self.text_of_unread()
            );
        }
        let rest = self.unread.split_off(count);
        std::mem::replace(&mut self.unread, rest)
    }

    fn text_of_unread(&self) -> String {
        String::from_utf8_lossy(&self.unread).chars().take(200).collect()
    }

    #[track_caller]
    pub fn text(&mut self, count: usize) -> String {
        String::from_utf8(self.bytes(count)).unwrap()
    }

    /// Expects exactly these bytes next.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let expected = bytes.as_ref();
        let seen = self.bytes(expected.len());
        assert_eq!(String::from_utf8_lossy(&seen), String::from_utf8_lossy(expected));
        self
    }

    /// Reads a response with `Content-Length` (or none): head and body.
    #[track_caller]
    pub fn response(&mut self) -> (String, String) {
        let head = self.head();
        let length = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
        let body = self.text(length);
        (head, body)
    }

    /// Everything up to the orderly end.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill().unwrap() > 0 {}
        std::mem::take(&mut self.unread)
    }

    /// Everything up to the end, be it orderly or not, and whether it was.
    pub fn rest_or_reset(&mut self) -> (Vec<u8>, bool) {
        loop {
            match self.fill() {
                Ok(0) => return (std::mem::take(&mut self.unread), true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return (std::mem::take(&mut self.unread), false);
                }
                Err(error) => panic!("neither data nor an end: {error}"),
            }
        }
    }

    /// Expects the end and nothing before it.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let (rest, _) = self.rest_or_reset();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// Whether nothing comes for a moment. Only for what must *not* happen.
    pub fn is_silent(&mut self) -> bool {
        self.stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let silent = self.unread.is_empty()
            && matches!(self.fill(), Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    pub fn end_sending(&mut self) -> &mut Self {
        match self.stream.shutdown(Shutdown::Write) {
            // The other side was faster with a reset.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            ended => ended.unwrap(),
        }
        self
    }

    /// Closes with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

/// Value of a header in a head.
pub fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Status of a response head.
#[track_caller]
pub fn status(head: &str) -> u16 {
    head.split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("no status: {head}"))
        .parse()
        .unwrap()
}

pub fn instance(id: &str, port: u16) -> Instance {
    Instance {
        id: InstanceId::new(id).unwrap(),
        host: "127.0.0.1".to_owned(),
        port,
        state: InstanceState::Serving,
    }
}

pub fn route(name: &str, percent: u64, instances: Vec<Instance>) -> Route {
    Route {
        name: RouteName::new(name).unwrap(),
        weight: Weight::from_percent(percent).unwrap(),
        condition: None,
        condition_strength: ConditionStrength::ZERO,
        balance: Balance::RoundRobin,
        options: Default::default(),
        target: Target::Instances(instances),
    }
}

/// With a condition that takes `strength` percent of what matches.
pub fn on_condition(mut route: Route, condition: &str, strength: u64) -> Route {
    route.condition = Some(Condition::parse(condition).unwrap());
    route.condition_strength = ConditionStrength::from_percent(strength).unwrap();
    route
}

pub fn to_gateway(name: &str, percent: u64, gateway: &str) -> Route {
    Route {
        target: Target::Gateway(GatewayName::new(gateway).unwrap()),
        ..route(name, percent, Vec::new())
    }
}

pub fn gateway(name: &str, port: Option<u16>, routes: Vec<Route>) -> Gateway {
    Gateway {
        name: GatewayName::new(name).unwrap(),
        protocol: Protocol::Http,
        listener: port.map(|port| Listener {
            address: Ipv4Addr::LOCALHOST.into(),
            port,
        }),
        virtual_hosts: Vec::new(),
        options: Default::default(),
        sticky: Sticky::None,
        routes,
    }
}

/// A proxy with one port of its own.
#[derive(Debug)]
pub struct World {
    pub proxy: Proxy,
    pub port: Port,
    generation: AtomicU64,
    runtime: tokio::runtime::Runtime,
}

/// One worker, so that keep-alive connections to origins meet again.
pub fn one_worker() -> Config {
    Config {
        workers: 1,
        // A scripted origin sees the connections of requests only.
        health: None,
        ..Config::default()
    }
}

/// With limits of time so short that a test can wait for them; they are exact to a quarter of a second.
pub fn impatient() -> Config {
    let short = Duration::from_millis(500);
    Config {
        timeouts: Timeouts {
            head: short,
            connect: short,
            client_idle: short,
            server: short,
            keep_alive: short,
            pool_idle: Duration::from_secs(20),
            tunnel: short,
        },
        ..one_worker()
    }
}

impl World {
    pub fn empty(config: Config) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self {
            proxy: Proxy::start(config).unwrap(),
            port: Port::reserve(),
            generation: AtomicU64::new(0),
            runtime,
        }
    }

    /// All to one origin, through gateway `g` and route `r`.
    pub fn to(origin: &Origin) -> Self {
        Self::with(one_worker(), origin)
    }

    pub fn with(config: Config, origin: &Origin) -> Self {
        let world = Self::empty(config);
        world.apply(vec![world.gateway_to(origin.port)]);
        world
    }

    /// Gateway `g` on the world's port, all of it to instance `i` on that port through route `r`.
    pub fn gateway_to(&self, port: u16) -> Gateway {
        let routes = vec![route("r", 100, vec![instance("i", port)])];
        gateway("g", Some(self.port.number), routes)
    }

    /// One gateway `g` on the world's port.
    #[track_caller]
    pub fn apply_routes(&self, routes: Vec<Route>) {
        self.apply(vec![gateway("g", Some(self.port.number), routes)]);
    }

    #[track_caller]
    pub fn apply(&self, gateways: Vec<Gateway>) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let snapshot = Snapshot::new("test", Generation(generation), gateways).unwrap();
        let applied = self.runtime.block_on(self.proxy.apply(&snapshot));
        assert_eq!(applied.refused, Vec::new());
    }

    pub fn client(&self) -> Peer {
        Peer::connect(self.port.address())
    }

    pub fn frame(&self) -> Frame {
        self.proxy.frame()
    }

    /// Figures of a route of gateway `g`.
    #[track_caller]
    pub fn route(&self, name: &str) -> RouteFrame {
        self.frame()
            .gateways
            .into_iter()
            .find(|gateway| gateway.name.as_str() == "g")
            .and_then(|gateway| {
                gateway
                    .routes
                    .into_iter()
                    .find(|route| route.name.as_str() == name)
            })
            .unwrap()
    }

    /// Waits until `count` requests of route `r` have ended and none is left, and gives the figures.
    #[track_caller]
    pub fn settled(&self, count: u64) -> RouteFrame {
        eventually("every request is accounted", || {
            let route = self.route("r");
            route.requests == count && route.in_flight == 0 && route.latency.total() == count
        });
        let route = self.route("r");
        for instance in &route.instances {
            assert_eq!(
                (instance.in_flight, instance.latency.total()),
                (0, instance.requests)
            );
        }
        route
    }

    /// Value of `weir_...` lines in the exposition that contain `part`.
    pub fn metric(&self, name: &str, part: &str) -> f64 {
        self.proxy
            .metrics()
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(part))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    pub fn shutdown(&self, deadline: Duration) -> usize {
        self.runtime.block_on(self.proxy.shutdown(deadline)).cut
    }
}

/// The errors of a route, each with its count.
pub fn errors(route: &RouteFrame) -> Vec<(&str, u64)> {
    route
        .outcomes
        .errors
        .iter()
        .map(|(label, count)| (label.as_str(), *count))
        .collect()
}

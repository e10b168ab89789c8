//! Leave-taking under traffic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the support module is shared by suites")]

mod support;

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use support::{Origin, Peer, World, gateway, header, instance, one_worker, route};
use weir_model::Protocol;
use weir_proxy::{AccessLog, Config, Drained, LogField, LogFormat, LogOutput, Proxy};

const LONG: Duration = Duration::from_secs(10);

/// Begins to take leave on another thread.
fn leaving(proxy: &Proxy, deadline: Duration) -> std::thread::JoinHandle<Drained> {
    let proxy = proxy.clone();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(proxy.shutdown(deadline))
    })
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A connection that had a request and waits for the next.
fn idle(world: &World, origin: &Origin, server: &mut Option<Peer>) -> Peer {
    let mut client = world.client();
    client.send(get("/"));
    let server = server.get_or_insert_with(|| origin.accept());
    server.head();
    server.send(ANSWER);
    client.response();
    client
}

#[test]
fn a_request_that_has_arrived_is_served_with_a_last_answer() {
    // Each round races the request against the order to leave.
    for _ in 0..20 {
        let origin = Origin::start();
        let world = World::to(&origin);
        let mut server = None;
        let mut client = idle(&world, &origin, &mut server);
        client.send(get("/last"));
        let ended = leaving(&world.proxy, LONG);
        let mut server = server.unwrap();
        assert!(server.head().starts_with("GET /last"));
        server.send(ANSWER);
        let (head, body) = client.response();
        // An answer that began before the leave does not say so, and the connection ends as an idle one.
        assert!(
            matches!(header(&head, "connection"), Some("close") | None),
            "{head}"
        );
        assert_eq!(body, "ok");
        client.expect_end();
        drop(client);
        assert_eq!(ended.join().unwrap().cut, 0);
    }
}

#[test]
fn a_new_connection_may_still_send_its_first_request() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    support::eventually("it is accepted", || {
        world.metric("weir_connections_open", "") == 1.0
    });
    let ended = leaving(&world.proxy, LONG);
    support::eventually("leave is taken", || world.proxy.is_leaving());
    client.send(get("/first"));
    let mut server = origin.accept();
    server.head();
    server.send(ANSWER);
    let (head, _) = client.response();
    assert_eq!(header(&head, "connection"), Some("close"));
    client.expect_end();
    drop(client);
    assert_eq!(ended.join().unwrap(), Drained::default());
}

#[test]
fn idle_connections_end_at_the_rate() {
    let origin = Origin::start();
    let config = Config {
        drain_rate: NonZeroU32::new(10).unwrap(),
        ..one_worker()
    };
    let world = World::with(config, &origin);
    let mut server = None;
    let mut clients: Vec<_> = (0..6).map(|_| idle(&world, &origin, &mut server)).collect();
    let began = Instant::now();
    let ended = leaving(&world.proxy, Duration::from_secs(60));
    for client in &mut clients {
        client.expect_end();
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(450), "{took:?}");
    let drained = ended.join().unwrap();
    assert_eq!((drained.idle, drained.cut), (6, 0));
}

#[test]
fn tunnels_last_until_the_deadline_and_the_report_tells_of_them() {
    let origin = Origin::start();
    let world = World::empty(one_worker());
    let routes = vec![route("r", 100, vec![instance("i", origin.port)])];
    let mut tcp = gateway("g", Some(world.port.number), routes);
    tcp.protocol = Protocol::Tcp;
    world.apply(vec![tcp]);
    let (mut client, mut server) = (world.client(), origin.accept());
    client.send("before");
    server.expect("before");
    let ended = leaving(&world.proxy, Duration::from_millis(700));
    support::eventually("leave is taken", || world.proxy.is_leaving());
    server.send("while leaving");
    client.expect("while leaving");
    let drained = ended.join().unwrap();
    assert_eq!(
        drained,
        Drained {
            idle: 0,
            cut: 1,
            cut_tunnels: 1
        }
    );
    client.rest_or_reset();
}

#[test]
fn a_client_that_stays_after_its_last_answer_is_not_cut() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send(get("/"));
    let mut server = origin.accept();
    server.head();
    let ended = leaving(&world.proxy, Duration::from_millis(500));
    support::eventually("leave is taken", || world.proxy.is_leaving());
    server.send(ANSWER);
    client.response();
    client.expect_end();
    assert_eq!(ended.join().unwrap().cut, 0);
}

#[test]
fn an_idle_connection_is_not_cut_at_a_deadline_of_nothing() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut server = None;
    let mut client = idle(&world, &origin, &mut server);
    let drained = leaving(&world.proxy, Duration::ZERO).join().unwrap();
    assert_eq!((drained.idle, drained.cut), (1, 0));
    client.expect_end();
}

#[test]
fn a_client_of_http_2_is_told_to_go_and_its_requests_are_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut log = AccessLog::new(LogFormat::Json, LogOutput::File(path.clone()));
    log.fields = [LogField::Status, LogField::Request].into_iter().collect();
    let origin = Origin::start();
    let config = Config {
        access_log: Some(log),
        ..one_worker()
    };
    let world = World::with(config, &origin);
    let answering = std::thread::spawn(move || {
        let mut server = origin.accept();
        server.head();
        server.send(ANSWER);
        server
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(world.port.address())
            .await
            .unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let request = http::Request::get("http://x/path").body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        drop(answer);
        let ended = leaving(&world.proxy, LONG);
        tokio::time::timeout(LONG, connection)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        ended
    });
    assert_eq!(ended.join().unwrap().cut, 0);
    drop(answering.join().unwrap());
    let expected = "{\"ST\":200,\"r\":\"GET /path HTTP/2.0\"}\n".repeat(2);
    support::eventually("it is logged", || {
        std::fs::read_to_string(&path).is_ok_and(|text| text == expected)
    });
}

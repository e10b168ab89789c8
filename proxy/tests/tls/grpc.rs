//! HTTP/2 and gRPC to instances.

use std::sync::atomic::Ordering;

use http::{HeaderMap, Method};
use weir_model::{Refusal, RouteOptions, UpstreamProtocol, UpstreamTls};
use weir_proxy::Config;

use crate::{
    authority::{Authority, apply, with_tls},
    http2::{Client, request},
    multiplexed::{Habits, Multiplexed},
    origin::Automatic,
    support::{World, errors, gateway, header, impatient, instance, one_worker, route, status},
};

pub fn http2() -> RouteOptions {
    RouteOptions {
        protocol: UpstreamProtocol::Http2,
        ..RouteOptions::default()
    }
}

pub fn world_with(config: Config, ports: &[u16], options: RouteOptions) -> World {
    let world = World::empty(config);
    let instances = ports.iter().map(|port| instance(&port.to_string(), *port));
    let mut route = route("r", 100, instances.collect());
    route.options = options;
    world.apply_routes(vec![route]);
    world
}

fn grpc(path: &str) -> http::Request<()> {
    let mut asked = request(Method::POST, path);
    asked
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    asked.headers_mut().insert("te", "trailers".parse().unwrap());
    asked
}

#[test]
fn a_call_of_grpc_passes_with_trailers_both_ways() {
    let authority = Authority::new();
    let origin = Multiplexed::start(
        Some(authority.server_with(&["in.test"], &["h2"])),
        Habits::default(),
    );
    let world = World::empty(one_worker());
    let mut to_origin = route("r", 100, vec![instance("i", origin.port)]);
    to_origin.options = RouteOptions {
        tls: Some(UpstreamTls {
            server_name: Some("in.test".to_owned()),
            authority: Some(authority.pem.clone()),
            ..UpstreamTls::default()
        }),
        ..http2()
    };
    world.apply(vec![with_tls(
        gateway("g", Some(world.port.number), vec![to_origin]),
        vec![authority.issue(&["a.test"])],
    )]);
    let client = Client::encrypted(world.port.address(), &authority);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().unwrap());
    for size in [5usize, 300_000] {
        let body: Vec<u8> = (0..size).map(|index| (index * 31 % 251) as u8).collect();
        let answer = client
            .call_with(grpc("/trailers"), Some(body.clone()), Some(trailers.clone()))
            .unwrap();
        assert_eq!(answer.head.status(), 200);
        assert!(answer.body == body);
        let came = answer.trailers.unwrap();
        assert_eq!(
            (&came["grpc-status"], &came["x-sum"]),
            (&"7".parse().unwrap(), &"42".parse().unwrap())
        );
        let fields = answer.head.headers()["x-fields"].to_str().unwrap();
        assert!(fields.split(',').any(|name| name == "te"), "{fields}");
        assert!(
            !fields.contains("connection") && !fields.contains("transfer-encoding"),
            "{fields}"
        );
    }
    // Trailers in place of an answer's body.
    let answer = client.call(grpc("/only"), Some(b"x".to_vec())).unwrap();
    assert_eq!(answer.head.headers()["grpc-status"], "12");
    assert!(answer.body.is_empty());
    assert_eq!(origin.seen.uris.lock().unwrap()[0], "https://a.test/trailers");
    assert_eq!(
        origin.seen.connections.load(Ordering::SeqCst),
        1,
        "the connection is shared"
    );
    world.settled(3);
}

#[test]
fn a_client_of_http_1_reaches_an_instance_of_http_2() {
    let origin = Multiplexed::start(None, Habits::default());
    let world = world_with(one_worker(), &[origin.port], http2());
    let mut client = world.client();
    client.send("POST /echo?q=<1> HTTP/1.1\r\nHost: a.test\r\nX: y\r\nConnection: X-Own\r\nX-Own: 1\r\nContent-Length: 5\r\n\r\nhello");
    let (head, body) = client.response();
    assert_eq!((status(&head), body.as_str()), (200, "hello"));
    let fields = header(&head, "x-fields").unwrap();
    assert_eq!(fields, "x,content-length,x-forwarded-for,x-forwarded-proto");
    assert_eq!(
        origin.seen.uris.lock().unwrap()[0],
        "http://a.test/echo?q=%3C1%3E"
    );
    // Chunks with trailers, and back.
    client.send(
        "POST /trailers HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Sum: 9\r\n\r\n",
    );
    let head = client.head();
    assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
    let mut rest = String::new();
    while !rest.ends_with("\r\n\r\n") {
        rest.push_str(&client.text(1));
    }
    assert!(rest.contains("abc") && rest.contains("\r\n0\r\n"), "{rest}");
    assert!(
        rest.contains("grpc-status: 7\r\n") && rest.contains("x-sum: 9\r\n"),
        "{rest}"
    );
    // No body, a body that is not sent, an interim answer, no answer of its own length.
    let (head, body) = client.send("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n").response();
    assert_eq!(
        (status(&head), body.as_str(), header(&head, "content-length")),
        (200, "", Some("0"))
    );
    client.send("HEAD /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status(&client.head()), 200);
    client.send("GET /interim HTTP/1.1\r\nHost: h\r\n\r\n");
    let hint = client.head();
    assert_eq!((status(&hint), header(&hint, "link")), (103, Some("</a>")));
    assert_eq!(status(&client.response().0), 200);
    // A client of HTTP/1.0 gets the content until the end of the connection.
    let mut old = world.client();
    old.send("POST /trailers HTTP/1.0\r\nContent-Length: 3\r\n\r\nold");
    let answer = String::from_utf8(old.rest()).unwrap();
    assert!(answer.ends_with("\r\n\r\nold"), "{answer}");
    assert_eq!(origin.seen.connections.load(Ordering::SeqCst), 1);
    world.settled(6);
}

#[test]
fn an_upgrade_is_not_offered_to_an_instance_of_http_2() {
    let origin = Multiplexed::start(None, Habits::default());
    let world = world_with(one_worker(), &[origin.port], http2());
    let (head, _) = world
        .client()
        .send("GET /echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .response();
    assert_eq!(status(&head), 200);
    assert!(!header(&head, "x-fields").unwrap().contains("upgrade"), "{head}");
}

#[test]
fn an_instance_that_does_not_speak_http_2_is_told_as_such() {
    let authority = Authority::new();
    let tls = UpstreamTls {
        server_name: Some("in.test".to_owned()),
        authority: Some(authority.pem.clone()),
        ..UpstreamTls::default()
    };
    let over_tls = Automatic::start(Some(authority.server(&["in.test"])));
    let options = RouteOptions {
        tls: Some(tls),
        ..http2()
    };
    let world = world_with(impatient(), &[over_tls.port], options);
    let (head, _) = world
        .client()
        .send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .response();
    assert_eq!(status(&head), 502);
    assert_eq!(errors(&world.settled(1)), [("instance_tls", 1)]);
    // What answers in HTTP/1.1 answers nothing.
    let clear = Automatic::start(None);
    let world = world_with(impatient(), &[clear.port], http2());
    let (head, _) = world
        .client()
        .send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .response();
    assert!(matches!(status(&head), 502 | 504), "{head}");
    world.settled(1);
}

#[test]
fn a_tcp_gateway_has_no_version_of_http() {
    let world = World::empty(one_worker());
    let mut to_origin = route("r", 100, vec![instance("i", 1)]);
    to_origin.options = http2();
    let mut tcp = gateway("g", Some(world.port.number), vec![to_origin]);
    tcp.protocol = weir_model::Protocol::Tcp;
    let refused: Vec<Refusal> = apply(&world.proxy, 1, vec![tcp]);
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].reason.contains("HTTP gateways"),
        "{}",
        refused[0].reason
    );
}

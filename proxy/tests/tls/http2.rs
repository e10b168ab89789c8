//! HTTP/2 by a well-behaved client.

use std::{future::poll_fn, net::SocketAddr, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use http::{HeaderMap, Method, Request, Response};
use tokio::{net::TcpStream, runtime::Runtime};
use weir_proxy::{Config, Limits};

use crate::{
    authority::{Authority, apply, with_tls},
    origin::Automatic,
    support::{
        Origin, World, errors, eventually, gateway, header, impatient, instance, one_worker, route, status,
    },
};

pub struct Client {
    pub runtime: Runtime,
    pub send: SendRequest<Bytes>,
    ended: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

#[derive(Debug)]
pub struct Answer {
    pub head: Response<()>,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

impl Client {
    pub fn clear(address: SocketAddr) -> Self {
        let runtime = runtime();
        let (send, ended) = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            let (send, connection) = h2::client::handshake(stream).await.unwrap();
            (send, tokio::spawn(connection))
        });
        Self { runtime, send, ended }
    }

    pub fn encrypted(address: SocketAddr, authority: &Authority) -> Self {
        let runtime = runtime();
        let config = authority.client(rustls::ALL_VERSIONS, &["h2", "http/1.1"]);
        let (send, ended) = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
            let stream = tokio_rustls::TlsConnector::from(config)
                .connect(name, stream)
                .await
                .unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let (send, connection) = h2::client::handshake(stream).await.unwrap();
            (send, tokio::spawn(connection))
        });
        Self { runtime, send, ended }
    }

    pub fn call(&self, request: Request<()>, body: Option<Vec<u8>>) -> Result<Answer, h2::Error> {
        self.call_with(request, body, None)
    }

    pub fn call_with(
        &self,
        request: Request<()>,
        body: Option<Vec<u8>>,
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        let send = self.send.clone();
        let call = async move {
            tokio::time::timeout(Duration::from_secs(20), call(send, request, body, trailers)).await
        };
        self.runtime.block_on(call).unwrap()
    }
}

pub async fn call(
    send: SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Vec<u8>>,
    trailers: Option<HeaderMap>,
) -> Result<Answer, h2::Error> {
    let mut send = send.ready().await?;
    let (response, mut stream) = send.send_request(request, body.is_none())?;
    let sending = async move {
        let Some(body) = body else { return Ok(()) };
        let mut rest = Bytes::from(body);
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            match poll_fn(|task| stream.poll_capacity(task)).await {
                Some(room) => {
                    let piece = rest.split_to(room?.min(rest.len()));
                    stream.send_data(piece, rest.is_empty() && trailers.is_none())?;
                }
                // The answer came first.
                None => return Ok(()),
            }
        }
        match trailers {
            Some(trailers) => stream.send_trailers(trailers),
            None => Ok(()),
        }
    };
    let receiving = async move {
        let (head, mut body) = response.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok(Answer {
            head: Response::from_parts(head, ()),
            body: bytes,
            trailers: body.trailers().await?,
        })
    };
    let (sent, received): (Result<(), h2::Error>, _) = futures_util::join!(sending, receiving);
    received.and_then(|answer| sent.map(|()| answer))
}

pub fn request(method: Method, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("https://a.test{path}"))
        .body(())
        .unwrap()
}

fn world(config: Config, port: u16) -> World {
    let world = World::empty(config);
    world.apply_routes(vec![route("r", 100, vec![instance("i", port)])]);
    world
}

#[test]
fn a_request_over_tls_is_one_of_http_1_to_the_instance() {
    let authority = Authority::new();
    let origin = Automatic::start(None);
    let world = World::empty(one_worker());
    world.apply(vec![with_tls(
        world.gateway_to(origin.port),
        vec![authority.issue(&["a.test"])],
    )]);
    let client = Client::encrypted(world.port.address(), &authority);
    let mut asked = request(Method::GET, "/echo?q=1");
    asked.headers_mut().append("cookie", "a=1".parse().unwrap());
    asked.headers_mut().append("cookie", "b=2".parse().unwrap());
    let answer = client.call(asked, None).unwrap();
    assert_eq!(answer.head.status(), 200);
    assert!(!answer.head.headers().contains_key("keep-alive"));
    let seen = String::from_utf8(answer.body).unwrap();
    assert!(seen.starts_with("GET /echo?q=1 HTTP/1.1\r\n"), "{seen}");
    assert_eq!(header(&seen, "host"), Some("a.test"));
    assert_eq!(header(&seen, "cookie"), Some("a=1; b=2"));
    assert_eq!(header(&seen, "x-forwarded-proto"), Some("https"));
    assert_eq!(header(&seen, "x-forwarded-for"), Some("127.0.0.1"));
    // The instance's connection is used again.
    client.call(request(Method::GET, "/echo"), None).unwrap();
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
    world.settled(2);
}

#[test]
fn prior_knowledge_works_beside_http_1_on_one_socket() {
    let origin = Automatic::start(None);
    let world = world(one_worker(), origin.port);
    let client = Client::clear(world.port.address());
    let answer = client.call(request(Method::GET, "/echo"), None).unwrap();
    let seen = String::from_utf8(answer.body).unwrap();
    assert_eq!(header(&seen, "x-forwarded-proto"), Some("http"));
    let (head, _) = world
        .client()
        .send("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n")
        .response();
    assert_eq!(status(&head), 200);
    // A body that begins as the preface does.
    let (head, body) = world
        .client()
        .send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nPRI")
        .response();
    assert_eq!(status(&head), 200);
    assert!(body.ends_with("PRI"));
}

#[test]
fn the_preface_may_come_in_pieces() {
    let origin = Automatic::start(None);
    let world = world(one_worker(), origin.port);
    let mut peer = world.client();
    for piece in ["P", "RI * HTTP/2.0\r\n", "\r\nSM\r\n\r"] {
        peer.send(piece);
        assert!(peer.is_silent());
    }
    peer.send("\n\0\0\0\x04\0\0\0\0\0");
    // SETTINGS of the server.
    let settings = peer.bytes(9);
    assert_eq!(settings[3], 4, "{settings:?}");
}

#[test]
fn bodies_of_every_size_come_whole_both_ways() {
    let origin = Automatic::start(None);
    let world = world(one_worker(), origin.port);
    let client = Client::clear(world.port.address());
    for size in [0usize, 1, 16_384, 100_000, 3_000_000] {
        let body: Vec<u8> = (0..size).map(|index| (index * 31 % 251) as u8).collect();
        for with_length in [false, true] {
            let mut asked = request(Method::POST, "/echo");
            if with_length {
                asked.headers_mut().insert("content-length", size.into());
            }
            let sent = (size > 0).then(|| body.clone());
            let answer = client.call(asked, sent).unwrap();
            assert_eq!(answer.head.status(), 200);
            assert!(answer.body.ends_with(&body), "{size} {with_length}");
            let length: usize = answer.head.headers()["x-body"].to_str().unwrap().parse().unwrap();
            assert_eq!(length, answer.body.len());
        }
    }
    world.settled(10);
}

#[test]
fn trailers_pass_both_ways() {
    let origin = Automatic::start(None);
    let world = world(one_worker(), origin.port);
    let client = Client::clear(world.port.address());
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().unwrap());
    let body = vec![b'x'; 200_000];
    let answer = client
        .call_with(
            request(Method::POST, "/trailers"),
            Some(body.clone()),
            Some(trailers),
        )
        .unwrap();
    assert!(answer.body == body);
    let trailers = answer.trailers.unwrap();
    assert_eq!(trailers["grpc-status"], "7");
    assert_eq!(trailers["x-sum"], "42", "the request's came to the instance");
    assert!(!answer.head.headers().contains_key("transfer-encoding"));
}

#[test]
fn an_answer_without_a_body_ends_with_its_head() {
    let origin = Automatic::start(None);
    let world = world(one_worker(), origin.port);
    let client = Client::clear(world.port.address());
    let answer = client.call(request(Method::HEAD, "/size/1000"), None).unwrap();
    assert_eq!(answer.head.headers()["content-length"], "1000");
    assert!(answer.body.is_empty());
    let answer = client.call(request(Method::GET, "/size/0"), None).unwrap();
    assert!(answer.body.is_empty());
    // Until the end of the connection.
    let answer = client.call(request(Method::GET, "/close"), None).unwrap();
    assert_eq!(answer.body, b"until the end");
    assert!(!answer.head.headers().contains_key("connection"));
    world.settled(3);
}

#[test]
fn many_requests_go_at_once() {
    let origin = Automatic::start(None);
    let world = world(one_worker(), origin.port);
    let client = Client::clear(world.port.address());
    let answers = client.runtime.block_on(async {
        let calls = (0..300).map(|index| {
            let body = vec![b'a' + (index % 26) as u8; 1 + index * 37];
            let asked = request(Method::POST, &format!("/echo?{index}"));
            call(client.send.clone(), asked, Some(body), None)
        });
        futures_util::future::join_all(calls).await
    });
    for (index, answer) in answers.into_iter().enumerate() {
        let answer = answer.unwrap();
        let head = format!("POST /echo?{index} HTTP/1.1\r\n");
        assert!(answer.body.starts_with(head.as_bytes()));
        let own = vec![b'a' + (index % 26) as u8; 1 + index * 37];
        assert!(answer.body.ends_with(&own), "{index}");
    }
    world.settled(300);
}

#[test]
fn an_answer_that_is_not_complete_ends_with_a_reset() {
    let origin = Automatic::start(None);
    let world = world(one_worker(), origin.port);
    let client = Client::clear(world.port.address());
    let error = client.call(request(Method::GET, "/cut"), None).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{error}");
    assert_eq!(errors(&world.settled(1)), [("response_closed", 1)]);
    // The connection goes on.
    let answer = client.call(request(Method::GET, "/echo"), None).unwrap();
    assert_eq!(answer.head.status(), 200);
}

#[test]
fn an_answer_may_come_before_the_end_of_the_request() {
    let origin = Automatic::start(None);
    let world = world(one_worker(), origin.port);
    let client = Client::clear(world.port.address());
    let send = client.send.clone();
    client.runtime.block_on(async {
        let mut send = send.ready().await.unwrap();
        let (response, mut stream) = send.send_request(request(Method::POST, "/early"), false).unwrap();
        stream.send_data(Bytes::from_static(b"some"), false).unwrap();
        let answer = response.await.unwrap();
        assert_eq!(answer.status(), 403);
        let reason = poll_fn(|task| stream.poll_reset(task)).await.unwrap();
        assert_eq!(reason, Reason::NO_ERROR);
    });
    assert_eq!(
        client
            .call(request(Method::GET, "/echo"), None)
            .unwrap()
            .head
            .status(),
        200
    );
}

#[test]
fn a_request_that_is_taken_back_is_ended_at_the_instance() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let client = Client::clear(world.port.address());
    let send = client.send.clone();
    let (response, mut stream) = client
        .runtime
        .block_on(async {
            let mut send = send.ready().await.unwrap();
            send.send_request(request(Method::GET, "/slow"), false)
        })
        .unwrap();
    let mut instance = origin.accept();
    instance.head();
    stream.send_reset(Reason::CANCEL);
    drop(response);
    instance.rest_or_reset();
    assert_eq!(errors(&world.settled(1)), [("client_aborted", 1)]);
}

#[test]
fn errors_of_ours_come_as_answers() {
    let config = Config {
        limits: Limits {
            body_bytes_max: Some(10),
            ..Limits::default()
        },
        ..one_worker()
    };
    let origin = Automatic::start(None);
    let world = world(config, origin.port);
    let client = Client::clear(world.port.address());
    let mut asked = request(Method::POST, "/echo");
    asked.headers_mut().insert("content-length", 11.into());
    let answer = client.call(asked, Some(vec![b'x'; 11])).unwrap();
    assert_eq!(answer.head.status(), 413);
    assert!(answer.body.starts_with(b"413"));
    let connect = Request::builder()
        .method(Method::CONNECT)
        .uri("a.test:443")
        .body(())
        .unwrap();
    assert_eq!(client.call(connect, None).unwrap().head.status(), 405);
    world.apply(vec![gateway("g", Some(world.port.number), vec![])]);
    assert_eq!(
        client
            .call(request(Method::GET, "/"), None)
            .unwrap()
            .head
            .status(),
        503
    );
    assert_eq!(origin.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn routing_follows_the_newest_table_within_a_connection() {
    let (one, other) = (Automatic::start(None), Automatic::start(None));
    let world = world(one_worker(), one.port);
    let client = Client::clear(world.port.address());
    client.call(request(Method::GET, "/echo"), None).unwrap();
    world.apply_routes(vec![route("r", 100, vec![instance("j", other.port)])]);
    client.call(request(Method::GET, "/echo"), None).unwrap();
    assert_eq!(one.requests.load(Ordering::SeqCst), 1);
    assert_eq!(other.requests.load(Ordering::SeqCst), 1);
}

#[test]
fn leave_is_taken_when_the_last_answer_is_sent() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let client = Client::clear(world.port.address());
    let send = client.send.clone();
    let response = client
        .runtime
        .block_on(async {
            let mut send = send.ready().await.unwrap();
            send.send_request(request(Method::GET, "/"), true)
        })
        .unwrap()
        .0;
    let mut instance = origin.accept();
    instance.head();
    let leaving = std::thread::scope(|scope| {
        let leaving = scope.spawn(|| world.shutdown(Duration::from_secs(10)));
        // GOAWAY comes while the request is under way.
        client.runtime.block_on(async {
            let mut send = client.send.clone();
            tokio::time::timeout(Duration::from_secs(5), async {
                loop {
                    match send.clone().ready().await {
                        Ok(ready) => send = ready,
                        Err(_) => return,
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await
            .expect("no new requests are taken");
        });
        instance.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let answer = client.runtime.block_on(response).unwrap();
        assert_eq!(answer.status(), 200);
        leaving.join().unwrap()
    });
    assert_eq!(leaving, 0, "nothing was cut");
    client.runtime.block_on(client.ended).unwrap().unwrap();
}

#[test]
fn a_connection_without_requests_is_not_kept_for_ever() {
    let origin = Automatic::start(None);
    let world = world(impatient(), origin.port);
    let client = Client::clear(world.port.address());
    client.call(request(Method::GET, "/echo"), None).unwrap();
    let ended = client
        .runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(10), client.ended).await });
    ended.expect("it ends").unwrap().unwrap();
    eventually("it is gone", || world.metric("weir_connections_open", "") == 0.0);
}

#[test]
fn a_route_without_instances_is_answered_over_tls_too() {
    let authority = Authority::new();
    let world = World::empty(one_worker());
    let gateways = vec![with_tls(
        gateway("g", Some(world.port.number), vec![route("r", 100, vec![])]),
        vec![authority.issue(&["a.test"])],
    )];
    assert_eq!(apply(&world.proxy, 1, gateways), Vec::new());
    let client = Client::encrypted(world.port.address(), &authority);
    let answer = client.call(request(Method::GET, "/"), None).unwrap();
    assert_eq!(answer.head.status(), 503);
}

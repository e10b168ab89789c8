//! Records to Elasticsearch: a stand-in that accepts, refuses, stalls and dies, in clear and by TLS.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes as Body,
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse as _, Response},
    routing::{get as answer_get, post, put},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use weir_agent::{Agent, Config, ElasticsearchAccess, Secret, Shipping};
use weir_proxy::{AccessLog, LogFormat, LogOutput};

use super::{DRAIN, asked, common::*, config, memory};

/// What the stand-in does next.
const ACCEPTS: u8 = 0;
const REFUSES: u8 = 1;
const STALLS: u8 = 2;
/// It stores what it is sent, and its answer never comes.
const IS_LOST: u8 = 3;
const DENIES: u8 = 4;

/// Name and password `elastic:pw`.
const BASIC: &str = "Basic ZWxhc3RpYzpwdw==";

#[derive(Clone)]
struct Elasticsearch {
    version: &'static str,
    credentials: &'static str,
    mode: Arc<AtomicU8>,
    /// Documents by their ids.
    stored: Arc<Mutex<BTreeMap<String, Value>>>,
    /// Documents that were accepted, one that came twice counted twice.
    received: Arc<AtomicUsize>,
    templates: Arc<Mutex<Vec<Value>>>,
}

/// Ends with its connections when this is dropped, as a process that is killed.
struct Server {
    runtime: Option<Runtime>,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Secured(tokio::net::TcpListener, TlsAcceptor);

impl axum::serve::Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, peer)) = self.0.accept().await else {
                continue;
            };
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Elasticsearch {
    fn new(version: &'static str, credentials: &'static str) -> Self {
        Self {
            version,
            credentials,
            mode: Arc::default(),
            stored: Arc::default(),
            received: Arc::default(),
            templates: Arc::default(),
        }
    }

    async fn bulk(State(this): State<Self>, headers: HeaderMap, body: Body) -> Response {
        assert_eq!(headers[AUTHORIZATION], this.credentials);
        let mode = this.mode.load(Ordering::SeqCst);
        match mode {
            REFUSES => return StatusCode::TOO_MANY_REQUESTS.into_response(),
            DENIES => return StatusCode::UNAUTHORIZED.into_response(),
            STALLS => std::future::pending().await,
            _ => {}
        }
        let lines: Vec<Value> = std::str::from_utf8(&body)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let mut items = Vec::new();
        for pair in lines.chunks(2) {
            let action = &pair[0]["index"];
            assert!(
                action["_index"].as_str().unwrap().starts_with("vamp-vga-2"),
                "{action}"
            );
            let is_old = this.version.starts_with('5');
            assert_eq!(action["_type"], if is_old { json!("log") } else { Value::Null });
            let id = action["_id"].as_str().unwrap().to_owned();
            this.stored.lock().unwrap().insert(id, pair[1].clone());
            this.received.fetch_add(1, Ordering::SeqCst);
            items.push(json!({"index": {"status": 201}}));
        }
        if mode == IS_LOST {
            std::future::pending().await
        }
        axum::Json(json!({"errors": false, "items": items})).into_response()
    }

    /// Serves at a port; port 0: any.
    async fn serve(&self, port: u16, tls: Option<TlsAcceptor>) -> Server {
        let listener = eventually("its port", async || TcpListener::bind(("127.0.0.1", port)).ok()).await;
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let templates = Arc::clone(&self.templates);
        let version = self.version;
        let router = Router::new()
            .route(
                "/",
                answer_get(async move || axum::Json(json!({"version": {"number": version}}))),
            )
            .route("/_bulk", post(Self::bulk))
            .route(
                "/_template/vamp-vga",
                put(async move |body: Body| {
                    let template = serde_json::from_slice(&body).unwrap();
                    templates.lock().unwrap().push(template);
                }),
            )
            .with_state(self.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            match tls {
                None => axum::serve(listener, router).await,
                Some(tls) => axum::serve(Secured(listener, tls), router).await,
            }
        });
        Server {
            runtime: Some(runtime),
            address,
        }
    }

    fn stored(&self) -> usize {
        self.stored.lock().unwrap().len()
    }

    fn does(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    /// Waits until it holds so many documents.
    async fn holds(&self, expected: usize) {
        eventually("all is stored", async || {
            (self.stored() >= expected).then_some(())
        })
        .await;
        assert_eq!(self.stored(), expected, "nothing twice");
    }
}

/// The settings of an agent that ships.
fn shipping(store: &Arc<dyn weir_store::Store>, folder: &Path, shipping: Shipping) -> Config {
    let mut config = config(store, folder);
    let mut log = AccessLog::new(LogFormat::Json, LogOutput::Nowhere);
    log.tap = Some(shipping.tap());
    config.proxy.access_log = Some(log);
    config.shipping = Some(shipping);
    config
}

async fn figure(agent: &Agent, name: &str) -> u64 {
    let metrics = asked(agent.admin_address(), "/metrics", "").await.2;
    let name = format!("weir_elasticsearch_{name} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{name} in {metrics}"))
        .parse()
        .unwrap()
}

/// Sends requests; each has two records, of the gateway and of the route.
async fn requests(port: u16, count: usize) -> usize {
    for _ in 0..count {
        let begun = Instant::now();
        assert_eq!(served(port).await.as_deref(), Some("blue"));
        assert!(begun.elapsed() < Duration::from_secs(2), "traffic does not wait");
    }
    2 * count
}

#[tokio::test]
async fn records_reach_elasticsearch_whatever_it_does() {
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    let blue = origin("blue").await;
    let elasticsearch = Elasticsearch::new("5.1.1", BASIC);
    let server = elasticsearch.serve(0, None).await;
    let address = server.address;
    let to = Shipping::new(&format!("http://elastic:pw@{address}")).unwrap();
    let agent = Agent::start(shipping(&store, folder.path(), to)).await.unwrap();
    publish(&*store, &snapshot(1, vec![gateway("shop", port, blue)])).await;
    serves(port, "blue").await;
    // Whatever was answered while it came up was logged too.
    eventually("the first records", async || {
        (elasticsearch.stored() >= 2).then_some(())
    })
    .await;
    let document = {
        let stored = elasticsearch.stored.lock().unwrap();
        stored.values().next().unwrap().clone()
    };
    assert_eq!((&document["type"], &document["ST"]), (&"log".into(), &200.into()));
    assert!(
        document["@timestamp"].as_str().unwrap().ends_with('Z'),
        "{document}"
    );
    assert!(
        document["ft"].is_string() && document["Tt"].is_u64(),
        "{document}"
    );
    let template = elasticsearch.templates.lock().unwrap()[0].clone();
    assert_eq!(template["template"], "vamp-vga-*");

    let mut expected = elasticsearch.stored();
    elasticsearch.does(REFUSES);
    expected += requests(port, 20).await;
    eventually("a failure is counted", async || {
        (figure(&agent, "failures_total").await > 0).then_some(())
    })
    .await;
    assert!(elasticsearch.stored() < expected);
    elasticsearch.does(ACCEPTS);
    elasticsearch.holds(expected).await;

    // It is killed with requests under way: one that it did not look at, one that it stored and did not answer.
    let mut server = server;
    for mode in [STALLS, IS_LOST] {
        elasticsearch.does(mode);
        expected += requests(port, 20).await;
        if mode == IS_LOST {
            elasticsearch.holds(expected).await;
        }
        drop(server);
        eventually("it is away", async || {
            (figure(&agent, "up").await == 0).then_some(())
        })
        .await;
        elasticsearch.does(ACCEPTS);
        server = elasticsearch.serve(address.port(), None).await;
        expected += requests(port, 1).await;
        elasticsearch.holds(expected).await;
    }
    let received = elasticsearch.received.load(Ordering::SeqCst);
    assert!(received > expected, "what was not confirmed came again");
    eventually("all is told", async || {
        let told = figure(&agent, "stored_total").await == expected as u64;
        (told && figure(&agent, "dropped_total").await == 0).then_some(())
    })
    .await;
    assert_eq!(figure(&agent, "waiting_bytes").await, 0);
    // The last records go out with the agent.
    expected += requests(port, 1).await;
    agent.shutdown(DRAIN).await;
    assert_eq!(elasticsearch.stored(), expected);
}

#[tokio::test]
async fn what_has_no_room_is_dropped_and_counted() {
    const REQUESTS: usize = 2_600;
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    let blue = origin("blue").await;
    let elasticsearch = Elasticsearch::new("8.1.0", BASIC);
    let server = elasticsearch.serve(0, None).await;
    let to = Shipping::new(&format!("http://elastic:pw@{}", server.address)).unwrap();
    let agent = Agent::start(shipping(&store, folder.path(), to)).await.unwrap();
    publish(&*store, &snapshot(1, vec![gateway("shop", port, blue)])).await;
    serves(port, "blue").await;
    eventually("the first records", async || {
        (elasticsearch.stored() >= 2).then_some(())
    })
    .await;
    let before = elasticsearch.stored();
    elasticsearch.does(REFUSES);
    // Each with two records of more than 4 KiB: 16 MiB are not enough.
    let request = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(4_050));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    for _ in 0..REQUESTS {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nblue") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
    }
    eventually("some are dropped", async || {
        (figure(&agent, "dropped_total").await > 0).then_some(())
    })
    .await;
    assert!(figure(&agent, "waiting_bytes").await <= 16 * 1024 * 1024);
    elasticsearch.does(ACCEPTS);
    let sent = (before + 2 * REQUESTS) as u64;
    eventually("the rest is stored, and the sum is right", async || {
        let stored = figure(&agent, "stored_total").await;
        let dropped = figure(&agent, "dropped_total").await;
        (stored + dropped == sent && stored == elasticsearch.stored() as u64).then_some(())
    })
    .await;
    assert_eq!(figure(&agent, "refused_total").await, 0);
    assert!(elasticsearch.stored() > 2_000, "{}", elasticsearch.stored());
    agent.shutdown(DRAIN).await;
}

/// A certificate for `localhost` in a folder, and who serves with it.
fn certified(folder: &Path, name: &str) -> (std::path::PathBuf, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (path, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn elasticsearch_is_spoken_to_by_tls_with_an_api_key_and_trusted_by_its_certificate() {
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    let (authority, acceptor) = certified(folder.path(), "ca.pem");
    let (stranger, _) = certified(folder.path(), "stranger.pem");
    let elasticsearch = Elasticsearch::new("8.1.0", "ApiKey aWQ6a2V5");
    let server = elasticsearch.serve(0, Some(acceptor)).await;
    let url = format!("https://localhost:{}", server.address.port());
    let blue = origin("blue").await;
    publish(&*store, &snapshot(1, vec![gateway("shop", port, blue)])).await;
    let start = async |authority: std::path::PathBuf, data: &str| {
        let access = ElasticsearchAccess {
            authority: Some(authority),
            api_key: Some(Secret::new("id:key")),
        };
        let to = Shipping::with_access(&url, &access).unwrap();
        let config = shipping(&store, &folder.path().join(data), to);
        let agent = Agent::start(config).await.unwrap();
        serves(port, "blue").await;
        agent
    };
    // Who trusts another does not send it anything, and serves.
    let agent = start(stranger, "a").await;
    eventually("it is refused", async || {
        (figure(&agent, "failures_total").await > 0).then_some(())
    })
    .await;
    assert_eq!((figure(&agent, "up").await, elasticsearch.stored()), (0, 0));
    agent.shutdown(DRAIN).await;

    let agent = start(authority, "b").await;
    eventually("records", async || (elasticsearch.stored() >= 2).then_some(())).await;
    let template = elasticsearch.templates.lock().unwrap()[0].clone();
    assert_eq!(template["index_patterns"], json!(["vamp-vga-*"]));
    // A key that is not taken any more: records wait until it is.
    let mut expected = elasticsearch.stored();
    elasticsearch.does(DENIES);
    expected += requests(port, 3).await;
    eventually("a failure", async || {
        (figure(&agent, "failures_total").await > 0).then_some(())
    })
    .await;
    elasticsearch.does(ACCEPTS);
    elasticsearch.holds(expected).await;
    assert_eq!(figure(&agent, "refused_total").await, 0);
    agent.shutdown(DRAIN).await;
}

//! What is around an agent: who may ask it, where its records go, names, faults of disk and store.
#![allow(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "other suites use the rest")]
#[path = "../common/mod.rs"]
mod common;
mod names;
mod pages;
mod ship;

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    PREFIX, acknowledged, eventually, free_port, gateway, origin, publish, served, serves, snapshot, status,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
};
use weir_agent::{AdminTls, Agent, Config, Secret};
use weir_store::{Store, memory::Memory};

const DRAIN: Duration = Duration::from_secs(5);

fn config(store: &Arc<dyn Store>, data_dir: &Path) -> Config {
    let mut config = Config::new(Arc::clone(store), data_dir);
    config.prefix = PREFIX.to_owned();
    config.admin = "127.0.0.1:0".parse().unwrap();
    config.proxy.workers = 1;
    config.lease_ttl = Duration::from_millis(900);
    config
}

fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::new())
}

/// Status, head and body.
async fn ask<S>(mut stream: S, path: &str, headers: &str) -> (u16, String, String)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A TLS stream may end without its last word.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

async fn asked(address: SocketAddr, path: &str, headers: &str) -> (u16, String, String) {
    ask(TcpStream::connect(address).await.unwrap(), path, headers).await
}

#[tokio::test]
async fn the_admin_listener_asks_for_its_token_and_the_socket_does_not() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let socket = folder.path().join("admin.sock");
    // What a run before left behind is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut config = config(&store, &folder.path().join("data"));
    config.admin_token = Some(Secret::new("t0ken"));
    config.statistics = Some(("haproxy".to_owned(), Secret::new("secret")));
    config.admin_socket = Some(socket.clone());
    let agent = Agent::start(config).await.unwrap();
    let admin = agent.admin_address();
    let bearer = "Authorization: Bearer t0ken\r\n";
    assert_eq!(asked(admin, "/health", "").await.0, 200);
    for path in [
        "/frames",
        "/frames?since=0",
        "/metrics",
        "/status",
        "/stats",
        "/",
        "/stats.html",
    ] {
        let (code, head, _) = asked(admin, path, "").await;
        assert_eq!(code, 401, "{path}");
        assert!(head.to_lowercase().contains("www-authenticate: basic"), "{head}");
        assert_eq!(asked(admin, path, bearer).await.0, 200, "{path}");
    }
    // haproxy:secret
    let basic = "Authorization: Basic aGFwcm94eTpzZWNyZXQ=\r\n";
    let (code, head, page) = asked(admin, "/", basic).await;
    assert_eq!(code, 200);
    assert!(
        head.contains("text/html") && page.contains("Weir agent"),
        "{head}{page}"
    );
    assert_eq!(asked(admin, "/frames", basic).await.0, 401);
    assert_eq!(asked(admin, "/frames?since=soon", bearer).await.0, 400);
    let local = UnixStream::connect(&socket).await.unwrap();
    assert_eq!(ask(local, "/frames", "").await.0, 200);
    agent.shutdown(DRAIN).await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn the_admin_listener_speaks_tls() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut config = config(&store, &folder.path().join("data"));
    config.admin_tls = Some(AdminTls { certificate, key });
    let agent = Agent::start(config).await.unwrap();
    let told = acknowledged(&store, "a sign of life", |_| true).await;
    assert_eq!(told.admin, Some(format!("https://{}", agent.admin_address())));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A client that never begins its handshake keeps nobody waiting.
    let _idle = TcpStream::connect(agent.admin_address()).await.unwrap();
    let stream = TcpStream::connect(agent.admin_address()).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(client))
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    assert_eq!(ask(stream, "/status", "").await.0, 200);
    agent.shutdown(DRAIN).await;
}

#[tokio::test]
async fn frames_since_a_time_are_those_that_were_missed_and_now() {
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    let agent = Agent::start(config(&store, folder.path())).await.unwrap();
    let blue = origin("blue").await;
    publish(&*store, &snapshot(1, vec![gateway("shop", port, blue)])).await;
    serves(port, "blue").await;
    let frames = async |since: u64| {
        let (_, _, body) = asked(agent.admin_address(), &format!("/frames?since={since}"), "").await;
        let frames: Vec<weir_model::Frame> = serde_json::from_str(&body).unwrap();
        frames
    };
    let first = frames(0).await.pop().unwrap();
    assert_eq!(first.stale_ms, Some(0));
    // Nobody asks for a while.
    eventually("time passes", async || {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        (now.as_millis() > u128::from(first.at_ms) + 3_300).then_some(())
    })
    .await;
    let missed = frames(first.at_ms).await;
    assert!((3..=5).contains(&missed.len()), "{}", missed.len());
    assert!(missed.iter().all(|frame| frame.at_ms > first.at_ms));
    assert!(missed.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms));
    assert!(
        missed
            .iter()
            .all(|frame| frame.started_at_ms == first.started_at_ms)
    );
    // Cumulative: nothing is lost with a frame.
    assert!(missed.last().unwrap().gateways[0].requests >= first.gateways[0].requests);
    let (_, _, shown) = asked(agent.admin_address(), "/stats", "").await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["gateways"][0]["listener"], format!("127.0.0.1:{port}"));
    assert!(shown["window_s"].as_f64().unwrap() > 0.5, "{shown}");
    agent.shutdown(DRAIN).await;
}

#[tokio::test]
async fn a_disk_that_is_full_or_cannot_be_written_stops_nothing() {
    let (store, port) = (memory(), free_port());
    let (blue, green) = (origin("blue").await, origin("green").await);
    // Full from the start: every file that is written ends in a device without room.
    let folder = tempfile::tempdir().unwrap();
    for name in ["last-good.json.new", "agent-id.new"] {
        std::os::unix::fs::symlink("/dev/full", folder.path().join(name)).unwrap();
    }
    let agent = Agent::start(config(&store, folder.path())).await.unwrap();
    publish(&*store, &snapshot(1, vec![gateway("shop", port, blue)])).await;
    serves(port, "blue").await;
    eventually("it is told", async || {
        let metrics = asked(agent.admin_address(), "/metrics", "").await.2;
        (metrics.contains("\nweir_agent_last_good_unsaved 1\n")
            && metrics.contains("\nweir_agent_data_folder_faulty 1\n"))
        .then_some(())
    })
    .await;
    publish(&*store, &snapshot(2, vec![gateway("shop", port, green)])).await;
    serves(port, "green").await;
    // There is room again: the copy is made without a change.
    std::fs::remove_file(folder.path().join("last-good.json.new")).unwrap();
    eventually("it is saved", async || {
        let metrics = asked(agent.admin_address(), "/metrics", "").await.2;
        let is_saved = metrics.contains("\nweir_agent_last_good_unsaved 0\n");
        (is_saved && folder.path().join("last-good.json").exists()).then_some(())
    })
    .await;
    agent.shutdown(DRAIN).await;

    // A folder that cannot be: a file is in its place.
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let agent = Agent::start(config(&store, &file)).await.unwrap();
    serves(port, "green").await;
    let problem = status(agent.admin_address()).await["last_good_problem"].clone();
    assert!(
        problem.as_str().is_some_and(|problem| !problem.is_empty()),
        "{problem}"
    );
    agent.shutdown(DRAIN).await;
}

/// A store that accepts connections and never says anything: what a cut cable looks like.
#[tokio::test]
async fn a_silent_store_is_seen_within_two_seconds() {
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let shutdown = tokio_util::sync::CancellationToken::new();
    tokio::spawn(weir_store::remote::serve(
        listener,
        Arc::clone(&store),
        shutdown.clone(),
    ));
    // A relay that can stop to pass anything on, without closing.
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let (hole, holes) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        while let Ok((client, _)) = relay.accept().await {
            let mut holes = holes.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(upstream).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let there = tokio::io::copy(&mut from_client, &mut to_server);
                let back = tokio::io::copy(&mut from_server, &mut to_client);
                tokio::select! {
                    _ = there => {}
                    _ = back => {}
                    _ = holes.wait_for(|hole| *hole) => {}
                }
                let _ = holes.wait_for(|hole| !*hole).await;
            });
        }
    });
    let far: Arc<dyn Store> = Arc::new(weir_store::remote::Remote::lazy(address.to_string()));
    let agent = Agent::start(config(&far, folder.path())).await.unwrap();
    publish(
        &*store,
        &snapshot(1, vec![gateway("shop", port, origin("blue").await)]),
    )
    .await;
    serves(port, "blue").await;
    eventually("it is fresh", async || {
        (status(agent.admin_address()).await["stale_ms"] == 0).then_some(())
    })
    .await;
    hole.send(true).unwrap();
    let begun = Instant::now();
    eventually("it is stale", async || {
        (status(agent.admin_address()).await["stale_ms"] != 0).then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let metrics = asked(agent.admin_address(), "/metrics", "").await.2;
    assert!(
        !metrics.contains("\nweir_store_stale_seconds 0.000\n"),
        "{metrics}"
    );
    assert_eq!(served(port).await.as_deref(), Some("blue"));
    hole.send(false).unwrap();
    eventually("it is fresh again", async || {
        (status(agent.admin_address()).await["stale_ms"] == 0).then_some(())
    })
    .await;
    agent.shutdown(DRAIN).await;
    shutdown.cancel();
}

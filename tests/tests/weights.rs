//! The whole path of a weight: API, storage, snapshot, embedded store, agent, every worker.
//!
//! Prints how long it took until every worker served the new share; asserts that each change arrived everywhere
//! and that no request failed, never how long it took.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it expects, a measurement what it saw"
)]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use weir_control::Control;
use weir_store::{Store, embedded::Embedded};

const WORKERS: usize = 4;
/// Connections that are kept all along: so many that every worker has some (checked).
const CONNECTIONS: usize = 48;
const CHANGES: usize = 60;
const PATIENCE: Duration = Duration::from_secs(10);

/// An origin that answers every request with one letter.
async fn origin(letter: char) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{letter}");
                // A small request arrives in one piece on loopback.
                while let Ok(1..) = stream.read(&mut buffer).await {
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// One request on a kept connection: the letter that answered.
async fn ask(stream: &mut TcpStream) -> char {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the gateway closed a connection");
        answer.extend_from_slice(&buffer[..read]);
        if let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n")
            && answer.len() > head + 4
        {
            assert!(
                answer.starts_with(b"HTTP/1.1 200"),
                "{}",
                String::from_utf8_lossy(&answer)
            );
            return char::from(answer[head + 4]);
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weight_reaches_every_worker() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Embedded::open(&folder.path().join("store.redb")).unwrap());
    let mut config = weir_control::Config::new(folder.path().join("control"), Arc::clone(&store));
    config.listen = "127.0.0.1:0".parse().unwrap();
    let control = Control::start(config).await.unwrap();
    let mut config = weir_agent::Config::new(Arc::clone(&store), folder.path().join("agent"));
    config.admin = "127.0.0.1:0".parse().unwrap();
    config.proxy.workers = WORKERS;
    let agent = weir_agent::Agent::start(config).await.unwrap();

    let (a, b) = (origin('a').await, origin('b').await);
    let port = free_port();
    let api = format!("http://{}/api/v1/gateways/shop", control.address());
    let client = reqwest::Client::new();
    let put = async |percent_a: u32| {
        let body = format!(
            "name: shop\nport: {port}\nroutes:\n  '[{a}]': {{weight: {percent_a}%}}\n  '[{b}]': {{weight: {}%}}\n",
            100 - percent_a
        );
        let request = client
            .put(&api)
            .header("content-type", "application/x-yaml")
            .body(body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };

    put(100).await;
    let deadline = Instant::now() + PATIENCE;
    let mut connections = Vec::new();
    while connections.len() < CONNECTIONS {
        assert!(Instant::now() < deadline, "the gateway does not open");
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => {
                stream.set_nodelay(true).unwrap();
                connections.push(stream);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    for stream in &mut connections {
        assert_eq!(ask(stream).await, 'a');
    }

    let mut took = Vec::new();
    for change in 0..CHANGES {
        let (percent, expected) = if change % 2 == 0 { (0, 'b') } else { (100, 'a') };
        let began = Instant::now();
        put(percent).await;
        let deadline = began + PATIENCE;
        for stream in &mut connections {
            while ask(stream).await != expected {
                assert!(
                    Instant::now() < deadline,
                    "change {change} did not reach every worker"
                );
            }
        }
        took.push(began.elapsed());
    }
    took.sort();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    println!(
        "from the API call to {CONNECTIONS} connections on {WORKERS} workers, {CHANGES} changes: \
         median {:?}, 99th percentile {:?}, worst {:?}",
        at(50),
        at(99),
        took[took.len() - 1]
    );

    let frame = agent.proxy().frame();
    let shop = frame
        .gateways
        .iter()
        .find(|gateway| gateway.name.as_str() == "shop")
        .unwrap();
    assert_eq!(shop.unrouted, 0);
    for route in &shop.routes {
        assert!(route.outcomes.errors.is_empty(), "{:?}", route.outcomes.errors);
        assert_eq!(
            route.outcomes.classes[1], route.requests,
            "every request was answered with 200"
        );
    }
    drop(connections);
    agent.shutdown(Duration::from_secs(2)).await;
    control.shutdown().await;
}

use tokio::net::TcpListener;

use super::*;

const HOST: &str = "127.0.0.1";

/// Answers every connection with these bytes and closes it.
async fn answering(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0_u8; 1_024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    port
}

/// Accepts connections and says nothing.
async fn silent() -> u16 {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    port
}

fn check(target: Target, port: u16) -> Check {
    Check {
        target,
        timeout: Duration::from_millis(300),
        ..Check::default_of(port)
    }
}

async fn http(port: u16) -> bool {
    check(Target::Http("/health".to_owned()), port).passes(HOST).await
}

#[tokio::test]
async fn http_passes_from_200_to_399() {
    assert!(http(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await).await);
    assert!(http(answering(b"HTTP/1.0 399 Odd\r\n\r\n").await).await);
    assert!(http(answering(b"HTTP/1.1 204\r\n\r\n").await).await);
    assert!(!http(answering(b"HTTP/1.1 199 Odd\r\n\r\n").await).await);
    assert!(!http(answering(b"HTTP/1.1 404 Not Found\r\n\r\n").await).await);
    assert!(!http(answering(b"HTTP/1.1 503 Busy\r\n\r\n").await).await);
}

#[tokio::test]
async fn what_is_not_http_fails() {
    assert!(!http(answering(b"").await).await);
    assert!(!http(answering(b"SSH-2.0-x\r\n").await).await);
    assert!(!http(answering(b"HTTP/1.1 20x OK\r\n").await).await);
    assert!(!http(answering(b"HTTP/1.1 +20 OK\r\n").await).await);
    assert!(!http(answering(&[0xff; 4_096]).await).await);
    assert!(!http(silent().await).await);
}

#[tokio::test]
async fn tcp_passes_when_it_is_accepted() {
    assert!(check(Target::Tcp, silent().await).passes(HOST).await);
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(!check(Target::Tcp, port).passes(HOST).await);
}

#[tokio::test]
async fn behind_a_proxy_what_is_closed_at_once_fails() {
    assert!(check(Target::TcpBehindProxy, silent().await).passes(HOST).await);
    let greeting = check(Target::TcpBehindProxy, answering(b"220 ready\r\n").await);
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    assert!(!check(Target::TcpBehindProxy, port).passes(HOST).await);
    assert!(check(Target::Tcp, port).passes(HOST).await);
    // One that answers only after a request is open until then.
    assert!(greeting.passes(HOST).await);
}

#[test]
fn failures_count_in_a_row() {
    use InstanceHealth::{Healthy, Unhealthy, Unknown};
    let strict = Check {
        failures: 2,
        strict: true,
        ..Check::default_of(1)
    };
    let mut judge = Judge::new(&strict);
    let heard: Vec<InstanceHealth> = [false, true, false, true, false, false, false, true]
        .map(|passes| judge.heard(passes))
        .into();
    assert_eq!(
        heard,
        [
            Unknown, Healthy, Healthy, Healthy, Healthy, Unhealthy, Unhealthy, Healthy
        ]
    );

    let patient = Check {
        failures: 2,
        ..Check::default_of(1)
    };
    let mut judge = Judge::new(&patient);
    let heard: Vec<InstanceHealth> = [false, false, false, true, false, false]
        .map(|passes| judge.heard(passes))
        .into();
    assert_eq!(
        heard,
        [Unknown, Unknown, Unknown, Healthy, Healthy, Unhealthy],
        "a slow start is no failure"
    );
}

#[test]
fn every_check_must_pass() {
    use InstanceHealth::{Healthy, Unhealthy, Unknown};
    assert_eq!(together(&[]), Healthy);
    assert_eq!(together(&[Healthy, Healthy]), Healthy);
    assert_eq!(together(&[Healthy, Unknown]), Unknown);
    assert_eq!(together(&[Unknown, Unhealthy, Healthy]), Unhealthy);
}

#[test]
fn a_plan_covers_every_port_or_the_checks_alone() {
    let ports = BTreeMap::from([("admin".to_owned(), 31_001), ("web".to_owned(), 31_000)]);
    let plan = Plan::new(HOST, &ports, &[]);
    assert_eq!(
        plan.checks.iter().map(|check| check.port).collect::<Vec<u16>>(),
        [31_001, 31_000]
    );
    assert_eq!(plan.before(), InstanceHealth::Unknown);
    let spec = HealthCheckSpec {
        protocol: HealthProtocol::Http,
        port: "web".to_owned(),
        path: "ready".to_owned(),
        initial_delay: Duration::ZERO,
        timeout: Duration::ZERO,
        interval: Duration::ZERO,
        failures: 0,
    };
    let plan = Plan::new(HOST, &ports, &[spec]);
    let [check] = plan.checks.as_slice() else {
        panic!("one check")
    };
    assert_eq!(
        (check.port, &check.target),
        (31_000, &Target::Http("/ready".to_owned()))
    );
    assert!(check.interval > Duration::ZERO && check.timeout > Duration::ZERO && check.failures == 1);
    assert_eq!(
        Plan::new(HOST, &BTreeMap::new(), &[]).before(),
        InstanceHealth::Healthy
    );
}

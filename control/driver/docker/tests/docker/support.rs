//! What the tests share.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;
use weir_driver::{
    ContainerDriver, InstanceHealth, InstanceSpec, InstanceState, InstanceStatus, Notice, NoticeKind,
    PortSpec,
};
use weir_driver_docker::{Config, DockerDriver, Endpoint};
use weir_test_docker::{Engine, image::SERVICE};

/// The image that every test's engine has.
pub(crate) const IMAGE: &str = "weir/service:1";
/// How long a test waits for something that should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Grace for instances that end when asked.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// An engine with the image.
pub(crate) fn engine() -> Option<Engine> {
    let engine = Engine::start(weir_test_docker::Options::default())?;
    engine.image(IMAGE, &[SERVICE, "serve", "1"]);
    Some(engine)
}

pub(crate) fn config(engine: &Engine) -> Config {
    Config::new(Endpoint::new(&engine.endpoint(), None).unwrap(), "test")
}

pub(crate) async fn open(engine: &Engine) -> DockerDriver {
    DockerDriver::open(config(engine)).await.unwrap()
}

/// A service on one port; other programs by `command`.
pub(crate) fn spec(name: &str) -> InstanceSpec {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    InstanceSpec {
        id: format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        labels: BTreeMap::from([("io.vamp.deployment".to_owned(), "shop".to_owned())]),
        deployable_type: "container/docker".to_owned(),
        definition: IMAGE.to_owned(),
        environment: BTreeMap::new(),
        ports: vec![PortSpec {
            name: "web".to_owned(),
            number: 8080,
        }],
        arguments: Vec::new(),
        cpu: 0.2,
        memory_mb: 32.0,
        network: None,
        working_directory: None,
        health_checks: Vec::new(),
        dialect: None,
    }
}

/// One that runs another program of the image, without ports.
pub(crate) fn program(name: &str, command: &str) -> InstanceSpec {
    InstanceSpec {
        arguments: vec![("command".to_owned(), format!("{SERVICE} {command}"))],
        ports: Vec::new(),
        ..spec(name)
    }
}

pub(crate) async fn find(driver: &DockerDriver, id: &str) -> Option<InstanceStatus> {
    let listed = driver.list().await.ok()?;
    listed.into_iter().find(|status| status.id == id)
}

/// Waits until the instance is as wanted.
pub(crate) async fn until(
    driver: &DockerDriver,
    id: &str,
    what: &str,
    is: impl Fn(&InstanceStatus) -> bool,
) -> InstanceStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = driver
            .list()
            .await
            .map(|all| all.into_iter().find(|status| status.id == id));
        match found {
            Ok(Some(status)) if is(&status) => return status,
            last => assert!(Instant::now() < deadline, "`{id}` is not {what}: {last:?}"),
        }
        tokio::time::sleep(POLL).await;
    }
}

pub(crate) async fn healthy(driver: &DockerDriver, id: &str) -> InstanceStatus {
    until(driver, id, "healthy", |status| {
        status.health == InstanceHealth::Healthy
    })
    .await
}

pub(crate) async fn exited(driver: &DockerDriver, id: &str) -> InstanceStatus {
    until(driver, id, "exited", |status| {
        matches!(status.state, InstanceState::Exited { .. })
    })
    .await
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, is: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// The next notice of a kind.
pub(crate) async fn notice(
    notices: &mut tokio::sync::broadcast::Receiver<Notice>,
    kind: NoticeKind,
) -> Notice {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let notice = tokio::time::timeout_at(deadline, notices.recv())
            .await
            .unwrap_or_else(|_| panic!("no notice of {kind:?}"))
            .unwrap();
        if notice.kind == kind {
            return notice;
        }
    }
}

/// `GET /` of an instance.
pub(crate) async fn get(status: &InstanceStatus) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let port = *status.ports.get("web").unwrap();
    let mut stream = tokio::net::TcpStream::connect((status.host.as_str(), port))
        .await
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

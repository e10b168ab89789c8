//! What goes wrong with engines and containers.

use std::time::Duration;

use serde_json::Value;
use weir_driver::{ContainerDriver, DriverError, InstanceSpec, InstanceState, NoticeKind};

use crate::support::{
    GRACE, IMAGE, engine, eventually, exited, find, get, healthy, notice, open, program, spec, until,
};

/// Removed, renamed, paused, stopped, started, copied by somebody else: seen without a poll, told where nobody else would
/// notice, and nothing is taken for another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_does_by_hand_is_seen() {
    let Some(engine) = engine() else { return };
    let driver = open(&engine).await;
    let mut notices = driver.notices();
    let (removed, renamed, stopped) = (spec("removed"), spec("renamed"), spec("stopped"));
    for spec in [&removed, &renamed, &stopped] {
        driver.start(spec.clone()).await.unwrap();
    }
    for spec in [&removed, &renamed, &stopped] {
        assert!(get(&healthy(&driver, &spec.id).await).await.contains("version 1"));
    }
    let container = |spec: &InstanceSpec| engine.container_of(&spec.id).unwrap();

    let mut changes = driver.changes();
    changes.mark_unchanged();
    engine.must(
        "DELETE",
        &format!("/containers/{}?force=1", container(&removed)),
        &Value::Null,
    );
    eventually("the removed one is not listed", async || {
        find(&driver, &removed.id).await.is_none()
    })
    .await;
    assert!(changes.has_changed().unwrap());
    let said = notice(&mut notices, NoticeKind::Interference).await;
    assert_eq!(said.instance.as_deref(), Some(removed.id.as_str()));
    assert_eq!(said.labels, removed.labels, "it says whose it was");
    driver.stop(&removed.id, GRACE).await.unwrap();

    let path = format!("/containers/{}/rename?name=somebody-elses", container(&renamed));
    engine.must("POST", &path, &Value::Null);
    let said = notice(&mut notices, NoticeKind::Interference).await;
    assert!(said.message.contains("somebody-elses"), "{}", said.message);
    assert_eq!(
        find(&driver, &renamed.id).await.unwrap().state,
        InstanceState::Running
    );
    // Its name is free, and a new instance of that id is still the old one.
    driver.start(renamed.clone()).await.unwrap();
    assert_eq!(driver.list().await.unwrap().len(), 2);

    let path = format!("/containers/{}/pause", container(&renamed));
    engine.must("POST", &path, &Value::Null);
    let paused = until(&driver, &renamed.id, "paused", |status| {
        status
            .message
            .as_deref()
            .is_some_and(|text| text.contains("paused"))
    })
    .await;
    assert_ne!(paused.health, weir_driver::InstanceHealth::Healthy);
    let path = format!("/containers/{}/unpause", container(&renamed));
    engine.must("POST", &path, &Value::Null);
    healthy(&driver, &renamed.id).await;

    let path = format!("/containers/{}/stop?t=2", container(&stopped));
    engine.must("POST", &path, &Value::Null);
    let status = exited(&driver, &stopped.id).await;
    assert_eq!(status.state, InstanceState::Exited { code: Some(0) });
    let path = format!("/containers/{}/start", container(&stopped));
    engine.must("POST", &path, &Value::Null);
    // The engine gives it another port: the driver says which.
    assert!(
        get(&healthy(&driver, &stopped.id).await)
            .await
            .contains("version 1")
    );

    // Somebody copies a container with all its labels: the first stays the instance, and a stop ends both.
    let mut copy = engine.must(
        "GET",
        &format!("/containers/{}/json", container(&stopped)),
        &Value::Null,
    );
    let first = container(&stopped);
    let config = copy.get_mut("Config").unwrap().take();
    let made = engine.must("POST", "/containers/create", &config);
    let second = made.get("Id").and_then(Value::as_str).unwrap().to_owned();
    engine.must("POST", &format!("/containers/{second}/start"), &Value::Null);
    let before = healthy(&driver, &stopped.id).await;
    assert!(get(&before).await.contains("version 1"));
    driver.stop(&stopped.id, GRACE).await.unwrap();
    driver.stop(&renamed.id, GRACE).await.unwrap();
    eventually("no container is left", async || engine.containers().is_empty()).await;
    assert_ne!(first, second);
}

/// What cannot be started is refused with its reason, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_says_why_and_leaves_nothing() {
    let Some(engine) = engine() else { return };
    let driver = open(&engine).await;
    let refused = async |spec: InstanceSpec| {
        let error = driver
            .start(spec.clone())
            .await
            .expect_err("it cannot be started");
        assert!(find(&driver, &spec.id).await.is_none(), "it is not listed");
        assert!(engine.container_of(&spec.id).is_none(), "no container is left");
        error
    };

    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut fixed = spec("fixed");
    fixed.ports[0].number = port;
    fixed.arguments = vec![("ports".to_owned(), "fixed".to_owned())];
    let error = refused(fixed.clone()).await;
    assert!(
        matches!(error, DriverError::PortTaken(number) if number == port),
        "{error:?}"
    );
    drop(taken);
    fixed.environment.insert("PORT_X".to_owned(), String::new());
    driver.start(fixed.clone()).await.unwrap();
    assert_eq!(
        healthy(&driver, &fixed.id).await.ports["web"],
        port,
        "the port is free now"
    );
    let mut second = spec("second");
    second.ports[0].number = port;
    second.arguments.clone_from(&fixed.arguments);
    let error = refused(second).await;
    assert!(
        matches!(error, DriverError::PortTaken(number) if number == port),
        "{error:?}"
    );
    driver.stop(&fixed.id, GRACE).await.unwrap();

    let mut wrong = spec("wrong");
    wrong.arguments = vec![("command".to_owned(), "/no-such-program".to_owned())];
    let error = refused(wrong).await;
    assert!(
        matches!(&error, DriverError::Definition(text) if text.contains("/no-such-program") && text.contains(IMAGE)),
        "{error:?}"
    );

    let mut greedy = spec("greedy");
    greedy.cpu = 10_000.0;
    let error = refused(greedy).await;
    assert!(
        matches!(&error, DriverError::Definition(text) if text.contains("CPU")),
        "{error:?}"
    );

    let mut missing = spec("network");
    missing.network = Some("no-such-network".to_owned());
    let error = refused(missing).await;
    assert!(
        matches!(&error, DriverError::Definition(text) if text.contains("no-such-network")),
        "{error:?}"
    );

    // Two at once: each tells its own end, at once.
    let (quick, other) = (
        program("quick", "exit 7 'bad day'"),
        program("other", "exit 0 fine"),
    );
    driver.start(quick.clone()).await.unwrap();
    driver.start(other.clone()).await.unwrap();
    let status = exited(&driver, &quick.id).await;
    let message = status.message.unwrap();
    assert!(
        message.contains("code 7") && message.contains("bad day"),
        "{message}"
    );
    assert_eq!(
        exited(&driver, &other.id).await.state,
        InstanceState::Exited { code: Some(0) }
    );
    driver.stop(&quick.id, GRACE).await.unwrap();
    driver.stop(&other.id, GRACE).await.unwrap();

    // Somebody else has the name that the container would have.
    let named = spec("named");
    let body = serde_json::json!({"Image": IMAGE});
    let path = format!("/containers/create?name=weir-test-{}", named.id);
    engine.must("POST", &path, &body);
    driver.start(named.clone()).await.unwrap();
    healthy(&driver, &named.id).await;
    driver.stop(&named.id, GRACE).await.unwrap();
    assert_eq!(engine.containers().len(), 1, "what is not ours is left alone");
}

/// An engine that crashes, comes back, ends in order, and stands still: never a guess, and no restart of the
/// driver is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_goes_and_comes_back() {
    let Some(mut engine) = engine() else { return };
    let driver = open(&engine).await;
    let mut notices = driver.notices();
    let first = spec("first");
    driver.start(first.clone()).await.unwrap();
    healthy(&driver, &first.id).await;

    engine.kill();
    eventually("the driver is unavailable", async || {
        matches!(driver.list().await, Err(DriverError::Unavailable(_)))
    })
    .await;
    notice(&mut notices, NoticeKind::EngineLost).await;
    for error in [
        driver.start(spec("meanwhile")).await.unwrap_err(),
        driver.stop(&first.id, GRACE).await.unwrap_err(),
        driver.logs(&first.id, 1).await.unwrap_err(),
        driver.stats(&first.id).await.unwrap_err(),
        driver.capacity().await.unwrap_err(),
    ] {
        assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    }

    engine.run();
    notice(&mut notices, NoticeKind::EngineBack).await;
    // The crash took the container's ports, or the container: the driver says which, and can end it.
    let status = until(&driver, &first.id, "listed", |_| true).await;
    assert!(
        matches!(
            status.state,
            InstanceState::Running | InstanceState::Exited { .. }
        ),
        "{status:?}"
    );
    driver.stop(&first.id, GRACE).await.unwrap();
    let second = spec("second");
    driver.start(second.clone()).await.unwrap();
    assert!(
        get(&healthy(&driver, &second.id).await)
            .await
            .contains("version 1")
    );

    // In order: the containers end with it, and are seen to have ended.
    engine.stop();
    eventually("the driver is unavailable", async || driver.list().await.is_err()).await;
    engine.run();
    eventually("the driver is back", async || driver.list().await.is_ok()).await;
    exited(&driver, &second.id).await;
    driver.stop(&second.id, GRACE).await.unwrap();

    // It opens while the engine is away, too.
    engine.stop();
    drop(driver);
    let driver = open(&engine).await;
    assert!(matches!(driver.list().await, Err(DriverError::Unavailable(_))));
    engine.run();
    eventually("the driver is up", async || driver.list().await.is_ok()).await;
    assert!(driver.list().await.unwrap().is_empty());
}

/// An engine that stands still answers nothing in time; nothing is lost by that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_stands_still() {
    let Some(engine) = engine() else { return };
    let mut config = crate::support::config(&engine);
    config.poll_period = Duration::from_millis(500);
    config.request_timeout = Duration::from_secs(4);
    let driver = weir_driver_docker::DockerDriver::open(config).await.unwrap();
    let kept = spec("kept");
    driver.start(kept.clone()).await.unwrap();
    healthy(&driver, &kept.id).await;
    engine.freeze(true);
    eventually("the driver is unavailable", async || driver.list().await.is_err()).await;
    engine.freeze(false);
    healthy(&driver, &kept.id).await;
    driver.stop(&kept.id, GRACE).await.unwrap();
}

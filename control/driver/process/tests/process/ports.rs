//! Which ports instances get.

use std::net::TcpListener;

use weir_driver::{ContainerDriver as _, DriverError, InstanceSpec};
use weir_driver_process::{Config, ProcessDriver};

use crate::tools::{GRACE, argument, find, instance_ports, open, port, spec};

#[tokio::test]
async fn fixed_ports_are_used_or_refused() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let number = taken.local_addr().unwrap().port();
    let fixed = |id: &str| InstanceSpec {
        ports: vec![port("admin", 0), port("web", number)],
        arguments: argument("ports", "fixed"),
        ..spec(id, "sleep 120")
    };
    let error = driver.start(fixed("a")).await.unwrap_err();
    assert!(
        matches!(error, DriverError::PortTaken(port) if port == number),
        "{error:?}"
    );
    assert!(find(&driver, "a").await.is_none());
    drop(taken);
    driver.start(fixed("a")).await.unwrap();
    assert_eq!(find(&driver, "a").await.unwrap().ports.get("web"), Some(&number));
    let error = driver.start(fixed("b")).await.unwrap_err();
    assert!(
        matches!(error, DriverError::PortTaken(_)),
        "no two instances share a port: {error:?}"
    );
    driver.stop("a", GRACE).await.unwrap();
    driver.start(fixed("b")).await.unwrap();
    driver.stop("b", GRACE).await.unwrap();
}

#[tokio::test]
async fn numbers_in_the_spec_are_names_otherwise() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    let same = |id: &str| InstanceSpec {
        ports: vec![port("web", 8_080)],
        ..spec(id, "sleep 120")
    };
    for id in ["a", "b"] {
        driver.start(same(id)).await.unwrap();
    }
    let a = find(&driver, "a").await.unwrap().ports;
    let b = find(&driver, "b").await.unwrap().ports;
    assert_ne!(a, b);
    assert_ne!(a.get("web"), Some(&8_080));
    for id in ["a", "b"] {
        driver.stop(id, GRACE).await.unwrap();
    }
}

#[tokio::test]
async fn an_exhausted_range_is_said_and_ports_come_back() {
    let state = tempfile::tempdir().unwrap();
    let range = instance_ports();
    let three = *range.start()..=*range.start() + 2;
    let driver = ProcessDriver::open(Config {
        instance_ports: three,
        ..Config::new(state.path(), "test")
    })
    .unwrap();
    let two = |id: &str| InstanceSpec {
        ports: vec![port("web", 0), port("admin", 0)],
        ..spec(id, "sleep 120")
    };
    driver.start(two("a")).await.unwrap();
    for _ in 0..2 {
        let error = driver.start(two("b")).await.unwrap_err();
        assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    }
    driver.stop("a", GRACE).await.unwrap();
    driver.start(two("b")).await.unwrap();
    driver.stop("b", GRACE).await.unwrap();
}

#[tokio::test]
async fn the_port_of_a_found_instance_is_not_given_away() {
    let state = tempfile::tempdir().unwrap();
    let only = *instance_ports().start();
    let reopen = || {
        ProcessDriver::open(Config {
            instance_ports: only..=only,
            ..Config::new(state.path(), "test")
        })
        .unwrap()
    };
    // Neither ever listens, so that no look at the host would tell that the port is given away.
    let one = |id: &str| InstanceSpec {
        ports: vec![port("web", 0)],
        ..spec(id, "sleep 120")
    };
    let driver = reopen();
    driver.start(one("a")).await.unwrap();
    drop(driver);
    let driver = reopen();
    let error = driver.start(one("b")).await.unwrap_err();
    driver.stop("a", GRACE).await.unwrap();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    driver.start(one("b")).await.unwrap();
    driver.stop("b", GRACE).await.unwrap();
}

use std::{collections::BTreeMap, time::Duration};

use weir_driver::{DriverError, InstanceSpec};

use super::*;

fn spec() -> InstanceSpec {
    InstanceSpec {
        id: "x".to_owned(),
        deployable_type: "container/docker".to_owned(),
        definition: "shop:1".to_owned(),
        cpu: 0.1,
        memory_mb: 16.0,
        ..InstanceSpec::default()
    }
}

#[tokio::test]
async fn containers_that_are_not_wanted_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let off = containers(&Docker::Off, "test", folder.path()).await.unwrap();
    assert!(off.list().await.unwrap().is_empty());
    let error = off.start(spec()).await.unwrap_err();
    assert!(
        matches!(&error, DriverError::Definition(text) if text.contains("--no-docker")),
        "{error:?}"
    );
    off.stop("x", Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_away_is_silence_only_where_it_was_used() {
    let folder = tempfile::tempdir().unwrap();
    let away = Docker::At(DockerEngine {
        endpoint: Some(format!("unix://{}", folder.path().join("docker.sock").display())),
        ..DockerEngine::default()
    });
    let driver = containers(&away, "test", folder.path()).await.unwrap();
    assert!(
        driver.list().await.unwrap().is_empty(),
        "no container was ever started"
    );
    driver.stop("x", Duration::ZERO).await.unwrap();
    let error = driver.start(spec()).await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    // It may have been started after all.
    let error = driver.list().await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert_eq!(away.gateway_address().await.unwrap(), None);
}

#[tokio::test]
async fn what_is_said_wrongly_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for (endpoint, reason) in [
        ("docker.sock", "not an engine's endpoint"),
        ("https://h", "needs TLS"),
    ] {
        let docker = Docker::At(DockerEngine {
            endpoint: Some(endpoint.to_owned()),
            ..DockerEngine::default()
        });
        let error = containers(&docker, "test", folder.path()).await.unwrap_err();
        assert!(format!("{error:#}").contains(reason), "{error:#}");
    }
}

#[test]
fn notices_become_events_that_a_deployment_is_found_by() {
    let event = event(Notice {
        driver: "docker",
        instance: Some("x".to_owned()),
        labels: BTreeMap::from([("io.vamp.deployment".to_owned(), "shop".to_owned())]),
        kind: weir_driver::NoticeKind::Pull,
        message: "pulling".to_owned(),
    });
    assert_eq!(
        event.tags,
        [
            "info",
            "container_driver:INFO",
            "drivers:docker",
            "container_driver:pull",
            "deployments:shop",
            "instances:x"
        ]
    );
}

//! What only containers have: networks, dialects, checks of their own, limits.

use serde_json::{Value, json};
use weir_driver::{ContainerDriver, InstanceHealth, InstanceSpec};
use weir_driver_docker::DockerDriver;

use crate::support::{GRACE, IMAGE, config, engine, find, get, healthy, open, spec, until};

/// A container as the engine shows it.
fn inspected(engine: &weir_test_docker::Engine, spec: &InstanceSpec) -> Value {
    let container = engine.container_of(&spec.id).unwrap();
    engine.must("GET", &format!("/containers/{container}/json"), &Value::Null)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_and_dialects() {
    let Some(engine) = engine() else { return };
    let driver = open(&engine).await;
    assert_eq!(
        driver.gateway_address().await.map(|address| address.to_string()),
        Some(engine.gateway())
    );

    // A network of the user's: its own address, no port of the host; names are found.
    engine.must("POST", "/networks/create", &json!({"Name": "blue"}));
    let named = InstanceSpec {
        network: Some("blue".to_owned()),
        ..spec("named")
    };
    let short = InstanceSpec {
        network: Some("USER".to_owned()),
        dialect: Some(json!({"net": "blue", "labels": {"team": "shop", "io.weir.namespace": "stolen"}})),
        ..spec("short")
    };
    for spec in [&named, &short] {
        driver.start(spec.clone()).await.unwrap();
        let status = healthy(&driver, &spec.id).await;
        assert_ne!(status.host, "127.0.0.1");
        assert_eq!(status.ports["web"], 8080);
        assert!(get(&status).await.contains("version 1"));
        assert_eq!(
            inspected(&engine, spec)
                .pointer("/HostConfig/NetworkMode")
                .unwrap(),
            "blue"
        );
    }
    let labels = inspected(&engine, &short)
        .pointer("/Config/Labels")
        .unwrap()
        .clone();
    assert_eq!(labels["team"], "shop");
    assert_eq!(labels["io.weir.namespace"], "test", "ours win");
    assert_eq!(labels["io.vamp"], "deployment-service");

    // The host's: the number as it is.
    let port = std::net::TcpListener::bind(("0.0.0.0", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut host = InstanceSpec {
        network: Some("HOST".to_owned()),
        ..spec("host")
    };
    host.ports[0].number = port;
    driver.start(host.clone()).await.unwrap();
    assert_eq!(healthy(&driver, &host.id).await.ports["web"], port);

    // Fields of the engine's own request, with arguments; the limits are control's whatever a dialect says.
    let rich = InstanceSpec {
        arguments: vec![
            ("privileged".to_owned(), "false".to_owned()),
            ("cap-drop".to_owned(), "NET_RAW".to_owned()),
            ("read-only".to_owned(), "true".to_owned()),
        ],
        dialect: Some(json!({
            "Hostname": "front",
            "HostConfig": {
                "Memory": 1, "CapDrop": ["MKNOD"], "ShmSize": 1_048_576,
                "RestartPolicy": {"Name": "always"},
            },
        })),
        ..spec("rich")
    };
    driver.start(rich.clone()).await.unwrap();
    healthy(&driver, &rich.id).await;
    let shown = inspected(&engine, &rich);
    assert_eq!(shown.pointer("/Config/Hostname").unwrap(), "front");
    let host_config = shown.pointer("/HostConfig").unwrap();
    assert_eq!(host_config["Memory"], 32 << 20);
    assert_eq!(host_config["NanoCpus"], 200_000_000);
    assert_eq!(host_config["ShmSize"], 1_048_576);
    assert_eq!(host_config["CapDrop"], json!(["MKNOD", "NET_RAW"]));
    assert_eq!(host_config["ReadonlyRootfs"], true);
    assert_eq!(
        host_config["RestartPolicy"]["Name"], "no",
        "who restarts is control"
    );
    for spec in [&named, &short, &host, &rich] {
        driver.stop(&spec.id, GRACE).await.unwrap();
    }
}

/// A check that an image or a dialect brings counts beside ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_the_containers_own_counts() {
    let Some(engine) = engine() else { return };
    let driver = open(&engine).await;
    let with = |name: &str, code: &str| InstanceSpec {
        dialect: Some(json!({"Healthcheck": {
            "Test": ["CMD", "/service", "say", code, "checked"],
            "Interval": 200_000_000_u64, "Timeout": 2_000_000_000_u64, "Retries": 2,
        }})),
        ..spec(name)
    };
    let (good, bad) = (with("good", "0"), with("bad", "1"));
    driver.start(good.clone()).await.unwrap();
    driver.start(bad.clone()).await.unwrap();
    healthy(&driver, &good.id).await;
    until(&driver, &bad.id, "unhealthy", |status| {
        status.health == InstanceHealth::Unhealthy
    })
    .await;
    driver.stop(&good.id, GRACE).await.unwrap();
    driver.stop(&bad.id, GRACE).await.unwrap();
}

/// Two namespaces share an engine and do not see each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_are_apart() {
    let Some(engine) = engine() else { return };
    let ours = open(&engine).await;
    let mut other = config(&engine);
    other.namespace = "other".to_owned();
    let theirs = DockerDriver::open(other).await.unwrap();
    let same = spec("same");
    ours.start(same.clone()).await.unwrap();
    theirs.start(same.clone()).await.unwrap();
    healthy(&ours, &same.id).await;
    healthy(&theirs, &same.id).await;
    assert_eq!(engine.containers().len(), 2);
    ours.stop(&same.id, GRACE).await.unwrap();
    assert!(find(&ours, &same.id).await.is_none());
    healthy(&theirs, &same.id).await;
    theirs.stop(&same.id, GRACE).await.unwrap();

    // A container that control died on before it started it is listed as ended, and can be taken away.
    let made = json!({"Image": IMAGE, "Labels": {
        "io.weir.namespace": "test", "io.weir.instance": "half-made",
        "io.weir.record": json!({
            "version": 1, "labels": {}, "ports": {}, "way": "none", "health_checks": [], "memory_mb": 0.0,
        }).to_string(),
    }});
    engine.must("POST", "/containers/create", &made);
    drop(ours);
    let ours = open(&engine).await;
    let status = find(&ours, "half-made").await.unwrap();
    assert_eq!(status.state, weir_driver::InstanceState::Exited { code: None });
    assert!(status.message.unwrap().contains("never started"));
    ours.stop("half-made", GRACE).await.unwrap();
    assert!(engine.containers().is_empty());
}

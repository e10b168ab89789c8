//! Two versions, a split, redeployments.

use std::{collections::BTreeMap, time::Instant};

use weir_tests::load::Load;

use crate::shop::{PATIENCE, Shop};

fn number(variable: &str, usual: u32) -> u32 {
    let asked = std::env::var(variable).ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(usual)
}

/// A service that another one finds through its gateway, two versions of that other one, and 80/20 between them.
fn two_versions(port: u16) -> String {
    format!(
        "name: shop
gateways: {{{port}: front/web}}
clusters:
  backend:
    services:
      breed:
        name: backend
        deployable: {{type: container/docker, definition: 'weir/front:1'}}
        ports: {{api: 8080/http}}
      scale: {{cpu: 0.2, memory: 32MB, instances: 1}}
  front:
    gateways:
      web: {{routes: {{front1: {{weight: 80%}}, front2: {{weight: 20%}}}}}}
    services:
    - breed:
        name: front1
        deployable: {{type: container/docker, definition: 'weir/front:1'}}
        ports: {{web: 8080/http}}
        environment_variables: {{BACKEND: '$backend.host:$backend.ports.api'}}
        dependencies: {{backend: backend}}
      scale: {{cpu: 0.2, memory: 32MB, instances: 2}}
    - breed:
        name: front2
        deployable: {{type: container/docker, definition: 'weir/front:2'}}
        ports: {{web: 8080/http}}
        environment_variables: {{BACKEND: '$backend.host:$backend.ports.api'}}
        dependencies: {{backend: backend}}
      scale: {{cpu: 0.2, memory: 32MB, instances: 1}}
      dialects: {{docker: {{labels: {{team: shop}}}}}}
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_in_containers_share_80_to_20() {
    let Some(mut shop) = Shop::open().await else {
        return;
    };
    shop.deploy(&two_versions(shop.port)).await;
    shop.done("backend", 0).await;
    let front = shop.done("front", 0).await;
    shop.done("front", 1).await;
    assert_eq!(front["instances"].as_array().unwrap().len(), 2);
    shop.serves().await;
    // A full period of the split, wherever it begins.
    let mut shares: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..50 {
        *shares.entry(shop.ask().await.unwrap()).or_default() += 1;
    }
    let share = |version: &str| shares.get(&format!("version {version}, 0 bytes\n")).copied();
    assert_eq!((share("1"), share("2")), (Some(40), Some(10)), "{shares:?}");

    // What a container was told of the other service is an address that a container reaches.
    let containers = shop.running();
    assert_eq!(containers.len(), 4);
    let inspected: Vec<serde_json::Value> = containers
        .iter()
        .map(|id| {
            shop.engine
                .must("GET", &format!("/containers/{id}/json"), &serde_json::Value::Null)
        })
        .collect();
    let variable = inspected.iter().find_map(|container| {
        let variables = container["Config"]["Env"].as_array()?;
        variables
            .iter()
            .find_map(|entry| entry.as_str()?.strip_prefix("BACKEND=").map(str::to_owned))
    });
    let answer = shop.engine.run_once("weir/front:1", &["get", &variable.unwrap()]);
    assert!(answer.contains("version 1, 0 bytes"), "{answer}");
    let teams = inspected
        .iter()
        .filter(|container| container["Config"]["Labels"]["team"] == "shop");
    assert_eq!(teams.count(), 1, "the dialect is for the driver of its service");

    // Another control takes the containers up as they are.
    shop.restart_control().await;
    shop.done("front", 0).await;
    shop.serves().await;
    let mut after = shop.running();
    let mut before = containers;
    after.sort();
    before.sort();
    assert_eq!(before, after);
    shop.close().await;
}

fn rolling(port: u16, round: u32) -> String {
    // The image changes as well as what it is told.
    format!(
        "name: shop
gateways: {{{port}: front/web}}
clusters:
  front:
    services:
      breed:
        name: front
        deployable: {{type: container/docker, definition: 'weir/front:{}'}}
        ports: {{web: 8080/http}}
        environment_variables: {{ROUND: '{round}'}}
      scale: {{cpu: 0.2, memory: 32MB, instances: 2}}
",
        1 + round % 2
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redeployments_of_containers_under_load_fail_no_request() {
    let (rounds, rate) = (number("WEIR_ROLLING", 10), number("WEIR_ROLLING_RATE", 200));
    let Some(shop) = Shop::open().await else { return };
    let is_of = |round: u32| {
        move |service: &serde_json::Value| {
            service["status"]["phase"]["name"] == "Done"
                && service["breed"]["environment_variables"]["ROUND"].as_str()
                    == Some(round.to_string().as_str())
        }
    };
    shop.deploy(&rolling(shop.port, 0)).await;
    shop.until("front", 0, "done", is_of(0)).await;
    shop.serves().await;
    let load = Load::start(shop.port, 16, rate);
    let began = Instant::now();
    let mut slowest = 0.0_f64;
    for round in 1..=rounds {
        let begins = Instant::now();
        shop.deploy(&rolling(shop.port, round)).await;
        shop.until("front", 0, "done", is_of(round)).await;
        slowest = slowest.max(begins.elapsed().as_secs_f64());
        let failures = load.so_far().failures;
        assert!(failures.is_empty(), "in round {round}: {failures:#?}");
    }
    shop.eventually("only the last instances are left", |shop| {
        shop.running().len() == 2
    })
    .await;
    let elapsed = began.elapsed().as_secs_f64();
    let outcome = load.stop().await;
    println!(
        "{rounds} redeployments of containers in {elapsed:.1} s (slowest {slowest:.1} s), {} requests ({} POST, {:.0}/s), {} failed",
        outcome.answered,
        outcome.posted,
        outcome.answered as f64 / elapsed,
        outcome.failures.len(),
    );
    assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
    assert!(
        outcome.posted > 0 && outcome.bodies.len() == 2,
        "both versions answered: {:?}",
        outcome.bodies
    );
    assert!(PATIENCE.as_secs_f64() > slowest);
    shop.close().await;
}

//! The reconciler with a driver, a store and a storage in memory.

pub(crate) mod alone;
mod faults;
pub(crate) mod rig;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use weir_artifact::{Artifact, Gateway, Kind, OrReference, Phase, Scale, read, read::DeployRequest};
use weir_driver::{
    DriverError, InstanceHealth,
    fake::{Script, When},
};
use weir_model::{Generation, Target};
use weir_persist::Page;

use self::alone::{delete_gateway, merge, put_gateway, set_scale, slice};
use self::rig::{Agent, Rig, eventually, front, gateway, request};
use super::operations::{deployment_as_blueprint, gateway_view};
use crate::error::OperationError;

fn codes(error: OperationError) -> Vec<&'static str> {
    match error {
        OperationError::Problems(problems) => problems.iter().map(|problem| problem.code).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_blueprint_runs_and_is_published() {
    let rig = Rig::new();
    let deployment = rig.deploy(&front(1, 2)).await.unwrap();
    assert_eq!(deployment.name, "shop");
    rig.done("front:1").await;
    let route = "shop/front/front:1/web";
    eventually(async || rig.routed("shop/front/web", route).await == Some(2)).await;
    assert_eq!(rig.driver.started().len(), 2);
    let spec = rig.driver.started().remove(0);
    assert_eq!(spec.labels["io.vamp.service"], "front:1");
    assert_eq!((spec.deployable_type.as_str(), spec.memory_mb), ("command", 16.0));
    let tags = [
        "deployments:shop",
        "clusters:front",
        "services:front:1",
        "synchronization:deployed",
    ];
    assert_eq!(rig.events(&tags).await, 1);
    eventually(async || rig.events(&["gateways:shop/9050", "deployed"]).await == 1).await;
    assert!(
        rig.state.breed("front:1").await.unwrap().is_some(),
        "the inline breed is stored"
    );
    rig.end().await;
}

#[tokio::test]
async fn a_gateway_shows_where_it_leads() {
    let rig = Rig::new();
    rig.deploy(&front(1, 1)).await.unwrap();
    rig.done("front:1").await;
    eventually(async || rig.published().await.is_some_and(|s| s.gateways().len() == 2)).await;
    let shown = |gateway: Gateway| {
        let OrReference::Inline(route) = gateway.routes[0].clone() else {
            panic!("in place")
        };
        (gateway.deployed, route.targets)
    };
    let inner = gateway_view(&rig.state, "shop/front/web").await.unwrap().unwrap();
    let port = inner.port.as_ref().unwrap().number;
    let (deployed, targets) = shown(inner);
    assert!(deployed);
    assert_eq!(targets[0].name, rig.driver.started()[0].id);
    let outer = gateway_view(&rig.state, "shop/9050").await.unwrap().unwrap();
    let (_, targets) = shown(outer);
    assert_eq!(
        (targets[0].name.as_str(), targets[0].port),
        ("shop/front/web", port)
    );
    assert!(targets[0].host.is_none());
    rig.end().await;
}

#[tokio::test]
async fn a_canary_from_joining_to_taking_over() {
    let rig = Rig::new();
    rig.deploy(&front(1, 1)).await.unwrap();
    rig.done("front:1").await;
    rig.deploy(&front(2, 1)).await.unwrap();
    rig.done("front:2").await;
    let weights = async || {
        let snapshot = rig.published().await.unwrap();
        let inner = snapshot.gateway("shop/front/web").unwrap();
        let mut weights: Vec<(String, u16)> = inner
            .routes
            .iter()
            .map(|route| (route.name.to_string(), route.weight.parts()))
            .collect();
        weights.sort();
        weights.into_iter().map(|(_, weight)| weight).collect::<Vec<_>>()
    };
    eventually(async || weights().await == [10_000, 0]).await;

    let refused = slice(&rig.state, "shop", Some(request(&front(1, 1))), false).await;
    assert_eq!(codes(refused.unwrap_err()), ["InvalidRouteWeight"]);

    let moved = gateway(
        "name: shop/front/web
routes:
  front:1: {weight: 0%}
  front:2: {weight: 100%}
",
    );
    let before = Instant::now();
    put_gateway(&rig.state, moved, false, false).await.unwrap();
    eventually(async || weights().await == [0, 10_000]).await;
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
    let shown = rig.deployment().await.unwrap();
    let OrReference::Inline(route) = &shown.clusters["front"].gateways["web"].routes["front:2"] else {
        panic!("in place")
    };
    assert_eq!(route.weight.unwrap().parts(), 10_000);

    slice(&rig.state, "shop", Some(request(&front(1, 1))), false)
        .await
        .unwrap();
    eventually(async || rig.running() == 1).await;
    eventually(async || rig.deployment().await.unwrap().clusters["front"].services.len() == 1).await;
    assert_eq!(rig.status("front:2").await.0, Phase::Done);
    assert_eq!(
        rig.events(&["services:front:1", "synchronization:undeployed"])
            .await,
        1
    );
    rig.end().await;
}

#[tokio::test]
async fn the_last_service_takes_the_deployment_along_but_not_the_external_gateway() {
    let rig = Rig::new();
    rig.deploy(&front(1, 2)).await.unwrap();
    rig.done("front:1").await;
    let blueprint = deployment_as_blueprint(&rig.state, "shop").await.unwrap();
    let all = DeployRequest::Blueprint(Box::new(blueprint));
    slice(&rig.state, "shop", Some(all), false).await.unwrap();
    eventually(async || rig.deployment().await.is_none()).await;
    assert_eq!(rig.running(), 0);
    let names: Vec<String> = rig
        .state
        .gateways()
        .await
        .unwrap()
        .into_iter()
        .map(|g| g.name)
        .collect();
    assert_eq!(names, ["shop/9050"]);
    let (records, _) = rig
        .state
        .persist
        .list(super::store::RECORDS, Page::ALL)
        .await
        .unwrap();
    assert_eq!(records, []);
    eventually(async || rig.events(&["gateways:shop/front/web", "undeployed"]).await == 1).await;
    rig.end().await;
}

#[tokio::test]
async fn nothing_is_stopped_before_every_agent_has_let_go() {
    let rig = Rig::new();
    let store = Arc::clone(&rig.state.store);
    rig.deploy(&front(1, 2)).await.unwrap();
    rig.done("front:1").await;
    let route = "shop/front/front:1/web";
    eventually(async || rig.routed("shop/front/web", route).await == Some(2)).await;
    let (slow, quick) = (
        Agent::join(&*store, "slow", None).await,
        Agent::join(&*store, "quick", None).await,
    );
    let before = rig.published().await.unwrap();
    slow.acknowledge(&*store, Some(&before)).await;
    quick.acknowledge(&*store, Some(&before)).await;
    let one = Scale {
        cpu: 0.1,
        memory_mb: 16.0,
        instances: 1,
    };
    set_scale(&rig.state, "shop", "front", "front:1", OrReference::Inline(one))
        .await
        .unwrap();
    eventually(async || rig.routed("shop/front/web", route).await == Some(1)).await;
    let after = rig.published().await.unwrap();
    quick.acknowledge(&*store, Some(&after)).await;
    // Longer than the drain time: what holds the instance is the slow agent.
    let until = Instant::now() + Duration::from_millis(2_600);
    while Instant::now() < until {
        assert_eq!(rig.driver.stopped(), [], "an agent still serves it");
        sleep(Duration::from_millis(50)).await;
    }
    slow.acknowledge(&*store, Some(&after)).await;
    eventually(async || rig.driver.stopped().len() == 1).await;
    assert_eq!(rig.running(), 1);
    assert_eq!(rig.status("front:1").await.0, Phase::Done);
    rig.end().await;
}

#[tokio::test]
async fn an_instance_that_dies_is_replaced_and_leaves_the_routing() {
    let rig = Rig::new();
    rig.deploy(&front(1, 1)).await.unwrap();
    rig.done("front:1").await;
    let first = rig.driver.started()[0].id.clone();
    rig.driver.exit(&first, Some(9));
    eventually(async || {
        rig.events(&["container_driver:ERROR", "deployments:shop", "services:front:1"])
            .await
            == 1
    })
    .await;
    eventually(async || rig.driver.started().len() == 2).await;
    rig.done("front:1").await;
    eventually(async || {
        let snapshot = rig.published().await.unwrap();
        let inner = snapshot.gateway("shop/front/web").unwrap();
        let Target::Instances(instances) = &inner.routes[0].target else {
            panic!("instances")
        };
        instances.len() == 1 && instances[0].id.as_str() != first
    })
    .await;
    eventually(async || rig.running() == 1).await;
    assert_eq!(rig.events(&["synchronization:redeploy"]).await, 1);
    rig.end().await;
}

#[tokio::test]
async fn a_restart_changes_nothing() {
    let rig = Rig::new();
    rig.deploy(&front(1, 3)).await.unwrap();
    rig.done("front:1").await;
    let route = "shop/front/front:1/web";
    eventually(async || rig.routed("shop/front/web", route).await == Some(3)).await;
    eventually(async || rig.events(&["deployed"]).await == 2).await;
    let generation = rig.published().await.unwrap().generation();
    let rig = rig.restart().await;
    eventually(async || rig.state.traffic.publication.status().generation == Some(generation)).await;
    // A change is handled after everything that the start found to do.
    rig.deploy(&front(2, 1)).await.unwrap();
    rig.done("front:2").await;
    assert_eq!(rig.driver.started().len(), 4);
    assert_eq!(rig.driver.stopped(), []);
    assert_eq!(rig.events(&["deployed"]).await, 2, "no gateway is new");
    rig.end().await;
}

#[tokio::test]
async fn one_slow_start_does_not_block_others() {
    let rig = Rig::new();
    let slow = Script {
        running: When::Told,
        ..Script::default()
    };
    rig.driver.script("run-1", slow);
    rig.deploy(&front(1, 1)).await.unwrap();
    eventually(async || rig.driver.started().len() == 1).await;
    rig.deploy(&front(2, 1)).await.unwrap();
    rig.done("front:2").await;
    let (phase, text) = rig.status("front:1").await;
    assert_eq!(phase, Phase::Updating);
    assert!(text.contains("0 of 1"), "{text}");
    let id = rig.driver.started()[0].id.clone();
    assert!(rig.driver.run(&id));
    rig.done("front:1").await;
    rig.end().await;
}

#[tokio::test]
async fn an_instance_is_routed_when_it_is_healthy_and_not_before() {
    let rig = Rig::new();
    rig.driver.usually(Script {
        healthy: When::Told,
        ..Script::default()
    });
    rig.deploy(&front(1, 1)).await.unwrap();
    eventually(async || {
        let deployment = rig.deployment().await.unwrap();
        let runtime = deployment.clusters["front"].services[0].runtime.clone().unwrap();
        runtime.health.running == 1
    })
    .await;
    assert_eq!(
        rig.routed("shop/front/web", "shop/front/front:1/web").await,
        Some(0)
    );
    let id = rig.driver.started()[0].id.clone();
    rig.driver.set_health(&id, InstanceHealth::Healthy);
    rig.done("front:1").await;
    eventually(async || rig.routed("shop/front/web", "shop/front/front:1/web").await == Some(1)).await;
    rig.end().await;
}

#[tokio::test]
async fn what_cannot_run_fails_with_its_reason() {
    let rig = Rig::new();
    rig.driver
        .fail_next_start(DriverError::Definition("there is no command `run-1`".to_owned()));
    rig.deploy(&front(1, 1)).await.unwrap();
    eventually(async || rig.status("front:1").await.0 == Phase::Failed).await;
    let (_, text) = rig.status("front:1").await;
    assert!(text.contains("there is no command `run-1`"), "{text}");
    eventually(async || rig.events(&["container_driver:ERROR", "services:front:1"]).await == 1).await;
    // Merging it again is a change.
    rig.deploy(&front(1, 1)).await.unwrap();
    rig.done("front:1").await;
    rig.end().await;
}

#[tokio::test]
async fn a_driver_that_is_away_loses_no_instance() {
    let rig = Rig::new();
    rig.deploy(&front(1, 1)).await.unwrap();
    rig.done("front:1").await;
    rig.driver.set_available(false);
    rig.state.wake.signal();
    eventually(async || rig.events(&["container_driver:ERROR"]).await == 1).await;
    rig.state.wake.signal();
    rig.driver.set_available(true);
    rig.deploy(&front(2, 1)).await.unwrap();
    rig.done("front:2").await;
    assert_eq!(rig.driver.started().len(), 2);
    assert_eq!(rig.driver.stopped(), []);
    assert_eq!(rig.status("front:1").await.0, Phase::Done);
    rig.end().await;
}

#[tokio::test]
async fn the_end_stops_everything_when_asked() {
    let rig = Rig::new();
    rig.deploy(&front(1, 3)).await.unwrap();
    rig.done("front:1").await;
    let (state, driver) = (Arc::clone(&rig.state), rig.driver.clone());
    rig.end().await;
    super::stop_all(&state).await;
    assert_eq!(driver.stopped().len(), 3);
    assert!(state.deployment("shop").await.unwrap().is_some());
}

#[tokio::test]
async fn references_are_resolved_or_all_are_named() {
    let rig = Rig::new();
    let yaml = "name: shop
gateways:
  9050: {routes: {front/web: {condition: {reference: mobile}}}}
clusters:
  front:
    services: {breed: 'front:9', scale: big}
";
    let missing = rig.deploy(yaml).await.unwrap_err();
    let OperationError::Problems(problems) = missing else {
        panic!("problems")
    };
    let said: Vec<String> = problems
        .iter()
        .map(|p| format!("{} {}", p.path, p.message))
        .collect();
    assert_eq!(problems.len(), 3, "{said:?}");
    assert!(problems.iter().all(|problem| problem.code == "ArtifactNotFound"));
    assert!(said[0].contains("`front:9`") && said[1].contains("`big`") && said[2].contains("`mobile`"));
    assert!(rig.deployment().await.is_none(), "nothing was stored");

    for (kind, yaml) in [
        (
            Kind::Breed,
            "{name: 'front:9', deployable: run-9, ports: {web: 0/http}}",
        ),
        (Kind::Scale, "{name: big, cpu: 0.2, memory: 32MB, instances: 2}"),
        (Kind::Condition, "{name: mobile, condition: has cookie mobile}"),
    ] {
        let artifact = read::one(kind, yaml).unwrap();
        let write = crate::state::put(&artifact, None);
        rig.state.commit(vec![write], Vec::new()).await.unwrap();
    }
    rig.deploy(yaml).await.unwrap();
    rig.done("front:9").await;
    assert_eq!(rig.driver.started().len(), 2);
    let outer = rig.state.gateway("shop/9050").await.unwrap().unwrap();
    let OrReference::Inline(route) = &outer.routes[0] else {
        panic!("in place")
    };
    assert!(
        matches!(&route.condition, Some(OrReference::Inline(condition)) if condition.source() == "has cookie mobile")
    );
    rig.end().await;
}

#[tokio::test]
async fn validate_only_stores_nothing() {
    let rig = Rig::new();
    let preview = merge(&rig.state, Some("other"), request(&front(1, 1)), true)
        .await
        .unwrap();
    assert_eq!(preview.name, "other");
    assert!(rig.state.deployments().await.unwrap().is_empty());
    assert!(rig.state.gateways().await.unwrap().is_empty());
    assert!(rig.state.breed("front:1").await.unwrap().is_none());
    rig.deploy(&front(1, 1)).await.unwrap();
    rig.done("front:1").await;
    let before = rig.deployment().await;
    slice(&rig.state, "shop", Some(request(&front(1, 1))), true)
        .await
        .unwrap();
    slice(&rig.state, "shop", None, false).await.unwrap();
    delete_gateway(&rig.state, "shop/9050", true).await.unwrap();
    assert_eq!(rig.deployment().await, before);
    assert_eq!(rig.state.gateways().await.unwrap().len(), 2);
    rig.end().await;
}

#[tokio::test]
async fn a_printed_deployment_merges_to_itself() {
    let rig = Rig::new();
    rig.deploy(&front(1, 2)).await.unwrap();
    rig.done("front:1").await;
    let before = (rig.deployment().await, rig.state.gateways().await.unwrap());
    let blueprint = deployment_as_blueprint(&rig.state, "shop").await.unwrap();
    let printed = weir_artifact::write::value(&Artifact::Blueprint(blueprint)).to_string();
    rig.deploy(&printed).await.unwrap();
    assert_eq!(
        (rig.deployment().await, rig.state.gateways().await.unwrap()),
        before
    );
    rig.end().await;
}

#[tokio::test]
async fn what_does_not_exist_is_said() {
    let rig = Rig::new();
    let missing = |result: Result<(), OperationError>| matches!(result, Err(OperationError::NotFound { .. }));
    assert!(missing(slice(&rig.state, "shop", None, false).await.map(drop)));
    assert!(missing(delete_gateway(&rig.state, "none", false).await));
    assert!(missing(
        deployment_as_blueprint(&rig.state, "none").await.map(drop)
    ));
    let scale = OrReference::Reference("none".to_owned());
    let error = set_scale(&rig.state, "shop", "front", "front:1", scale)
        .await
        .unwrap_err();
    assert_eq!(codes(error), ["ArtifactNotFound"]);
    let scale = OrReference::Inline(rig.state.config.default_scale);
    assert!(missing(
        set_scale(&rig.state, "shop", "front", "front:1", scale)
            .await
            .map(drop)
    ));
    let stored = DeployRequest::Reference("none".to_owned());
    let error = merge(&rig.state, None, stored, false).await.unwrap_err();
    assert_eq!(codes(error), ["ArtifactNotFound"]);
    let error = merge(&rig.state, Some("a/b"), request(&front(1, 1)), false)
        .await
        .unwrap_err();
    assert_eq!(codes(error), ["IllegalName"]);
    rig.end().await;
}

#[tokio::test]
async fn assigned_ports_go_on_after_a_removal() {
    let rig = Rig::new();
    let given = |name: &str| gateway(&format!("{{name: {name}, routes: {{'[127.0.0.1:1]': {{}}}}}}"));
    let number = |gateway: Gateway| gateway.port.unwrap().number;
    let first = put_gateway(&rig.state, given("a"), true, false).await.unwrap();
    assert_eq!(number(first), 40_000);
    delete_gateway(&rig.state, "a", false).await.unwrap();
    let rig = rig.restart().await;
    let second = put_gateway(&rig.state, given("b"), true, false).await.unwrap();
    assert_eq!(
        number(second),
        40_001,
        "a port that was just freed is not given at once"
    );
    rig.end().await;
}

#[tokio::test]
async fn a_generation_follows_what_agents_have() {
    let rig = Rig::new();
    let store = Arc::clone(&rig.state.store);
    eventually(async || rig.published().await.is_some()).await;
    let agent = Agent::join(&*store, "edge", None).await;
    let later = rig.published().await.unwrap().with_generation(Generation(70));
    agent.acknowledge(&*store, Some(&later)).await;
    rig.deploy(&front(1, 1)).await.unwrap();
    eventually(async || rig.published().await.unwrap().generation() > Generation(70)).await;
    rig.end().await;
}

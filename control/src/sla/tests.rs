//! Promises with a driver, a store and a storage in memory.

use serde_json::json;
use weir_artifact::{Artifact, Kind, OrReference, Phase, Scale, read};
use weir_persist::{EventDraft, EventQuery, Page};

use crate::{
    reconcile::tests::rig::{Rig, eventually},
    state::now_ms,
};

/// One service behind a promise: at most 500 ms, and less than 100 ms is too good.
fn shop(instances: u32, sla: &str) -> String {
    format!(
        "name: shop
clusters:
  front:
    sla: {sla}
    services:
      breed: {{name: 'front:1', deployable: run-1, ports: {{web: 0/http}}}}
      scale: {{cpu: 0.1, memory: 16MB, instances: {instances}}}
"
    )
}

const WINDOW: &str = "{type: response_time_sliding_window, threshold: {upper: 500, lower: 100}, \
    window: {interval: 60, cooldown: 60}, escalations: [{type: scale_instances, minimum: 1, maximum: 3, scale_by: 1}]}";

async fn scale(rig: &Rig) -> Scale {
    let deployment = rig.deployment().await.unwrap();
    match deployment.clusters["front"].services[0].scale {
        Some(OrReference::Inline(scale)) => scale,
        _ => panic!("in place"),
    }
}

async fn post(rig: &Rig, tags: &[&str], value: serde_json::Value) {
    let event = EventDraft {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        value,
        timestamp_ms: now_ms(),
        kind: "event".to_owned(),
    };
    rig.state.commit(Vec::new(), vec![event]).await.unwrap();
}

/// Values of the events with these tags, newest first.
async fn values(rig: &Rig, tags: &[&str]) -> Vec<serde_json::Value> {
    let query = EventQuery {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..EventQuery::default()
    };
    let (events, _) = rig.state.persist.events(&query, Page::ALL).await.unwrap();
    events.into_iter().map(|event| event.value).collect()
}

/// Waits until the loop has looked once.
async fn first_round(rig: &Rig) {
    let counter = async || rig.state.persist.get("counters", "sla-event").await.unwrap();
    eventually(async || counter().await.is_some()).await;
}

#[tokio::test]
async fn what_is_too_slow_is_scaled_up_once_in_its_window_and_said_with_numbers() {
    let rig = Rig::new();
    rig.deploy(&shop(1, WINDOW)).await.unwrap();
    rig.done("front:1").await;
    let of = ["gateways:shop/front/web", "metrics:responseTime"];
    for mean in [500.0, 900.0] {
        post(&rig, &of, json!(mean)).await;
    }
    eventually(async || scale(&rig).await.instances == 2).await;
    rig.done("front:1").await;
    let decisions = values(&rig, &["sla", "sla:escalate", "deployment:shop", "cluster:front"]).await;
    assert_eq!(decisions.len(), 1, "the window and the cooldown are not over");
    let decision = &decisions[0];
    assert_eq!(
        (&decision["response_time_ms"], &decision["upper_ms"]),
        (&json!(700.0), &json!(500))
    );
    assert_eq!(decision["readings"][0]["count"], 2);
    let acted = values(&rig, &["escalation:done", "deployments:shop", "clusters:front"]).await;
    assert_eq!(acted.len(), 1);
    let change = &acted[0]["changes"][0];
    assert_eq!(
        (&change["from"]["instances"], &change["to"]["instances"]),
        (&json!(1), &json!(2))
    );
    rig.end().await;
}

#[tokio::test]
async fn what_is_too_good_is_scaled_down_and_no_data_are_no_decision() {
    let rig = Rig::new();
    rig.deploy(&shop(2, WINDOW)).await.unwrap();
    rig.done("front:1").await;
    super::round(&rig.state).await.unwrap();
    assert_eq!(values(&rig, &["sla"]).await, [json!(null); 0]);
    post(
        &rig,
        &["gateways:shop/front/web", "metrics:responseTime"],
        json!(20),
    )
    .await;
    eventually(async || scale(&rig).await.instances == 1).await;
    assert_eq!(values(&rig, &["sla:deescalate"]).await.len(), 1);
    rig.end().await;
}

#[tokio::test]
async fn events_of_others_escalate_through_stored_slas_up_to_the_limits() {
    let rig = Rig::new();
    for (kind, yaml) in [
        (
            Kind::Escalation,
            "{name: more, type: scale_memory, minimum: 16, maximum: 48, scale_by: 16}",
        ),
        (
            Kind::Sla,
            "{name: gold, type: escalation_only, escalations: [more, {type: scale_cpu, minimum: 0.1, maximum: 0.2, scale_by: 0.1}]}",
        ),
    ] {
        let artifact: Artifact = read::one(kind, yaml).unwrap_or_else(|problems| panic!("{problems:?}"));
        let write = crate::state::put(&artifact, None);
        rig.state.commit(vec![write], Vec::new()).await.unwrap();
    }
    rig.deploy(&shop(1, "gold")).await.unwrap();
    rig.done("front:1").await;
    first_round(&rig).await;
    let tags = ["sla", "sla:escalate", "deployment:shop", "cluster:front"];
    for (memory_mb, cpu) in [(32.0, 0.2), (48.0, 0.2)] {
        post(&rig, &tags, json!(null)).await;
        eventually(async || scale(&rig).await.memory_mb == memory_mb).await;
        assert_eq!(scale(&rig).await.cpu, cpu);
    }
    post(&rig, &tags, json!("by hand")).await;
    eventually(async || values(&rig, &["escalation:nothing"]).await.len() == 1).await;
    let said = values(&rig, &["escalation:nothing"]).await.remove(0);
    assert_eq!(said["because"], "by hand");
    assert_eq!(said["passed_over"].as_array().unwrap().len(), 2, "{said}");
    rig.done("front:1").await;
    rig.end().await;
}

#[tokio::test]
async fn a_quota_stands_above_an_escalation_and_a_merge() {
    let rig = Rig::with(|config| {
        config.quota = crate::Quota {
            instances: Some(2),
            ..crate::Quota::default()
        };
    });
    let refused = rig.deploy(&shop(3, WINDOW)).await.unwrap_err();
    assert!(
        refused.to_string().contains("of 2 that the namespace may have"),
        "{refused}"
    );
    assert!(rig.deployment().await.is_none() && rig.driver.started().is_empty());
    rig.deploy(&shop(2, WINDOW)).await.unwrap();
    rig.done("front:1").await;
    first_round(&rig).await;
    post(
        &rig,
        &["sla", "sla:escalate", "deployment:shop", "cluster:front"],
        json!(null),
    )
    .await;
    eventually(async || values(&rig, &["escalation:nothing"]).await.len() == 1).await;
    assert_eq!(scale(&rig).await.instances, 2);
    assert_eq!(rig.status("front:1").await.0, Phase::Done);
    rig.end().await;
}

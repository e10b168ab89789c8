//! What goes wrong on an engine is seen with its reason, and mended without a human where that is possible.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use crate::shop::Shop;

fn blueprint(port: u16, image: &str, instances: u32, breed: &str, service: &str) -> String {
    format!(
        "name: shop
gateways: {{{port}: front/web}}
clusters:
  front:
    services:
      breed:
        name: front
        deployable: {{type: container/docker, definition: '{image}'}}
        ports: {{web: 8080/http}}
        {breed}
      scale: {{cpu: 0.2, memory: 32MB, instances: {instances}}}
      {service}
"
    )
}

fn notification(service: &Value) -> String {
    service["status"]["phase"]["notification"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_somebody_takes_and_an_engine_that_goes() {
    let Some(mut shop) = Shop::open().await else {
        return;
    };
    shop.deploy(&blueprint(shop.port, "weir/front:1", 2, "", ""))
        .await;
    shop.done("front", 0).await;
    shop.serves().await;
    let first: BTreeSet<String> = shop.running().into_iter().collect();

    // Renamed: nothing happens.
    let renamed = first.iter().next().unwrap().clone();
    let path = format!("/containers/{renamed}/rename?name=mine-now");
    shop.engine.must("POST", &path, &Value::Null);
    // Removed: another takes its place, and the renamed one stays.
    let removed = first.iter().nth(1).unwrap().clone();
    shop.engine
        .must("DELETE", &format!("/containers/{removed}?force=1"), &Value::Null);
    shop.eventually("another takes its place", |shop| {
        let now: BTreeSet<String> = shop.running().into_iter().collect();
        now.len() == 2 && now.contains(&renamed) && !now.contains(&removed)
    })
    .await;
    shop.done("front", 0).await;
    shop.serves().await;
    let events = shop.get("events?tag=container_driver:interference").await;
    assert_eq!(
        events.as_array().map(Vec::len),
        Some(2),
        "both were told: {events:#}"
    );

    // Crash and return: two run in the end, and no more.
    shop.engine.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    shop.engine.run();
    shop.until("front", 0, "done on the engine that came back", |service| {
        service["status"]["phase"]["name"] == "Done" && shop.running().len() == 2
    })
    .await;
    shop.serves().await;
    shop.eventually("no container is left that does not run", |shop| {
        shop.engine.containers().len() == 2
    })
    .await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_run_says_why() {
    let Some(shop) = Shop::open().await else { return };
    let extra = "arguments: [{pull: never}]";
    shop.deploy(&blueprint(shop.port, "weir/nowhere:9", 1, extra, ""))
        .await;
    let service = shop
        .until("front", 0, "said to have no image", |service| {
            notification(service).contains("weir/nowhere:9")
        })
        .await;
    assert_eq!(
        service["status"]["phase"]["name"], "Failed",
        "no retry makes an image: {service:#}"
    );
    assert!(shop.engine.containers().is_empty());

    // It mends as soon as it is said rightly.
    shop.deploy(&blueprint(shop.port, "weir/front:1", 1, "", ""))
        .await;
    shop.done("front", 0).await;
    shop.serves().await;

    // One that ends at once: the reason is its own last words, and the old one serves on.
    let ends = "dialects: {docker: {command: [/service, exit, '9', no configuration]}}";
    let broken = blueprint(shop.port, "weir/front:2", 1, "", ends);
    shop.deploy(&broken).await;
    shop.until("front", 0, "said to end at once", |service| {
        let text = notification(service);
        text.contains("code 9") && text.contains("no configuration")
    })
    .await;
    assert!(
        shop.ask().await.unwrap().contains("version 1"),
        "what ran goes on serving"
    );
    shop.close().await;
}

//! What people see when something goes wrong, and what is left of it afterwards.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use weir_artifact::Phase;
use weir_driver::{
    DriverError, InstanceHealth,
    fake::{Script, When},
};

use super::rig::{Rig, eventually, front};

#[tokio::test]
async fn while_the_driver_is_away_every_service_says_so_and_nothing_is_started_twice() {
    let rig = Rig::new();
    rig.deploy(&front(1, 2)).await.unwrap();
    rig.done("front:1").await;
    rig.driver.set_available(false);
    rig.state.wake.signal();
    eventually(async || {
        rig.status("front:1")
            .await
            .1
            .contains("the driver does not answer")
    })
    .await;
    // Wanted while it is away: visible at once, begun when it is back.
    rig.deploy(&front(2, 1)).await.unwrap();
    eventually(async || {
        rig.status("front:2")
            .await
            .1
            .contains("the driver does not answer")
    })
    .await;
    assert_eq!(rig.driver.started().len(), 2);
    rig.driver.set_available(true);
    rig.done("front:2").await;
    rig.done("front:1").await;
    eventually(async || rig.status("front:1").await.1.is_empty()).await;
    assert_eq!((rig.driver.started().len(), rig.driver.stopped().len()), (3, 0));
    rig.end().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_tried_again() {
    let rig = Rig::new();
    for _ in 0..2 {
        rig.driver.fail_next_start(DriverError::PortTaken(9050));
    }
    rig.deploy(&front(1, 1)).await.unwrap();
    eventually(async || {
        rig.status("front:1")
            .await
            .1
            .contains("port 9050 is already in use")
    })
    .await;
    assert_eq!(rig.status("front:1").await.0, Phase::Updating);
    rig.done("front:1").await;
    assert_eq!(rig.driver.started().len(), 1);
    rig.end().await;
}

#[tokio::test]
async fn what_is_removed_by_hand_is_replaced_and_what_nobody_knows_is_stopped() {
    let rig = Rig::new();
    rig.deploy(&front(1, 2)).await.unwrap();
    rig.done("front:1").await;
    let lost = rig.driver.started()[0].clone();
    assert!(rig.driver.lose(&lost.id));
    eventually(async || rig.driver.started().len() == 3).await;
    rig.done("front:1").await;
    // The same under another name: nobody remembers that one.
    let mut renamed = lost;
    renamed.id = format!("{}-renamed", renamed.id);
    let id = renamed.id.clone();
    rig.state.driver.start(renamed).await.unwrap();
    eventually(async || rig.driver.stopped().iter().any(|(stopped, _)| *stopped == id)).await;
    assert_eq!(rig.running(), 2);
    rig.end().await;
}

#[tokio::test]
async fn an_instance_that_stays_ill_is_replaced_without_a_gap() {
    let rig = Rig::with(|config| config.unhealthy_timeout = Duration::from_millis(200));
    rig.deploy(&front(1, 1)).await.unwrap();
    rig.done("front:1").await;
    let route = "shop/front/front:1/web";
    eventually(async || rig.routed("shop/front/web", route).await == Some(1)).await;
    let first = rig.driver.started()[0].id.clone();
    rig.driver.usually(Script {
        healthy: When::Told,
        ..Script::default()
    });
    rig.driver.set_health(&first, InstanceHealth::Unhealthy);
    eventually(async || rig.driver.started().len() == 2).await;
    assert!(rig.status("front:1").await.1.contains("have failed"));
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        assert_eq!(
            rig.routed("shop/front/web", route).await,
            Some(1),
            "it serves until its successor can"
        );
        sleep(Duration::from_millis(20)).await;
    }
    let second = rig.driver.started()[1].id.clone();
    rig.driver.set_health(&second, InstanceHealth::Healthy);
    eventually(async || rig.driver.stopped().iter().any(|(id, _)| *id == first)).await;
    rig.done("front:1").await;
    assert_eq!(rig.running(), 1);
    rig.end().await;
}

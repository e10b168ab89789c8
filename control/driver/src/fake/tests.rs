use super::*;
use crate::ContainerDriver;
use crate::PortSpec;

fn spec(id: &str) -> InstanceSpec {
    InstanceSpec {
        id: id.to_owned(),
        deployable_type: "command".to_owned(),
        definition: "serve".to_owned(),
        ports: vec![PortSpec {
            name: "web".to_owned(),
            number: 0,
        }],
        cpu: 0.1,
        memory_mb: 32.0,
        ..InstanceSpec::default()
    }
}

async fn state(fake: &Fake, id: &str) -> (InstanceState, InstanceHealth) {
    let list = fake.list().await.unwrap();
    let status = list.iter().find(|status| status.id == id).unwrap();
    (status.state, status.health)
}

#[tokio::test(start_paused = true)]
async fn delays_follow_the_clock() {
    let fake = Fake::new();
    fake.usually(Script {
        running: When::After(Duration::from_secs(5)),
        healthy: When::After(Duration::from_secs(10)),
        ..Script::default()
    });
    fake.start(spec("a")).await.unwrap();
    assert_eq!(
        state(&fake, "a").await,
        (InstanceState::Starting, InstanceHealth::Unknown)
    );
    tokio::time::sleep(Duration::from_millis(5_001)).await;
    assert_eq!(
        state(&fake, "a").await,
        (InstanceState::Running, InstanceHealth::Unknown)
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(
        state(&fake, "a").await,
        (InstanceState::Running, InstanceHealth::Healthy)
    );
}

#[tokio::test]
async fn what_is_told_waits_for_the_test() {
    let fake = Fake::new();
    fake.script(
        "serve",
        Script {
            running: When::Told,
            healthy: When::Told,
            ..Script::default()
        },
    );
    fake.start(spec("a")).await.unwrap();
    assert!(!fake.set_health("a", InstanceHealth::Healthy), "does not run yet");
    assert!(fake.run("a"));
    assert!(!fake.run("a"), "runs already");
    assert!(fake.set_health("a", InstanceHealth::Healthy));
    assert_eq!(
        state(&fake, "a").await,
        (InstanceState::Running, InstanceHealth::Healthy)
    );
    assert!(fake.exit("a", None));
    assert_eq!(
        state(&fake, "a").await,
        (InstanceState::Exited { code: None }, InstanceHealth::Unhealthy)
    );
    assert!(!fake.exit("a", Some(1)), "dead already");
}

#[tokio::test]
async fn failures_are_used_up_in_order() {
    let fake = Fake::new();
    fake.fail_next_start(DriverError::PortTaken(80));
    assert!(matches!(
        fake.start(spec("a")).await,
        Err(DriverError::PortTaken(80))
    ));
    assert!(fake.started().is_empty());
    fake.start(spec("a")).await.unwrap();
    fake.set_available(false);
    assert!(matches!(fake.list().await, Err(DriverError::Unavailable(_))));
    assert!(matches!(
        fake.stop("a", Duration::ZERO).await,
        Err(DriverError::Unavailable(_))
    ));
    fake.set_available(true);
    fake.fail_next_stop(DriverError::Unavailable("busy".into()));
    fake.stop("a", Duration::ZERO).await.unwrap_err();
    fake.stop("a", Duration::from_secs(3)).await.unwrap();
    assert_eq!(fake.stopped(), [("a".to_owned(), Duration::from_secs(3))]);
    assert!(fake.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn timers_do_not_touch_a_later_instance_of_the_same_id() {
    let fake = Fake::new();
    fake.usually(Script {
        exit: Some((Duration::from_secs(5), 1)),
        ..Script::default()
    });
    fake.start(spec("a")).await.unwrap();
    fake.stop("a", Duration::ZERO).await.unwrap();
    fake.usually(Script::default());
    fake.start(spec("a")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(state(&fake, "a").await.0, InstanceState::Running);
}

#[tokio::test]
async fn a_lost_instance_is_not_listed() {
    let fake = Fake::new();
    fake.start(spec("a")).await.unwrap();
    let mut changes = fake.changes();
    changes.mark_unchanged();
    assert!(fake.lose("a"));
    assert!(changes.has_changed().unwrap());
    assert!(fake.list().await.unwrap().is_empty());
    assert!(!fake.lose("a"));
}

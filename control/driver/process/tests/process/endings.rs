//! How instances end, with all that they started.

use std::sync::Arc;
use std::time::Duration;

use weir_driver::{ContainerDriver as _, InstanceSpec, InstanceState};

use crate::tools::{GRACE, RUN_ON, argument, exited, find, line, number, open, process, runs, spec};

#[tokio::test]
async fn the_whole_group_ends_and_no_zombie_stays() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    let script = "sh -c 'trap \"\" TERM; sleep 120 & echo child $!; echo self $$; wait; wait'";
    driver.start(spec("group", script)).await.unwrap();
    let child = number(&driver, "group", "child").await;
    let leader = number(&driver, "group", "self").await;
    driver.stop("group", Duration::from_millis(200)).await.unwrap();
    assert_eq!(process(leader), None, "reaped");
    assert!(!runs(child), "children end with their instance");
}

#[tokio::test]
async fn children_left_by_an_exit_are_killed() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    driver
        .start(spec(
            "leaver",
            "sh -c 'sleep 120 & echo child $!; echo self $$; exit 7'",
        ))
        .await
        .unwrap();
    let status = exited(&driver, "leaver").await;
    assert_eq!(status.state, InstanceState::Exited { code: Some(7) });
    assert!(!runs(number(&driver, "leaver", "child").await));
    assert_eq!(process(number(&driver, "leaver", "self").await), None, "reaped");
    driver.stop("leaver", GRACE).await.unwrap();
}

#[tokio::test]
async fn a_group_has_its_grace_also_when_its_shell_is_gone() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    // The shell ends at once when asked; what it runs needs a moment, and says when it is done.
    let done = state.path().join("done");
    let script = format!(
        "sh -c 'trap \"sleep 0.3; echo done > {}; exit 0\" TERM; echo ready; {RUN_ON}' & wait",
        done.display()
    );
    let spec = InstanceSpec {
        arguments: argument("shell", "true"),
        ..spec("shell", &script)
    };
    driver.start(spec).await.unwrap();
    line(&driver, "shell", "ready").await;
    driver.stop("shell", GRACE).await.unwrap();
    assert!(done.exists(), "it was killed before it was done");
}

#[tokio::test]
async fn a_kill_is_told_with_its_signal() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    driver
        .start(spec("shot", "sh -c 'echo a; kill -SEGV $$'"))
        .await
        .unwrap();
    let status = exited(&driver, "shot").await;
    assert_eq!(status.state, InstanceState::Exited { code: None });
    assert!(status.message.unwrap().contains("signal 11"));
    driver.stop("shot", GRACE).await.unwrap();
}

#[tokio::test]
async fn stops_may_overlap_and_be_given_up() {
    let state = tempfile::tempdir().unwrap();
    let driver = Arc::new(open(state.path()));
    let stubborn = format!("sh -c 'trap \"\" TERM; echo ready; {RUN_ON}'");
    driver.start(spec("stubborn", &stubborn)).await.unwrap();
    line(&driver, "stubborn", "ready").await;
    let given_up = driver.stop("stubborn", GRACE);
    tokio::time::timeout(Duration::from_millis(50), given_up)
        .await
        .unwrap_err();
    assert_eq!(
        find(&driver, "stubborn").await.unwrap().state,
        InstanceState::Stopping
    );
    let (first, second) = tokio::join!(
        driver.stop("stubborn", Duration::from_millis(100)),
        driver.stop("stubborn", Duration::from_millis(200)),
    );
    first.unwrap();
    second.unwrap();
    assert!(driver.list().await.unwrap().is_empty());
}

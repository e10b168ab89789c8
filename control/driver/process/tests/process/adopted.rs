//! What another control left: instances that are found again, and what only looks like one.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use weir_driver::{ContainerDriver as _, InstanceHealth, InstanceState};
use weir_driver_process::{Config, OpenError, ProcessDriver};

use crate::{
    parts::Control,
    tools::{GRACE, config, eventually, exited, find, open, pid_of, process, runs, serve, spec, until},
};

fn kill(pid: i32) {
    let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    assert!(killed.unwrap().success());
}

#[tokio::test]
async fn a_killed_control_leaves_an_instance_that_is_found_and_stopped() {
    let state = tempfile::tempdir().unwrap();
    Control::start(state.path()).kill();
    let pid = pid_of(state.path(), "left");
    assert!(runs(pid), "an instance outlives control");

    let driver = open(state.path());
    let found = find(&driver, "left").await.expect("found at once");
    assert_eq!(found.state, InstanceState::Running);
    assert_eq!(found.labels, serve("left").labels);
    let healthy = until(&driver, "left", |status| status.health == InstanceHealth::Healthy).await;
    let web = *healthy.ports.get("web").unwrap();
    tokio::net::TcpStream::connect(("127.0.0.1", web)).await.unwrap();

    driver.start(serve("left")).await.unwrap();
    assert_eq!(
        pid_of(state.path(), "left"),
        pid,
        "a start of a found instance changes nothing"
    );
    driver.stop("left", GRACE).await.unwrap();
    assert!(!runs(pid));
    assert!(find(&driver, "left").await.is_none());
}

#[tokio::test]
async fn a_control_killed_before_it_noted_the_process_leaves_no_orphan() {
    let state = tempfile::tempdir().unwrap();
    Control::start(state.path()).kill();
    let pid = pid_of(state.path(), "left");
    fs::remove_file(state.path().join("instances/left/pid")).unwrap();

    let driver = open(state.path());
    assert_eq!(
        pid_of(state.path(), "left"),
        pid,
        "found by its marker, and noted"
    );
    driver.stop("left", GRACE).await.unwrap();
    assert!(!runs(pid));
}

#[tokio::test]
async fn the_death_of_an_adopted_instance_is_seen() {
    let state = tempfile::tempdir().unwrap();
    Control::start(state.path()).kill();
    let driver = open(state.path());
    let pid = pid_of(state.path(), "left");
    let mut changes = driver.changes();
    changes.mark_unchanged();
    kill(pid);
    let status = exited(&driver, "left").await;
    assert_eq!(status.state, InstanceState::Exited { code: None });
    assert!(status.message.is_some());
    assert!(changes.has_changed().unwrap());
    driver.stop("left", GRACE).await.unwrap();
}

#[tokio::test]
async fn an_instance_that_died_while_control_was_away_is_listed_as_exited() {
    let state = tempfile::tempdir().unwrap();
    Control::start(state.path()).kill();
    let pid = pid_of(state.path(), "left");
    kill(pid);
    eventually("the end of the process", async || (!runs(pid)).then_some(())).await;
    let driver = open(state.path());
    let status = find(&driver, "left").await.unwrap();
    assert_eq!(status.state, InstanceState::Exited { code: None });
    driver.stop("left", GRACE).await.unwrap();
    assert!(find(&driver, "left").await.is_none());
}

#[tokio::test]
async fn a_reused_process_number_is_neither_taken_nor_killed() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    driver
        .start(spec("old", "sh -c 'echo bye; exit 4'"))
        .await
        .unwrap();
    exited(&driver, "old").await;
    drop(driver);

    // Somebody else has the number now: same number, a process group too, another start time.
    let mut stranger = Command::new("sleep").arg("120").process_group(0).spawn().unwrap();
    let path = state.path().join("instances/old/pid");
    let mut noted: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    *noted.get_mut("pid").unwrap() = stranger.id().into();
    fs::write(&path, noted.to_string()).unwrap();

    let driver = open(state.path());
    let status = find(&driver, "old").await.unwrap();
    let spared = stranger.try_wait().unwrap().is_none();
    driver.stop("old", Duration::ZERO).await.unwrap();
    let spared_by_stop = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(
        status.state,
        InstanceState::Exited { code: Some(4) },
        "what was noted at its exit"
    );
    assert!(status.message.unwrap().contains("bye"));
    assert!(spared && spared_by_stop, "a stranger was killed");
}

#[tokio::test]
async fn a_folder_has_one_driver_and_one_namespace() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    let second = ProcessDriver::open(config(state.path()));
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    driver.start(spec("mine", "sleep 120")).await.unwrap();
    let pid = pid_of(state.path(), "mine");
    drop(driver);
    let other = ProcessDriver::open(Config::new(state.path(), "other")).unwrap();
    assert!(other.list().await.unwrap().is_empty());
    drop(other);
    assert!(runs(pid), "another namespace leaves it alone");
    let driver = open(state.path());
    driver.stop("mine", GRACE).await.unwrap();
    assert_eq!(
        process(pid),
        None,
        "reaped, although another driver had started it"
    );
}

#[tokio::test]
async fn half_a_start_and_damaged_files_do_not_stop_the_driver() {
    let state = tempfile::tempdir().unwrap();
    let instances = state.path().join("instances");
    fs::create_dir_all(instances.join("empty")).unwrap();
    fs::create_dir_all(instances.join("damaged")).unwrap();
    fs::write(instances.join("damaged/spec.json"), "{\"version\": 1").unwrap();
    fs::write(instances.join("damaged/stderr.log"), "why\n").unwrap();
    let driver = open(state.path());
    assert!(driver.list().await.unwrap().is_empty());
    assert_eq!(fs::read_dir(&instances).unwrap().count(), 0);
    let ended = fs::read_dir(state.path().join("ended"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(fs::read_to_string(ended.join("stderr.log")).unwrap(), "why\n");
}

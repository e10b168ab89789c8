//! Drivers, instances, and ways to look at them.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::Path,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use weir_driver::{ContainerDriver, InstanceSpec, InstanceState, InstanceStatus, PortSpec};
use weir_driver_process::{Config, ProcessDriver};

use crate::parts::command;

/// Runs on for a while in small steps, so that a shell sees its signals.
pub(crate) const RUN_ON: &str = "i=0; while [ $i -lt 2400 ]; do sleep 0.05; i=$((i+1)); done";
/// How long a test waits for something that should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const GRACE: Duration = Duration::from_secs(15);

/// Ports of one driver.
pub(crate) const PORTS: u16 = 20;

/// Ports that no other driver of these tests has: they run at the same time.
pub(crate) fn instance_ports() -> RangeInclusive<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 21_000 + PORTS * NEXT.fetch_add(1, Ordering::Relaxed);
    first..=first + PORTS - 1
}

pub(crate) fn config(state: &Path) -> Config {
    Config {
        instance_ports: instance_ports(),
        ..Config::new(state, "test")
    }
}

pub(crate) fn open(state: &Path) -> ProcessDriver {
    ProcessDriver::open(config(state)).unwrap()
}

pub(crate) fn spec(id: &str, definition: &str) -> InstanceSpec {
    InstanceSpec {
        id: id.to_owned(),
        labels: BTreeMap::from([("io.vamp.deployment".to_owned(), "shop".to_owned())]),
        deployable_type: "command".to_owned(),
        definition: definition.to_owned(),
        cpu: 0.1,
        memory_mb: 64.0,
        ..InstanceSpec::default()
    }
}

pub(crate) fn port(name: &str, number: u16) -> PortSpec {
    PortSpec {
        name: name.to_owned(),
        number,
    }
}

pub(crate) fn serve(id: &str) -> InstanceSpec {
    InstanceSpec {
        ports: vec![port("web", 0)],
        ..spec(id, &command("service"))
    }
}

pub(crate) fn argument(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn find(driver: &ProcessDriver, id: &str) -> Option<InstanceStatus> {
    driver
        .list()
        .await
        .unwrap()
        .into_iter()
        .find(|status| status.id == id)
}

pub(crate) async fn until(
    driver: &ProcessDriver,
    id: &str,
    is: impl Fn(&InstanceStatus) -> bool,
) -> InstanceStatus {
    eventually(id, async || find(driver, id).await.filter(|status| is(status))).await
}

pub(crate) async fn exited(driver: &ProcessDriver, id: &str) -> InstanceStatus {
    until(driver, id, |status| {
        matches!(status.state, InstanceState::Exited { .. })
    })
    .await
}

pub(crate) async fn line(driver: &ProcessDriver, id: &str, begin: &str) -> String {
    eventually(begin, async || {
        let lines = driver.logs(id, 100).await.unwrap();
        lines
            .into_iter()
            .map(|line| line.text)
            .find(|text| text.starts_with(begin))
    })
    .await
}

/// The number after this word in an instance's output.
pub(crate) async fn number(driver: &ProcessDriver, id: &str, word: &str) -> i32 {
    line(driver, id, word)
        .await
        .split_whitespace()
        .last()
        .unwrap()
        .parse()
        .unwrap()
}

/// State letter of a process; `None`: gone and reaped.
pub(crate) fn process(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ").unwrap().1.chars().next()
}

pub(crate) fn runs(pid: i32) -> bool {
    process(pid).is_some_and(|state| state != 'Z')
}

pub(crate) fn pid_of(state: &Path, id: &str) -> i32 {
    let text = fs::read(state.join("instances").join(id).join("pid")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    i32::try_from(value.get("pid").unwrap().as_i64().unwrap()).unwrap()
}

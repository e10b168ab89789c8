//! What behaviours share.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{LONG_GRACE, POLL, Program, Subject};
use crate::{
    ContainerDriver, HealthCheckSpec, HealthProtocol, InstanceHealth, InstanceSpec, InstanceState,
    InstanceStatus, LogStream, PortSpec,
};

/// An opened driver and what a behaviour asks of it.
pub(super) struct Run<'a> {
    pub(super) subject: &'a dyn Subject,
    pub(super) driver: Arc<dyn ContainerDriver>,
}

impl<'a> Run<'a> {
    pub(super) async fn open(subject: &'a dyn Subject) -> Run<'a> {
        Run {
            subject,
            driver: subject.open().await,
        }
    }

    pub(super) fn spec(&self, program: Program) -> InstanceSpec {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let recipe = self.subject.recipe(program);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let word = format!("{program:?}").to_lowercase();
        InstanceSpec {
            id: format!("conformance-{}-{number}.{word}", std::process::id()),
            labels: BTreeMap::from([("io.vamp.deployment".to_owned(), "conformance".to_owned())]),
            deployable_type: recipe.deployable_type,
            definition: recipe.definition,
            arguments: recipe.arguments,
            cpu: 0.1,
            memory_mb: 64.0,
            ..InstanceSpec::default()
        }
    }

    pub(super) async fn start(&self, spec: &InstanceSpec) {
        self.driver
            .start(spec.clone())
            .await
            .expect("the instance starts");
    }

    pub(super) async fn stop(&self, spec: &InstanceSpec) {
        self.driver
            .stop(&spec.id, LONG_GRACE)
            .await
            .expect("the instance stops");
        assert!(
            self.find(&spec.id).await.is_none(),
            "a stopped instance is not listed"
        );
    }

    pub(super) async fn find(&self, id: &str) -> Option<InstanceStatus> {
        self.driver
            .list()
            .await
            .expect("instances are listed")
            .into_iter()
            .find(|status| status.id == id)
    }

    /// Waits until the instance is as wanted.
    pub(super) async fn until(
        &self,
        id: &str,
        wanted: &str,
        is: impl Fn(&InstanceStatus) -> bool,
    ) -> InstanceStatus {
        let deadline = Instant::now() + self.subject.patience();
        loop {
            let found = self.find(id).await;
            match found {
                Some(status) if is(&status) => return status,
                last => assert!(
                    Instant::now() < deadline,
                    "instance `{id}` is not {wanted}: {last:?}"
                ),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) async fn running(&self, id: &str) -> InstanceStatus {
        self.until(id, "running", |status| status.state == InstanceState::Running)
            .await
    }

    pub(super) async fn healthy(&self, id: &str) -> InstanceStatus {
        self.until(id, "healthy", |status| status.health == InstanceHealth::Healthy)
            .await
    }

    /// Waits until the instance has written a line that is as wanted.
    pub(super) async fn line(&self, id: &str, wanted: &str, is: impl Fn(LogStream, &str) -> bool) -> String {
        let deadline = Instant::now() + self.subject.patience();
        loop {
            let lines = self.driver.logs(id, 500).await.expect("a live instance has logs");
            if let Some(line) = lines.iter().find(|line| is(line.stream, &line.text)) {
                return line.text.clone();
            }
            assert!(
                Instant::now() < deadline,
                "instance `{id}` did not write {wanted}: {lines:?}"
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

pub(super) fn port(name: &str) -> PortSpec {
    PortSpec {
        name: name.to_owned(),
        number: 0,
    }
}

pub(super) fn check(protocol: HealthProtocol, port: &str) -> HealthCheckSpec {
    HealthCheckSpec {
        protocol,
        port: port.to_owned(),
        path: "/".to_owned(),
        initial_delay: Duration::ZERO,
        timeout: Duration::from_secs(2),
        interval: Duration::from_millis(50),
        failures: 3,
    }
}

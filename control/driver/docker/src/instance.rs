//! One instance, as it is known from moment to moment.

use std::collections::BTreeMap;

use tokio::task::AbortHandle;
use weir_driver::{InstanceHealth, InstanceState, InstanceStatus, health::together};

use crate::view::View;

/// One instance.
#[derive(Debug)]
pub(crate) struct Instance {
    id: String,
    labels: BTreeMap<String, String>,
    /// What the engine says of its container; `None`: not made yet.
    pub(crate) view: Option<View>,
    /// The task that makes it, and how far it is.
    pub(crate) start: Option<Start>,
    /// It was told to stop.
    pub(crate) stopping: bool,
    /// What our own checks say.
    pub(crate) checked: InstanceHealth,
    /// The task that checks.
    pub(crate) checks: Option<AbortHandle>,
    /// When it was asked for, milliseconds since the Unix epoch.
    asked_at_ms: u64,
}

/// A start under way.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) message: Option<String>,
    pub(crate) task: Option<AbortHandle>,
}

impl Instance {
    /// One that is asked for.
    pub(crate) fn starting(id: &str, labels: BTreeMap<String, String>, now_ms: u64) -> Instance {
        Instance {
            id: id.to_owned(),
            labels,
            view: None,
            start: Some(Start {
                message: None,
                task: None,
            }),
            stopping: false,
            checked: InstanceHealth::Unknown,
            checks: None,
            asked_at_ms: now_ms,
        }
    }

    /// One that was found.
    pub(crate) fn found(view: View) -> Instance {
        let mut instance = Instance::starting(&view.id, view.record.labels.clone(), view.started_at_ms);
        instance.start = None;
        instance.view = Some(view);
        instance
    }

    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    pub(crate) fn container(&self) -> Option<&str> {
        self.view.as_ref().map(|view| view.container.as_str())
    }

    pub(crate) fn status(&self) -> InstanceStatus {
        let Some(view) = self.view.as_ref().filter(|_| self.start.is_none()) else {
            return InstanceStatus {
                id: self.id.clone(),
                labels: self.labels.clone(),
                host: String::new(),
                ports: BTreeMap::new(),
                state: if self.stopping {
                    InstanceState::Stopping
                } else {
                    InstanceState::Starting
                },
                health: InstanceHealth::Unknown,
                message: self.start.as_ref().and_then(|start| start.message.clone()),
                started_at_ms: self.asked_at_ms,
            };
        };
        let state = match view.state {
            InstanceState::Running if self.stopping => InstanceState::Stopping,
            state => state,
        };
        let health = match view.state {
            InstanceState::Exited { .. } => InstanceHealth::Unhealthy,
            _ => match view.own_health {
                Some(own) => together(&[own, self.checked]),
                None => self.checked,
            },
        };
        InstanceStatus {
            id: self.id.clone(),
            labels: self.labels.clone(),
            host: view.host.clone(),
            ports: view.ports.clone(),
            state,
            health,
            message: view.message.clone(),
            started_at_ms: view.started_at_ms,
        }
    }

    /// Ends the checks.
    pub(crate) fn stop_checks(&mut self) {
        if let Some(task) = self.checks.take() {
            task.abort();
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop_checks();
    }
}

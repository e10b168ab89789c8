//! The fake as a driver.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::{broadcast, mpsc, watch};

use super::{FIRST_PORT, FIRST_START_MS, FOLLOWED_MAX, Fake, Instance, When};
use crate::{
    Capabilities, Capacity, ContainerDriver, DriverError, ExecEvent, ExecSpec, Execution, InstanceHealth,
    InstanceSpec, InstanceState, InstanceStats, InstanceStatus, LogLine, LogStream, Notice,
};

/// Deployable types that the fake takes.
pub(super) const DEPLOYABLE_TYPES: [&str; 5] = [
    "command",
    "cmd",
    "container/docker",
    "docker",
    "application/javascript",
];

#[async_trait]
impl ContainerDriver for Fake {
    fn kind(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            deployable_types: self.types().to_vec(),
            outlives_control: true,
            tells_ports: true,
            follow: true,
            stats: true,
            exec: true,
            ..Capabilities::default()
        }
    }

    fn dialect(&self, _deployable_type: &str) -> &'static str {
        self.types.map_or(self.kind(), |(dialect, _)| dialect)
    }

    async fn list(&self) -> Result<Vec<InstanceStatus>, DriverError> {
        let state = self.world.available()?;
        Ok(state
            .instances
            .values()
            .map(|instance| instance.status.clone())
            .collect())
    }

    async fn start(&self, spec: InstanceSpec) -> Result<(), DriverError> {
        let id = spec.id.clone();
        let (birth, running) = {
            let mut state = self.world.available()?;
            if state.instances.contains_key(&id) {
                return Ok(());
            }
            if let Some(error) = state.failing_starts.pop_front() {
                return Err(error);
            }
            if !self.types().contains(&spec.deployable_type.as_str()) {
                return Err(DriverError::UnsupportedDeployable(spec.deployable_type));
            }
            let script = state
                .scripts
                .get(&spec.definition)
                .unwrap_or(&state.usual)
                .clone();
            if let Some(reason) = script.undefined {
                return Err(DriverError::Definition(reason));
            }
            let mut ports = BTreeMap::new();
            for port in &spec.ports {
                ports.insert(port.name.clone(), state.next_port);
                state.next_port = state.next_port.checked_add(1).unwrap_or(FIRST_PORT);
            }
            let birth = state.started.len();
            let status = InstanceStatus {
                id: id.clone(),
                labels: spec.labels.clone(),
                host: "127.0.0.1".to_owned(),
                ports,
                state: InstanceState::Starting,
                health: InstanceHealth::Unknown,
                message: None,
                started_at_ms: FIRST_START_MS + 1_000 * birth as u64,
            };
            state.started.push(spec.clone());
            let running = script.running;
            let instance = Instance {
                spec,
                script,
                status,
                log: std::collections::VecDeque::new(),
                written: 0,
                birth,
            };
            state.instances.insert(id.clone(), instance);
            (birth, running)
        };
        self.world.changed();
        if let When::After(delay) = running {
            self.world.later(&id, birth, delay, |world, id, birth| {
                world.run(id, birth);
            });
        }
        Ok(())
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), DriverError> {
        let (birth, wait) = {
            let mut state = self.world.available()?;
            if let Some(error) = state.failing_stops.pop_front() {
                return Err(error);
            }
            let Some(instance) = state.instances.get_mut(id) else {
                return Ok(());
            };
            let ended = matches!(instance.status.state, InstanceState::Exited { .. });
            let wait = if ended {
                Duration::ZERO
            } else {
                instance.script.stop_takes.min(grace)
            };
            if !ended {
                instance.status.state = InstanceState::Stopping;
            }
            (instance.birth, wait)
        };
        self.world.changed();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let mut state = self.world.lock();
        if state
            .instances
            .get(id)
            .is_some_and(|instance| instance.birth == birth)
        {
            state.instances.remove(id);
            state.stopped.push((id.to_owned(), grace));
            drop(state);
            self.world.changed();
        }
        Ok(())
    }

    async fn logs(&self, id: &str, lines: usize) -> Result<Vec<LogLine>, DriverError> {
        let state = self.world.available()?;
        let Some(instance) = state.instances.get(id) else {
            return Err(DriverError::NotFound(id.to_owned()));
        };
        let skipped = instance.log.len().saturating_sub(lines);
        Ok(instance.log.iter().skip(skipped).cloned().collect())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.world.changes.subscribe()
    }

    async fn follow(&self, id: &str, lines: usize) -> Result<mpsc::Receiver<LogLine>, DriverError> {
        let (birth, mut next) = {
            let state = self.world.available()?;
            let Some(instance) = state.instances.get(id) else {
                return Err(DriverError::NotFound(id.to_owned()));
            };
            (instance.birth, instance.written.saturating_sub(lines))
        };
        let (sender, receiver) = mpsc::channel(FOLLOWED_MAX);
        let (world, id) = (Arc::clone(&self.world), id.to_owned());
        tokio::spawn(async move {
            let mut writes = world.writes.subscribe();
            loop {
                let (fresh, over) = {
                    let state = world.lock();
                    match state.instances.get(&id) {
                        Some(instance) if instance.birth == birth => {
                            let fresh = instance.since(next);
                            next = instance.written;
                            let ended = matches!(instance.status.state, InstanceState::Exited { .. });
                            (fresh, ended)
                        }
                        _ => (Vec::new(), true),
                    }
                };
                for line in fresh {
                    if sender.send(line).await.is_err() {
                        return;
                    }
                }
                if over {
                    return;
                }
                tokio::select! {
                    () = sender.closed() => return,
                    changed = writes.changed() => if changed.is_err() { return },
                }
            }
        });
        Ok(receiver)
    }

    /// Zeros: fake instances use nothing.
    async fn stats(&self, id: &str) -> Result<InstanceStats, DriverError> {
        let state = self.world.available()?;
        let instance = state.instances.get(id);
        instance
            .map(|_| InstanceStats::default())
            .ok_or_else(|| DriverError::NotFound(id.to_owned()))
    }

    /// Every command writes its own words and ends well.
    async fn exec(&self, id: &str, command: ExecSpec) -> Result<Execution, DriverError> {
        let runs = self
            .world
            .available()?
            .instances
            .get(id)
            .is_some_and(|instance| instance.status.state == InstanceState::Running);
        if !runs {
            return Err(DriverError::NotFound(id.to_owned()));
        }
        let (sender, output) = mpsc::channel(2);
        let written = ExecEvent::Output {
            stream: LogStream::Stdout,
            bytes: format!("{}\n", command.command.join(" ")).into_bytes(),
        };
        for event in [written, ExecEvent::Ended { code: Some(0) }] {
            sender.try_send(event).expect("the channel holds both events");
        }
        Ok(Execution { input: None, output })
    }

    async fn capacity(&self) -> Result<Vec<Capacity>, DriverError> {
        Ok(self.world.available()?.capacity.clone())
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.world.notices.subscribe()
    }
}

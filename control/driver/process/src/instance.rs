//! One instance: what is known of it, and the tasks that find out.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use rustix::process::Signal;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle, time::Instant};
use weir_driver::{InstanceHealth, InstanceState, InstanceStatus, health::Plan};

use crate::{
    cgroup::Group,
    folder::{Exit, Folder, Record, now_ms},
    launch::marker,
    leader::{Ending, Leader},
    logs,
    proc::Identity,
};

/// Between looks at the size of the logs. What an instance writes meanwhile comes on top of the bound; with hundreds of instances
/// these looks are most of what control does while nothing changes.
const LOG_INTERVAL: Duration = Duration::from_secs(3);

/// Where an instance is, for those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Starting,
    Running,
    Exited,
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) record: Record,
    pub(crate) folder: Folder,
    /// Its control group, where there are some.
    pub(crate) group: Option<Group>,
    identity: OnceLock<Identity>,
    status: Mutex<Status>,
    life: watch::Sender<Life>,
    /// When it is killed; set by a stop.
    deadline: watch::Sender<Option<Instant>>,
    tasks: Mutex<Vec<AbortHandle>>,
    /// The driver's number of changes.
    changes: watch::Sender<u64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Status {
    state: InstanceState,
    health: InstanceHealth,
    message: Option<String>,
}

/// Says that `list` answers differently now.
pub(crate) fn changed(changes: &watch::Sender<u64>) {
    changes.send_modify(|number| *number = number.wrapping_add(1));
}

impl Instance {
    /// One that is being started.
    pub(crate) fn starting(
        record: Record,
        folder: Folder,
        group: Option<Group>,
        changes: watch::Sender<u64>,
    ) -> Arc<Instance> {
        let status = Status {
            state: InstanceState::Starting,
            health: InstanceHealth::Unknown,
            message: None,
        };
        Arc::new(Instance {
            record,
            folder,
            group,
            identity: OnceLock::new(),
            status: Mutex::new(status),
            life: watch::Sender::new(Life::Starting),
            deadline: watch::Sender::new(None),
            tasks: Mutex::new(Vec::new()),
            changes,
        })
    }

    fn status_of(&self) -> MutexGuard<'_, Status> {
        self.status
            .lock()
            .expect("nothing panics with an instance's status")
    }

    pub(crate) fn status(&self) -> InstanceStatus {
        let Status {
            state,
            health,
            message,
        } = self.status_of().clone();
        InstanceStatus {
            id: self.record.spec.id.clone(),
            labels: self.record.spec.labels.clone(),
            host: self.record.host.clone(),
            ports: self.record.ports.clone(),
            state,
            health,
            message,
            started_at_ms: self.record.started_at_ms,
        }
    }

    /// Number of its process group, once it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.identity.get().map(|identity| identity.pid)
    }

    pub(crate) fn life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// Its process was started or found again: watches it from now on.
    pub(crate) fn runs(self: &Arc<Instance>, identity: Identity, runtime: &Handle) {
        let plan = Plan::new(
            &self.record.host,
            &self.record.ports,
            &self.record.spec.health_checks,
        );
        {
            let mut status = self.status_of();
            status.state = InstanceState::Running;
            status.health = plan.before();
        }
        let identity = self.identity.get_or_init(|| identity).clone();
        // Before the tasks, which end with another life.
        self.life.send_replace(Life::Running);
        changed(&self.changes);

        let checks = runtime.spawn({
            let instance = Arc::clone(self);
            let age = Duration::from_millis(now_ms().saturating_sub(self.record.started_at_ms));
            async move {
                let health = plan.run(age, |health| instance.set_health(health));
                tokio::join!(health, instance.bound_logs());
            }
        });
        let exit = runtime.spawn({
            let instance = Arc::clone(self);
            let checks = checks.abort_handle();
            async move {
                let ending = instance.until_ended(identity).await;
                checks.abort();
                instance.note_exit(ending).await;
            }
        });
        let mut tasks = self.tasks.lock().expect("nothing panics with the tasks");
        tasks.extend([checks.abort_handle(), exit.abort_handle()]);
    }

    /// It ended while no driver was there, with what was noted then.
    pub(crate) fn has_exited(&self, exit: Exit) {
        {
            let mut status = self.status_of();
            status.state = InstanceState::Exited { code: exit.code };
            status.health = InstanceHealth::Unhealthy;
            status.message = Some(exit.message);
        }
        self.life.send_replace(Life::Exited);
        changed(&self.changes);
    }

    /// Asks it to end, and kills it at `deadline`. Asked again, the earlier deadline counts.
    pub(crate) fn ask_to_end(&self, deadline: Instant) {
        {
            let mut status = self.status_of();
            if status.state == InstanceState::Running {
                status.state = InstanceState::Stopping;
            }
        }
        changed(&self.changes);
        let mut first = false;
        self.deadline.send_modify(|old| {
            first = old.is_none();
            *old = Some(old.map_or(deadline, |old| old.min(deadline)));
        });
        if first && let Some(identity) = self.identity.get() {
            identity.signal_group(Signal::TERM);
        }
    }

    /// Ends the tasks. The process is left as it is.
    pub(crate) fn forget(&self) {
        for task in self
            .tasks
            .lock()
            .expect("nothing panics with the tasks")
            .drain(..)
        {
            task.abort();
        }
    }

    fn set_health(&self, health: InstanceHealth) {
        let differs = {
            let mut status = self.status_of();
            let differs = status.health != health && !matches!(status.state, InstanceState::Exited { .. });
            if differs {
                status.health = health;
            }
            differs
        };
        if differs {
            changed(&self.changes);
        }
    }

    async fn bound_logs(&self) {
        loop {
            tokio::time::sleep(LOG_INTERVAL).await;
            let folder = self.folder.clone();
            let done = tokio::task::spawn_blocking(move || logs::bound(&folder)).await;
            if let Ok(Err(error)) = done {
                tracing::warn!(endpoint = %self.record.spec.id, %error, "cannot bound the logs of an instance");
            }
        }
    }

    /// Waits for the end of the process and of its group, which a stop may bring about.
    async fn until_ended(&self, identity: Identity) -> Ending {
        let leader = Leader::new(identity.clone());
        let mut deadlines = self.deadline.subscribe();
        loop {
            let deadline = *deadlines.borrow_and_update();
            let killing = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = leader.ended() => break,
                () = killing => {
                    identity.signal_group(Signal::KILL);
                    leader.ended().await;
                    break;
                }
                _ = deadlines.changed() => {}
            }
        }
        // Of what ends by itself the rest is killed at once; of what was asked to end, the rest has as much
        // time as the first process.
        let deadline = deadlines.borrow().unwrap_or_else(Instant::now);
        leader
            .clean_up(&marker(&self.record, &self.folder), deadline)
            .await
    }

    async fn note_exit(self: &Arc<Instance>, ending: Ending) {
        let instance = Arc::clone(self);
        let noted = tokio::task::spawn_blocking(move || {
            let mut exit = exit(ending, &logs::last_words(&instance.folder));
            if let Some(group) = &instance.group {
                if group.ran_out_of_memory() {
                    exit.message = format!(
                        "{} MB of memory were not enough for it: {}",
                        instance.record.spec.memory_mb, exit.message
                    );
                }
                group.remove();
            }
            if let Err(error) = instance.folder.write_exit(&exit) {
                tracing::warn!(endpoint = %instance.record.spec.id, %error, "cannot note the exit of an instance");
            }
            exit
        });
        let exit = noted.await.unwrap_or_else(|_| exit(ending, ""));
        self.has_exited(exit);
    }
}

/// An ending in words.
pub(crate) fn exit(ending: Ending, last_words: &str) -> Exit {
    let (code, mut message) = match ending {
        Ending::Code(code) => (Some(code), format!("exited with code {code}")),
        Ending::Signal(number) => (None, format!("killed by signal {number}{}", signal_name(number))),
        Ending::Unknown => (None, "ended; its exit code is not known".to_owned()),
    };
    if !last_words.is_empty() {
        message.push_str("; it wrote last:\n");
        message.push_str(last_words);
    }
    Exit { code, message }
}

fn signal_name(number: i32) -> &'static str {
    match number {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL: by somebody, or for lack of memory)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

//! The driver.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{File, TryLockError},
    hash::{BuildHasher, RandomState},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::Instant,
};
use weir_driver::{
    Capabilities, Capacity, ContainerDriver, DriverError, InstanceSpec, InstanceStats, InstanceStatus,
    LogLine,
};

use crate::{
    cgroup::{Group, Groups},
    config::{Config, OpenError},
    folder::{Exit, Folder, Record, Root, now_ms},
    follow,
    instance::{Instance, Life, changed, exit},
    launch::{Launch, Options, check, inherited, marker, marker_of},
    leader::{Ending, sweep},
    logs,
    ports::{self, Ports},
    proc::{Identity, Marker, boot_id, stray, ticks},
    stats,
};

/// What this driver runs.
const DEPLOYABLE_TYPES: &[&str] = &["command", "cmd"];
/// How long an open waits for another driver to let go of the folder.
const LOCK_MAX: Duration = Duration::from_secs(1);
/// Between two tries to get it.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// Longest wait for a start that is under way, before a stop gives up.
const START_MAX: Duration = Duration::from_secs(30);
/// Longest wait for a killed process to be gone, before a stop gives up.
const KILL_MAX: Duration = Duration::from_secs(10);
/// Most lines that `logs` answers.
const LOG_LINES_MAX: usize = 10_000;
/// Between noting the time and starting the process, clocks may be read differently by this many ticks.
const TICKS_SLACK: u64 = 100;

/// Runs instances as processes of this host.
///
/// Dropped, it leaves its instances running; the next driver of the same folder finds them.
#[derive(Debug)]
pub struct ProcessDriver {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    root: Root,
    boot_id: String,
    /// Looked for when first needed. `None`: this process may make none.
    groups: OnceLock<Option<Groups>>,
    /// What every instance inherits.
    inherited: BTreeMap<String, String>,
    /// Locked before `ports` where both are.
    instances: Mutex<BTreeMap<String, Arc<Instance>>>,
    ports: Mutex<Ports>,
    changes: watch::Sender<u64>,
    runtime: Handle,
    /// Held as long as anything still works on the folder.
    _lock: File,
}

impl ProcessDriver {
    /// Opens the folder and finds the instances that are in it. Blocks for some milliseconds, or for up to
    /// a second if another driver has the folder.
    ///
    /// # Errors
    /// The folder cannot be used or is in use, or this was not called within a tokio runtime.
    pub fn open(config: Config) -> Result<ProcessDriver, OpenError> {
        let runtime = Handle::try_current().map_err(|_| OpenError::Runtime)?;
        let failed = |source: io::Error| OpenError::Folder {
            path: config.state_dir.clone(),
            source,
        };
        let root = Root::open(&config.state_dir).map_err(failed)?;
        let lock = lock(root.lock_file().map_err(failed)?, &config.state_dir)?;
        let ids = root.ids().map_err(failed)?;
        let boot_id = boot_id().map_err(OpenError::Proc)?;
        // The hasher's keys are random.
        let ports = Ports::new(config.instance_ports.clone(), RandomState::new().hash_one(0));
        let inner = Inner {
            groups: OnceLock::new(),
            config,
            root,
            boot_id,
            inherited: inherited(),
            instances: Mutex::default(),
            ports: Mutex::new(ports),
            changes: watch::Sender::new(0),
            runtime,
            _lock: lock,
        };
        for id in ids {
            inner.find_again(&id).map_err(|source| OpenError::Folder {
                path: inner.root.folder(&id).path().to_owned(),
                source,
            })?;
        }
        Ok(ProcessDriver {
            inner: Arc::new(inner),
        })
    }
}

/// Makes sure that no other driver uses the folder.
fn lock(file: File, path: &Path) -> Result<File, OpenError> {
    let deadline = std::time::Instant::now() + LOCK_MAX;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => {
                return Err(OpenError::Folder {
                    path: path.to_owned(),
                    source,
                });
            }
            Err(TryLockError::WouldBlock) if std::time::Instant::now() < deadline => {
                // A process that is just being started holds a copy until it becomes another program.
                std::thread::sleep(LOCK_POLL);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    path: path.to_owned(),
                });
            }
        }
    }
}

/// Whether a file was read, but holds something else than it should.
fn damaged(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

/// What a file says; nothing if it is damaged.
fn known<T>(read: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match read {
        Err(error) if damaged(&error) => Ok(None),
        other => other,
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> DriverError {
    DriverError::Unavailable(Box::new(error))
}

impl Inner {
    fn instances(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Instance>>> {
        self.instances.lock().expect("nothing panics with the instances")
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().expect("nothing panics with the ports")
    }

    fn groups(&self) -> Option<&Groups> {
        let groups = self.groups.get_or_init(|| Groups::open(&self.config.namespace));
        groups.as_ref()
    }

    /// The group of an instance that is to have limits.
    fn group(&self, spec: &InstanceSpec, options: Options) -> Result<Option<Group>, DriverError> {
        if !options.limits.unwrap_or(self.config.limits) {
            return Ok(None);
        }
        match (self.groups(), options.limits) {
            (Some(groups), _) => Ok(Some(groups.of(&spec.id))),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(DriverError::Definition(
                "`limits: true` cannot be kept: control may not make control groups on this host".to_owned(),
            )),
        }
    }

    fn get(&self, id: &str) -> Option<Arc<Instance>> {
        self.instances().get(id).cloned()
    }

    /// Takes up an instance of which there is a folder.
    fn find_again(&self, id: &str) -> io::Result<()> {
        let folder = self.root.folder(id);
        let record = match folder.record() {
            Ok(Some(record)) => record,
            // Control ended before it had started anything.
            Ok(None) => return folder.remove(),
            Err(error) if damaged(&error) => return self.put_aside(id, &folder),
            Err(error) => return Err(error),
        };
        if record.namespace != self.config.namespace {
            tracing::warn!(
                endpoint = %id, namespace = %record.namespace,
                "an instance of another namespace is left alone"
            );
            return Ok(());
        }
        let marker = marker(&record, &folder);
        let noted = known(folder.identity())?;
        let running = match &noted {
            Some(identity) => identity.alive().then(|| identity.clone()),
            None if record.boot_id == self.boot_id => {
                let since = record.started_ticks.saturating_sub(TICKS_SLACK);
                stray(&marker, since).and_then(|pid| Identity::of(pid).ok())
            }
            None => None,
        };
        if running.is_none() && noted.is_none() {
            // Control ended between noting what to start and starting it: nobody was told that it runs.
            return folder.remove();
        }
        let group = check(&record.spec)
            .and_then(|options| self.group(&record.spec, options))
            .unwrap_or_default();
        let instance = Instance::starting(record, folder, group, self.changes.clone());
        for port in instance.record.ports.values() {
            self.ports().hold(*port);
        }
        match running {
            Some(identity) => {
                if noted.is_none()
                    && let Err(error) = instance.folder.write_identity(&identity)
                {
                    // The next open finds it as this one did.
                    tracing::warn!(endpoint = %id, %error, "cannot note the process of an instance");
                }
                instance.runs(identity, &self.runtime);
            }
            None => {
                if let Some(identity) = noted {
                    self.end_remains(&identity, &marker);
                }
                let unseen = || exit(Ending::Unknown, &logs::last_words(&instance.folder));
                instance.has_exited(known(instance.folder.exit())?.unwrap_or_else(unseen));
            }
        }
        self.instances().insert(id.to_owned(), instance);
        Ok(())
    }

    /// Ends what is left of the group of an instance that ended while no driver was there.
    fn end_remains(&self, identity: &Identity, marker: &Marker) {
        if identity.boot_id == self.boot_id {
            sweep(identity, marker);
        }
    }

    /// Of an instance whose record is damaged (the machine crashed): ends what is known of it, and keeps
    /// its logs.
    fn put_aside(&self, id: &str, folder: &Folder) -> io::Result<()> {
        tracing::warn!(endpoint = %id, "the record of an instance is damaged; its folder is put aside");
        if let Some(identity) = known(folder.identity())? {
            self.end_remains(&identity, &marker_of(&self.config.namespace, id, folder));
        }
        self.root.retire(folder)
    }

    /// Starts an instance. Blocks.
    fn start(&self, spec: InstanceSpec) -> Result<(), DriverError> {
        if !DEPLOYABLE_TYPES.contains(&spec.deployable_type.as_str()) {
            return Err(DriverError::UnsupportedDeployable(spec.deployable_type));
        }
        let options = check(&spec)?;
        let group = self.group(&spec, options)?;
        let instance = {
            let mut instances = self.instances();
            let Entry::Vacant(vacant) = instances.entry(spec.id.clone()) else {
                return Ok(());
            };
            let record = Record {
                version: 1,
                namespace: self.config.namespace.clone(),
                host: self.config.host.clone(),
                ports: self.take_ports(&spec, options)?,
                started_at_ms: now_ms(),
                started_ticks: ticks(),
                boot_id: self.boot_id.clone(),
                spec,
            };
            let folder = self.root.folder(&record.spec.id);
            let instance = Instance::starting(record, folder, group, self.changes.clone());
            vacant.insert(Arc::clone(&instance));
            instance
        };
        changed(&self.changes);
        let started = Launch::new(&instance.record, &instance.folder, options, &self.inherited)
            .and_then(|launch| launch.start(&instance.record, &instance.folder, instance.group.as_ref()));
        match started {
            Ok(identity) => {
                tracing::info!(endpoint = %instance.record.spec.id, pid = identity.pid, "instance started");
                instance.runs(identity, &self.runtime);
                Ok(())
            }
            Err(error) => {
                if let Some(group) = &instance.group {
                    group.remove();
                }
                if let Err(error) = instance.folder.remove() {
                    tracing::warn!(endpoint = %instance.record.spec.id, %error, "cannot remove the folder of an instance that did not start");
                }
                self.drop_instance(&instance);
                Err(error)
            }
        }
    }

    /// All ports of a spec, or none.
    fn take_ports(
        &self,
        spec: &InstanceSpec,
        options: Options,
    ) -> Result<BTreeMap<String, u16>, DriverError> {
        let mut ports = self.ports();
        let mut taken = BTreeMap::new();
        for port in &spec.ports {
            let number = if options.fixed_ports && port.number != 0 {
                ports
                    .claim(port.number, ports::free)
                    .then_some(port.number)
                    .ok_or(DriverError::PortTaken(port.number))
            } else {
                ports.assign(ports::free).ok_or_else(|| {
                    let range = &self.config.instance_ports;
                    let message = format!("no port from {} to {} is free", range.start(), range.end());
                    DriverError::Unavailable(message.into())
                })
            };
            match number {
                Ok(number) => {
                    taken.insert(port.name.clone(), number);
                }
                Err(error) => {
                    for number in taken.values() {
                        ports.release(*number);
                    }
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    /// Takes an instance out of the list and gives up its ports. A second time nothing happens.
    fn drop_instance(&self, instance: &Arc<Instance>) {
        instance.forget();
        {
            let mut instances = self.instances();
            let id = instance.record.spec.id.as_str();
            if !instances
                .get(id)
                .is_some_and(|listed| Arc::ptr_eq(listed, instance))
            {
                return;
            }
            instances.remove(id);
            let mut ports = self.ports();
            for port in instance.record.ports.values() {
                ports.release(*port);
            }
        }
        // A stop that waits for its start need not wait any longer.
        instance.has_exited(Exit {
            code: None,
            message: String::new(),
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for instance in self.instances().values() {
            instance.forget();
        }
        if let Some(Some(groups)) = self.groups.get() {
            groups.remove_if_empty();
        }
    }
}

#[async_trait]
impl ContainerDriver for ProcessDriver {
    fn kind(&self) -> &'static str {
        "process"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            deployable_types: DEPLOYABLE_TYPES.to_vec(),
            outlives_control: true,
            limits: self.inner.config.limits && self.inner.groups().is_some(),
            tells_ports: true,
            follow: true,
            stats: true,
            ..Capabilities::default()
        }
    }

    async fn list(&self) -> Result<Vec<InstanceStatus>, DriverError> {
        Ok(self
            .inner
            .instances()
            .values()
            .map(|instance| instance.status())
            .collect())
    }

    async fn start(&self, spec: InstanceSpec) -> Result<(), DriverError> {
        let inner = Arc::clone(&self.inner);
        // A task of its own: whoever asks may stop waiting, but a start is never left half done.
        tokio::task::spawn_blocking(move || inner.start(spec))
            .await
            .map_err(unavailable)?
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), DriverError> {
        let Some(instance) = self.inner.get(id) else {
            return Ok(());
        };
        let late = |what: &str| DriverError::Unavailable(format!("instance `{id}` {what} in time").into());
        let mut life = instance.life();
        let started = life.wait_for(|life| *life != Life::Starting);
        tokio::time::timeout(START_MAX, started)
            .await
            .map_err(|_| late("did not finish its start"))?
            .map_err(unavailable)?;
        let grace = grace.min(self.inner.config.stop_grace);
        let running = *life.borrow() == Life::Running;
        if running {
            tracing::info!(endpoint = %id, grace_ms = grace.as_millis(), "instance is stopped");
            instance.ask_to_end(Instant::now() + grace);
            tokio::time::timeout(grace + KILL_MAX, life.wait_for(|life| *life == Life::Exited))
                .await
                .map_err(|_| late("did not end"))?
                .map_err(unavailable)?;
        }
        let inner = Arc::clone(&self.inner);
        let forgotten = tokio::task::spawn_blocking(move || {
            instance.forget();
            if let Some(group) = &instance.group {
                group.remove();
            }
            inner.root.retire(&instance.folder)?;
            inner.drop_instance(&instance);
            Ok::<(), io::Error>(())
        });
        forgotten.await.map_err(unavailable)?.map_err(unavailable)
    }

    async fn logs(&self, id: &str, lines: usize) -> Result<Vec<LogLine>, DriverError> {
        let Some(instance) = self.inner.get(id) else {
            return Err(DriverError::NotFound(id.to_owned()));
        };
        let lines = lines.min(LOG_LINES_MAX);
        let read = tokio::task::spawn_blocking(move || logs::tail(&instance.folder, lines));
        read.await.map_err(unavailable)?.map_err(unavailable)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    async fn follow(&self, id: &str, lines: usize) -> Result<mpsc::Receiver<LogLine>, DriverError> {
        let Some(instance) = self.inner.get(id) else {
            return Err(DriverError::NotFound(id.to_owned()));
        };
        let runtime = self.inner.runtime.clone();
        let begun = tokio::task::spawn_blocking(move || {
            let _within = runtime.enter();
            follow::follow(instance, lines.min(LOG_LINES_MAX))
        });
        begun.await.map_err(unavailable)?.map_err(unavailable)
    }

    async fn stats(&self, id: &str) -> Result<InstanceStats, DriverError> {
        let Some(instance) = self.inner.get(id) else {
            return Err(DriverError::NotFound(id.to_owned()));
        };
        let read = tokio::task::spawn_blocking(move || match instance.pid() {
            Some(pid) => stats::read(pid, instance.group.as_ref()),
            None => InstanceStats::default(),
        });
        read.await.map_err(unavailable)
    }

    async fn capacity(&self) -> Result<Vec<Capacity>, DriverError> {
        let Some((cpu, memory_mb)) = stats::host() else {
            return Ok(Vec::new());
        };
        Ok(vec![Capacity {
            driver: self.kind().to_owned(),
            deployable_types: DEPLOYABLE_TYPES.iter().map(|name| (*name).to_owned()).collect(),
            cpu,
            memory_mb,
            largest_cpu: cpu,
            largest_memory_mb: memory_mb,
        }])
    }
}

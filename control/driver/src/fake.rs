//! A driver in memory, for tests of reconcilers.
//!
//! **Job.** Answers as a driver would, and lets a test decide what happens to its instances: how long they
//! take to run and to become healthy, which starts and stops fail, when an instance dies.
//!
//! **Invariants.** Nothing happens by chance. Delays are measured by tokio's clock, so a test with
//! `start_paused` needs no real time; a delay of zero takes effect before `start` returns. Clones and
//! [`Fake::reopened`] share one world, as two runs of control share one engine.
//!
//! **Absent.** No process, no socket: addresses it reports lead nowhere.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use crate::{
    Capacity, DriverError, InstanceHealth, InstanceSpec, InstanceState, InstanceStatus, LogLine, LogStream,
    Notice,
};

mod driver;

/// Log lines kept of one instance; older ones go first.
const LOG_LINES_MAX: usize = 1_000;
/// Lines that a reader who follows may be behind before the writer waits for it.
const FOLLOWED_MAX: usize = 64;
/// Notices that a slow reader may be behind.
const NOTICES_MAX: usize = 64;
/// First port that is given away.
const FIRST_PORT: u16 = 20_000;
/// `started_at_ms` of the first instance; each further one is a second later.
const FIRST_START_MS: u64 = 1_700_000_000_000;

/// When something happens to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// By itself, this long after what came before it (started → running → healthy).
    After(Duration),
    /// Not before the test says so ([`Fake::run`], [`Fake::set_health`]).
    Told,
}

impl When {
    /// At once.
    pub const NOW: When = When::After(Duration::ZERO);
}

/// What instances of one definition do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// From `start` to [`InstanceState::Running`].
    pub running: When,
    /// From running to [`InstanceHealth::Healthy`].
    pub healthy: When,
    /// From running to an exit with this code, by itself.
    pub exit: Option<(Duration, i32)>,
    /// Time that it takes to end when asked; longer than the grace: it is killed at its end.
    pub stop_takes: Duration,
    /// Lines written when it runs.
    pub prints: Vec<(LogStream, String)>,
    /// Whether it also writes its environment, one `NAME=value` a line, to standard output.
    pub prints_environment: bool,
    /// Whether it writes `line 0`, `line 1`, ... to standard output, one each time this has passed.
    pub counts: Option<Duration>,
    /// Reason for which it cannot be started at all ([`DriverError::Definition`]).
    pub undefined: Option<String>,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            running: When::NOW,
            healthy: When::NOW,
            exit: None,
            stop_takes: Duration::ZERO,
            prints: Vec::new(),
            prints_environment: false,
            counts: None,
            undefined: None,
        }
    }
}

/// The driver. Cheap to clone: clones share their instances.
#[derive(Clone, Debug)]
pub struct Fake {
    world: Arc<World>,
    /// Its dialect and the deployable types that it takes; `None`: its kind, and many.
    types: Option<(&'static str, &'static [&'static str])>,
}

#[derive(Debug)]
struct World {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    /// Moves with every line that is written, and with every change.
    writes: watch::Sender<u64>,
    notices: broadcast::Sender<Notice>,
}

#[derive(Debug)]
struct State {
    scripts: BTreeMap<String, Script>,
    usual: Script,
    instances: BTreeMap<String, Instance>,
    failing_starts: VecDeque<DriverError>,
    failing_stops: VecDeque<DriverError>,
    available: bool,
    started: Vec<InstanceSpec>,
    stopped: Vec<(String, Duration)>,
    next_port: u16,
    capacity: Vec<Capacity>,
}

#[derive(Debug)]
struct Instance {
    spec: InstanceSpec,
    script: Script,
    status: InstanceStatus,
    log: VecDeque<LogLine>,
    /// Lines that were ever written.
    written: usize,
    /// Told apart from a later instance of the same id.
    birth: usize,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake::new()
    }
}

impl Fake {
    /// A driver without instances, whose instances run and are healthy at once.
    #[must_use]
    pub fn new() -> Fake {
        let state = State {
            scripts: BTreeMap::new(),
            usual: Script::default(),
            instances: BTreeMap::new(),
            failing_starts: VecDeque::new(),
            failing_stops: VecDeque::new(),
            available: true,
            started: Vec::new(),
            stopped: Vec::new(),
            next_port: FIRST_PORT,
            capacity: Vec::new(),
        };
        Fake {
            world: Arc::new(World {
                state: Mutex::new(state),
                changes: watch::Sender::new(0),
                writes: watch::Sender::new(0),
                notices: broadcast::Sender::new(NOTICES_MAX),
            }),
            types: None,
        }
    }

    /// A driver that takes these deployable types only, and has this part of the dialects.
    #[must_use]
    pub fn of_types(dialect: &'static str, types: &'static [&'static str]) -> Fake {
        Fake {
            types: Some((dialect, types)),
            ..Fake::new()
        }
    }

    fn types(&self) -> &'static [&'static str] {
        self.types.map_or(&driver::DEPLOYABLE_TYPES, |(_, types)| types)
    }

    /// What [`ContainerDriver::capacity`](crate::ContainerDriver::capacity) answers from now on.
    pub fn set_capacity(&self, capacity: Vec<Capacity>) {
        self.world.lock().capacity = capacity;
    }

    /// Tells readers of [`ContainerDriver::notices`](crate::ContainerDriver::notices).
    pub fn say(&self, notice: Notice) {
        // Nobody may be listening.
        let _ = self.world.notices.send(notice);
    }

    /// What a restarted control would open: another driver over the same instances.
    #[must_use]
    pub fn reopened(&self) -> Fake {
        self.clone()
    }

    /// Decides what instances do whose definition is exactly `definition`, from the next start on.
    pub fn script(&self, definition: &str, script: Script) {
        self.world.lock().scripts.insert(definition.to_owned(), script);
    }

    /// Decides what all other instances do, from the next start on.
    pub fn usually(&self, script: Script) {
        self.world.lock().usual = script;
    }

    /// Lets the next start fail. Called several times: the next starts, in this order.
    pub fn fail_next_start(&self, error: DriverError) {
        self.world.lock().failing_starts.push_back(error);
    }

    /// Lets the next stop fail, before anything is stopped. Called several times: the next stops.
    pub fn fail_next_stop(&self, error: DriverError) {
        self.world.lock().failing_stops.push_back(error);
    }

    /// While not available, every verb answers [`DriverError::Unavailable`]. Instances live on.
    pub fn set_available(&self, available: bool) {
        self.world.lock().available = available;
    }

    /// Lets an instance that is starting run; whether there is such an instance.
    pub fn run(&self, id: &str) -> bool {
        let Some(birth) = self.world.birth(id) else {
            return false;
        };
        self.world.run(id, birth)
    }

    /// Sets what the checks of a running instance say; whether there is such an instance.
    pub fn set_health(&self, id: &str, health: InstanceHealth) -> bool {
        self.world.change(id, None, |instance| {
            let runs = instance.status.state == InstanceState::Running;
            if runs {
                instance.status.health = health;
            }
            runs
        })
    }

    /// Lets an instance die: `None` as the code is a kill. Whether there is such an instance.
    pub fn exit(&self, id: &str, code: Option<i32>) -> bool {
        self.world.change(id, None, |instance| instance.exit(code))
    }

    /// Takes an instance away without a trace, as if somebody removed it behind the driver's back; whether
    /// there was such an instance.
    pub fn lose(&self, id: &str) -> bool {
        let lost = self.world.lock().instances.remove(id).is_some();
        if lost {
            self.world.changed();
        }
        lost
    }

    /// Appends a line to an instance's output; whether there is such an instance.
    pub fn write(&self, id: &str, stream: LogStream, text: &str) -> bool {
        let wrote = match self.world.lock().instances.get_mut(id) {
            Some(instance) => {
                instance.write(stream, text.to_owned());
                true
            }
            None => false,
        };
        self.world.wrote();
        wrote
    }

    /// Specs of all starts that made an instance, in order.
    #[must_use]
    pub fn started(&self) -> Vec<InstanceSpec> {
        self.world.lock().started.clone()
    }

    /// Ids and graces of all stops that ended an instance, in order.
    #[must_use]
    pub fn stopped(&self) -> Vec<(String, Duration)> {
        self.world.lock().stopped.clone()
    }

    /// Spec of an instance that is there.
    #[must_use]
    pub fn spec(&self, id: &str) -> Option<InstanceSpec> {
        self.world
            .lock()
            .instances
            .get(id)
            .map(|instance| instance.spec.clone())
    }
}

impl Instance {
    fn run(&mut self) {
        self.status.state = InstanceState::Running;
        for (stream, text) in self.script.prints.clone() {
            self.write(stream, text);
        }
        if self.script.prints_environment {
            let mut lines: Vec<String> = self
                .spec
                .environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            for (name, port) in &self.status.ports {
                lines.push(format!("PORT_{}={port}", name.to_uppercase()));
            }
            for line in lines {
                self.write(LogStream::Stdout, line);
            }
        }
    }

    fn exit(&mut self, code: Option<i32>) -> bool {
        if matches!(self.status.state, InstanceState::Exited { .. }) {
            return false;
        }
        self.status.state = InstanceState::Exited { code };
        self.status.health = InstanceHealth::Unhealthy;
        let mut message = match code {
            Some(code) => format!("exited with code {code}"),
            None => "killed by a signal".to_owned(),
        };
        if let Some(last) = self.log.back() {
            message.push_str("; it wrote last:\n");
            message.push_str(&last.text);
        }
        self.status.message = Some(message);
        true
    }

    fn write(&mut self, stream: LogStream, text: String) {
        if self.log.len() == LOG_LINES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(LogLine {
            at_ms: 0,
            stream,
            text,
        });
        self.written += 1;
    }

    /// Lines from the one with this number on.
    fn since(&self, number: usize) -> Vec<LogLine> {
        let wanted = self.written.saturating_sub(number);
        let skipped = self.log.len().saturating_sub(wanted);
        self.log.iter().skip(skipped).cloned().collect()
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the fake's state")
    }

    /// The state, if the engine answers.
    fn available(&self) -> Result<MutexGuard<'_, State>, DriverError> {
        let state = self.lock();
        if state.available {
            Ok(state)
        } else {
            Err(DriverError::Unavailable("the fake was told so".into()))
        }
    }

    fn changed(&self) {
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
        self.wrote();
    }

    fn wrote(&self) {
        self.writes.send_modify(|number| *number = number.wrapping_add(1));
    }

    fn birth(&self, id: &str) -> Option<usize> {
        self.lock().instances.get(id).map(|instance| instance.birth)
    }

    /// Changes an instance (only the one of that birth, if given); the closure says whether it did.
    fn change(&self, id: &str, birth: Option<usize>, with: impl FnOnce(&mut Instance) -> bool) -> bool {
        let mut state = self.lock();
        let did = match state.instances.get_mut(id) {
            Some(instance) if birth.is_none_or(|birth| birth == instance.birth) => with(instance),
            _ => false,
        };
        drop(state);
        if did {
            self.changed();
        }
        did
    }

    /// Lets an instance run, and arranges what follows from that.
    fn run(self: &Arc<World>, id: &str, birth: usize) -> bool {
        let mut script = None;
        let did = self.change(id, Some(birth), |instance| {
            let starts = instance.status.state == InstanceState::Starting;
            if starts {
                instance.run();
                script = Some(instance.script.clone());
            }
            starts
        });
        if let Some(script) = script {
            if let When::After(delay) = script.healthy {
                self.later(id, birth, delay, |world, id, birth| {
                    world.change(id, Some(birth), |instance| {
                        let runs = instance.status.state == InstanceState::Running;
                        if runs {
                            instance.status.health = InstanceHealth::Healthy;
                        }
                        runs
                    });
                });
            }
            if let Some(delay) = script.counts {
                self.count(id, birth, delay, 0);
            }
            if let Some((delay, code)) = script.exit {
                self.later(id, birth, delay, move |world, id, birth| {
                    world.change(id, Some(birth), |instance| instance.exit(Some(code)));
                });
            }
        }
        did
    }

    /// Writes the next number, again and again as long as the instance runs.
    fn count(self: &Arc<World>, id: &str, birth: usize, delay: Duration, number: u64) {
        self.later(
            id,
            birth,
            delay.max(Duration::from_millis(1)),
            move |world, id, birth| {
                let mut runs = false;
                world.change(id, Some(birth), |instance| {
                    runs = instance.status.state == InstanceState::Running;
                    if runs {
                        instance.write(LogStream::Stdout, format!("line {number}"));
                    }
                    // What `list` shows is the same.
                    false
                });
                if runs {
                    world.wrote();
                    world.count(id, birth, delay, number + 1);
                }
            },
        );
    }

    /// Calls `then` after `delay`, at once if that is zero. Does not keep the world alive.
    fn later(
        self: &Arc<World>,
        id: &str,
        birth: usize,
        delay: Duration,
        then: impl FnOnce(&Arc<World>, &str, usize) + Send + 'static,
    ) {
        if delay.is_zero() {
            then(self, id, birth);
            return;
        }
        let world: Weak<World> = Arc::downgrade(self);
        let id = id.to_owned();
        let due = Instant::now() + delay;
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            if let Some(world) = world.upgrade() {
                then(&world, &id, birth);
            }
        });
    }
}

#[cfg(test)]
mod tests;

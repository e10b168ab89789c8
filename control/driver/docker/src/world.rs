//! What is known of an engine's containers, and what is done with them.

use std::{
    collections::{BTreeMap, HashSet, VecDeque, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bollard::{errors::Error, query_parameters::CreateContainerOptions};
use tokio::{
    runtime::Handle,
    sync::{Notify, broadcast, watch},
    time::timeout,
};
use weir_driver::{DriverError, InstanceHealth, InstanceState, Notice, NoticeKind, health};

use crate::{
    Config,
    arguments::Pull,
    create::Plan,
    engine::Engine,
    fault, image,
    instance::Instance,
    labels::Way,
    logs,
    stats::now_ms,
    view::{View, age, view},
};

/// Containers that were removed lately and of which a late look may still tell.
const GONE_MAX: usize = 4_096;
/// Longest pull.
const PULL_MAX: Duration = Duration::from_secs(14 * 60);
/// Notices that a slow reader may be behind.
const NOTICES_MAX: usize = 256;

/// What is known of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nothing yet.
    Unknown,
    /// It answers, and all of its containers were seen.
    Up,
    /// It does not answer, for this reason.
    Down(String),
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    instances: Mutex<BTreeMap<String, Instance>>,
    gone: Mutex<Gone>,
    pub(crate) link: watch::Sender<Link>,
    /// Asks for a look at everything, now.
    pub(crate) look: Notify,
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) notices: broadcast::Sender<Notice>,
    runtime: Handle,
}

/// Containers that this driver removed.
#[derive(Debug, Default)]
struct Gone {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Inner {
    pub(crate) fn new(config: Config, engine: Engine, runtime: Handle) -> Inner {
        Inner {
            config,
            engine,
            instances: Mutex::default(),
            gone: Mutex::default(),
            link: watch::Sender::new(Link::Unknown),
            look: Notify::new(),
            changes: watch::Sender::new(0),
            notices: broadcast::Sender::new(NOTICES_MAX),
            runtime,
        }
    }

    pub(crate) fn instances(&self) -> MutexGuard<'_, BTreeMap<String, Instance>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changed(&self) {
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
    }

    pub(crate) fn up(&self) -> Result<(), DriverError> {
        match &*self.link.borrow() {
            Link::Up => Ok(()),
            Link::Unknown => Err(DriverError::Unavailable(
                format!("the engine at {} has not answered yet", self.config.endpoint).into(),
            )),
            Link::Down(reason) => Err(DriverError::Unavailable(reason.clone().into())),
        }
    }

    pub(crate) fn set_link(&self, link: Link) {
        let before = self.link.send_replace(link.clone());
        if before == link {
            return;
        }
        let endpoint = &self.config.endpoint;
        match (&before, &link) {
            (Link::Up, Link::Down(reason)) => {
                tracing::warn!(%endpoint, reason, "the engine does not answer");
                self.say(
                    None,
                    NoticeKind::EngineLost,
                    format!("the engine at {endpoint} does not answer: {reason}"),
                );
            }
            (Link::Unknown, Link::Down(reason)) => {
                tracing::warn!(%endpoint, reason, "the engine does not answer");
            }
            (Link::Down(_), Link::Up) => {
                tracing::info!(%endpoint, "the engine answers");
                self.say(
                    None,
                    NoticeKind::EngineBack,
                    format!("the engine at {endpoint} answers again"),
                );
            }
            _ => {}
        }
        self.changed();
    }

    /// Tells people, if any listen.
    pub(crate) fn say(&self, instance: Option<&str>, kind: NoticeKind, message: String) {
        let labels = instance.and_then(|id| Some(self.instances().get(id)?.labels().clone()));
        let _ = self.notices.send(Notice {
            driver: "docker",
            instance: instance.map(str::to_owned),
            labels: labels.unwrap_or_default(),
            kind,
            message,
        });
    }

    /// The containers that are known, with their instances' ids.
    pub(crate) fn containers(&self) -> BTreeMap<String, View> {
        let instances = self.instances();
        let views = instances.values().filter_map(|instance| instance.view.as_ref());
        views.map(|view| (view.container.clone(), view.clone())).collect()
    }

    fn was_removed(&self, container: &str) -> bool {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.ids.contains(container)
    }

    pub(crate) fn note_removed(&self, container: &str) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if gone.ids.insert(container.to_owned()) {
            gone.order.push_back(container.to_owned());
            if gone.order.len() > GONE_MAX
                && let Some(oldest) = gone.order.pop_front()
            {
                gone.ids.remove(&oldest);
            }
        }
    }

    /// Looks at a container and takes up what is seen. `starter`: on behalf of the start that makes it.
    pub(crate) async fn refresh(self: &Arc<Inner>, container: &str, starter: bool) -> Result<(), Error> {
        let Some(inspected) = self.engine.inspect(container).await? else {
            self.is_gone(container);
            return Ok(());
        };
        let Some(mut seen) = view(inspected, &self.config) else {
            return Ok(());
        };
        if let InstanceState::Exited { .. } = seen.state {
            let known = self.instances().get(&seen.id).and_then(|instance| {
                let view = instance.view.as_ref()?;
                let same = view.container == seen.container && view.state == seen.state;
                same.then(|| view.message.clone()).flatten()
            });
            seen.message = match known {
                Some(message) => Some(message),
                None => {
                    let words = logs::last_words(&self.engine, container).await;
                    let said = seen.message.unwrap_or_default();
                    Some(if words.is_empty() {
                        said
                    } else {
                        format!("{said}; it wrote last:\n{words}")
                    })
                }
            };
        }
        self.take_up(seen, starter);
        Ok(())
    }

    fn take_up(self: &Arc<Inner>, seen: View, starter: bool) {
        if self.was_removed(&seen.container) {
            return;
        }
        let differs = {
            let mut instances = self.instances();
            match instances.entry(seen.id.clone()) {
                Entry::Vacant(vacant) => {
                    let instance = vacant.insert(Instance::found(seen));
                    self.check(instance, true);
                    true
                }
                Entry::Occupied(mut occupied) => {
                    let instance = occupied.get_mut();
                    if instance.start.is_some() && !starter {
                        // Its start tells when it has come so far.
                        return;
                    }
                    let before = instance.status();
                    let moved = match &instance.view {
                        // A copy that somebody made with our labels: the first one counts, while it runs.
                        Some(view)
                            if view.container != seen.container && view.state == InstanceState::Running =>
                        {
                            return;
                        }
                        Some(view) => {
                            (&view.container, &view.host, &view.ports, view.state)
                                != (&seen.container, &seen.host, &seen.ports, seen.state)
                        }
                        None => true,
                    };
                    instance.start = None;
                    instance.view = Some(seen);
                    self.check(instance, moved);
                    instance.status() != before
                }
            }
        };
        if differs {
            self.changed();
        }
    }

    /// Begins or ends the checks of an instance after its container has changed.
    fn check(self: &Arc<Inner>, instance: &mut Instance, moved: bool) {
        if !moved {
            return;
        }
        instance.stop_checks();
        let Some(view) = &instance.view else { return };
        if view.state != InstanceState::Running {
            instance.checked = InstanceHealth::Unknown;
            return;
        }
        let mut plan = health::Plan::new(&view.host, &view.ports, &view.record.health_checks());
        if view.record.way == Way::Published {
            plan = plan.behind_a_proxy();
        }
        instance.checked = if view.ports.len() < view.record.ports.len() && view.record.way != Way::None {
            // Not all of its ports are there yet: whoever changes that looks again.
            InstanceHealth::Unknown
        } else {
            plan.before()
        };
        let inner: Weak<Inner> = Arc::downgrade(self);
        let (id, container) = (view.id.clone(), view.container.clone());
        let since = age(view.started_at_ms, now_ms());
        let task = self.runtime.spawn(async move {
            plan.run(since, |health| {
                if let Some(inner) = inner.upgrade() {
                    inner.set_checked(&id, &container, health);
                }
            })
            .await;
        });
        instance.checks = Some(task.abort_handle());
    }

    fn set_checked(&self, id: &str, container: &str, health: InstanceHealth) {
        let differs = {
            let mut instances = self.instances();
            match instances.get_mut(id) {
                Some(instance) if instance.container() == Some(container) && instance.checked != health => {
                    instance.checked = health;
                    true
                }
                _ => false,
            }
        };
        if differs {
            self.changed();
        }
    }

    /// A container is not there any more.
    pub(crate) fn is_gone(&self, container: &str) {
        let lost = {
            let mut instances = self.instances();
            let found = instances
                .iter()
                .find(|(_, instance)| instance.container() == Some(container) && instance.start.is_none());
            let Some((id, instance)) = found else { return };
            let (id, asked) = (id.clone(), instance.stopping);
            instances.remove(&id).map(|instance| (id, instance, asked))
        };
        let Some((id, instance, asked)) = lost else { return };
        if !asked && !self.was_removed(container) {
            tracing::warn!(endpoint = %id, container, "a container was removed by somebody else");
            let _ = self.notices.send(Notice {
                driver: "docker",
                labels: instance.labels().clone(),
                kind: NoticeKind::Interference,
                message: format!("the container of instance {id} was removed by somebody else"),
                instance: Some(id),
            });
        }
        drop(instance);
        self.changed();
    }

    fn set_start_message(&self, id: &str, message: String) {
        let mut instances = self.instances();
        if let Some(start) = instances.get_mut(id).and_then(|instance| instance.start.as_mut()) {
            start.message = Some(message);
        }
        drop(instances);
        self.changed();
    }

    /// Makes a container, or takes up one that is there.
    pub(crate) async fn make(self: &Arc<Inner>, id: &str, plan: Plan) -> Result<(), DriverError> {
        let there = self.engine.of_instance(id).await.map_err(fault::unavailable)?;
        if let Some(container) = there.into_iter().find_map(|container| container.id) {
            // Left by an earlier start of the same id. One that runs already is not started again.
            let started = self.engine.start(&container).await;
            started.map_err(|error| fault::start(error, &plan.image, &plan.fixed))?;
            return self.seen(id, &container).await;
        }
        self.image(id, &plan).await?;
        let container = self.create(&plan).await?;
        let started = match self.engine.start(&container).await {
            Ok(()) => self.seen(id, &container).await,
            Err(error) => Err(fault::start(error, &plan.image, &plan.fixed)),
        };
        if let Err(error) = started {
            self.note_removed(&container);
            if let Err(error) = self.engine.remove(&container).await {
                tracing::warn!(endpoint = %id, container, error = fault::words(&error), "a container that did not start cannot be removed");
            }
            return Err(error);
        }
        tracing::info!(endpoint = %id, container, "instance started");
        Ok(())
    }

    /// Takes up a container that was started a moment ago.
    async fn seen(self: &Arc<Inner>, id: &str, container: &str) -> Result<(), DriverError> {
        self.refresh(container, true).await.map_err(fault::unavailable)?;
        let still_starting = self
            .instances()
            .get(id)
            .is_some_and(|instance| instance.start.is_some());
        if still_starting {
            let message = "the container was taken away while it was being started";
            return Err(DriverError::Unavailable(message.into()));
        }
        Ok(())
    }

    /// Sees to it that the engine has the image.
    async fn image(&self, id: &str, plan: &Plan) -> Result<(), DriverError> {
        let image = plan.image.as_str();
        if plan.pull != Pull::Always {
            let there = image::is_there(&self.engine, image)
                .await
                .map_err(fault::unavailable)?;
            match (there, plan.pull) {
                (true, _) => return Ok(()),
                (false, Pull::Never) => {
                    return Err(DriverError::Definition(format!(
                        "the image `{image}` is not on the engine, and `pull: never` forbids to get it"
                    )));
                }
                (false, _) => {}
            }
        }
        self.say(Some(id), NoticeKind::Pull, format!("pulling the image `{image}`"));
        let mut quarter = 0;
        let pull = image::pull(&self.engine, image, &self.config.credentials, |progress| {
            let words = progress.words(image);
            if progress.quarter() > quarter {
                quarter = progress.quarter();
                self.say(Some(id), NoticeKind::Pull, words.clone());
            }
            self.set_start_message(id, words);
        });
        timeout(PULL_MAX, pull).await.unwrap_or_else(|_| {
            let message = format!(
                "the image `{image}` was not pulled within {} s",
                PULL_MAX.as_secs()
            );
            Err(DriverError::Unavailable(message.into()))
        })?;
        self.say(
            Some(id),
            NoticeKind::Pull,
            format!("the image `{image}` is there"),
        );
        Ok(())
    }

    async fn create(&self, plan: &Plan) -> Result<String, DriverError> {
        // A name that somebody else uses is no reason not to run: without one the engine gives one.
        for name in [Some(plan.name.clone()), None] {
            let named = name.is_some();
            let options = CreateContainerOptions {
                name,
                ..CreateContainerOptions::default()
            };
            let call = self
                .engine
                .client()
                .create_container(Some(options), plan.body.clone());
            match self.engine.patiently(call).await {
                Ok(made) => {
                    for warning in made.warnings {
                        tracing::warn!(container = made.id, warning, "the engine warns");
                    }
                    return Ok(made.id);
                }
                Err(error) if named && fault::status(&error) == Some(409) => {}
                Err(error) => return Err(fault::start(error, &plan.image, &plan.fixed)),
            }
        }
        Err(DriverError::Unavailable(
            "the engine has no name for a container".into(),
        ))
    }

    /// The container of an instance; `Ok(None)`: it is not made yet.
    pub(crate) fn container(&self, id: &str) -> Result<Option<View>, DriverError> {
        let instances = self.instances();
        let instance = instances
            .get(id)
            .ok_or_else(|| DriverError::NotFound(id.to_owned()))?;
        Ok(instance.view.clone())
    }

    /// As [`Inner::container`], of an instance that must have one.
    pub(crate) fn existing(&self, id: &str) -> Result<View, DriverError> {
        self.up()?;
        self.container(id)?
            .ok_or_else(|| DriverError::NotFound(id.to_owned()))
    }

    /// What an error of a call for one instance means.
    pub(crate) fn failed(&self, id: &str, error: Error) -> DriverError {
        self.look.notify_one();
        match fault::status(&error) {
            Some(404) => DriverError::NotFound(id.to_owned()),
            Some(400 | 409 | 422) => DriverError::Definition(fault::words(&error)),
            _ => fault::unavailable(error),
        }
    }
}

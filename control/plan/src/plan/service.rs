//! One service: its status, and how many instances it has.

use weir_artifact::{Cluster, Deployment, Health, Intention, Phase, Service, ServiceRuntime, ServiceStatus};

use super::{Crew, Desired, Observed, pause_service};
use crate::{
    Action, InstanceRecord, Launch, ServiceKey, ServiceRecord, Synchronization,
    environment::{environment, source},
    gateway::number,
    instance_id,
    launch::{self, deployable_type},
    names::internal,
    validate::{breed, dependency_name, is_wanted, matches_dependency},
};

/// One service and everything about it.
pub(super) struct Work<'a> {
    pub(super) desired: &'a Desired<'a>,
    pub(super) observed: &'a Observed,
    pub(super) now_ms: u64,
    pub(super) deployment: &'a Deployment,
    pub(super) cluster: &'a Cluster,
    pub(super) service: &'a Service,
    pub(super) key: &'a ServiceKey,
}

impl Work<'_> {
    /// Plans this service; whether it is gone.
    pub(super) fn plan(&self, unique: &mut dyn FnMut() -> String, actions: &mut Vec<Action>) -> bool {
        let before = self.desired.records.get(self.key);
        let of_type = breed(self.service).map(|breed| deployable_type(breed, self.desired.settings));
        if let Some(reason) = of_type.and_then(|of_type| self.observed.unknown.get(of_type)) {
            pause_service(self.key, self.service, self.desired, reason, self.now_ms, actions);
            return false;
        }
        let shown_before = self.service.runtime.as_ref();
        let mut crew = Crew::new(
            before.cloned().unwrap_or_default(),
            self.desired.settings,
            self.observed,
            self.now_ms,
        );
        crew.look();
        let mut status = shown_before.map_or_else(|| self.new_status(), |runtime| runtime.status.clone());
        if let Some(paused_at_ms) = crew.record.paused_at_ms.take() {
            let paused_ms = self.now_ms.saturating_sub(paused_at_ms);
            status.phase_since_ms = status.phase_since_ms.saturating_add(paused_ms).min(self.now_ms);
        }
        let mut calls = Vec::new();
        let mut announced = None;
        match status.intention {
            Intention::Undeployment => {
                crew.retire_all();
                crew.progress(&mut calls);
                if crew.record.instances.is_empty() {
                    actions.push(Action::Announce(self.key.clone(), Synchronization::Undeployed));
                    actions.push(Action::Remove(self.key.clone()));
                    if before.is_some() {
                        actions.push(Action::Forget(self.key.clone()));
                    }
                    return true;
                }
                let text = self.leaving_text(&crew);
                self.wait(&mut status, text);
            }
            Intention::Deployment => {
                announced = self.deploy(&mut crew, &mut status, unique, &mut calls);
                crew.progress(&mut calls);
            }
        }
        let runtime = ServiceRuntime {
            status,
            instances: crew.shown(breed(self.service)),
            dependencies: shown_before
                .map(|runtime| runtime.dependencies.clone())
                .unwrap_or_default(),
            health: crew.health(),
        };
        if before != Some(&crew.record) {
            actions.push(Action::Record(self.key.clone(), crew.record));
        }
        if shown_before != Some(&runtime) {
            actions.push(Action::Runtime(self.key.clone(), Box::new(runtime)));
        }
        actions.extend(announced.map(|what| Action::Announce(self.key.clone(), what)));
        actions.extend(calls);
        false
    }

    fn new_status(&self) -> ServiceStatus {
        ServiceStatus {
            intention: Intention::Deployment,
            since_ms: self.now_ms,
            phase: Phase::Initiated,
            phase_since_ms: self.now_ms,
            notification: None,
        }
    }

    fn enter(&self, status: &mut ServiceStatus, phase: Phase) {
        if status.phase != phase {
            status.phase = phase;
            status.phase_since_ms = self.now_ms;
        }
    }

    fn fail(&self, status: &mut ServiceStatus, why: String) {
        self.enter(status, Phase::Failed);
        status.notification = Some(why);
    }

    /// Not there yet: says what for, and gives up after the timeout. A failed undeployment goes on all the
    /// same (there is nothing to lose), but keeps saying that it took too long.
    fn wait(&self, status: &mut ServiceStatus, what_for: String) {
        let timeout_ms = self.desired.settings.timeout_ms;
        match status.phase {
            Phase::Failed => {}
            Phase::Updating
                if timeout_ms > 0 && self.now_ms - status.phase_since_ms.min(self.now_ms) > timeout_ms =>
            {
                let why = format!("not finished after {} s: {what_for}", timeout_ms / 1000);
                self.fail(status, why);
            }
            _ => {
                self.enter(status, Phase::Updating);
                status.notification = Some(what_for);
            }
        }
    }

    fn leaving_text(&self, crew: &Crew<'_>) -> String {
        let instances = crew.record.instances.len();
        crew.leaving_text()
            .unwrap_or_else(|| format!("{instances} instances are ending"))
    }

    fn deploy(
        &self,
        crew: &mut Crew<'_>,
        status: &mut ServiceStatus,
        unique: &mut dyn FnMut() -> String,
        calls: &mut Vec<Action>,
    ) -> Option<Synchronization> {
        let begins = status.phase == Phase::Initiated;
        if begins {
            crew.record.failures = 0;
            crew.record.exits = 0;
            crew.record.retry_at_ms = 0;
            crew.record.last_failure = None;
            self.enter(status, Phase::Updating);
        }
        if status.phase == Phase::Failed {
            return self.recover(crew, status);
        }
        if let Some(why) = crew.cannot_run.take() {
            self.fail(status, why);
            return None;
        }
        if crew.record.exits >= self.desired.settings.exits_max {
            self.fail(status, failure_text(&crew.record));
            return None;
        }
        let was_done = status.phase == Phase::Done;
        let template = match self.template(crew, begins) {
            Ok(template) => template,
            Err(Blocked::Waiting(what_for)) => {
                self.wait(status, what_for);
                return was_done.then_some(Synchronization::Redeploy);
            }
            Err(Blocked::Impossible(why)) => {
                self.fail(status, why);
                return None;
            }
        };
        let fingerprint = template.fingerprint(self.desired.settings);
        let target = self.target();
        self.staff(crew, &template.deployable_type, &fingerprint, target, unique);
        if status.phase != Phase::Failed {
            calls.extend(crew.to_start().map(|instance| {
                Action::Start(Box::new(Launch {
                    id: instance.id.clone(),
                    ..template.clone()
                }))
            }));
        }
        if self.is_as_wanted(crew, &fingerprint, target) {
            self.enter(status, Phase::Done);
            status.notification = None;
            crew.record.last_failure = None;
            return (!was_done).then_some(Synchronization::Deployed);
        }
        let text = self.waiting_text(crew, target);
        self.wait(status, text);
        was_done.then_some(Synchronization::Redeploy)
    }

    /// A failed service is left alone, but when it came to what is wanted all the same (an image that took longer
    /// than the time for it, checks that pass again), that is said.
    fn recover(&self, crew: &mut Crew<'_>, status: &mut ServiceStatus) -> Option<Synchronization> {
        crew.record.environment.as_ref()?;
        let template = self.template(crew, false).ok()?;
        if !self.is_as_wanted(crew, &template.fingerprint(self.desired.settings), self.target()) {
            return None;
        }
        self.enter(status, Phase::Done);
        status.notification = None;
        crew.record.last_failure = None;
        Some(Synchronization::Deployed)
    }

    fn target(&self) -> usize {
        let scale = launch::scale(self.service, self.desired.settings);
        usize::try_from(scale.instances).unwrap_or(usize::MAX)
    }

    /// Exactly so many instances, all ready, all of the newest form.
    fn is_as_wanted(&self, crew: &Crew<'_>, fingerprint: &str, target: usize) -> bool {
        let current = || crew.record.instances.iter().filter(|i| i.stage.is_current());
        current().count() == target
            && current().all(|i| i.stage.is_ready() && i.fingerprint == fingerprint && !i.ill)
    }

    /// Brings the number of instances to the wanted one. Instances of an older form, and those whose
    /// checks fail for too long, stay until as many new ones are ready, unless they hold a port that the new ones need.
    fn staff(
        &self,
        crew: &mut Crew<'_>,
        deployable_type: &str,
        fingerprint: &str,
        target: usize,
        unique: &mut dyn FnMut() -> String,
    ) {
        let is_new = |instance: &InstanceRecord| instance.fingerprint == fingerprint && !instance.ill;
        crew.keep(target, is_new, false);
        let instances = &crew.record.instances;
        let there = instances
            .iter()
            .filter(|i| i.stage.is_current() && is_new(i))
            .count();
        let ready = instances
            .iter()
            .filter(|i| i.stage.is_ready() && is_new(i))
            .count();
        let old = if crew.port_taken {
            0
        } else {
            target.saturating_sub(ready)
        };
        crew.keep(old, |instance| !is_new(instance), true);
        if self.now_ms < crew.record.retry_at_ms {
            return;
        }
        for _ in there..target {
            let id = instance_id(self.key, &unique());
            let wanted = InstanceRecord::wanted(id, deployable_type, fingerprint, self.now_ms);
            crew.record.instances.push(wanted);
        }
    }

    /// What instances are started with; resolves the variables when that is due.
    fn template(&self, crew: &mut Crew<'_>, begins: bool) -> Result<Launch, Blocked> {
        let settings = self.desired.settings;
        let source = source(self.deployment, &self.key.cluster, self.service);
        let alone = !crew.record.instances.iter().any(|i| i.stage.is_current());
        let due = crew.record.environment.is_none()
            || crew.record.environment_source != source
            || (begins && alone);
        if due {
            if let Some(dependency) = self.missing_dependency().filter(|_| alone) {
                return Err(Blocked::Waiting(dependency));
            }
            let resolved = environment(
                self.deployment,
                &self.key.cluster,
                self.service,
                self.desired.gateways,
                settings,
            );
            crew.record.environment = Some(resolved.map_err(|error| Blocked::Impossible(error.to_string()))?);
            crew.record.environment_source = source;
        }
        let environment = crew.record.environment.clone().unwrap_or_default();
        launch::template(
            self.key,
            self.deployment,
            self.cluster,
            self.service,
            &environment,
            self.desired.gateways,
            settings,
        )
        .ok_or_else(|| Blocked::Impossible(format!("breed `{}` is not known", self.service.name())))
    }

    /// The first dependency that is not ready, in words. Ready: some service that it means is deployed, and
    /// each of its ports has a gateway with an address.
    fn missing_dependency(&self) -> Option<String> {
        let own = breed(self.service)?;
        own.dependencies.iter().find_map(|(alias, dependency)| {
            let wanted = dependency_name(dependency);
            let meant = |service: &&Service| {
                matches_dependency(wanted, service.name()) && service.name() != own.name && is_wanted(service)
            };
            let mut failed = None;
            for (cluster_name, cluster) in &self.deployment.clusters {
                for service in cluster.services.iter().filter(meant) {
                    match service.runtime.as_ref().map(|runtime| runtime.status.phase) {
                        Some(Phase::Done) if self.is_addressed(cluster_name, service) => return None,
                        Some(Phase::Failed) => failed = Some(format!("{cluster_name}/{}", service.name())),
                        _ => {}
                    }
                }
            }
            let mut text = format!("waits for its dependency `{alias}` ({wanted}) to be deployed");
            if let Some(failed) = failed {
                text.push_str(&format!("; {failed} has failed"));
            }
            Some(text)
        })
    }

    fn is_addressed(&self, cluster: &str, service: &Service) -> bool {
        let ports = breed(service).map(|breed| &breed.ports);
        ports.into_iter().flatten().all(|(port, _)| {
            let name = internal(&self.deployment.name, cluster, port);
            self.desired
                .gateways
                .iter()
                .any(|gateway| gateway.name == name && number(gateway) != 0 && gateway.service.is_some())
        })
    }

    fn waiting_text(&self, crew: &Crew<'_>, target: usize) -> String {
        let Health {
            running, unhealthy, ..
        } = crew.health();
        let ready = crew
            .record
            .instances
            .iter()
            .filter(|i| i.stage.is_ready())
            .count();
        let mut text = format!("{ready} of {target} instances are ready");
        if unhealthy > 0 {
            text.push_str(&format!(
                ", {unhealthy} of {running} running ones are not healthy"
            ));
        }
        if let Some(last) = &crew.record.last_failure {
            text.push_str(&format!("; the last failure: {last}"));
        }
        text
    }
}

fn failure_text(record: &ServiceRecord) -> String {
    let last = record.last_failure.as_deref().unwrap_or("nothing is known of it");
    format!("{} exits in a row; the last: {last}", record.exits)
}

/// Why no instance can be started.
enum Blocked {
    Waiting(String),
    Impossible(String),
}

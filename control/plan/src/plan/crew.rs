//! The instances of one service: what became of them, which of them go, and how they leave.

use weir_artifact::{Breed, Health, Metadata, ServiceInstance};

use crate::{
    Action, InstanceRecord, LifeState, Observed, SeenHealth, SeenInstance, ServiceRecord, Settings, Stage,
    StartFailureKind,
};

/// Longest text of a failure in characters; the end is kept, where the last lines of a log are.
const FAILURE_CHARS_MAX: usize = 2_000;
/// Longest wait before an instance is added again, in milliseconds.
const BACK_OFF_MAX_MS: u64 = 30_000;

/// The instances of one service.
pub(super) struct Crew<'a> {
    pub(super) record: ServiceRecord,
    /// A start failed in a way that will not get better: what was said.
    pub(super) cannot_run: Option<String>,
    /// A start failed since a port is taken.
    pub(super) port_taken: bool,
    settings: &'a Settings,
    observed: &'a Observed,
    now_ms: u64,
    counted: bool,
}

impl<'a> Crew<'a> {
    pub(super) fn new(
        record: ServiceRecord,
        settings: &'a Settings,
        observed: &'a Observed,
        now_ms: u64,
    ) -> Self {
        Self {
            record,
            cannot_run: None,
            port_taken: false,
            settings,
            observed,
            now_ms,
            counted: false,
        }
    }

    fn seen(&self, id: &str) -> Option<&'a SeenInstance> {
        self.observed.instances.get(id)
    }

    /// Takes over what the driver shows.
    pub(super) fn look(&mut self) {
        let instances = std::mem::take(&mut self.record.instances);
        let looked: Vec<InstanceRecord> = instances
            .into_iter()
            .filter_map(|mut instance| {
                instance.stage = self.next_stage(&instance)?;
                self.look_at_health(&mut instance);
                Some(instance)
            })
            .collect();
        self.record.instances = looked;
    }

    /// `None`: it is gone.
    fn next_stage(&mut self, instance: &InstanceRecord) -> Option<Stage> {
        let stage = instance.stage;
        let now_ms = self.now_ms;
        if self.is_unknown(instance) {
            return Some(stage);
        }
        let leaving = |dead| Stage::Leaving {
            since_ms: now_ms,
            released_at_ms: None,
            dead,
        };
        match (stage, self.seen(&instance.id)) {
            (Stage::Wanted, None) => Some(match self.observed.start_failures.get(&instance.id) {
                None => Stage::Wanted,
                Some(failure) => {
                    if failure.kind == StartFailureKind::Definition {
                        self.cannot_run = Some(shortened(&failure.message));
                    }
                    self.port_taken |= failure.kind == StartFailureKind::PortTaken;
                    self.failed(instance, &failure.message, false);
                    Stage::Stopping
                }
            }),
            (Stage::Wanted | Stage::Started | Stage::Ready { .. }, Some(seen)) => match seen.state {
                LifeState::Exited(code) => {
                    let how = match code {
                        Some(code) => format!("instance {} exited with code {code}", instance.id),
                        None => format!("instance {} was killed", instance.id),
                    };
                    let text = match seen.message.as_deref().map(str::trim) {
                        None | Some("") => how,
                        Some(message) => format!("{how}: {message}"),
                    };
                    self.failed(instance, &text, true);
                    Some(if stage.is_ready() {
                        leaving(true)
                    } else {
                        Stage::Stopping
                    })
                }
                // Somebody else told it to stop.
                LifeState::Stopping => Some(if stage.is_ready() {
                    leaving(false)
                } else {
                    Stage::Stopping
                }),
                LifeState::Running if !stage.is_ready() && seen.health == SeenHealth::Healthy => {
                    Some(Stage::Ready { since_ms: now_ms })
                }
                LifeState::Starting | LifeState::Running if stage == Stage::Wanted => Some(Stage::Started),
                LifeState::Starting | LifeState::Running => Some(stage),
            },
            (Stage::Started, None) => {
                self.failed(instance, &format!("instance {} vanished", instance.id), true);
                None
            }
            (Stage::Ready { .. }, None) => {
                self.failed(instance, &format!("instance {} vanished", instance.id), true);
                Some(leaving(true))
            }
            (
                Stage::Leaving {
                    since_ms,
                    released_at_ms,
                    dead,
                },
                seen,
            ) => Some(Stage::Leaving {
                since_ms,
                released_at_ms,
                dead: dead || seen.is_none_or(|seen| matches!(seen.state, LifeState::Exited(_))),
            }),
            (Stage::Stopping, Some(_)) => Some(Stage::Stopping),
            (Stage::Stopping, None) => self.is_busy(&instance.id).then_some(Stage::Stopping),
        }
    }

    /// Notes how long the checks of a wanted instance have been failing; one that fails for too long is a failure of
    /// the service, once.
    fn look_at_health(&mut self, instance: &mut InstanceRecord) {
        let fails = instance.stage.is_current()
            && self
                .seen(&instance.id)
                .is_some_and(|seen| seen.state == LifeState::Running && seen.health == SeenHealth::Unhealthy);
        if !fails {
            instance.unhealthy_since_ms = None;
            // Whoever leaves keeps the mark, in case somebody asks why.
            instance.ill &= !instance.stage.is_current();
            return;
        }
        let since_ms = *instance.unhealthy_since_ms.get_or_insert(self.now_ms);
        let limit_ms = self.settings.unhealthy_ms;
        if !instance.ill && limit_ms > 0 && self.now_ms.saturating_sub(since_ms) >= limit_ms {
            let text = format!(
                "the checks of instance {} have failed for {} s",
                instance.id,
                limit_ms / 1_000
            );
            self.failed(instance, &text, false);
            instance.ill = true;
        }
    }

    /// Whether the driver that has it does not answer: that it is not shown says nothing.
    fn is_unknown(&self, instance: &InstanceRecord) -> bool {
        self.observed.unknown.contains_key(&instance.deployable_type) && self.seen(&instance.id).is_none()
    }

    fn is_busy(&self, id: &str) -> bool {
        self.observed.starting.contains(id) || self.observed.stopping.contains(id)
    }

    /// Counts a failure, several at one time as one.
    fn failed(&mut self, instance: &InstanceRecord, text: &str, exited: bool) {
        let stable = matches!(
            instance.stage,
            Stage::Ready { since_ms } if self.now_ms.saturating_sub(since_ms) >= self.settings.stable_ms
        );
        self.record.last_failure = Some(shortened(text));
        if self.counted {
            return;
        }
        self.counted = true;
        if stable {
            self.record.failures = 0;
            self.record.exits = 0;
        }
        self.record.failures = self.record.failures.saturating_add(1);
        self.record.exits = self.record.exits.saturating_add(u32::from(exited));
        self.record.retry_at_ms = self.now_ms.saturating_add(back_off_ms(self.record.failures));
    }

    /// Takes an instance out of the wanted ones.
    fn retire(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let Some(instance) = self.record.instances.get(index) else {
            return;
        };
        let unborn = instance.stage == Stage::Wanted
            && self.seen(&instance.id).is_none()
            && !self.is_busy(&instance.id);
        if unborn {
            self.record.instances.remove(index);
        } else if let Some(instance) = self.record.instances.get_mut(index) {
            instance.stage = match instance.stage {
                Stage::Ready { .. } => Stage::Leaving {
                    since_ms: now_ms,
                    released_at_ms: None,
                    dead: false,
                },
                _ => Stage::Stopping,
            };
        }
    }

    /// Takes every instance out of the wanted ones.
    pub(super) fn retire_all(&mut self) {
        self.keep(0, |_| true, false);
    }

    /// Of the wanted instances that `which` means, keeps this many: the ready ones first; of those that are
    /// alike the older ones, or the newer ones if `newest_first`.
    pub(super) fn keep(&mut self, count: usize, which: impl Fn(&InstanceRecord) -> bool, newest_first: bool) {
        let mut those: Vec<usize> = (0..self.record.instances.len())
            .filter(|index| {
                let instance = self.record.instances.get(*index);
                instance.is_some_and(|instance| instance.stage.is_current() && which(instance))
            })
            .collect();
        those.sort_by_key(|index| {
            let instance = self.record.instances.get(*index);
            let ready = instance.is_some_and(|i| i.stage.is_ready());
            let ill = instance.is_some_and(|i| i.ill);
            let age = if newest_first { usize::MAX - index } else { *index };
            (!ready, ill, age)
        });
        let mut surplus: Vec<usize> = those.into_iter().skip(count).collect();
        // From the back: removing one does not move those before it.
        surplus.sort_unstable();
        for index in surplus.into_iter().rev() {
            self.retire(index);
        }
    }

    /// Moves leaving instances on, and stops those that nobody needs.
    pub(super) fn progress(&mut self, actions: &mut Vec<Action>) {
        let (observed, settings, now_ms) = (self.observed, self.settings, self.now_ms);
        self.record.instances.retain_mut(|instance| {
            if let Stage::Leaving {
                since_ms,
                released_at_ms,
                dead,
            } = instance.stage
            {
                let released_at_ms = observed
                    .held
                    .has_released(&instance.id)
                    .then(|| released_at_ms.unwrap_or(now_ms));
                let drained = released_at_ms.is_some_and(|at_ms| {
                    let waited_ms = now_ms.saturating_sub(at_ms);
                    let in_flight = observed.in_flight.as_ref();
                    let is_idle = in_flight.and_then(|told| told.to(&instance.id, at_ms)) == Some(0);
                    dead || waited_ms >= settings.drain_max_ms
                        || (waited_ms >= settings.drain_min_ms && is_idle)
                });
                instance.stage = if drained {
                    Stage::Stopping
                } else {
                    Stage::Leaving {
                        since_ms,
                        released_at_ms,
                        dead,
                    }
                };
            }
            if instance.stage != Stage::Stopping {
                return true;
            }
            let seen = observed.instances.contains_key(&instance.id);
            let busy = observed.starting.contains(&instance.id) || observed.stopping.contains(&instance.id);
            if seen && !busy {
                actions.push(Action::Stop {
                    id: instance.id.clone(),
                    grace_ms: settings.stop_grace_ms,
                });
            }
            seen || busy || observed.unknown.contains_key(&instance.deployable_type)
        });
    }

    /// Why leaving instances are still there, in words; `None` if none leaves.
    pub(super) fn leaving_text(&self) -> Option<String> {
        let (mut held, mut draining, mut requests) = (0u32, 0u32, 0u64);
        for instance in &self.record.instances {
            if let Stage::Leaving { released_at_ms, .. } = instance.stage {
                match released_at_ms {
                    None => held += 1,
                    Some(at_ms) => {
                        draining += 1;
                        let told = self.observed.in_flight.as_ref();
                        requests += told
                            .and_then(|told| told.to(&instance.id, at_ms))
                            .unwrap_or_default();
                    }
                }
            }
        }
        match (held, draining, requests) {
            (0, 0, _) => None,
            (0, draining, 0) => Some(format!("{draining} instances are draining")),
            (0, draining, requests) => Some(format!(
                "{draining} instances wait for {requests} requests to end"
            )),
            (held, _, _) => Some(format!(
                "{held} instances wait until no gateway agent sends them requests"
            )),
        }
    }

    /// Instances as the deployment shows them: those that are wanted and were seen.
    pub(super) fn shown(&self, breed: Option<&Breed>) -> Vec<ServiceInstance> {
        let current = self.record.instances.iter().filter(|i| i.stage.is_current());
        current
            .filter_map(|instance| {
                let seen = self.seen(&instance.id)?;
                let order = |name: &String| breed.and_then(|breed| breed.ports.get_index_of(name));
                let mut ports: Vec<(&String, &u16)> = seen.ports.iter().collect();
                ports.sort_by_key(|(name, _)| order(name).unwrap_or(usize::MAX));
                Some(ServiceInstance {
                    name: instance.id.clone(),
                    host: seen.host.clone(),
                    ports: ports
                        .into_iter()
                        .map(|(name, port)| (name.clone(), *port))
                        .collect(),
                    deployed: instance.stage.is_ready(),
                    metadata: Metadata::new(),
                })
            })
            .collect()
    }

    /// Wanted instances by what the driver says of them.
    pub(super) fn health(&self) -> Health {
        let mut health = Health::default();
        for instance in self.record.instances.iter().filter(|i| i.stage.is_current()) {
            match self.seen(&instance.id) {
                Some(seen) if seen.state == LifeState::Running => {
                    health.running += 1;
                    match seen.health {
                        SeenHealth::Healthy => health.healthy += 1,
                        SeenHealth::Unhealthy => health.unhealthy += 1,
                        SeenHealth::Unknown => {}
                    }
                }
                _ => health.staged += 1,
            }
        }
        health
    }

    /// Ids of wanted instances that the driver has to be asked for.
    pub(super) fn to_start(&self) -> impl Iterator<Item = &InstanceRecord> {
        self.record.instances.iter().filter(|instance| {
            instance.stage == Stage::Wanted
                && self.seen(&instance.id).is_none()
                && !self.is_busy(&instance.id)
        })
    }
}

/// A failure's text, cut at its beginning if it is long.
fn shortened(text: &str) -> String {
    let text = text.trim_end();
    let skipped = text.chars().count().saturating_sub(FAILURE_CHARS_MAX);
    text.chars().skip(skipped).collect()
}

/// Wait before an instance is added after so many failures in a row, in milliseconds: 0, 1, 2, 4, ... 30 s.
fn back_off_ms(failures: u32) -> u64 {
    match failures {
        0 | 1 => 0,
        more => 1_000u64
            .checked_shl(more - 2)
            .unwrap_or(BACK_OFF_MAX_MS)
            .min(BACK_OFF_MAX_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::back_off_ms;

    #[test]
    fn waits_grow_to_half_a_minute() {
        let waits: Vec<u64> = (1..=9).map(back_off_ms).collect();
        assert_eq!(
            waits,
            [0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
        );
        assert_eq!(back_off_ms(u32::MAX), 30_000);
        assert_eq!(back_off_ms(66), 30_000);
    }
}

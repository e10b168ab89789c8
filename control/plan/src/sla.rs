//! Whether a promise is kept, and what to do if it is not (core behaviour §9). Pure: readings and the deployment are
//! arguments, the decision is the result, with the numbers that led to it.
//!
//! Two differences to Vamp. No readings lead to no decision (Vamp may take them for zero or for no number). And a
//! scale has one place, the deployment's service, so that one that was set by hand never hides an escalated one.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_artifact::{Deployment, Escalation, OrReference, Scale, Service};

use crate::{Settings, launch, validate::is_wanted};

/// Escalations inside escalations, this deep; deeper ones do nothing.
const DEPTH_MAX: usize = 8;

/// Mean response time through one gateway of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// `deployment/cluster/port`.
    pub gateway: String,
    /// Milliseconds.
    pub mean_ms: f64,
    /// Requests or events that the mean is of.
    pub count: u64,
    /// Where it is from: `events` or `gateways`.
    pub source: &'static str,
}

/// Which way a promise is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Too slow: more is needed.
    Escalate,
    /// Faster than needed: less will do.
    Deescalate,
}

impl Direction {
    /// The word in the event's tag `sla:<word>`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Escalate => "escalate",
            Self::Deescalate => "deescalate",
        }
    }
}

/// Compares the slowest gateway with the limits; `None` between them, and without readings.
pub fn judge(upper_ms: u32, lower_ms: u32, readings: &[Reading]) -> Option<(Direction, &Reading)> {
    let slowest = readings
        .iter()
        .filter(|reading| reading.count > 0 && reading.mean_ms.is_finite())
        .max_by(|a, b| a.mean_ms.total_cmp(&b.mean_ms))?;
    if slowest.mean_ms > f64::from(upper_ms) {
        Some((Direction::Escalate, slowest))
    } else if slowest.mean_ms < f64::from(lower_ms) {
        Some((Direction::Deescalate, slowest))
    } else {
        None
    }
}

/// Another scale for a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Rescaling {
    /// Cluster.
    pub cluster: String,
    /// Breed.
    pub service: String,
    /// Its scale before.
    pub from: Scale,
    /// Its scale from now on.
    pub to: Scale,
}

/// What an escalation leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// New scales, at most one for each service.
    pub rescalings: Vec<Rescaling>,
    /// Why other parts of it do nothing, for people.
    pub passed_over: Vec<String>,
}

/// Does an escalation of `cluster` to the scales of the deployment's services. References inside it are in place
/// (they were resolved before); one that is left does nothing and says so.
pub fn escalate(
    escalation: &Escalation,
    direction: Direction,
    cluster: &str,
    deployment: &Deployment,
    settings: &Settings,
) -> Decision {
    let mut work = Work {
        direction,
        cluster,
        deployment,
        settings,
        scales: BTreeMap::new(),
        passed_over: Vec::new(),
    };
    work.one(escalation, 0);
    Decision {
        rescalings: work
            .scales
            .into_iter()
            .filter(|(_, (from, to))| from != to)
            .map(|((cluster, service), (from, to))| Rescaling {
                cluster,
                service,
                from,
                to,
            })
            .collect(),
        passed_over: work.passed_over,
    }
}

struct Work<'a> {
    direction: Direction,
    cluster: &'a str,
    deployment: &'a Deployment,
    settings: &'a Settings,
    /// Scale before and now, by cluster and service.
    scales: BTreeMap<(String, String), (Scale, Scale)>,
    passed_over: Vec<String>,
}

impl Work<'_> {
    /// Whether it changed something.
    fn one(&mut self, escalation: &Escalation, depth: usize) -> bool {
        if depth >= DEPTH_MAX {
            self.pass_over(format!("escalations are nested more than {DEPTH_MAX} deep"));
            return false;
        }
        match escalation {
            Escalation::ToAll(all) => {
                let mut changed = false;
                for inner in all {
                    changed |= self.inner(inner, depth);
                }
                changed
            }
            Escalation::ToOne(all) => match self.direction {
                Direction::Escalate => all.iter().any(|inner| self.inner(inner, depth)),
                Direction::Deescalate => all.iter().rev().any(|inner| self.inner(inner, depth)),
            },
            Escalation::ScaleInstances(step) => {
                let by = i64::from(step.scale_by) * if self.is_up() { 1 } else { -1 };
                self.scale("instances", step.target.as_deref(), |scale| {
                    let instances = i64::from(scale.instances) + by;
                    let range = i64::from(step.minimum)..=i64::from(step.maximum);
                    let to = u32::try_from(instances)
                        .ok()
                        .filter(|_| range.contains(&instances));
                    to.map(|instances| Scale { instances, ..*scale })
                        .ok_or_else(|| outside(instances, step.minimum, step.maximum))
                })
            }
            Escalation::ScaleCpu(step) => {
                let is_up = self.is_up();
                self.scale("cpu", step.target.as_deref(), |scale| {
                    let cpu = stepped(scale.cpu, step.scale_by, is_up);
                    within(cpu, step.minimum, step.maximum).map(|cpu| Scale { cpu, ..*scale })
                })
            }
            Escalation::ScaleMemory(step) => {
                let is_up = self.is_up();
                self.scale("memory", step.target.as_deref(), |scale| {
                    let memory_mb = stepped(scale.memory_mb, step.scale_by, is_up);
                    within(memory_mb, step.minimum, step.maximum)
                        .map(|memory_mb| Scale { memory_mb, ..*scale })
                })
            }
            Escalation::Other { kind, .. } => {
                self.pass_over(format!("escalations of type `{kind}` are for others to act on"));
                false
            }
        }
    }

    fn inner(&mut self, escalation: &OrReference<Escalation>, depth: usize) -> bool {
        match escalation {
            OrReference::Inline(escalation) => self.one(escalation, depth + 1),
            OrReference::Reference(name) => {
                self.pass_over(format!("there is no escalation `{name}`"));
                false
            }
        }
    }

    fn is_up(&self) -> bool {
        self.direction == Direction::Escalate
    }

    fn pass_over(&mut self, why: String) {
        self.passed_over.push(why);
    }

    /// Changes the scale of the first service of the target cluster.
    fn scale(
        &mut self,
        what: &str,
        target: Option<&str>,
        to: impl FnOnce(&Scale) -> Result<Scale, String>,
    ) -> bool {
        let cluster = target.unwrap_or(self.cluster);
        let Some(service) = self.first_service(cluster) else {
            self.pass_over(format!("cluster `{cluster}` has no service"));
            return false;
        };
        let key = (cluster.to_owned(), service.name().to_owned());
        let before = launch::scale(service, self.settings);
        let now = self.scales.get(&key).map_or(before, |(_, now)| *now);
        match to(&now) {
            Ok(next) if next != now => {
                self.scales.insert(key, (before, next));
                true
            }
            Ok(_) => {
                self.pass_over(format!("{what} of {}/{} stays as it is", key.0, key.1));
                false
            }
            Err(why) => {
                self.pass_over(format!("{what} of {}/{}: {why}", key.0, key.1));
                false
            }
        }
    }

    fn first_service(&self, cluster: &str) -> Option<&Service> {
        let cluster = self.deployment.clusters.get(cluster)?;
        cluster.services.iter().find(|service| is_wanted(service))
    }
}

/// Two decimals, as everywhere.
fn stepped(value: f64, by: f64, is_up: bool) -> f64 {
    let to = if is_up { value + by } else { value - by };
    (to * 100.0).round() / 100.0
}

fn within(value: f64, minimum: f64, maximum: f64) -> Result<f64, String> {
    if (minimum..=maximum).contains(&value) && value > 0.0 {
        Ok(value)
    } else {
        Err(outside(value, minimum, maximum))
    }
}

fn outside(
    value: impl std::fmt::Display,
    minimum: impl std::fmt::Display,
    maximum: impl std::fmt::Display,
) -> String {
    format!("{value} is not between {minimum} and {maximum}")
}

#[cfg(test)]
mod tests {
    use weir_artifact::{Escalation, OrReference, ScaleStep};

    use super::{Decision, Direction, Reading, escalate, judge};
    use crate::{
        Settings,
        fixtures::{With, breed, deployment, scale, service},
    };

    fn reading(gateway: &str, mean_ms: f64, count: u64) -> Reading {
        Reading {
            gateway: gateway.to_owned(),
            mean_ms,
            count,
            source: "events",
        }
    }

    #[test]
    fn the_slowest_gateway_is_compared_with_the_limits() {
        use Direction::{Deescalate, Escalate};
        for (means, expected) in [
            (&[][..], None),
            (&[100.0], None),
            (&[500.0], None),
            (&[500.1], Some(Escalate)),
            (&[99.9], Some(Deescalate)),
            (&[10.0, 600.0], Some(Escalate)),
            (&[10.0, 200.0], None),
            (&[f64::NAN], None),
        ] {
            let readings: Vec<Reading> = means.iter().map(|mean| reading("g", *mean, 5)).collect();
            let judged = judge(500, 100, &readings).map(|(direction, _)| direction);
            assert_eq!(judged, expected, "{means:?}");
        }
        assert_eq!(
            judge(500, 100, &[reading("g", 0.0, 0)]),
            None,
            "nothing was measured"
        );
    }

    fn instances(by: u32, maximum: u32, target: Option<&str>) -> Escalation {
        Escalation::ScaleInstances(ScaleStep {
            minimum: 1,
            maximum,
            scale_by: by,
            target: target.map(str::to_owned),
        })
    }

    fn cpu(by: f64) -> Escalation {
        Escalation::ScaleCpu(ScaleStep {
            minimum: 0.1,
            maximum: 1.0,
            scale_by: by,
            target: None,
        })
    }

    fn memory(by: f64) -> Escalation {
        Escalation::ScaleMemory(ScaleStep {
            minimum: 64.0,
            maximum: 256.0,
            scale_by: by,
            target: None,
        })
    }

    fn all(inner: Vec<Escalation>) -> Escalation {
        Escalation::ToAll(inner.into_iter().map(OrReference::Inline).collect())
    }

    fn one(inner: Vec<Escalation>) -> Escalation {
        Escalation::ToOne(inner.into_iter().map(OrReference::Inline).collect())
    }

    /// Cluster `front` has 3 instances of 0.5 processors and 128 MB, `back` 1.
    fn decide(escalation: &Escalation, direction: Direction) -> Decision {
        let mut front = service(breed("front:1"));
        let mut wide = scale(3);
        (wide.cpu, wide.memory_mb) = (0.5, 128.0);
        front.scale = Some(OrReference::Inline(wide));
        let mut back = service(breed("back:1"));
        back.scale = Some(OrReference::Inline(scale(1)));
        let shop = deployment("shop").with("front", front).with("back", back);
        escalate(escalation, direction, "front", &shop, &Settings::default())
    }

    /// `cluster instances cpu memory` of each service that changes.
    fn changes(escalation: &Escalation, direction: Direction) -> Vec<String> {
        let decision = decide(escalation, direction);
        decision
            .rescalings
            .iter()
            .map(|rescaling| {
                let to = &rescaling.to;
                format!(
                    "{} {} {} {}",
                    rescaling.cluster, to.instances, to.cpu, to.memory_mb
                )
            })
            .collect()
    }

    #[test]
    fn decisions() {
        use Direction::{Deescalate as Down, Escalate as Up};
        let none: &[&str] = &[];
        for (escalation, direction, expected) in [
            (instances(2, 5, None), Up, &["front 5 0.5 128"][..]),
            (instances(3, 5, None), Up, none),
            (instances(2, 5, None), Down, &["front 1 0.5 128"]),
            (instances(3, 5, None), Down, none),
            (
                instances(1, 5, Some("back")),
                Up,
                &[&format!("back 2 {} {}", scale(1).cpu, scale(1).memory_mb)],
            ),
            (instances(1, 5, Some("back")), Down, none),
            (instances(1, 5, Some("none")), Up, none),
            (cpu(0.2), Up, &["front 3 0.7 128"]),
            (cpu(0.4), Down, &["front 3 0.1 128"]),
            (cpu(0.6), Up, none),
            (memory(128.0), Up, &["front 3 0.5 256"]),
            (memory(65.0), Down, none),
            // All of them, one after the other.
            (
                all(vec![instances(1, 9, None), cpu(0.1), instances(1, 9, None)]),
                Up,
                &["front 5 0.6 128"],
            ),
            // The first that can.
            (
                one(vec![instances(9, 9, None), cpu(0.1), memory(1.0)]),
                Up,
                &["front 3 0.6 128"],
            ),
            // And backwards on the way down.
            (
                one(vec![instances(1, 9, None), cpu(0.1), memory(1.0)]),
                Down,
                &["front 3 0.5 127"],
            ),
            (
                one(vec![
                    all(vec![instances(9, 9, None)]),
                    all(vec![cpu(0.5), memory(1.0)]),
                ]),
                Up,
                &["front 3 1 129"],
            ),
            (instances(0, 9, None), Up, none),
        ] {
            assert_eq!(
                changes(&escalation, direction),
                expected,
                "{escalation:?} {direction:?}"
            );
        }
    }

    #[test]
    fn what_does_nothing_says_why() {
        let other = Escalation::Other {
            kind: "mail".to_owned(),
            parameters: Default::default(),
        };
        let missing = Escalation::ToOne(vec![OrReference::Reference("gone".to_owned())]);
        let mut deep = other.clone();
        for _ in 0..9 {
            deep = all(vec![deep]);
        }
        for (escalation, expected) in [
            (
                instances(9, 9, None),
                "instances of front/front:1: 12 is not between 1 and 9",
            ),
            (instances(1, 9, Some("none")), "cluster `none` has no service"),
            (other, "escalations of type `mail` are for others to act on"),
            (missing, "there is no escalation `gone`"),
            (deep, "escalations are nested more than 8 deep"),
        ] {
            let decision = decide(&escalation, Direction::Escalate);
            assert_eq!(decision.passed_over, [expected]);
            assert!(decision.rescalings.is_empty());
        }
    }

    #[test]
    fn up_and_down_again_changes_nothing() {
        let escalation = all(vec![cpu(0.1)]);
        let up = &decide(&escalation, Direction::Escalate).rescalings[0];
        assert_eq!((up.from.cpu, up.to.cpu), (0.5, 0.6));
        let mut front = service(breed("front:1"));
        front.scale = Some(OrReference::Inline(up.to));
        let shop = deployment("shop").with("front", front);
        let down = escalate(
            &escalation,
            Direction::Deescalate,
            "front",
            &shop,
            &Settings::default(),
        );
        assert_eq!(down.rescalings[0].to, up.from);
    }
}

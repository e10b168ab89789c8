//! How much deployments ask for, how much they have, and whether that is allowed.

use serde::{Deserialize, Serialize};
use weir_artifact::{Deployment, Problem, Scale, Service};

use crate::{
    Settings, launch,
    validate::{breed, hinted, is_wanted, problem},
};

/// An amount of what instances need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// How many instances.
    pub instances: u64,
    /// Processors of all of them.
    pub cpu: f64,
    /// Megabytes of all of them.
    pub memory_mb: f64,
}

impl Resources {
    /// So many instances of a scale.
    pub fn of(scale: &Scale, instances: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "instances are far fewer than 2^53")]
        let count = instances as f64;
        Self {
            instances,
            cpu: hundredths(scale.cpu * count),
            memory_mb: hundredths(scale.memory_mb * count),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            instances: self.instances.saturating_add(other.instances),
            cpu: hundredths(self.cpu + other.cpu),
            memory_mb: hundredths(self.memory_mb + other.memory_mb),
        }
    }
}

/// Sums of decimal fractions stay readable.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// What a deployment asks for, and what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Allocation {
    /// What its services ask for.
    pub wanted: Resources,
    /// What its instances have that are there, at the scale of their service.
    pub granted: Resources,
}

/// Most that the deployments of a namespace may ask for together; `None`: any amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u64>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Megabytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<f64>,
}

/// What there is for instances of certain types.
#[derive(Clone, Debug, PartialEq)]
pub struct Room {
    /// Whose it is, for people.
    pub driver: String,
    /// Types of deployables that share it.
    pub deployable_types: Vec<String>,
    /// All processors and memory; `None`: as much as anybody asks for.
    pub total: Option<(f64, f64)>,
    /// Processors and memory of the largest machine.
    pub largest: (f64, f64),
}

fn services(deployment: &Deployment) -> impl Iterator<Item = &Service> {
    deployment.clusters.values().flat_map(|cluster| &cluster.services)
}

/// What a deployment asks for, and what it has.
pub fn allocation(deployment: &Deployment, settings: &Settings) -> Allocation {
    let mut sum = Allocation::default();
    for service in services(deployment) {
        let scale = launch::scale(service, settings);
        if is_wanted(service) {
            sum.wanted = sum.wanted.plus(Resources::of(&scale, u64::from(scale.instances)));
        }
        let there = service
            .runtime
            .as_ref()
            .map_or(0, |runtime| runtime.instances.len());
        let there = u64::try_from(there).unwrap_or(u64::MAX);
        sum.granted = sum.granted.plus(Resources::of(&scale, there));
    }
    sum
}

/// Whether `deployment` may be beside `others`. Replacing instances takes more for a while; that is not counted.
///
/// # Errors
/// Every limit that it is above: `QuotaExceededError` for what a namespace may have, `InsufficientResourcesError` for
/// what there is.
pub fn fits(
    deployment: &Deployment,
    others: &[Deployment],
    quota: &Quota,
    rooms: &[Room],
    settings: &Settings,
) -> Result<(), Vec<Problem>> {
    let mut found = Vec::new();
    let own = allocation(deployment, settings).wanted;
    let theirs = others
        .iter()
        .filter(|other| other.name != deployment.name)
        .map(|other| allocation(other, settings).wanted)
        .fold(Resources::default(), Resources::plus);
    let all = own.plus(theirs);
    #[expect(clippy::cast_precision_loss, reason = "instances are far fewer than 2^53")]
    let limits = [
        (
            "instances",
            own.instances as f64,
            all.instances as f64,
            quota.instances.map(|most| most as f64),
        ),
        ("processors", own.cpu, all.cpu, quota.cpu),
        (
            "megabytes of memory",
            own.memory_mb,
            all.memory_mb,
            quota.memory_mb,
        ),
    ];
    for (what, own, all, most) in limits {
        if let Some(most) = most.filter(|most| all > *most) {
            let others = hundredths(all - own);
            found.push(hinted(
                problem(
                    "QuotaExceededError",
                    "clusters",
                    format!(
                        "deployment `{}` asks for {own} {what} and others for {others}, of {most} that the \
                         namespace may have",
                        deployment.name
                    ),
                ),
                "use smaller scales, or take other deployments away first",
            ));
        }
    }
    for room in rooms {
        in_room(deployment, others, room, settings, &mut found);
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn in_room(
    deployment: &Deployment,
    others: &[Deployment],
    room: &Room,
    settings: &Settings,
    found: &mut Vec<Problem>,
) {
    let is_here = |service: &&Service| {
        is_wanted(service)
            && breed(service).is_some_and(|breed| {
                let of_type = launch::deployable_type(breed, settings);
                room.deployable_types.iter().any(|known| known == of_type)
            })
    };
    let (cpu, memory_mb) = room.largest;
    for (cluster_name, cluster) in &deployment.clusters {
        for service in cluster.services.iter().filter(is_here) {
            let scale = launch::scale(service, settings);
            if scale.instances > 0 && (scale.cpu > cpu || scale.memory_mb > memory_mb) {
                found.push(problem(
                    "InsufficientResourcesError",
                    format!("clusters/{cluster_name}/services/{}/scale", service.name()),
                    format!(
                        "one instance of `{}` asks for {} processors and {} MB; the largest machine of the {} \
                         driver has {cpu} and {memory_mb} MB",
                        service.name(),
                        scale.cpu,
                        scale.memory_mb,
                        room.driver
                    ),
                ));
            }
        }
    }
    let Some((cpu, memory_mb)) = room.total else {
        return;
    };
    let wanted = |deployment: &Deployment| {
        services(deployment)
            .filter(is_here)
            .map(|service| launch::scale(service, settings))
            .map(|scale| Resources::of(&scale, u64::from(scale.instances)))
            .fold(Resources::default(), Resources::plus)
    };
    let own = wanted(deployment);
    let all = others
        .iter()
        .filter(|other| other.name != deployment.name)
        .map(wanted)
        .fold(own, Resources::plus);
    if own.instances > 0 && (all.cpu > cpu || all.memory_mb > memory_mb) {
        found.push(problem(
            "InsufficientResourcesError",
            "clusters",
            format!(
                "all deployments together ask for {} processors and {} MB of memory; the {} driver has {cpu} and \
                 {memory_mb} MB",
                all.cpu, all.memory_mb, room.driver
            ),
        ));
    }
}

#[cfg(test)]
mod tests {
    use weir_artifact::{Deployment, Intention, OrReference, Scale};

    use super::{Quota, Resources, Room, allocation, fits};
    use crate::{
        Settings,
        fixtures::{With, breed, codes, deployment, service},
    };

    fn shop(name: &str, instances: u32) -> Deployment {
        let mut front = service(breed(&format!("{name}:1")).port("web", "0"));
        front.scale = Some(OrReference::Inline(Scale {
            cpu: 0.1,
            memory_mb: 100.0,
            instances,
        }));
        deployment(name).with("front", front)
    }

    fn check(one: &Deployment, others: &[Deployment], quota: Quota, rooms: &[Room]) -> Vec<&'static str> {
        match fits(one, others, &quota, rooms, &Settings::default()) {
            Ok(()) => Vec::new(),
            Err(problems) => codes(&problems),
        }
    }

    #[test]
    fn sums_are_exact_to_the_hundredth_and_leave_out_who_leaves() {
        let mut three = shop("a", 3);
        let wanted = |deployment: &Deployment| allocation(deployment, &Settings::default()).wanted;
        let expected = Resources {
            instances: 3,
            cpu: 0.3,
            memory_mb: 300.0,
        };
        assert_eq!(wanted(&three), expected);
        let status = &mut three.clusters["front"].services[0]
            .runtime
            .as_mut()
            .unwrap()
            .status;
        status.intention = Intention::Undeployment;
        assert_eq!(wanted(&three), Resources::default());
    }

    #[test]
    fn a_namespace_has_no_more_than_its_quota() {
        let quota = |instances, cpu, memory_mb| Quota {
            instances,
            cpu,
            memory_mb,
        };
        let others = [shop("a", 3), shop("b", 1)];
        let exceeded = |quota| check(&shop("c", 2), &others, quota, &[]);
        assert_eq!(exceeded(Quota::default()), [""; 0]);
        assert_eq!(exceeded(quota(Some(6), Some(0.6), Some(600.0))), [""; 0]);
        assert_eq!(exceeded(quota(Some(5), None, None)), ["QuotaExceededError"]);
        assert_eq!(exceeded(quota(None, Some(0.5), Some(599.0))).len(), 2);
        let again = check(&shop("a", 5), &others, quota(Some(6), None, None), &[]);
        assert_eq!(again, [""; 0], "what it had before is not counted beside it");
    }

    #[test]
    fn what_cannot_fit_is_said_and_what_is_for_others_is_not_counted() {
        let room = |total, largest| {
            [Room {
                driver: "docker".to_owned(),
                deployable_types: vec!["container/docker".to_owned()],
                total,
                largest,
            }]
        };
        let one = shop("a", 5);
        assert_eq!(
            check(&one, &[], Quota::default(), &room(None, (1.0, 100.0))),
            [""; 0]
        );
        let small = room(None, (0.05, 4_000.0));
        assert_eq!(
            check(&one, &[], Quota::default(), &small),
            ["InsufficientResourcesError"]
        );
        let full = room(Some((0.7, 4_000.0)), (4.0, 4_000.0));
        assert_eq!(check(&one, &[], Quota::default(), &full), [""; 0]);
        let others = [shop("b", 3)];
        assert_eq!(
            check(&one, &others, Quota::default(), &full),
            ["InsufficientResourcesError"]
        );
        let mut command = one;
        let OrReference::Inline(inline) = &mut command.clusters["front"].services[0].breed else {
            panic!()
        };
        inline.deployable.kind = Some("command".to_owned());
        assert_eq!(check(&command, &others, Quota::default(), &full), [""; 0]);
    }
}

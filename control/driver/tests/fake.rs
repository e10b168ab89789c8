//! The fake passes the suite that real drivers pass.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use weir_driver::{
    ContainerDriver, InstanceSpec, LogStream, Notice, NoticeKind, Router, conformance,
    conformance::{Program, Recipe, Subject},
    fake::{Fake, Script, When},
};

struct Subjected(Fake);

impl Subjected {
    fn new() -> Subjected {
        let fake = Fake::new();
        let soon = Duration::from_millis(5);
        fake.usually(Script {
            running: When::After(soon),
            healthy: When::After(soon),
            ..Script::default()
        });
        let scripts = [
            (
                Program::Exit,
                Script {
                    exit: Some((soon, conformance::EXIT_CODE)),
                    prints: vec![(LogStream::Stderr, conformance::LAST_WORDS.to_owned())],
                    ..Script::default()
                },
            ),
            (
                Program::Stubborn,
                Script {
                    stop_takes: Duration::from_secs(3_600),
                    prints: vec![(LogStream::Stdout, conformance::STUBBORN.to_owned())],
                    ..Script::default()
                },
            ),
            (
                Program::Speak,
                Script {
                    prints: vec![
                        (LogStream::Stdout, conformance::TO_STDOUT.to_owned()),
                        (LogStream::Stderr, conformance::TO_STDERR.to_owned()),
                    ],
                    ..Script::default()
                },
            ),
            (
                Program::Environment,
                Script {
                    prints_environment: true,
                    ..Script::default()
                },
            ),
            (
                Program::Count,
                Script {
                    counts: Some(soon),
                    ..Script::default()
                },
            ),
            (
                Program::Unknown,
                Script {
                    undefined: Some("there is no `Unknown` here".to_owned()),
                    ..Script::default()
                },
            ),
        ];
        for (program, script) in scripts {
            fake.script(&format!("{program:?}"), script);
        }
        Subjected(fake)
    }
}

#[async_trait]
impl Subject for Subjected {
    async fn open(&self) -> Arc<dyn ContainerDriver> {
        Arc::new(self.0.reopened())
    }

    fn recipe(&self, program: Program) -> Recipe {
        Recipe {
            deployable_type: "command".to_owned(),
            definition: format!("{program:?}"),
            arguments: Vec::new(),
        }
    }

    fn reachable(&self) -> bool {
        false
    }
}

weir_driver::conformance_tests!(Subjected::new());

/// Two drivers as one: every instance goes to the driver of its type, and the suite does not see a difference.
struct Routed(Fake, Fake);

#[async_trait]
impl Subject for Routed {
    async fn open(&self) -> Arc<dyn ContainerDriver> {
        Arc::new(Router::new(vec![
            Arc::new(self.1.reopened()),
            Arc::new(self.0.reopened()),
        ]))
    }

    fn recipe(&self, program: Program) -> Recipe {
        Subjected(self.0.clone()).recipe(program)
    }

    fn reachable(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_router_is_a_driver() {
    let routed = Routed(
        Subjected::new().0,
        Fake::of_types("docker", &["container/docker"]),
    );
    conformance::suite(&routed).await;
    assert!(routed.1.started().is_empty(), "nothing went to the other driver");
}

fn spec(id: &str, deployable_type: &str) -> InstanceSpec {
    InstanceSpec {
        id: id.to_owned(),
        labels: BTreeMap::new(),
        deployable_type: deployable_type.to_owned(),
        definition: "x".to_owned(),
        environment: BTreeMap::new(),
        ports: Vec::new(),
        arguments: Vec::new(),
        cpu: 0.1,
        memory_mb: 1.0,
        network: None,
        working_directory: None,
        health_checks: Vec::new(),
        dialect: None,
    }
}

#[tokio::test]
async fn one_silent_driver_does_not_hide_the_others() {
    let processes = Fake::of_types("process", &["command"]);
    let containers = Fake::of_types("docker", &["container/docker", "docker"]);
    let drivers = || -> Vec<Arc<dyn ContainerDriver>> {
        vec![Arc::new(processes.reopened()), Arc::new(containers.reopened())]
    };
    let router = Router::new(drivers());
    let mut changes = router.changes();
    router.start(spec("p", "command")).await.unwrap();
    router.start(spec("c", "docker")).await.unwrap();
    changes.changed().await.unwrap();
    assert_eq!((processes.started().len(), containers.started().len()), (1, 1));
    assert_eq!(
        (router.dialect("command"), router.dialect("docker")),
        ("process", "docker")
    );
    assert_eq!(
        router.capabilities().deployable_types,
        ["command", "container/docker", "docker"]
    );
    assert_eq!(router.list().await.unwrap().len(), 2);

    containers.set_available(false);
    let known = router.list().await.unwrap();
    let of = |id: &str| known.iter().find(|status| status.id == id).unwrap();
    assert_eq!(of("p").message, None);
    assert!(of("c").message.as_deref().unwrap().contains("last known state"));
    let survey = router.survey().await.unwrap();
    assert_eq!(survey.instances.len(), 1);
    assert_eq!(survey.unknown.len(), 1);
    assert_eq!(survey.unknown[0].deployable_types, ["container/docker", "docker"]);
    router.stop("p", Duration::ZERO).await.unwrap();
    router.stop("c", Duration::ZERO).await.unwrap_err();

    // Who has never heard of it cannot say what runs.
    let later = Router::new(drivers());
    later.list().await.unwrap_err();
    assert_eq!(later.survey().await.unwrap().unknown.len(), 1);
    containers.set_available(true);
    assert_eq!(later.list().await.unwrap().len(), 1);
    assert_eq!(later.logs("c", 1).await.unwrap(), []);
    later.stop("c", Duration::ZERO).await.unwrap();
    assert!(containers.started().len() == 1 && containers.stopped().len() == 1);
}

#[tokio::test]
async fn notices_of_all_drivers_arrive() {
    let (one, two) = (Fake::new(), Fake::new());
    let router = Router::new(vec![Arc::new(one.clone()), Arc::new(two.clone())]);
    let mut notices = router.notices();
    // The router's tasks listen as soon as they have run once.
    tokio::task::yield_now().await;
    for (fake, message) in [(&one, "first"), (&two, "second")] {
        fake.say(Notice {
            driver: "fake",
            instance: None,
            labels: BTreeMap::new(),
            kind: NoticeKind::Pull,
            message: message.to_owned(),
        });
    }
    let mut heard = [
        notices.recv().await.unwrap().message,
        notices.recv().await.unwrap().message,
    ];
    heard.sort();
    assert_eq!(heard, ["first", "second"]);
}

//! The fake passes the suite that real drivers pass.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use weir_driver::{
    ContainerDriver, LogStream, conformance,
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

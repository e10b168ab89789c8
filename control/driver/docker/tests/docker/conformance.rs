//! The suite that every driver passes, on one engine.

use std::sync::Arc;

use async_trait::async_trait;
use weir_driver::{
    ContainerDriver, conformance,
    conformance::{Program, Recipe, Subject},
};
use weir_driver_docker::{Config, DockerDriver, Reach};
use weir_test_docker::{Engine, image::SERVICE};

use crate::support::{IMAGE, config, engine};

struct Containers {
    engine: Engine,
    reach: Reach,
}

#[async_trait]
impl Subject for Containers {
    async fn open(&self) -> Arc<dyn ContainerDriver> {
        let mut config: Config = config(&self.engine);
        config.reach = self.reach;
        Arc::new(DockerDriver::open(config).await.unwrap())
    }

    fn recipe(&self, program: Program) -> Recipe {
        let quoted = |text: &str| format!("'{text}'");
        let command = match program {
            Program::Serve => "serve 1".to_owned(),
            Program::Idle | Program::Unknown => "idle".to_owned(),
            Program::Exit => format!(
                "exit {} {}",
                conformance::EXIT_CODE,
                quoted(conformance::LAST_WORDS)
            ),
            Program::Stubborn => format!("stubborn {}", quoted(conformance::STUBBORN)),
            Program::Speak => format!(
                "speak {} {}",
                quoted(conformance::TO_STDOUT),
                quoted(conformance::TO_STDERR)
            ),
            Program::Environment => "environment".to_owned(),
            Program::Count => "count".to_owned(),
            Program::Hog => "hog".to_owned(),
        };
        let mut arguments = vec![("command".to_owned(), format!("{SERVICE} {command}"))];
        let mut definition = IMAGE.to_owned();
        if program == Program::Unknown {
            definition = "weir/no-such-image:9".to_owned();
            arguments.push(("pull".to_owned(), "never".to_owned()));
        }
        Recipe {
            deployable_type: "container/docker".to_owned(),
            definition,
            arguments,
        }
    }

    fn commands(&self) -> Option<[Vec<String>; 2]> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let code = conformance::EXIT_CODE.to_string();
        Some([
            words(&[SERVICE, "say", &code, conformance::TO_STDOUT]),
            words(&[SERVICE, "copy"]),
        ])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_at_published_ports() {
    let Some(engine) = engine() else { return };
    let reach = Reach::Published;
    conformance::suite(&Containers { engine, reach }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_at_their_own_addresses() {
    let Some(engine) = engine() else { return };
    let reach = Reach::Address;
    let subject = Containers { engine, reach };
    conformance::starts_and_becomes_healthy(&subject).await;
    conformance::failing_check_makes_unhealthy(&subject).await;
    conformance::instances_outlive_the_driver(&subject).await;
}

//! The suite that every driver passes.

use std::{ops::RangeInclusive, sync::Arc};

use async_trait::async_trait;
use weir_driver::{
    ContainerDriver, conformance,
    conformance::{Program, Recipe, Subject},
};
use weir_driver_process::{Config, ProcessDriver};

use crate::{
    parts::command,
    tools::{RUN_ON, instance_ports},
};

struct Processes {
    state: tempfile::TempDir,
    ports: RangeInclusive<u16>,
}

impl Processes {
    fn new() -> Processes {
        Processes {
            state: tempfile::tempdir().unwrap(),
            ports: instance_ports(),
        }
    }
}

#[async_trait]
impl Subject for Processes {
    async fn open(&self) -> Arc<dyn ContainerDriver> {
        let config = Config {
            instance_ports: self.ports.clone(),
            limits: true,
            ..Config::new(self.state.path(), "conformance")
        };
        Arc::new(ProcessDriver::open(config).unwrap())
    }

    fn recipe(&self, program: Program) -> Recipe {
        let definition = match program {
            Program::Serve => command("service"),
            Program::Idle => "sleep 120".to_owned(),
            Program::Exit => {
                format!(
                    "sh -c 'echo \"{}\" >&2; exit {}'",
                    conformance::LAST_WORDS,
                    conformance::EXIT_CODE
                )
            }
            Program::Stubborn => {
                format!(
                    "sh -c 'trap \"\" TERM; echo \"{}\"; {RUN_ON}'",
                    conformance::STUBBORN
                )
            }
            Program::Speak => format!(
                "sh -c 'echo \"{}\"; echo \"{}\" >&2; exec sleep 120'",
                conformance::TO_STDOUT,
                conformance::TO_STDERR
            ),
            Program::Environment => "sh -c 'env; exec sleep 120'".to_owned(),
            Program::Count => {
                "sh -c 'i=0; while [ $i -lt 20000 ]; do echo \"line $i\"; i=$((i+1)); sleep 0.005; done'"
                    .to_owned()
            }
            // A shell's own memory: what it read is held in a variable.
            Program::Hog => {
                "sh -c 'x=$(head -c 200000000 /dev/zero | tr \"\\0\" x); echo ${#x}; sleep 120'".to_owned()
            }
            Program::Unknown => "weir-no-such-program --at-all".to_owned(),
        };
        Recipe {
            deployable_type: "command".to_owned(),
            definition,
            arguments: Vec::new(),
        }
    }
}

weir_driver::conformance_tests!(Processes::new());

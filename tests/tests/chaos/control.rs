//! Control, as a process of its own: changed by its API, asked by its API and by `weir agents`.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tokio::time::sleep;
use weir_tests::{Program, binaries, ports};

use super::{
    agent::{ID, PREFIX},
    process::{Asking, Process, told},
    traffic::LETTERS,
};

const ROLE: &str = "control::serves_as_control";
/// Longest wait until a change is taken: a control that has just started does not lead yet.
const TAKEN_MAX: Duration = Duration::from_secs(15);
/// Longest run of the program `weir`.
const VERB_MAX: Duration = Duration::from_secs(10);

/// Not a test of its own: the program of [`Control`].
#[test]
fn serves_as_control() {
    let Some((store, data, address)) = told(ROLE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = weir_store::connect(&store).unwrap();
        // With its database in the folder.
        let mut config = weir_control::Config::new(data, store);
        config.listen = address;
        config.prefix = PREFIX.to_owned();
        config.docker = weir_control::Docker::Off;
        let _control = Box::pin(weir_control::Control::start(config)).await.unwrap();
        std::future::pending::<()>().await;
    });
}

/// A running control with one gateway, all of which goes to one of the origins; killed when this is dropped.
#[derive(Debug)]
pub struct Control {
    pub process: Process,
    api: Asking,
    /// Of the gateway.
    port: u16,
    origins: Vec<SocketAddr>,
    /// Number of the newest change that was taken.
    change: usize,
}

impl Control {
    pub async fn start(store: String, data: PathBuf, port: u16, origins: Vec<SocketAddr>) -> Self {
        std::fs::create_dir_all(&data).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], ports::port()));
        let mut control = Self {
            process: Process::start(ROLE, store, data, address),
            api: Asking::of(address, "/api/v1"),
            port,
            origins,
            change: 0,
        };
        control.change().await;
        control
    }

    /// Puts the gateway so that all goes to the next origin.
    pub async fn change(&mut self) {
        let change = self.change + 1;
        let chosen = change % self.origins.len();
        let routes: Map<String, Value> = self
            .origins
            .iter()
            .enumerate()
            .map(|(number, origin)| {
                let weight = if number == chosen { "100%" } else { "0%" };
                (format!("[{origin}]"), json!({ "weight": weight }))
            })
            .collect();
        let gateway = json!({ "name": "shop", "port": format!("{}/http", self.port), "routes": routes });
        let began = Instant::now();
        while let Err(error) = self.api.put("/gateways/shop", &gateway).await {
            assert!(
                began.elapsed() < TAKEN_MAX,
                "a change is not taken: {error}\n{}",
                self.process.log()
            );
            sleep(Duration::from_millis(50)).await;
        }
        self.change = change;
    }

    /// The letter of the origin that is wanted last.
    pub fn wanted(&self) -> u8 {
        let chosen = u8::try_from(self.change % self.origins.len()).unwrap();
        LETTERS.start() + chosen
    }

    /// What it says of the agent, as `GET /agents` has it.
    pub async fn agent(&self) -> Option<Value> {
        let agents = self.api.json("/agents").await?;
        agents
            .as_array()?
            .iter()
            .find(|agent| agent["agent"] == ID)
            .cloned()
    }

    /// The state of the agent that `weir agents` prints.
    pub fn agent_by_verb(&self) -> Option<String> {
        let mut command = Command::new(binaries::weir());
        command.args(["--host", &format!("http://{}", self.process.address), "agents"]);
        for variable in [
            "VAMP_HOST",
            "VAMP_API_TOKEN",
            "VAMP_NAMESPACE",
            "WEIR_TOKEN",
            "WEIR_TOKEN_FILE",
        ] {
            command.env_remove(variable);
        }
        let finished = Program::start(&mut command).finish(VERB_MAX);
        let line = finished
            .stdout
            .lines()
            .find(|line| line.split_whitespace().next() == Some(ID))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    }

    /// How many events there are of the agent: `stale`, `fresh`.
    pub async fn events(&self, word: &str) -> Option<u64> {
        let path = format!("/events?tag=gateway_agent:{word}&tag=agents:{ID}&per_page=1");
        self.api.count(&path).await
    }

    /// What it says of its publishing, for who looks for a fault.
    pub async fn says(&self) -> String {
        let traffic = self.api.json("/traffic").await.unwrap_or_default();
        let leader = self.api.json("/leader").await.unwrap_or_default();
        format!(
            "published {} ({}), leader {leader}, agent {:?}\n{}",
            traffic["generation"],
            traffic["publish_error"],
            self.agent().await,
            self.process.log()
        )
    }
}

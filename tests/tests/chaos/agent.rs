//! The agent, as a process of its own.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde_json::Value;
use weir_agent::{Agent, Config};
use weir_tests::ports;

use super::process::{Asking, Process, told};

pub const PREFIX: &str = "vamp/chaos";
pub const ID: &str = "edge";
/// How long the store keeps what the agent said (Consul: at least 10 s, up to twice that).
const LEASE: Duration = Duration::from_secs(4);
const ROLE: &str = "agent::serves_as_an_agent";

/// Not a test of its own: the program of [`Edge`].
#[test]
fn serves_as_an_agent() {
    let Some((store, data, address)) = told(ROLE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = weir_store::connect(&store).unwrap();
        let mut config = Config::new(store, data);
        config.admin = address;
        config.id = Some(weir_model::AgentId::new(ID).unwrap());
        config.prefix = PREFIX.to_owned();
        config.lease_ttl = LEASE;
        config.proxy.workers = 1;
        let _agent = Box::pin(Agent::start(config)).await.unwrap();
        std::future::pending::<()>().await;
    });
}

/// A running agent; killed when this is dropped.
#[derive(Debug)]
pub struct Edge {
    pub process: Process,
    admin: Asking,
}

impl Edge {
    pub fn start(store: String, data: PathBuf) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::port()));
        Self {
            process: Process::start(ROLE, store, data, address),
            admin: Asking::of(address, ""),
        }
    }

    pub async fn status(&self) -> Option<Value> {
        self.admin.json("/status").await
    }

    /// The generation that it serves.
    pub async fn generation(&self) -> u64 {
        let status = self.status().await;
        let generation = status.as_ref().and_then(|status| status["generation"].as_u64());
        generation.unwrap_or_else(|| panic!("the agent says {status:?}\n{}", self.process.log()))
    }

    /// Seconds for which the store has been silent, as `/metrics` has it.
    pub async fn stale(&self) -> Option<f64> {
        let text = self.admin.text("/metrics").await?;
        let line = text
            .lines()
            .find(|line| line.starts_with("weir_store_stale_seconds "))?;
        line.split_once(' ')?.1.parse().ok()
    }
}

//! A store, a control, an agent and its traffic.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    task::block_in_place,
    time::{sleep, timeout},
};
use weir_store::Store;
use weir_tests::{
    disk::Disk,
    faults::Relay,
    network::{self, Network},
    ports,
    stores::{Kind, Server, Setup},
};

use super::{
    agent::Edge,
    control::Control,
    origin::Origins,
    report::{Row, Seen, Since},
    traffic::{Traffic, probe},
};

const PATIENCE: Duration = Duration::from_secs(40);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Size of the agent's disk: some hundred times what it keeps there.
const DISK_KIB: u32 = 1024;

/// Control, an agent and its traffic; the store is somebody else's.
#[derive(Debug)]
pub struct World {
    pub name: String,
    /// Of the gateway.
    pub port: u16,
    /// `None` while the agent is away.
    pub traffic: Option<Traffic>,
    pub edge: Edge,
    pub control: Control,
    pub disk: Option<Disk>,
    _origins: Origins,
    _folder: tempfile::TempDir,
}

impl World {
    /// `ways`: the store's addresses for the agent and for control.
    pub async fn new(name: String, ways: [String; 2]) -> Self {
        let [for_agent, for_control] = ways;
        let folder = tempfile::tempdir().unwrap();
        let origins = Origins::start();
        let port = ports::port();
        let data = folder.path().join("agent");
        let disk = Disk::at(&data, DISK_KIB);
        if disk.is_none() {
            eprintln!(
                "{name}: file systems may not be mounted here: full and read-only disks are made otherwise"
            );
        }
        let control = folder.path().join("control");
        let control = Control::start(for_control, control, port, origins.addresses.clone()).await;
        let edge = Edge::start(for_agent, data);
        let mut world = Self {
            name,
            port,
            traffic: None,
            edge,
            control,
            disk,
            _origins: origins,
            _folder: folder,
        };
        world.converged(Instant::now()).await;
        world.begin_traffic().await;
        world
    }

    pub async fn begin_traffic(&mut self) {
        self.traffic = Some(Traffic::to(self.port).await);
    }

    pub async fn end_traffic(&mut self) {
        if let Some(traffic) = self.traffic.take() {
            traffic.end().await;
        }
    }

    pub fn last_good(&self) -> PathBuf {
        self.edge.process.data.join("last-good.json")
    }

    /// Runs a scenario: waits until nothing is left of the one before, counts what traffic sees meanwhile, and holds it
    /// against the bars.
    pub async fn row(&mut self, name: &str, scenario: impl AsyncFnOnce(&mut Self, &mut Row)) -> Row {
        self.quiet().await;
        self.measured(name, scenario).await
    }

    /// Waits until nothing is left of what went wrong before, as the agent, its events and control tell.
    pub async fn quiet(&self) {
        self.status("nothing is left of the scenario before", |status| {
            status["stale_ms"] == 0 && status["refused"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
        self.until("control knows the agent", async |world| {
            let agent = world.control.agent().await?;
            (agent["state"] == "live").then_some(())
        })
        .await;
        self.until("every silence that was told is over", async |world| {
            let stale = world.control.events("stale").await?;
            (world.control.events("fresh").await? >= stale).then_some(())
        })
        .await;
    }

    /// As [`row`](Self::row), whatever was before.
    pub async fn measured(&mut self, name: &str, scenario: impl AsyncFnOnce(&mut Self, &mut Row)) -> Row {
        let mut row = Row::named(name);
        let counts = Arc::clone(&self.traffic.as_ref().expect("there is traffic").counts);
        let since = Since::now(&counts);
        Box::pin(scenario(self, &mut row)).await;
        since.count(&counts, &mut row);
        eprintln!(
            "{}: {} {:?}, {} % idle",
            self.name,
            row.line(),
            row.time,
            row.idle
        );
        row
    }

    /// Looks again and again until there is something.
    async fn until<T>(&self, what: &str, look: impl AsyncFn(&Self) -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look(self).await {
                    return found;
                }
                sleep(LOOK).await;
            }
        };
        match timeout(PATIENCE, looking).await {
            Ok(found) => found,
            Err(_) => panic!(
                "{}: {what}: the agent says {:?}\n{}\ncontrol says {}",
                self.name,
                self.edge.status().await,
                self.edge.process.log(),
                self.control.says().await
            ),
        }
    }

    /// Changes until what is wanted is not what is served now, so that it can be told when it is.
    pub async fn news(&mut self) {
        let served = self.served();
        self.control.change().await;
        while Some(self.control.wanted()) == served {
            self.control.change().await;
        }
    }

    fn served(&self) -> Option<u8> {
        block_in_place(|| probe(self.port))
    }

    /// Waits until requests go where control wants them last; the time since `healed`.
    pub async fn converged(&self, healed: Instant) -> Duration {
        let wanted = self.control.wanted();
        self.until("the newest change is served", async |world| {
            (world.served() == Some(wanted)).then_some(())
        })
        .await;
        healed.elapsed()
    }

    /// Waits until the agent says that the store is silent, control tells an event of it, and `GET /agents` and
    /// `weir agents` show it; the times since `broken`.
    pub async fn stale(&self, broken: Instant, told_before: u64) -> Seen {
        let metrics = self.stale_metrics(broken).await;
        // Nobody asks control about agents until it has told by itself.
        self.until("an event tells of staleness", async |world| {
            (world.control.events("stale").await? > told_before).then_some(())
        })
        .await;
        let event = broken.elapsed();
        let agent = self.control.agent().await;
        let api = broken.elapsed();
        let state = agent.as_ref().map(|agent| &agent["state"]);
        assert_eq!(state, Some(&Value::from("stale")), "{agent:?}");
        let state = block_in_place(|| self.control.agent_by_verb());
        assert_eq!(state.as_deref(), Some("stale"), "weir agents");
        Seen {
            metrics,
            control: Some([event, api, broken.elapsed()]),
        }
    }

    /// As [`stale`](Self::stale), while control is dead.
    pub async fn stale_alone(&self, broken: Instant) -> Seen {
        Seen {
            metrics: self.stale_metrics(broken).await,
            control: None,
        }
    }

    async fn stale_metrics(&self, broken: Instant) -> Duration {
        self.until("staleness is in /metrics", async |world| {
            world.edge.stale().await.filter(|stale| *stale > 0.0)
        })
        .await;
        broken.elapsed()
    }

    /// Events of staleness so far.
    pub async fn told(&self, word: &str) -> u64 {
        self.until("events can be counted", async |world| {
            world.control.events(word).await
        })
        .await
    }

    /// Waits for the event that the agent is fresh again; the time since its metrics say so.
    pub async fn fresh(&self, told_before: u64) -> Duration {
        self.until("the agent is fresh", async |world| {
            world.edge.stale().await.filter(|stale| *stale <= 0.0)
        })
        .await;
        let fresh = Instant::now();
        self.until("an event tells that the agent is fresh", async |world| {
            (world.control.events("fresh").await? > told_before).then_some(())
        })
        .await;
        fresh.elapsed()
    }

    /// Waits until a page of the agent's status satisfies a check.
    pub async fn status(&self, what: &str, check: impl Fn(&Value) -> bool) {
        self.until(what, async |world| {
            world.edge.status().await.filter(|status| check(status)).map(drop)
        })
        .await;
    }
}

/// A store of one node, with what can go wrong on the way to it.
#[derive(Debug)]
pub struct Outside {
    pub server: Server,
    /// Between the agent and the store; control has a way of its own.
    pub relay: Relay,
    pub store: Arc<dyn Store>,
    /// Its last, after the host of the server.
    _network: Option<Network>,
}

impl Outside {
    pub async fn new(kind: Kind) -> Option<Self> {
        let mut network = Network::new();
        if let Some(reason) = network::why_not() {
            eprintln!("{kind}: no partitions by network: {reason}");
        }
        // One address for control and the relay, one for the agent.
        let host = network.as_mut().map(|network| network.host(2));
        let server = block_in_place(|| Server::start_on(host, kind, Setup::default()))?;
        Some(Self {
            relay: Relay::to_address(server.address()).await,
            store: server.connect(),
            server,
            _network: network,
        })
    }

    /// The agent's own way, without the relay; `None` without a network of its own.
    pub fn direct(&self) -> Option<SocketAddr> {
        let address = *self.server.host()?.addresses().get(1)?;
        Some((address, self.server.port()).into())
    }
}

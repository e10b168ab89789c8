//! A store, a control, an agent and its traffic.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use weir_model::{
    Balance, ConditionStrength, Gateway, GatewayName, Generation, Instance, InstanceId, InstanceState,
    Listener, Protocol, Route, RouteName, Snapshot, Sticky, Target, Weight,
};
use weir_store::{
    Store,
    protocol::{self, ProtocolError},
};
use weir_tests::{
    faults::Relay,
    ports,
    stores::{Server, Setup},
};

use super::{
    agent::{PREFIX, Process},
    traffic::{Traffic, origin},
};

const PATIENCE: Duration = Duration::from_secs(40);
/// Pause of control between two looks at the store.
const LOOK: Duration = Duration::from_millis(250);

/// What control knows of its last publication.
#[derive(Clone, Copy, Debug, Default)]
struct Published {
    change: u64,
    generation: u64,
}

/// Publishes whatever is wanted last, over every loss; so does control's publisher.
#[derive(Debug)]
pub struct Control {
    wanted: watch::Sender<u64>,
    published: watch::Receiver<Published>,
    paused: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Control {
    fn start(store: Arc<dyn Store>, shop: Shop) -> Self {
        let (wanted, want) = watch::channel(1);
        let (publish, published) = watch::channel(Published::default());
        let paused = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&paused);
        let task = tokio::spawn(async move {
            let mut known = Published::default();
            loop {
                let change = *want.borrow();
                if !stopped.load(SeqCst) {
                    // An error is tried again soon.
                    if let Ok(now) = round(&*store, shop, change, known).await {
                        known = now;
                        publish.send_replace(now);
                    }
                }
                sleep(LOOK).await;
            }
        });
        Self {
            wanted,
            published,
            paused,
            task,
        }
    }

    /// Wants something else published.
    pub fn change(&self) {
        self.wanted.send_modify(|change| *change += 1);
    }

    /// From now on nothing is published; what is under way ends.
    pub async fn pause(&self) {
        self.paused.store(true, SeqCst);
        sleep(LOOK * 2).await;
    }

    pub fn resume(&self) {
        self.paused.store(false, SeqCst);
    }

    pub fn generation(&self) -> u64 {
        self.published.borrow().generation
    }
}

/// Publishes if what is published is not what is wanted.
async fn round(
    store: &dyn Store,
    shop: Shop,
    change: u64,
    known: Published,
) -> Result<Published, ProtocolError> {
    let place = protocol::place(store, PREFIX).await?;
    let found = match protocol::manifest(store, PREFIX).await {
        Ok(found) => found.map_or(0, |(manifest, _)| manifest.generation.0),
        Err(error @ ProtocolError::Store(_)) => return Err(error),
        // It cannot be read, and is replaced.
        Err(_) => 0,
    };
    if change == known.change && found == known.generation {
        return Ok(known);
    }
    let generation = known.generation.max(found) + 1;
    protocol::publish(store, PREFIX, &shop.snapshot(generation, change), place).await?;
    Ok(Published { change, generation })
}

/// The one gateway: all to `a`, or all to `b`.
#[derive(Clone, Copy, Debug)]
pub struct Shop {
    port: u16,
    origins: [SocketAddr; 2],
}

impl Shop {
    pub fn snapshot(&self, generation: u64, change: u64) -> Snapshot {
        let all = usize::try_from(change % 2).unwrap();
        let route = |number: usize, name: &str| Route {
            name: RouteName::new(name).unwrap(),
            weight: if all == number { Weight::FULL } else { Weight::ZERO },
            condition: None,
            condition_strength: ConditionStrength::ZERO,
            balance: Balance::RoundRobin,
            options: Default::default(),
            target: Target::Instances(vec![Instance {
                id: InstanceId::new(self.origins[number].to_string()).unwrap(),
                host: "127.0.0.1".to_owned(),
                port: self.origins[number].port(),
                state: InstanceState::Serving,
            }]),
        };
        let gateway = Gateway {
            name: GatewayName::new("shop").unwrap(),
            protocol: Protocol::Http,
            listener: Some(Listener {
                address: "127.0.0.1".parse().unwrap(),
                port: self.port,
            }),
            virtual_hosts: Vec::new(),
            options: Default::default(),
            sticky: Sticky::None,
            routes: vec![route(0, "a"), route(1, "b")],
        };
        Snapshot::new("chaos", Generation(generation), vec![gateway]).unwrap()
    }
}

/// All of it.
#[derive(Debug)]
pub struct World {
    pub server: Server,
    /// Between the agent and the store; control has a way of its own.
    pub relay: Relay,
    pub agent: Process,
    pub control: Control,
    pub store: Arc<dyn Store>,
    pub shop: Shop,
    pub traffic: Traffic,
    _folder: tempfile::TempDir,
}

impl World {
    pub async fn new(kind: weir_tests::stores::Kind) -> Option<Self> {
        let server = Server::start(kind, Setup::default())?;
        let folder = tempfile::tempdir().unwrap();
        let relay = Relay::to(server.port()).await;
        let shop = Shop {
            port: ports::port(),
            origins: [origin('a').await, origin('b').await],
        };
        let store = server.connect();
        let control = Control::start(Arc::clone(&store), shop);
        let agent = Process::start(server.url_at(relay.port()), folder.path());
        let began = Instant::now();
        let traffic = loop {
            if tokio::net::TcpStream::connect(("127.0.0.1", shop.port))
                .await
                .is_ok()
            {
                break Traffic::to(shop.port).await;
            }
            assert!(began.elapsed() < PATIENCE, "nothing is served: {}", agent.log());
            sleep(Duration::from_millis(50)).await;
        };
        let world = Self {
            server,
            relay,
            agent,
            control,
            store,
            shop,
            traffic,
            _folder: folder,
        };
        world.converged(Instant::now()).await;
        Some(world)
    }

    pub fn port(&self) -> u16 {
        self.shop.port
    }

    pub fn last_good(&self) -> PathBuf {
        self.agent.data.join("last-good.json")
    }

    /// Waits until the agent serves what control wants last; the time since `healed`.
    pub async fn converged(&self, healed: Instant) -> Duration {
        let mut published = self.control.published.clone();
        let wanted = *self.control.wanted.borrow();
        let waiting = async {
            let goal = published
                .wait_for(|now| now.change >= wanted)
                .await
                .unwrap()
                .generation;
            loop {
                let status = self.agent.status().await;
                let served = status.as_ref().and_then(|status| status["generation"].as_u64());
                if served.is_some_and(|served| served >= goal) {
                    return healed.elapsed();
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(took) => took,
            Err(_) => panic!(
                "{}: the agent does not converge: {:?}, published {:?}\n{}",
                self.server.kind(),
                self.agent.status().await,
                *published.borrow(),
                self.agent.log()
            ),
        }
    }

    /// Waits until the agent says that the store is silent; the time since `broken`.
    pub async fn stale(&self, broken: Instant) -> Duration {
        let waiting = async {
            while !self.agent.stale().await.is_some_and(|stale| stale > 0.0) {
                sleep(Duration::from_millis(20)).await;
            }
            broken.elapsed()
        };
        let took = timeout(PATIENCE, waiting).await;
        took.unwrap_or_else(|_| panic!("{}: staleness is not seen", self.server.kind()))
    }

    /// Waits until a page of the agent's status satisfies a check.
    pub async fn status(&self, what: &str, check: impl Fn(&serde_json::Value) -> bool) {
        let waiting = async {
            while !self.agent.status().await.is_some_and(|status| check(&status)) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            let status = self.agent.status().await;
            panic!("{}: {what}: {status:?}", self.server.kind());
        }
    }
}

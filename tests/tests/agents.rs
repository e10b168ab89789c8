//! Control and agents that guard their figures, as processes: what clients sent is what control counts, whoever served
//! it, over kills and restarts.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use weir_agent::{AdminTls, Agent, Config, Secret};
use weir_control::{AgentToken, Control, Storage};
use weir_store::{Store, memory::Memory};
use weir_tests::{Certificates, ports};

const PATIENCE: Duration = Duration::from_secs(40);
const TOKEN: &str = "t0ken of the agents";

/// How an agent's figures are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guarded {
    Token,
    Tls,
    Socket,
    AnotherToken,
}

/// Not a test of its own: the program that [`Process`] runs.
#[test]
fn serves_as_an_agent() {
    let variable = |name: &str| std::env::var(format!("WEIR_AGENTS_{name}")).ok();
    let Some(store) = variable("STORE") else { return };
    let path = |name: &str| PathBuf::from(variable(name).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut config = Config::new(weir_store::connect(&store).unwrap(), path("DATA"));
        config.admin = "127.0.0.1:0".parse().unwrap();
        config.lease_ttl = Duration::from_secs(2);
        config.proxy.workers = 1;
        config.admin_token = Some(Secret::new(variable("TOKEN").unwrap()));
        if variable("CERTIFICATE").is_some() {
            let (certificate, key) = (path("CERTIFICATE"), path("KEY"));
            config.admin_tls = Some(AdminTls { certificate, key });
        }
        if let Some(socket) = variable("SOCKET") {
            config.advertise = Some(format!("unix:{socket}"));
            config.admin_socket = Some(socket.into());
        }
        let _agent = Box::pin(Agent::start(config)).await.unwrap();
        std::future::pending::<()>().await;
    });
}

/// An agent as a process; killed (SIGKILL) when this is dropped.
struct Process(Child);

impl Process {
    fn start(world: &World, name: &str, guarded: Guarded) -> Self {
        let folder = world.folder.path();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "serves_as_an_agent",
                "--exact",
                "--nocapture",
                "--test-threads",
                "1",
            ])
            .env("WEIR_AGENTS_STORE", &world.store)
            .env("WEIR_AGENTS_DATA", folder.join(name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let token = match guarded {
            Guarded::AnotherToken => "another",
            _ => TOKEN,
        };
        command.env("WEIR_AGENTS_TOKEN", token);
        match guarded {
            Guarded::Tls => {
                command.env("WEIR_AGENTS_CERTIFICATE", &world.certificates.server);
                command.env("WEIR_AGENTS_KEY", &world.certificates.server_key);
            }
            Guarded::Socket => {
                command.env("WEIR_AGENTS_SOCKET", folder.join("admin.sock"));
            }
            Guarded::Token | Guarded::AnotherToken => {}
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A control with one gateway, and a store that agents of this host reach.
struct World {
    control: Control,
    /// The store's address for agents.
    store: String,
    certificates: Certificates,
    port: u16,
    /// Requests that were answered.
    sent: u64,
    client: reqwest::Client,
    sharing: CancellationToken,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::in_folder(&folder.path().join("tls"));
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sharing = CancellationToken::new();
        tokio::spawn(weir_store::remote::serve(
            listener,
            Arc::clone(&store),
            sharing.clone(),
        ));
        let mut config = weir_control::Config::new(folder.path().join("control"), store);
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.storage = Storage::Memory;
        config.agent_token = Some(AgentToken::new(TOKEN));
        config.agent_authority = Some(certificates.ca.clone());
        let control = Box::pin(Control::start(config)).await.unwrap();
        let world = Self {
            control,
            store: format!("weir://{address}"),
            certificates,
            port: ports::port(),
            sent: 0,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            sharing,
            folder,
        };
        let origin = origin().await;
        let gateway = json!({"name": "shop", "port": world.port, "routes": {
            format!("[{origin}]"): {"weight": "100%"},
        }});
        let answer = world
            .client
            .post(world.url("gateways"))
            .json(&gateway)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap());
        world
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1/{path}", self.control.address())
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(self.url(path)).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Requests as control counts them: of the gateway, its route and its instance, which are the same.
    async fn counted(&self) -> u64 {
        let traffic = self.get("traffic").await;
        let gateway = &traffic["gateways"][0];
        let route = &gateway["routes"][0];
        let counts = [
            &gateway["requests"],
            &route["requests"],
            &route["instances"][0]["requests"],
        ];
        assert!(counts.iter().all(|count| *count == counts[0]), "{gateway}");
        counts[0].as_u64().unwrap()
    }

    /// Sends so many requests that are answered well; before the first one waits until somebody serves.
    async fn send(&mut self, count: u64) {
        let deadline = Instant::now() + PATIENCE;
        let mut good = 0;
        while good < count {
            match answered(self.port).await {
                Some(status) => {
                    self.sent += 1;
                    good += u64::from(status == 200);
                }
                None => sleep(Duration::from_millis(20)).await,
            }
            assert!(Instant::now() < deadline, "nobody serves");
        }
    }

    async fn eventually<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            let agents = self.get("agents").await;
            assert!(Instant::now() < deadline, "not in time: {what}: {agents}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until control has counted all that was sent.
    async fn counts_all(&self) {
        let what = format!("{} are counted", self.sent);
        self.eventually(&what, async || {
            let counted = self.counted().await;
            assert!(counted <= self.sent, "{counted} of {}", self.sent);
            (counted == self.sent).then_some(())
        })
        .await;
    }

    /// What control says of the agent at an address that begins so, once it serves what is published.
    async fn agent(&self, admin: &str) -> Value {
        self.eventually(admin, async || {
            let agents = self.get("agents").await;
            let agents = agents.as_array().unwrap().iter();
            let mut found = agents.filter(|agent| {
                let is_there = agent["admin"].as_str().unwrap().starts_with(admin);
                is_there && agent["live"] == true && agent["lag"] == 0
            });
            found.next().cloned()
        })
        .await
    }
}

/// The status of an answer of the gateway.
async fn answered(port: u16) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// A server that answers every connection's request and closes.
async fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while stream.read_buf(&mut head).await.is_ok_and(|count| count > 0) {
                    if head.ends_with(b"\r\n\r\n") {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                        let _ = stream.write_all(answer).await;
                        return;
                    }
                }
            });
        }
    });
    address
}

fn is_file_of(path: &Path, text: &str) -> bool {
    text == format!("unix:{}", path.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_counts_what_clients_sent_whoever_served_it() {
    let mut world = World::new().await;

    // Killed when all was read: nothing is lost, and a new run of the agent goes on from there.
    let agent = Process::start(&world, "one", Guarded::Token);
    world.send(30).await;
    world.counts_all().await;
    let first = world.agent("127.0.0.1:").await;
    drop(agent);
    assert_eq!(world.counted().await, world.sent);
    let agent = Process::start(&world, "one", Guarded::Token);
    world.send(20).await;
    world.counts_all().await;
    let again = world
        .eventually("the agent is the same, and its run another", async || {
            let agents = world.get("agents").await;
            let is_again = agents[0]["started_at_ms"] != first["started_at_ms"];
            is_again.then(|| agents[0].clone())
        })
        .await;
    assert_eq!(again["agent"], first["agent"]);
    assert_eq!(
        (&again["digest"], &again["problem"]),
        (&first["digest"], &Value::Null)
    );

    // Killed at once: at most what was not read yet is missing, and nothing goes back.
    let before = world.counted().await;
    world.send(25).await;
    drop(agent);
    let left = world.sent - 25;
    let counted = world.counted().await;
    assert!(
        before == left && (left..=world.sent).contains(&counted),
        "{counted}"
    );
    world.sent = counted;

    // Two others, which are added: one by TLS, one at a socket.
    for (name, guarded, admin) in [
        ("two", Guarded::Tls, "https://127.0.0.1:"),
        ("three", Guarded::Socket, "unix:/"),
    ] {
        let agent = Process::start(&world, name, guarded);
        world.send(20).await;
        world.counts_all().await;
        let told = world.agent(admin).await;
        assert_eq!((&told["state"], &told["problem"]), (&json!("live"), &Value::Null));
        assert_eq!((&told["stale_ms"], &told["lag_ms"]), (&json!(0), &json!(0)));
        if guarded == Guarded::Socket {
            let path = world.folder.path().join("admin.sock");
            assert!(is_file_of(&path, told["admin"].as_str().unwrap()), "{told}");
        }
        drop(agent);
    }

    // One that asks for another token serves; what it counted is not known, and that is told.
    let agent = Process::start(&world, "four", Guarded::AnotherToken);
    let (known, unknown) = (world.counted().await, 10);
    world.send(unknown).await;
    let told = world
        .eventually("the refused token is told", async || {
            let agents = world.get("agents").await;
            let mut agents = agents.as_array().unwrap().iter();
            agents
                .find(|agent| agent["problem"].as_str().is_some_and(|why| why.contains("401")))
                .cloned()
        })
        .await;
    assert_eq!(
        (&told["state"], &told["live"]),
        (&json!("unreachable"), &json!(true))
    );
    assert!(!told.to_string().contains(TOKEN), "{told}");
    assert_eq!(world.counted().await, known);
    let events = world.get("events?tag=gateway_agent:unreachable").await;
    let of_it = format!("agents:{}", told["agent"].as_str().unwrap());
    let events: Vec<&Value> = events
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["tags"].as_array().unwrap().contains(&json!(of_it)))
        .collect();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0]["value"].to_string().contains("401"), "{events:?}");
    drop(agent);
    world.sharing.cancel();
    world.control.shutdown().await;
}

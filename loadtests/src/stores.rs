//! From the store to the traffic: how long a change takes, and what waiting for changes costs.
//!
//! Real servers (as the tests start them) on loopback, one agent of ours that follows, and a publisher. A change moves all
//! weight of one gateway between two services whose answers differ in length; a client asks again and again until it sees
//! the other one. The time runs from before the snapshot is packed and written, so it is an upper bound of what the agent
//! adds.
//!
//! Publisher, store, agent, clients and services share the processors: what the agent alone takes of them, as the kernel
//! accounts it, is told beside the latency of the requests.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use comfy_table::{Table, presets};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use weir_model::{Gateway, Generation, Snapshot, document};
use weir_store::{Store, protocol};
use weir_tests::stores::{Kind, Server, Setup};

use crate::{
    client::{self, Load},
    measure::{self, Cpu},
    target::Backend,
};

/// Options of `stores`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these stores: etcd, consul, zookeeper, embedded
    #[arg(long = "store", value_name = "NAME")]
    stores: Vec<String>,
    /// Gateways beside the one that changes; several numbers are measured one after the other
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_value = "1000")]
    gateways: Vec<usize>,
    /// Changes that are timed, one after the other
    #[arg(long, default_value_t = 200)]
    changes: u64,
    /// Seconds of 50 changes each under load; 0: none
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    churn: u64,
    /// Seconds for which the agent is left alone
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    idle: u64,
    /// Writes the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// An agent that is built already
    #[arg(long, value_name = "FILE")]
    pub(crate) agent: Option<PathBuf>,
}

const PREFIX: &str = "vamp/bench";
/// Lengths of the two services' answers.
const LENGTHS: [usize; 2] = [128, 129];
/// Requests each second while changes come.
const RATE: u32 = 1_000;
const CHANGES_PER_SECOND: u32 = 50;
/// For what is published first, and for each change.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, serde::Serialize)]
struct Row {
    store: String,
    gateways: usize,
    changes: u64,
    visible_p50_ms: f64,
    visible_p99_ms: f64,
    visible_max_ms: f64,
    /// Until the publisher was done, which the agent does not wait for.
    published_p50_ms: f64,
    idle_cpu_percent: f64,
    agent_memory_mib: f64,
    #[serde(flatten)]
    churn: Option<Churn>,
    errors: u64,
}

/// The same load without changes and with them.
#[derive(Debug, serde::Serialize)]
struct Churn {
    changes_per_second: f64,
    calm_p99_us: f64,
    churn_p99_us: f64,
    /// Of one processor, by the agent alone.
    calm_cpu_percent: f64,
    churn_cpu_percent: f64,
    /// Processor time of the agent for each change, that of the requests taken off.
    change_cpu_ms: f64,
}

/// Runs it all and prints a table.
#[expect(clippy::print_stdout, reason = "that is what the command is for")]
pub(crate) fn run(options: &Options, agent: &Path) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for name in ["embedded", "etcd", "consul", "zookeeper"] {
        if !options.stores.is_empty() && !options.stores.iter().any(|wanted| wanted == name) {
            continue;
        }
        for gateways in &options.gateways {
            let Some(held) = Held::start(name)? else {
                println!("{name} is not installed: left out");
                break;
            };
            let row = measure_one(options, *gateways, agent, name, &held);
            rows.push(row.with_context(|| format!("store {name}, {gateways} gateways"))?);
        }
    }
    println!("{}", table_of(&rows));
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_vec_pretty(&rows)?)
            .with_context(|| format!("writing {}", file.display()))?;
    }
    if rows.iter().any(|row| row.errors > 0) {
        bail!("requests failed: the figures mean nothing");
    }
    Ok(())
}

fn table_of(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "store",
        "gateways",
        "visible p50 ms",
        "p99",
        "most",
        "published p50 ms",
        "idle CPU %",
        "agent MiB",
        "changes/s",
        "p99 µs calm",
        "p99 µs under changes",
        "agent CPU % calm",
        "agent CPU % under changes",
        "agent CPU ms per change",
        "failed",
    ]);
    for row in rows {
        let of_churn = |digits: usize, figure: fn(&Churn) -> f64| {
            let figure = row.churn.as_ref().map(figure);
            figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.digits$}"))
        };
        table.add_row([
            row.store.clone(),
            row.gateways.to_string(),
            format!("{:.1}", row.visible_p50_ms),
            format!("{:.1}", row.visible_p99_ms),
            format!("{:.1}", row.visible_max_ms),
            format!("{:.1}", row.published_p50_ms),
            format!("{:.2}", row.idle_cpu_percent),
            format!("{:.0}", row.agent_memory_mib),
            of_churn(0, |churn| churn.changes_per_second),
            of_churn(0, |churn| churn.calm_p99_us),
            of_churn(0, |churn| churn.churn_p99_us),
            of_churn(1, |churn| churn.calm_cpu_percent),
            of_churn(1, |churn| churn.churn_cpu_percent),
            of_churn(2, |churn| churn.change_cpu_ms),
            row.errors.to_string(),
        ]);
    }
    table
}

/// A store that runs.
struct Held {
    url: String,
    store: Arc<dyn Store>,
    _server: Option<Server>,
    /// Serves the embedded store.
    _runtime: Option<tokio::runtime::Runtime>,
    _folder: tempfile::TempDir,
}

impl Held {
    fn start(name: &str) -> anyhow::Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let kind = match name {
            "etcd" => Kind::Etcd,
            "consul" => Kind::Consul,
            "zookeeper" => Kind::ZooKeeper,
            _ => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()?;
                let store =
                    weir_store::connect(&format!("embedded:{}", folder.path().join("store").display()))?;
                let shared = Arc::clone(&store);
                let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
                let address = listener.local_addr()?;
                runtime.spawn(async move {
                    // Ends with the run.
                    let _ = weir_store::remote::serve(listener, shared, CancellationToken::new()).await;
                });
                return Ok(Some(Self {
                    url: format!("weir://{address}"),
                    store,
                    _server: None,
                    _runtime: Some(runtime),
                    _folder: folder,
                }));
            }
        };
        let Some(server) = Server::start(kind, Setup::default()) else {
            return Ok(None);
        };
        Ok(Some(Self {
            url: server.url(),
            store: server.connect(),
            _server: Some(server),
            _runtime: None,
            _folder: folder,
        }))
    }
}

/// An agent that follows a store.
struct Agent {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Agent {
    fn start(program: &Path, store: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = fs::File::create(folder.path().join("log"))?;
        let child = Command::new(program)
            .args([
                "run",
                "--store",
                store,
                "--prefix",
                PREFIX,
                "--admin",
                "127.0.0.1:0",
                "--workers",
                "1",
            ])
            .arg("--data")
            .arg(folder.path().join("data"))
            .env("WEIR_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the agent")?;
        Ok(Self {
            child,
            _folder: folder,
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is published: the gateway that changes, and others that do not.
struct Published {
    others: usize,
    listen: SocketAddr,
    backends: [SocketAddr; 2],
}

impl Published {
    /// Both forms; they share the gateways that do not change.
    fn snapshots(&self) -> anyhow::Result<[Snapshot; 2]> {
        let mut all = self.gateways(0)?;
        let one = sealed(all.clone())?;
        let changed = Published { others: 0, ..*self }.gateways(1)?;
        for new in changed {
            if let Some(old) = all.iter_mut().find(|old| old.name == new.name) {
                *old = new;
            }
        }
        Ok([one, sealed(all)?])
    }

    fn gateways(&self, chosen: usize) -> anyhow::Result<Vec<Arc<Gateway>>> {
        let route = |weight: usize, backend: SocketAddr| json!({"weight": format!("{weight}%"), "instances": [backend.to_string()]});
        let mut gateways = serde_json::Map::new();
        let weights = if chosen == 0 { [100, 0] } else { [0, 100] };
        gateways.insert(
            "load".to_owned(),
            json!({"address": self.listen.ip().to_string(), "port": self.listen.port(),
                "routes": {"a": route(weights[0], self.backends[0]), "b": route(weights[1], self.backends[1])}}),
        );
        for number in 0..self.others {
            gateways.insert(
                format!("other{number}"),
                json!({"virtual_hosts": [format!("other{number}.example")],
                    "routes": {"a": route(70, self.backends[0]), "b": route(10, self.backends[1]),
                        "c": route(10, self.backends[0]), "d": route(10, self.backends[1])}}),
            );
        }
        let gateways = document::read(json!({ "gateways": gateways }))
            .map_err(|problems| anyhow::anyhow!("the document is wrong: {problems:?}"))?;
        Ok(gateways.into_iter().map(Arc::new).collect())
    }
}

fn sealed(gateways: Vec<Arc<Gateway>>) -> anyhow::Result<Snapshot> {
    Snapshot::new_shared("bench", Generation(1), gateways)
        .map_err(|problems| anyhow::anyhow!("the snapshot is wrong: {problems:?}"))
}

fn measure_one(
    options: &Options,
    gateways: usize,
    agent: &Path,
    name: &str,
    held: &Held,
) -> anyhow::Result<Row> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let services = [
        Backend::start(LENGTHS[0], "0-1")?,
        Backend::start(LENGTHS[1], "0-1")?,
    ];
    let published = Published {
        others: gateways,
        listen: TcpListener::bind("127.0.0.1:0")?.local_addr()?,
        backends: [services[0].address, services[1].address],
    };
    // Made beforehand: what they cost is not what is measured.
    let documents = published.snapshots()?;
    let mut publisher = Publisher {
        store: Arc::clone(&held.store),
        documents,
        generation: 0,
        chosen: 1,
    };
    let agent = Agent::start(agent, &held.url)?;
    let process = [agent.child.id()];
    runtime.block_on(publisher.publish())?;
    await_service(published.listen)?;
    let bar = ProgressBar::new(options.changes);
    bar.set_message(name.to_owned());
    let times = runtime.block_on(time_changes(
        &mut publisher,
        published.listen,
        options.changes,
        &bar,
    ))?;
    bar.finish_and_clear();
    let watching = Watching::begin(process)?;
    std::thread::sleep(Duration::from_secs(options.idle));
    let (idle, _) = watching.end()?;
    #[expect(clippy::cast_precision_loss, reason = "memory of a process is small")]
    let memory = measure::resident(&process)? as f64 / 1_048_576.0;
    let mut row = Row {
        store: name.to_owned(),
        gateways: gateways + 1,
        changes: options.changes,
        visible_p50_ms: milliseconds(&times.visible, 0.5),
        visible_p99_ms: milliseconds(&times.visible, 0.99),
        visible_max_ms: milliseconds(&times.visible, 1.0),
        published_p50_ms: milliseconds(&times.published, 0.5),
        idle_cpu_percent: idle,
        agent_memory_mib: memory,
        churn: None,
        errors: 0,
    };
    if options.churn > 0 {
        let (churn, errors) = churn(options, process, publisher, published.listen, &runtime)?;
        row.churn = Some(churn);
        row.errors = errors;
    }
    Ok(row)
}

/// Processor time of the agent from a moment on.
struct Watching {
    process: [u32; 1],
    before: Cpu,
    since: Instant,
}

impl Watching {
    fn begin(process: [u32; 1]) -> anyhow::Result<Self> {
        Ok(Self {
            process,
            before: Cpu::of(&process)?,
            since: Instant::now(),
        })
    }

    /// Percent of one processor, and seconds of it.
    fn end(self) -> anyhow::Result<(f64, f64)> {
        let spent = Cpu::of(&self.process)?.since(&self.before);
        // Threads that ended meanwhile took their exact figures with them; the ticks of the process stay.
        let seconds = spent.total.max(spent.user + spent.system).as_secs_f64();
        Ok((seconds / self.since.elapsed().as_secs_f64() * 100.0, seconds))
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are few")]
fn milliseconds(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1_000.0
}

struct Publisher {
    store: Arc<dyn Store>,
    documents: [Snapshot; 2],
    generation: u64,
    chosen: usize,
}

impl Publisher {
    /// Publishes the other document.
    async fn publish(&mut self) -> anyhow::Result<()> {
        self.generation += 1;
        self.chosen = 1 - self.chosen;
        let snapshot = self.documents[self.chosen]
            .clone()
            .with_generation(Generation(self.generation));
        let place = protocol::place(&*self.store, PREFIX).await?;
        protocol::publish(&*self.store, PREFIX, &snapshot, place).await?;
        Ok(())
    }
}

fn await_service(address: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            bail!("the agent does not serve what was published");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

async fn time_changes(
    publisher: &mut Publisher,
    address: SocketAddr,
    changes: u64,
    bar: &ProgressBar,
) -> anyhow::Result<Times> {
    let mut times = Times {
        visible: Histogram::new_with_bounds(1, 60_000_000, 3)?,
        published: Histogram::new_with_bounds(1, 60_000_000, 3)?,
    };
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    for _ in 0..changes {
        let began = Instant::now();
        publisher.publish().await?;
        times.published.saturating_record(microseconds(began));
        while length_of_answer(&mut stream).await? != LENGTHS[publisher.chosen] {
            if began.elapsed() > PATIENCE {
                bail!("a change did not arrive in {PATIENCE:?}");
            }
        }
        times.visible.saturating_record(microseconds(began));
        bar.inc(1);
    }
    Ok(times)
}

/// Of each change, from before it was packed, in microseconds.
struct Times {
    /// Until the publisher was done.
    published: Histogram<u64>,
    /// Until a client saw it.
    visible: Histogram<u64>,
}

fn microseconds(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Asks once; which service answered is seen by the length.
async fn length_of_answer(stream: &mut tokio::net::TcpStream) -> anyhow::Result<usize> {
    stream
        .write_all(b"GET /load HTTP/1.1\r\nHost: load.example\r\n\r\n")
        .await?;
    let mut buffer = [0_u8; 4096];
    let mut filled = 0;
    loop {
        let read = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
        if read == 0 {
            bail!("the agent closed the connection");
        }
        filled += read;
        let seen = buffer.get(..filled).unwrap_or_default();
        let Some(head) = memchr::memmem::find(seen, b"\r\n\r\n") else {
            continue;
        };
        if !seen.starts_with(b"HTTP/1.1 200") {
            bail!("a request failed: {}", String::from_utf8_lossy(seen));
        }
        let body = filled - head - 4;
        let length = LENGTHS.into_iter().find(|length| {
            let line = format!("Content-Length: {length}\r\n");
            memchr::memmem::find(seen, line.as_bytes()).is_some()
        });
        if let Some(length) = length
            && body == length
        {
            return Ok(length);
        }
    }
}

/// The same load twice: while nothing changes, and while much does. How many requests failed comes with it.
fn churn(
    options: &Options,
    process: [u32; 1],
    mut publisher: Publisher,
    address: SocketAddr,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<(Churn, u64)> {
    let load = |seconds: u64| Load {
        to: address,
        connections: 32,
        requests: u64::from(RATE) * seconds,
        keep_alive: true,
        // Either length is right here.
        body_bytes: LENGTHS[0],
        certificate: None,
        http2: false,
        resume: true,
        websocket: false,
        requests_per_second: RATE,
        lengths_differ: true,
        at_once: 32,
    };
    let watching = Watching::begin(process)?;
    let calm = client::run(load(options.churn.min(20)))?;
    let (calm_cpu, _) = watching.end()?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let publishing = runtime.spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / CHANGES_PER_SECOND);
        // One that is late is not made up for.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let began = Instant::now();
        let mut published = 0_u32;
        while !stopped.load(Ordering::Relaxed) {
            ticks.tick().await;
            publisher.publish().await?;
            published += 1;
        }
        anyhow::Ok(f64::from(published) / began.elapsed().as_secs_f64())
    });
    let watching = Watching::begin(process)?;
    let began = Instant::now();
    let changing = client::run(load(options.churn))?;
    let (churn_cpu, spent) = watching.end()?;
    let took = began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let per_second = runtime.block_on(publishing)??;
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a request are few")]
    let p99 = |seen: &client::Seen| seen.latency_us.value_at_quantile(0.99) as f64;
    let of_changes = spent - calm_cpu / 100.0 * took;
    let churn = Churn {
        changes_per_second: per_second,
        calm_p99_us: p99(&calm),
        churn_p99_us: p99(&changing),
        calm_cpu_percent: calm_cpu,
        churn_cpu_percent: churn_cpu,
        change_cpu_ms: of_changes * 1_000.0 / (per_second * took),
    };
    Ok((churn, calm.errors + changing.errors))
}

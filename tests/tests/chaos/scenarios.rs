//! What goes wrong with a store, one thing after the other.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::{
    task::block_in_place,
    time::{sleep, timeout},
};
use weir_store::{Expect, protocol};
use weir_tests::{faults::Fault, stores::Kind};

use super::{
    agent::PREFIX,
    report::{Row, finish},
    world::{Outside, World},
    writers,
};

/// How long a short outage lasts once it was noticed.
pub const SHORT: Duration = Duration::from_secs(2);
/// How long the long one lasts.
const LONG: Duration = Duration::from_secs(30);
/// Longest time until a lease is over: Consul's sessions last 10 s at least, and up to twice that.
const LEASE_OVER_MAX: Duration = Duration::from_secs(40);
/// Longest time until an agent sees what its store holds.
const LOOK_MAX: Duration = Duration::from_secs(5);

pub async fn all(world: &mut World, out: &mut Outside) {
    let mut rows = Vec::new();
    // While a scenario is worked on: `WEIR_CHAOS=wiped` runs those with that in their names.
    let only = std::env::var("WEIR_CHAOS").unwrap_or_default();
    macro_rules! run {
        ($name:literal, $scenario:path $(, $more:expr)*) => {
            if $name.contains(&only) {
                rows.push(world.row($name, async |world, row| $scenario(world, out, row $(, $more)*).await).await);
            }
        };
    }
    run!("killed, restarted with its data", restart);
    run!("killed for 30 s, control goes on changing", long_outage);
    run!("wiped, restarted empty", wiped);
    run!("wiped, restarted empty, control dead", wiped_alone);
    run!("an older backup restored", set_back);
    run!("an older backup restored, control dead", set_back_alone);
    run!("connections cut", broken, Fault::Cut);
    run!("connections silent for good", broken, Fault::Silence);
    run!("2 s of latency", slow);
    run!("lease expired while alive", lease_over);
    run!("watch compacted away", compacted);
    run!("writer killed at every chunk", writers::dying);
    run!("garbage in manifest, chunk, digest", writers::garbage);
    run!("disk copy damaged, disk full, read-only", disk);
    run!("control dead, store killed meanwhile", no_control);
    rows.push(killed(world, out).await);
    moved(world, out).await;
    if out.direct().is_some() {
        run!("network: packets dropped both ways", partitioned);
        run!("network: cable of the store pulled", unplugged);
    }
    world.end_traffic().await;
    finish(&world.name, &rows);
}

/// Events before something is broken.
pub struct Told {
    stale: u64,
    fresh: u64,
}

impl Told {
    pub async fn before(world: &World) -> Self {
        Self {
            stale: world.told("stale").await,
            fresh: world.told("fresh").await,
        }
    }

    /// Staleness is told, from now on.
    pub async fn broken(&self, world: &World, row: &mut Row) {
        row.stale = Some(world.stale(Instant::now(), self.stale).await);
    }

    /// The newest change is served, and the end of staleness is told.
    pub async fn healed(&self, world: &World, row: &mut Row, healed: Instant) {
        row.converged = Some(world.converged(healed).await);
        row.fresh = Some(world.fresh(self.fresh).await);
    }
}

async fn restart(world: &mut World, out: &mut Outside, row: &mut Row) {
    let told = Told::before(world).await;
    out.server.kill();
    told.broken(world, row).await;
    sleep(SHORT / 2).await;
    world.news().await;
    block_in_place(|| out.server.start_again());
    told.healed(world, row, Instant::now()).await;
}

async fn long_outage(world: &mut World, out: &mut Outside, row: &mut Row) {
    let told = Told::before(world).await;
    out.server.kill();
    let began = Instant::now();
    told.broken(world, row).await;
    while began.elapsed() < LONG {
        world.control.change().await;
        sleep(Duration::from_secs(1)).await;
    }
    world.news().await;
    block_in_place(|| out.server.start_again());
    told.healed(world, row, Instant::now()).await;
}

async fn wiped(world: &mut World, out: &mut Outside, row: &mut Row) {
    let told = Told::before(world).await;
    out.server.wipe();
    told.broken(world, row).await;
    block_in_place(|| out.server.start_again());
    let healed = Instant::now();
    world.news().await;
    told.healed(world, row, healed).await;
}

/// Nothing tells the agent anything but the store's emptiness.
async fn wiped_alone(world: &mut World, out: &mut Outside, row: &mut Row) {
    let served = world.edge.generation().await;
    world.control.process.kill();
    out.server.wipe();
    row.stale = Some(world.stale_alone(Instant::now()).await);
    block_in_place(|| out.server.start_again());
    let started = Instant::now();
    world
        .status("an empty store is seen and changes nothing", |status| {
            status["published"] == false && status["generation"] == served
        })
        .await;
    assert!(started.elapsed() < LOOK_MAX, "{:?}", started.elapsed());
    control_back(world, row).await;
}

/// Control is started again; from then the newest change counts.
pub async fn control_back(world: &mut World, row: &mut Row) {
    let healed = Instant::now();
    world.control.process.start_again();
    world.news().await;
    row.converged = Some(world.converged(healed).await);
}

async fn set_back(world: &mut World, out: &mut Outside, row: &mut Row) {
    let backup = block_in_place(|| out.server.back_up());
    for _ in 0..3 {
        world.news().await;
        world.converged(Instant::now()).await;
    }
    world.quiet().await;
    let told = Told::before(world).await;
    out.server.set_back(&backup);
    told.broken(world, row).await;
    world.news().await;
    block_in_place(|| out.server.start_again());
    told.healed(world, row, Instant::now()).await;
}

async fn set_back_alone(world: &mut World, out: &mut Outside, row: &mut Row) {
    let backup = block_in_place(|| out.server.back_up());
    for _ in 0..3 {
        world.news().await;
        world.converged(Instant::now()).await;
    }
    world.quiet().await;
    let served = world.edge.generation().await;
    world.control.process.kill();
    out.server.set_back(&backup);
    row.stale = Some(world.stale_alone(Instant::now()).await);
    block_in_place(|| out.server.start_again());
    // The older document is seen and refused.
    world
        .status("an older document changes nothing", |status| {
            status["generation"] == served && status["refused"].as_array().is_some_and(|all| !all.is_empty())
        })
        .await;
    control_back(world, row).await;
}

async fn broken(world: &mut World, out: &mut Outside, row: &mut Row, fault: Fault) {
    let told = Told::before(world).await;
    out.relay.set(fault);
    told.broken(world, row).await;
    for _ in 0..4 {
        world.control.change().await;
        sleep(SHORT / 4).await;
    }
    world.news().await;
    out.relay.set(Fault::None);
    told.healed(world, row, Instant::now()).await;
}

/// Changes arrive, only later; nothing is taken for lost for good.
async fn slow(world: &mut World, out: &mut Outside, row: &mut Row) {
    out.relay.set(Fault::Delay(Duration::from_secs(1)));
    for _ in 0..3 {
        world.control.change().await;
        sleep(Duration::from_secs(1)).await;
    }
    world.converged(Instant::now()).await;
    world.news().await;
    out.relay.set(Fault::None);
    row.converged = Some(world.converged(Instant::now()).await);
}

async fn lease_over(world: &mut World, out: &mut Outside, row: &mut Row) {
    let listed = async |out: &Outside| {
        let agents = protocol::agents(&*out.store, PREFIX).await;
        agents.is_ok_and(|agents| !agents.is_empty())
    };
    assert!(listed(out).await, "the agent is known to the store");
    let told = Told::before(world).await;
    out.relay.set(Fault::Silence);
    told.broken(world, row).await;
    let over = async {
        while listed(out).await {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LEASE_OVER_MAX, over).await.expect("the lease ends");
    world.news().await;
    out.relay.set(Fault::None);
    let healed = Instant::now();
    while !listed(out).await {
        assert!(healed.elapsed() < LOOK_MAX, "it is not known again");
        sleep(Duration::from_millis(20)).await;
    }
    told.healed(world, row, healed).await;
}

async fn compacted(world: &mut World, out: &mut Outside, row: &mut Row) {
    let told = Told::before(world).await;
    out.relay.set(Fault::Cut);
    told.broken(world, row).await;
    for number in 0..20 {
        let key = format!("{PREFIX}/other/{number}");
        let (value, any) = (Bytes::from_static(b"x"), Expect::Any);
        out.store.put(&key, value, any, None).await.unwrap();
    }
    world.news().await;
    sleep(SHORT / 2).await;
    if out.server.kind() == Kind::Etcd {
        let (_, now) = out.store.list(PREFIX).await.unwrap();
        let answer = reqwest::Client::new()
            .post(format!("http://{}/v3/kv/compaction", out.server.address()))
            .body(format!("{{\"revision\":\"{}\",\"physical\":true}}", now.0))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success());
    }
    out.relay.set(Fault::None);
    told.healed(world, row, Instant::now()).await;
}

/// What cannot be saved is served all the same, and said.
async fn disk(world: &mut World, _: &mut Outside, row: &mut Row) {
    saved(world).await;
    std::fs::write(world.last_good(), b"sha256:0000\n{}").unwrap();
    world.news().await;
    world.converged(Instant::now()).await;
    saved(world).await;

    let unsaved = |status: &serde_json::Value| !status["last_good_problem"].is_null();
    let fresh = world.last_good().with_extension("json.new");
    match &world.disk {
        Some(disk) => disk.fill(),
        None => std::os::unix::fs::symlink("/dev/full", &fresh).unwrap(),
    }
    world.news().await;
    world.converged(Instant::now()).await;
    world.status("a full disk is told", unsaved).await;
    match &world.disk {
        Some(disk) => disk.free(),
        None => std::fs::remove_file(&fresh).unwrap(),
    }
    world.news().await;
    world.converged(Instant::now()).await;
    saved(world).await;

    match &world.disk {
        Some(disk) => disk.read_only(true),
        None => std::fs::create_dir(&fresh).unwrap(),
    }
    world.news().await;
    world.converged(Instant::now()).await;
    world
        .status("a disk that cannot be written is told", unsaved)
        .await;
    match &world.disk {
        Some(disk) => disk.read_only(false),
        None => std::fs::remove_dir(&fresh).unwrap(),
    }
    world.news().await;
    row.converged = Some(world.converged(Instant::now()).await);
    saved(world).await;
}

/// What is served is also on the disk.
async fn saved(world: &World) {
    world
        .status("what is served is saved", |status| {
            let generation = format!("\"generation\":{}", status["generation"]);
            let file = std::fs::read_to_string(world.last_good()).unwrap_or_default();
            status["last_good_problem"].is_null() && file.contains(&generation)
        })
        .await;
}

async fn no_control(world: &mut World, out: &mut Outside, row: &mut Row) {
    world.control.process.kill();
    sleep(SHORT).await;
    out.server.kill();
    row.stale = Some(world.stale_alone(Instant::now()).await);
    sleep(SHORT / 2).await;
    block_in_place(|| out.server.start_again());
    world
        .status("the store is back", |status| status["stale_ms"] == 0)
        .await;
    control_back(world, row).await;
}

/// An agent that was killed serves without its store, by what is on its disk, also if that is read-only.
async fn killed(world: &mut World, out: &mut Outside) -> Row {
    saved(world).await;
    world.end_traffic().await;
    out.server.kill();
    for is_read_only in [true, false] {
        world.edge.process.kill();
        if let Some(disk) = &world.disk {
            disk.read_only(is_read_only);
        }
        let began = Instant::now();
        world.edge.process.start_again();
        let took = world.converged(began).await;
        println!(
            "{}: killed and restarted without its store, an agent serves after {took:?}",
            world.name
        );
    }
    world.begin_traffic().await;
    world
        .measured(
            "agent killed, restarted with the store dead",
            async |world, row| {
                sleep(SHORT / 2).await;
                world.news().await;
                block_in_place(|| out.server.start_again());
                row.converged = Some(world.converged(Instant::now()).await);
            },
        )
        .await
}

/// An agent that was killed and whose disk copy is damaged serves by its store; it goes there without the relay from now
/// on, if it can.
async fn moved(world: &mut World, out: &mut Outside) {
    saved(world).await;
    world.end_traffic().await;
    world.edge.process.kill();
    let damaged = b"sha256:0000\n{}";
    std::fs::write(world.last_good(), damaged).unwrap();
    if let Some(address) = out.direct() {
        world.edge.process.store = out.server.url_of(address);
    }
    world.edge.process.start_again();
    world.converged(Instant::now()).await;
    let aside = world.last_good().with_extension("json.corrupt");
    assert_eq!(std::fs::read(aside).unwrap(), damaged);
    world.begin_traffic().await;
}

/// The agent's packets vanish on their way, in both directions; control's do not.
async fn partitioned(world: &mut World, out: &mut Outside, row: &mut Row) {
    let address = out.direct().expect("it was asked before").ip();
    let host = out.server.host().expect("it was asked before");
    let told = Told::before(world).await;
    host.drop_packets(address);
    told.broken(world, row).await;
    for _ in 0..8 {
        world.control.change().await;
        sleep(SHORT / 4).await;
    }
    world.news().await;
    host.pass_packets(address);
    told.healed(world, row, Instant::now()).await;
}

/// Nobody reaches the store; control goes on changing.
async fn unplugged(world: &mut World, out: &mut Outside, row: &mut Row) {
    let host = out.server.host().expect("it was asked before");
    let told = Told::before(world).await;
    host.plug(false);
    told.broken(world, row).await;
    for _ in 0..4 {
        world.control.change().await;
        sleep(SHORT / 4).await;
    }
    world.news().await;
    host.plug(true);
    told.healed(world, row, Instant::now()).await;
}

//! What goes wrong, one thing after the other.

use std::{os::unix::fs::symlink, time::Duration};

use bytes::Bytes;
use tokio::{
    task::block_in_place,
    time::{Instant, sleep, timeout},
};
use weir_store::{Expect, protocol};
use weir_tests::{faults::Fault, stores::Kind};

use super::{
    agent::PREFIX,
    dying::Dying,
    report::{Row, Since, finish},
    traffic::Traffic,
    world::World,
};

/// How long a short outage lasts once it was noticed.
const SHORT: Duration = Duration::from_secs(2);
/// How long the long one lasts.
const LONG: Duration = Duration::from_secs(30);
/// Longest time until a lease is over: Consul's sessions last 10 s at least, and up to twice that.
const LEASE_OVER_MAX: Duration = Duration::from_secs(40);

pub async fn all(mut world: World) {
    let mut rows = Vec::new();
    for (name, scenario) in SCENARIOS {
        world
            .status("nothing is left of the scenario before", |status| {
                status["stale_ms"] == 0
            })
            .await;
        let since = Since::now(&world.traffic.counts);
        let mut row = Row {
            name,
            ..Row::default()
        };
        let began = Instant::now();
        match scenario {
            Scenario::Restart => restart(&mut world, &mut row).await,
            Scenario::LongOutage => long_outage(&mut world, &mut row).await,
            Scenario::Wiped => wiped(&mut world, &mut row).await,
            Scenario::SetBack => set_back(&mut world, &mut row).await,
            Scenario::Cut => broken(&mut world, &mut row, Fault::Cut).await,
            Scenario::Silence => broken(&mut world, &mut row, Fault::Silence).await,
            Scenario::Slow => slow(&mut world, &mut row).await,
            Scenario::LeaseOver => lease_over(&mut world, &mut row).await,
            Scenario::Compacted => compacted(&mut world, &mut row).await,
            Scenario::WriterDies => writer_dies(&mut world, &mut row).await,
            Scenario::Garbage => garbage(&mut world, &mut row).await,
            Scenario::Disk => disk(&mut world, &mut row).await,
            Scenario::NoControl => no_control(&mut world, &mut row).await,
        }
        since.count(&world.traffic.counts, &mut row);
        eprintln!("{}: {name}: {:?}", world.server.kind(), began.elapsed());
        rows.push(row);
    }
    finish(&world.server.kind().to_string(), &rows, &world.traffic.counts);
    alone(&mut world).await;
}

#[derive(Clone, Copy, Debug)]
enum Scenario {
    Restart,
    LongOutage,
    Wiped,
    SetBack,
    Cut,
    Silence,
    Slow,
    LeaseOver,
    Compacted,
    WriterDies,
    Garbage,
    Disk,
    NoControl,
}

const SCENARIOS: [(&str, Scenario); 13] = [
    ("killed, restarted with its data", Scenario::Restart),
    ("killed for 30 s, control goes on changing", Scenario::LongOutage),
    ("wiped, restarted empty", Scenario::Wiped),
    ("an older backup restored", Scenario::SetBack),
    ("connections cut", Scenario::Cut),
    ("packets dropped", Scenario::Silence),
    ("2 s of latency", Scenario::Slow),
    ("lease expired while alive", Scenario::LeaseOver),
    ("watch compacted away", Scenario::Compacted),
    ("writer killed at every chunk", Scenario::WriterDies),
    ("garbage in manifest, chunk, digest", Scenario::Garbage),
    ("disk full, then not writable", Scenario::Disk),
    ("control dead", Scenario::NoControl),
];

/// Starts the server again and wants a change; when it is served.
async fn healed(world: &mut World, row: &mut Row) {
    block_in_place(|| world.server.start_again());
    world.control.change();
    row.converged = Some(world.converged(Instant::now()).await);
}

async fn restart(world: &mut World, row: &mut Row) {
    world.server.kill();
    row.stale = Some(world.stale(Instant::now()).await);
    sleep(SHORT).await;
    healed(world, row).await;
}

async fn long_outage(world: &mut World, row: &mut Row) {
    world.server.kill();
    let began = Instant::now();
    row.stale = Some(world.stale(began).await);
    while began.elapsed() < LONG {
        world.control.change();
        sleep(Duration::from_secs(1)).await;
    }
    healed(world, row).await;
}

/// With control paused first: nothing tells the agent anything but the store's emptiness.
async fn wiped(world: &mut World, row: &mut Row) {
    world.control.pause().await;
    world.server.wipe();
    row.stale = Some(world.stale(Instant::now()).await);
    block_in_place(|| world.server.start_again());
    let started = Instant::now();
    let served = world.control.generation();
    world
        .status("an empty store is seen and changes nothing", |status| {
            status["published"] == false && status["generation"] == served
        })
        .await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    sleep(SHORT).await;
    world.control.resume();
    world.control.change();
    row.converged = Some(world.converged(Instant::now()).await);
}

async fn set_back(world: &mut World, row: &mut Row) {
    world.control.pause().await;
    let backup = block_in_place(|| world.server.back_up());
    world.control.resume();
    for _ in 0..3 {
        world.control.change();
        world.converged(Instant::now()).await;
    }
    world.control.pause().await;
    world.server.set_back(&backup);
    row.stale = Some(world.stale(Instant::now()).await);
    block_in_place(|| world.server.start_again());
    let served = world.control.generation();
    // The older document is seen and refused.
    world
        .status("an older document changes nothing", |status| {
            status["generation"] == served && status["refused"].as_array().is_some_and(|all| !all.is_empty())
        })
        .await;
    world.control.resume();
    world.control.change();
    row.converged = Some(world.converged(Instant::now()).await);
}

async fn broken(world: &mut World, row: &mut Row, fault: Fault) {
    world.relay.set(fault);
    row.stale = Some(world.stale(Instant::now()).await);
    for _ in 0..8 {
        world.control.change();
        sleep(SHORT / 4).await;
    }
    world.relay.set(Fault::None);
    row.converged = Some(world.converged(Instant::now()).await);
}

/// Changes arrive, only later; nothing is taken for lost for good.
async fn slow(world: &mut World, row: &mut Row) {
    world.relay.set(Fault::Delay(Duration::from_secs(1)));
    for _ in 0..4 {
        world.control.change();
        sleep(Duration::from_secs(1)).await;
    }
    world.converged(Instant::now()).await;
    world.control.change();
    world.relay.set(Fault::None);
    row.converged = Some(world.converged(Instant::now()).await);
}

async fn lease_over(world: &mut World, row: &mut Row) {
    let listed = async |world: &World| {
        let agents = protocol::agents(&*world.store, PREFIX).await;
        agents.is_ok_and(|agents| !agents.is_empty())
    };
    assert!(listed(world).await, "the agent is known to the store");
    world.relay.set(Fault::Silence);
    row.stale = Some(world.stale(Instant::now()).await);
    let over = async {
        while listed(world).await {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LEASE_OVER_MAX, over).await.expect("the lease ends");
    world.relay.set(Fault::None);
    let healed = Instant::now();
    while !listed(world).await {
        assert!(healed.elapsed() < Duration::from_secs(5), "it is not known again");
        sleep(Duration::from_millis(20)).await;
    }
    world.control.change();
    row.converged = Some(world.converged(healed).await);
}

async fn compacted(world: &mut World, row: &mut Row) {
    world.relay.set(Fault::Cut);
    row.stale = Some(world.stale(Instant::now()).await);
    for number in 0..20 {
        let key = format!("{PREFIX}/other/{number}");
        let (value, any) = (Bytes::from_static(b"x"), Expect::Any);
        world.store.put(&key, value, any, None).await.unwrap();
    }
    world.control.change();
    sleep(Duration::from_secs(1)).await;
    if world.server.kind() == Kind::Etcd {
        let (_, now) = world.store.list(PREFIX).await.unwrap();
        let answer = reqwest::Client::new()
            .post(format!(
                "http://127.0.0.1:{}/v3/kv/compaction",
                world.server.port()
            ))
            .body(format!("{{\"revision\":\"{}\",\"physical\":true}}", now.0))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success());
    }
    world.relay.set(Fault::None);
    row.converged = Some(world.converged(Instant::now()).await);
}

async fn writer_dies(world: &mut World, row: &mut Row) {
    world.control.pause().await;
    let mut writes = 0;
    let completed = loop {
        let served = world.control.generation();
        let dying = Dying::after(writes, &world.store);
        let place = protocol::place(&*world.store, PREFIX).await.unwrap();
        let snapshot = world.shop.snapshot(served + 1, 0);
        if protocol::publish(&dying, PREFIX, &snapshot, place).await.is_ok() {
            break served + 1;
        }
        world
            .status("half a publication changes nothing", |status| {
                status["generation"] == served && status["refused"].as_array().is_some_and(Vec::is_empty)
            })
            .await;
        writes += 1;
    };
    assert!(writes > 3, "there were several chunks: {writes}");
    world
        .status("the first whole one is served", |status| {
            status["generation"] == completed
        })
        .await;
    world.control.resume();
    world.control.change();
    row.converged = Some(world.converged(Instant::now()).await);
}

async fn garbage(world: &mut World, row: &mut Row) {
    world.control.pause().await;
    let served = world.control.generation();
    let manifest_key = protocol::manifest_key(PREFIX);
    let put = async |key: &str, value: Vec<u8>| {
        let (value, any) = (Bytes::from(value), Expect::Any);
        world.store.put(key, value, any, None).await.unwrap();
    };
    let refused = async |what: &'static str| {
        world
            .status(what, |status| {
                status["generation"] == served
                    && status["refused"].as_array().is_some_and(|all| !all.is_empty())
            })
            .await;
    };
    let good = world.store.get(&manifest_key).await.unwrap().unwrap().value;
    let text = String::from_utf8(good.to_vec()).unwrap();
    let (manifest, _) = protocol::manifest(&*world.store, PREFIX).await.unwrap().unwrap();
    let chunk_key = format!("{PREFIX}/weir/snapshot/{}", manifest.chunks[0].key);
    let chunk = world.store.get(&chunk_key).await.unwrap().unwrap().value;

    put(&manifest_key, vec![0, 159, 146, 150]).await;
    refused("a manifest that is none").await;
    put(&manifest_key, text.replace("\"1.0\"", "\"2.0\"").into_bytes()).await;
    refused("a manifest of another major version").await;
    // A digest that the document does not have, under a number of its own.
    let digest = manifest.digest.to_string();
    let other = weir_model::Digest::of(b"something else").to_string();
    let number = format!("\"generation\":{served}");
    let next = format!("\"generation\":{}", served + 1);
    put(
        &manifest_key,
        text.replace(&digest, &other).replace(&number, &next).into_bytes(),
    )
    .await;
    refused("a digest that does not fit").await;
    put(&chunk_key, chunk.iter().rev().copied().collect()).await;
    put(&manifest_key, text.replace(&number, &next).into_bytes()).await;
    refused("a chunk that does not fit").await;

    world.control.resume();
    world.control.change();
    row.converged = Some(world.converged(Instant::now()).await);
}

/// What cannot be saved is served all the same, and said.
async fn disk(world: &mut World, row: &mut Row) {
    let fresh = world.last_good().with_extension("json.new");
    // What is served is also saved: nothing is under way.
    let saved = format!("\"generation\":{}", world.control.generation());
    let saving = async {
        while !std::fs::read_to_string(world.last_good()).is_ok_and(|text| text.contains(&saved)) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SHORT, saving).await.expect("it is saved");
    symlink("/dev/full", &fresh).unwrap();
    world.control.change();
    world.converged(Instant::now()).await;
    let unsaved = |status: &serde_json::Value| !status["last_good_problem"].is_null();
    world.status("a full disk is told", unsaved).await;
    std::fs::remove_file(&fresh).unwrap();
    std::fs::create_dir(&fresh).unwrap();
    world.control.change();
    world.converged(Instant::now()).await;
    world
        .status("a disk that cannot be written is told", unsaved)
        .await;
    std::fs::remove_dir(&fresh).unwrap();
    world.control.change();
    row.converged = Some(world.converged(Instant::now()).await);
    world
        .status("it is saved again", |status| {
            status["last_good_problem"].is_null()
        })
        .await;
}

async fn no_control(world: &mut World, row: &mut Row) {
    world.control.pause().await;
    sleep(SHORT * 2).await;
    world.control.resume();
    world.control.change();
    row.converged = Some(world.converged(Instant::now()).await);
}

/// An agent that was killed serves without its store, by what is on its disk; and without its disk, by its store.
async fn alone(world: &mut World) {
    let kind = world.server.kind();
    world.traffic.pause().await;
    let served = world.control.generation();
    world.server.kill();
    world.agent.kill();
    let began = Instant::now();
    world.agent.start_again();
    world
        .status("the last good snapshot is served", |status| {
            status["generation"] == served
        })
        .await;
    println!(
        "{kind}: killed and restarted without its store, an agent serves after {:?}",
        began.elapsed()
    );
    let traffic = Traffic::to(world.port()).await;
    sleep(SHORT).await;
    let since = Since::now(&traffic.counts);
    block_in_place(|| world.server.start_again());
    world.control.change();
    let mut row = Row {
        name: "agent killed, restarted with the store dead",
        converged: Some(world.converged(Instant::now()).await),
        ..Row::default()
    };
    sleep(SHORT).await;
    since.count(&traffic.counts, &mut row);
    finish(&kind.to_string(), &[row], &traffic.counts);
    traffic.pause().await;

    world.agent.kill();
    let damaged = b"sha256:0000\n{}";
    std::fs::write(world.last_good(), damaged).unwrap();
    world.agent.start_again();
    let served = world.control.generation();
    world
        .status("a damaged disk copy is replaced from the store", |status| {
            status["generation"].as_u64() >= Some(served)
        })
        .await;
    let aside = world.last_good().with_extension("json.corrupt");
    assert_eq!(std::fs::read(aside).unwrap(), damaged);
}

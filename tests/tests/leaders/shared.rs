//! Controls that share a database: kills, an orderly end, a freeze with a write under way, and outages of the store.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::time::{Instant, sleep};
use weir_store::Store;
use weir_tests::{
    faults::{Fault, Relay},
    postgres::Postgres,
    stores::Server,
};

use super::{
    control::{PATIENCE, Plan, Process, TAKEOVER_MAX, prefix},
    history::{Recorder, leads_to, until_it_is_published},
};

/// What "at once" is.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How long each piece takes to the store and back while a publication is to be met in its middle.
const SLOW: Duration = Duration::from_millis(300);
/// How long what the frozen control had sent is on its way: longer than another needs to take over.
const HELD_BACK: Duration = Duration::from_secs(10);
/// How long the store is away.
const OUTAGE: Duration = Duration::from_secs(3);
/// A store that lost what was published has it again after this time.
const REPUBLISHED_MAX: Duration = Duration::from_secs(2);
/// For so long nothing may change once it is as it should be: renewals, looks and retries come several times in it.
const QUIET: Duration = Duration::from_secs(2);

/// What the elections leave for the outages: `first` follows, `second` leads, `third` does not run.
pub struct Shared {
    folder: tempfile::TempDir,
    prefix: String,
    store: Arc<dyn Store>,
    recorder: Recorder,
    relay: Relay,
    first: Process,
    second: Process,
    third: Process,
}

/// Everything that can happen to a leader while the store is there.
pub async fn elections(server: &Server, database: &Postgres) -> Shared {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        store: server.url(),
        database: Some(database.url()),
        namespace: "shared".to_owned(),
    };
    let (kind, store, prefix) = (server.kind(), server.connect(), prefix(&plan.namespace));
    let recorder = Recorder::start(server.connect(), prefix.clone());
    let relay = Relay::to(server.port()).await;
    let by_relay = Plan {
        store: server.url_at(relay.port()),
        ..plan.clone()
    };
    let published = async |target| until_it_is_published(&*store, &prefix, target, Instant::now()).await;

    let mut first = Process::start("first", &by_relay, folder.path());
    first.until_it_leads(Instant::now(), PATIENCE).await;
    first.change(1_001).await;
    published(1_001).await;
    let mut second = Process::start("second", &plan, folder.path());
    let mut third = Process::start("third", &plan, folder.path());
    second.until_it_follows(&first).await;
    third.until_it_follows(&first).await;

    // kill -9, with two that could take over.
    first.kill();
    let killed = Instant::now();
    while !second.leads().await && !third.leads().await {
        assert!(
            killed.elapsed() < TAKEOVER_MAX,
            "nobody leads: {}",
            second.log_end()
        );
        sleep(Duration::from_millis(20)).await;
    }
    let after_kill = killed.elapsed();
    if third.leads().await {
        std::mem::swap(&mut second, &mut third);
    }
    third.until_it_follows(&second).await;
    second.change(1_002).await;
    published(1_002).await;

    // An orderly end.
    third.end().await;
    first.start_again();
    first.until_it_follows(&second).await;
    let told = second.end().await;
    let after_end = first.until_it_leads(told, AT_ONCE).await;
    first.change(1_003).await;
    published(1_003).await;
    second.start_again();
    second.until_it_follows(&first).await;

    // Frozen past its lease between a chunk and the manifest; what it sent last arrives when another leads.
    let below = format!("{prefix}/weir/snapshot/");
    let known: BTreeSet<String> = store.keys(&below).await.unwrap().into_iter().collect();
    relay.set(Fault::Delay(SLOW));
    first.change(1_004).await;
    let begun = Instant::now();
    while store
        .keys(&below)
        .await
        .unwrap()
        .iter()
        .all(|key| known.contains(key))
    {
        assert!(
            begun.elapsed() < PATIENCE,
            "no chunk is written: {}",
            first.log_end()
        );
        sleep(Duration::from_millis(5)).await;
    }
    relay.set(Fault::Delay(HELD_BACK));
    let sent = Instant::now();
    // By then it has its answer and has sent what comes next.
    sleep(SLOW * 2).await;
    first.signal(Signal::STOP);
    let after_freeze = second.until_it_leads(Instant::now(), TAKEOVER_MAX).await;
    published(1_004).await;
    second.change(1_005).await;
    published(1_005).await;
    assert!(sent.elapsed() < HELD_BACK, "{:?} is too short", HELD_BACK);
    stays(&*store, &prefix, 1_005, sent + HELD_BACK + SLOW * 2).await;
    relay.set(Fault::None);
    first.signal(Signal::CONT);
    first.until_it_follows(&second).await;
    let failed = cause_of_failure(&first).await;
    stays(&*store, &prefix, 1_005, Instant::now() + QUIET).await;
    second.change(1_006).await;
    published(1_006).await;
    println!(
        "{kind}, shared database: another leads {after_kill:.2?} after kill -9, {after_end:.2?} after an orderly end, \
         {after_freeze:.2?} after SIGSTOP; the woken one: {failed}"
    );
    Shared {
        folder,
        prefix,
        store,
        recorder,
        relay,
        first,
        second,
        third,
    }
}

/// The store is killed and started again, then wiped, then set back, while three controls run.
pub async fn outages(mut server: Server, shared: Shared) {
    let Shared {
        folder,
        prefix,
        store,
        recorder,
        relay,
        first,
        second,
        mut third,
    } = shared;
    let kind = server.kind();
    third.start_again();
    third.until_it_follows(&second).await;
    let controls = [&first, &second, &third];

    server.kill();
    let killed = Instant::now();
    // Who led goes on taking changes.
    second.change(1_007).await;
    tokio::time::sleep_until(killed + OUTAGE).await;
    let backup = tokio::task::block_in_place(|| server.back_up());
    let back = Instant::now();
    let after_outage = until_it_is_published(&*store, &prefix, 1_007, back).await;
    one_leads(&controls, Instant::now() + QUIET).await;
    assert_eq!(leads_to(&*store, &prefix, 1_007).await, Some(true));
    let written = recorder.finish(&controls);
    println!(
        "{kind}, store away for {:.1?}: the change of meanwhile is published {after_outage:.2?} after it is back; {written} \
         generations, each written once, by who led",
        back - killed
    );
    let leader = leader(&controls).await;
    leader.change(1_008).await;
    until_it_is_published(&*store, &prefix, 1_008, Instant::now()).await;

    server.wipe();
    tokio::task::block_in_place(|| server.start_again());
    let after_wipe = until_it_is_published(&*store, &prefix, 1_008, Instant::now()).await;
    one_leads(&controls, Instant::now() + QUIET).await;
    let leader = self::leader(&controls).await;
    leader.change(1_009).await;
    until_it_is_published(&*store, &prefix, 1_009, Instant::now()).await;

    server.set_back(&backup);
    tokio::task::block_in_place(|| server.start_again());
    let after_backup = until_it_is_published(&*store, &prefix, 1_009, Instant::now()).await;
    one_leads(&controls, Instant::now() + QUIET).await;
    println!(
        "{kind}, three controls: everything is published again {after_wipe:.2?} after a wiped store is back, {after_backup:.2?} \
         after one that was set back"
    );
    assert!(after_wipe < REPUBLISHED_MAX && after_backup < REPUBLISHED_MAX);
    drop((relay, folder));
}

/// Until then the published gateways lead there.
async fn stays(store: &dyn Store, prefix: &str, target: u16, until: Instant) {
    while Instant::now() < until {
        assert_eq!(leads_to(store, prefix, target).await, Some(true));
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until then and until one leads; two never do.
async fn one_leads(controls: &[&Process], until: Instant) {
    let begun = Instant::now();
    loop {
        let mut leading = Vec::new();
        for control in controls {
            if control.leads().await {
                leading.push(control.name);
            }
        }
        assert!(leading.len() <= 1, "{leading:?} lead");
        if leading.len() == 1 && Instant::now() >= until {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "nobody leads: {}",
            controls[0].log_end()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

async fn leader<'a>(controls: &[&'a Process]) -> &'a Process {
    for control in controls {
        if control.leads().await {
            return control;
        }
    }
    panic!("nobody leads");
}

/// Why the write under way failed, as the woken control says it.
async fn cause_of_failure(woken: &Process) -> String {
    let begun = Instant::now();
    loop {
        let failure = woken.log().into_iter().rev().find(|line| {
            let message = line["fields"]["message"].as_str().unwrap_or_default();
            message.contains("snapshot could not be published")
        });
        if let Some(line) = failure {
            return line["fields"]["error"].as_str().unwrap_or_default().to_owned();
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "its write did not fail: {}",
            woken.log_end()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

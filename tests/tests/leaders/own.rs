//! Controls with databases of their own: only the one whose gateways are published leads.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use weir_tests::stores::Server;

use super::{
    control::{PATIENCE, Plan, Process, TAKEOVER_MAX, prefix},
    history::{Recorder, leads_to, until_it_is_published},
};

/// A control with another storage does not lead, not even when nobody does; who comes back leads at once.
pub async fn storage_of_its_own(server: &Server) {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        store: server.url(),
        database: None,
        namespace: "own".to_owned(),
    };
    let (store, prefix) = (server.connect(), prefix(&plan.namespace));
    let recorder = Recorder::start(server.connect(), prefix.clone());
    let mut first = Process::start("first", &plan, folder.path());
    first.until_it_leads(Instant::now(), PATIENCE).await;
    first.change(1_001).await;
    until_it_is_published(&*store, &prefix, 1_001, Instant::now()).await;
    let stranger = Process::start("stranger", &plan, folder.path());
    stranger.until_it_follows(&first).await;

    first.kill();
    let killed = Instant::now();
    let mut reason = String::new();
    // Longer than anybody else would need.
    while killed.elapsed() < TAKEOVER_MAX - Duration::from_secs(2) {
        let election = stranger.election().await;
        assert_ne!(election["leads"], true, "{election}");
        reason = election["reason"].as_str().unwrap_or_default().to_owned();
        assert_eq!(leads_to(&*store, &prefix, 1_001).await, Some(true));
        sleep(Duration::from_millis(100)).await;
    }
    assert!(reason.contains("another storage"), "{reason}");
    first.start_again();
    let back = first.until_it_leads(Instant::now(), PATIENCE).await;
    first.change(1_002).await;
    until_it_is_published(&*store, &prefix, 1_002, Instant::now()).await;

    // Killed and started at once: its own key is still there, and does not hold it up.
    first.kill();
    first.start_again();
    let again = first.until_it_leads(Instant::now(), PATIENCE).await;
    let written = recorder.finish(&[&first, &stranger]);
    println!(
        "{}, own databases: a stranger never led in {:.1?}; back after {back:.1?} (nobody led) and {again:.1?} (its own key \
         was there); {written} generations, each written once",
        server.kind(),
        TAKEOVER_MAX - Duration::from_secs(2),
    );
    assert!(again < Duration::from_secs(4), "{again:?}");
}

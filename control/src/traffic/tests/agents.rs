//! Agents that restart, leave, refuse the token, and what is told of them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::IntoResponse as _,
    routing::get,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use weir_model::{Acknowledgement, AgentId, Generation, Refusal};
use weir_store::{Expect, protocol};

use super::{frame, list, near, published, serve, shop};
use crate::{
    AgentToken,
    reconcile::{
        tests::alone::put_gateway,
        tests::rig::{Agent, PREFIX, Rig, eventually},
    },
    traffic::{TrafficQuery, measured, read, traffic},
};

/// Requests of the gateway, of its first route and of that route's instance, after another reading.
async fn requests(rig: &Rig) -> (u64, u64, u64) {
    read(&rig.state, 0).await;
    let seen = traffic(&rig.state, TrafficQuery::default()).await.unwrap();
    let route = &seen.gateways[0].routes[0];
    (
        seen.gateways[0].requests,
        route.requests,
        route.instances[0].requests,
    )
}

#[tokio::test]
async fn totals_do_not_go_back_when_an_agent_restarts() {
    let rig = Rig::new();
    published(&rig).await;
    let store = Arc::clone(&rig.state.store);
    let (admin, shown, server) = serve(frame("a", 100_000, 1_000, 0, 0)).await;
    Agent::join(&*store, "a", Some(admin))
        .await
        .acknowledge(&*store, None)
        .await;
    assert_eq!(requests(&rig).await, (1_000, 1_000, 1_000));
    let run = |started_at_ms: u64, at_ms: u64, count: u64| {
        let mut frame = frame("a", at_ms, count, 0, 0);
        frame.started_at_ms = started_at_ms;
        frame
    };
    // Another run, which has no table yet, then one, and has counted ten.
    let mut empty = run(100_500, 100_600, 0);
    empty.gateways.clear();
    *shown.lock().unwrap() = empty;
    assert_eq!(requests(&rig).await, (1_000, 1_000, 1_000));
    *shown.lock().unwrap() = run(100_500, 101_000, 10);
    assert_eq!(requests(&rig).await, (1_010, 1_010, 1_010));
    // While one process hands over to another, both answer: each counts once.
    for (started, at, count, expected) in [
        (1_000, 101_500, 1_005, 1_015),
        (100_500, 102_000, 20, 1_025),
        (1_000, 102_500, 1_006, 1_026),
        (100_500, 103_000, 30, 1_036),
    ] {
        *shown.lock().unwrap() = run(started, at, count);
        assert_eq!(requests(&rig).await, (expected, expected, expected));
    }
    // Many restarts later.
    for number in 1..=10 {
        *shown.lock().unwrap() = run(200_000 + number, 300_000 + number, 1);
        assert_eq!(requests(&rig).await.0, 1_036 + number);
    }
    server.abort();
    rig.end().await;
}

#[tokio::test]
async fn what_an_agent_counted_stays_when_it_leaves_and_says_nothing_about_now() {
    let rig = Rig::new();
    published(&rig).await;
    let store = Arc::clone(&rig.state.store);
    let (admin, shown, server) = serve(frame("a", 100_000, 1_000, 0, 0)).await;
    Agent::join(&*store, "a", Some(admin))
        .await
        .acknowledge(&*store, None)
        .await;
    assert_eq!(requests(&rig).await.0, 1_000);
    *shown.lock().unwrap() = frame("a", 110_000, 1_100, 0, 0);
    assert_eq!(requests(&rig).await.0, 1_100);
    let rate = async || {
        traffic(&rig.state, TrafficQuery::default())
            .await
            .unwrap()
            .gateways[0]
            .rate
    };
    near(rate().await, 10.0);
    // It has left the store and answers: its traffic is as real as before.
    let key = protocol::acknowledgement_key(PREFIX, &AgentId::new("a").unwrap()).unwrap();
    store.delete(&key, Expect::Any).await.unwrap();
    assert_eq!(requests(&rig).await.0, 1_100);
    assert!(!list(&rig.state).await.unwrap()[0].live);
    near(rate().await, 10.0);
    // It does not answer, and that is a while ago.
    server.abort();
    let _ = server.await;
    let age = |by_ms: u64| {
        let mut agents = rig.state.traffic.agents();
        let log = agents.get_mut("a").unwrap();
        log.reached_at_ms = log.reached_at_ms.map(|at_ms| at_ms - by_ms);
    };
    eventually(async || {
        read(&rig.state, 0).await;
        list(&rig.state).await.unwrap()[0].problem.is_some()
    })
    .await;
    age(11_000);
    assert_eq!(requests(&rig).await, (1_100, 1_100, 1_100));
    near(rate().await, 0.0);
    assert_eq!(measured(&rig.state, Duration::from_secs(10)).await, None);
    // After ten minutes it is forgotten.
    age(10 * 60 * 1_000);
    read(&rig.state, 0).await;
    assert_eq!(list(&rig.state).await.unwrap(), []);
    rig.end().await;
}

/// An admin listener that wants a token. Gives its address, and counts who asked.
async fn guarded(token: &'static str) -> (String, Arc<AtomicU32>, JoinHandle<()>) {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let frames = get(move |headers: HeaderMap| async move {
        count.fetch_add(1, Ordering::SeqCst);
        match headers.get(AUTHORIZATION) {
            Some(given) if *given == format!("Bearer {token}") => {
                Json(frame("a", 100_000, 7, 0, 0)).into_response()
            }
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    });
    let router = Router::new().route("/frames", frames);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, asked, server)
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_and_not_sent_again_and_again() {
    let rig = Rig::with(|config| config.agent_token = Some(AgentToken::new("old")));
    published(&rig).await;
    let store = Arc::clone(&rig.state.store);
    let (admin, asked, server) = guarded("new").await;
    Agent::join(&*store, "a", Some(admin))
        .await
        .acknowledge(&*store, None)
        .await;
    eventually(async || {
        read(&rig.state, 0).await;
        list(&rig.state).await.unwrap()[0].state == "unreachable"
    })
    .await;
    for _ in 0..20 {
        read(&rig.state, 0).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let view = list(&rig.state).await.unwrap().remove(0);
    let problem = view.problem.unwrap();
    assert!(problem.contains("token") && problem.contains("401"), "{problem}");
    assert!(!problem.contains("old"), "{problem}");
    let query = weir_persist::EventQuery {
        tags: vec!["gateway_agent:unreachable".to_owned(), "agents:a".to_owned()],
        ..Default::default()
    };
    let (events, count) = rig
        .state
        .persist
        .events(&query, weir_persist::Page::ALL)
        .await
        .unwrap();
    assert_eq!(count, 1);
    let told = serde_json::to_string(&events).unwrap();
    assert!(told.contains("401") && !told.contains("\"old\""), "{told}");
    // It starts anew: perhaps with another token.
    let anew = Acknowledgement {
        agent: AgentId::new("a").unwrap(),
        admin: list(&rig.state).await.unwrap().remove(0).admin,
        generation: Generation(1),
        digest: None,
        seen: Generation(1),
        refused: Vec::new(),
        version: "0".to_owned(),
        started_at_ms: 2,
        at_ms: 3,
        stale_ms: 0,
    };
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    protocol::acknowledge(&*store, PREFIX, &lease, &anew)
        .await
        .unwrap();
    eventually(async || {
        read(&rig.state, 0).await;
        asked.load(Ordering::SeqCst) == 2
    })
    .await;
    assert_eq!(list(&rig.state).await.unwrap()[0].state, "unreachable");
    assert_eq!(rig.events(&["gateway_agent:reachable"]).await, 0);
    server.abort();
    rig.end().await;
}

#[tokio::test]
async fn the_token_of_the_agents_is_sent_to_those_that_ask_and_to_no_socket() {
    let rig = Rig::with(|config| config.agent_token = Some(AgentToken::new("t0ken")));
    published(&rig).await;
    let store = Arc::clone(&rig.state.store);
    let (admin, _, server) = guarded("t0ken").await;
    let agent = Agent::join(&*store, "a", Some(admin)).await;
    agent.acknowledge(&*store, None).await;
    assert_eq!(requests(&rig).await.0, 7);
    server.abort();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let frames = get(|headers: HeaderMap| async move {
        assert!(headers.get(AUTHORIZATION).is_none(), "{headers:?}");
        Json(frame("b", 100_000, 30, 0, 0))
    });
    let router = Router::new().route("/frames", frames);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let admin = Some(format!("unix:{}", path.display()));
    Agent::join(&*store, "b", admin)
        .await
        .acknowledge(&*store, None)
        .await;
    assert_eq!(requests(&rig).await.0, 37, "two agents are added");
    server.abort();
    rig.end().await;
}

#[tokio::test]
async fn the_list_of_agents_has_everything() {
    let rig = Rig::new();
    published(&rig).await;
    let store = Arc::clone(&rig.state.store);
    let (admin, shown, server) = serve(frame("a", 100_000, 0, 0, 0)).await;
    shown.lock().unwrap().stale_ms = Some(1_500);
    let old = rig.published().await.unwrap();
    let refusal = Refusal {
        gateway: "shop".to_owned(),
        reason: "port 8080 is taken".to_owned(),
    };
    let agent = Agent::join(&*store, "a", Some(admin.clone())).await;
    agent.refuse(&*store, Some(&old), vec![refusal.clone()]).await;
    let mut moved = shop();
    for (route, percent) in moved.routes.values_mut().zip([50, 50]) {
        let weir_artifact::OrReference::Inline(route) = route else {
            panic!("in place")
        };
        route.weight = Some(weir_model::Weight::from_percent(percent).unwrap());
    }
    put_gateway(&rig.state, moved, false, false).await.unwrap();
    eventually(async || rig.state.traffic.publication.status().generation > Some(old.generation())).await;
    read(&rig.state, 0).await;
    let published = rig.state.traffic.publication.status().generation.unwrap();
    let view = list(&rig.state).await.unwrap().remove(0);
    let tree = serde_json::to_value(&view).unwrap();
    for (field, expected) in [
        ("agent", json!("a")),
        ("admin", json!(admin)),
        ("generation", json!(old.generation())),
        ("digest", json!(old.digest())),
        ("seen", json!(old.generation())),
        ("refused", json!([refusal])),
        ("version", json!("0")),
        ("started_at_ms", json!(1)),
        ("at_ms", json!(2)),
        ("live", json!(true)),
        ("state", json!("stale")),
        ("stale_ms", json!(1_500)),
        ("lag", json!(published.0 - old.generation().0)),
        ("problem", json!(null)),
    ] {
        assert_eq!(tree[field], expected, "{field}");
    }
    assert!(
        view.lag_ms.unwrap() < 60_000 && view.uptime_ms > 1_000_000,
        "{tree}"
    );
    assert!(view.reached_at_ms.is_some());
    // Each of them is in the description of the API.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let description: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let described = &description["components"]["schemas"]["AgentView"]["properties"];
    let fields = |tree: &Value| tree.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(fields(described), fields(&tree));
    server.abort();
    rig.end().await;
}

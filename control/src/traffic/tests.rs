//! Traffic as agents tell it: agents here are small servers with frames that the test writes.

mod agents;
mod silences;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, routing::get};
use tokio::{net::TcpListener, task::JoinHandle};
use weir_model::{
    AgentId, EndpointState, Frame, GatewayFrame, GatewayName, Generation, InstanceFrame, InstanceId,
    LatencyCounts, OutcomeCounts, Refusal, RouteFrame, RouteName,
};

use super::{TrafficQuery, agents as list, measured, past::Totals, read, traffic, window};
use crate::{
    error::OperationError,
    reconcile::{
        tests::alone::put_gateway,
        tests::rig::{Agent, Rig, eventually, gateway},
    },
};

const ONE: &str = "[127.0.0.1:1]";
const TWO: &str = "[127.0.0.1:2]";

fn route(name: &str, requests: u64, fives: u64) -> RouteFrame {
    RouteFrame {
        name: RouteName::new(name).unwrap(),
        requests,
        by_condition: 0,
        by_cookie: 0,
        in_flight: 0,
        retries: 0,
        outcomes: OutcomeCounts {
            classes: [0, requests - fives, 0, 0, fives],
            errors: BTreeMap::new(),
        },
        bytes_in: 0,
        bytes_out: 0,
        latency: LatencyCounts(vec![(2_000, requests)]),
        instances: vec![InstanceFrame {
            id: InstanceId::new(name.trim_matches(['[', ']'])).unwrap(),
            address: name.trim_matches(['[', ']']).to_owned(),
            requests,
            in_flight: 0,
            outcomes: OutcomeCounts::default(),
            latency: LatencyCounts::default(),
            state: if fives > 0 {
                EndpointState::Down
            } else {
                EndpointState::Unknown
            },
            last_check: None,
        }],
    }
}

fn frame(agent: &str, at_ms: u64, one: u64, two: u64, fives: u64) -> Frame {
    Frame {
        agent: AgentId::new(agent).unwrap(),
        started_at_ms: 1_000,
        at_ms,
        generation: Generation(1),
        digest: None,
        stale_ms: None,
        gateways: vec![GatewayFrame {
            name: GatewayName::new("shop").unwrap(),
            requests: one + two,
            unrouted: 0,
            routes: vec![route(ONE, one, 0), route(TWO, two, fives)],
        }],
        departed: None,
    }
}

/// Serves a frame that can be changed.
async fn serve(frame: Frame) -> (String, Arc<Mutex<Frame>>, JoinHandle<()>) {
    let shown = Arc::new(Mutex::new(frame));
    let answer = Arc::clone(&shown);
    let frames = get(move || async move { Json(answer.lock().unwrap().clone()) });
    let router = Router::new().route("/frames", frames);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, shown, server)
}

fn shop() -> weir_artifact::Gateway {
    gateway(&format!(
        "name: shop
port: 8080
routes:
  '{ONE}': {{weight: 80%}}
  '{TWO}': {{weight: 20%, condition: has cookie x}}
"
    ))
}

async fn published(rig: &Rig) {
    put_gateway(&rig.state, shop(), true, false).await.unwrap();
    eventually(async || rig.published().await.is_some_and(|s| s.gateway("shop").is_some())).await;
    eventually(async || rig.state.traffic.publication.gateways().contains("shop")).await;
}

fn near(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-9, "{value} instead of {expected}");
}

#[tokio::test]
async fn agents_are_added_within_the_window() {
    let rig = Rig::new();
    published(&rig).await;
    assert_eq!(
        measured(&rig.state, Duration::from_secs(10)).await,
        None,
        "without agents nothing is known"
    );
    let store = Arc::clone(&rig.state.store);
    let snapshot = rig.published().await.unwrap();
    let mut servers = Vec::new();
    let mut shown = Vec::new();
    for id in ["a", "b"] {
        let (admin, frame, server) = serve(frame(id, 100_000, 1_000, 0, 0)).await;
        Agent::join(&*store, id, Some(admin))
            .await
            .acknowledge(&*store, Some(&snapshot))
            .await;
        shown.push(frame);
        servers.push(server);
    }
    read(&rig.state, 0).await;
    // Ten seconds later: 150 and 50 requests more, of which 5 failed.
    *shown[0].lock().unwrap() = frame("a", 110_000, 1_100, 40, 4);
    *shown[1].lock().unwrap() = frame("b", 110_000, 1_050, 10, 1);
    read(&rig.state, 0).await;

    let view = traffic(&rig.state, TrafficQuery::default()).await.unwrap();
    assert_eq!(
        (view.window_s, view.generation),
        (10, Some(snapshot.generation()))
    );
    let shop = &view.gateways[0];
    assert_eq!(
        (shop.name.as_str(), shop.port, shop.requests),
        ("shop", Some(8080), 2_200)
    );
    near(shop.rate, 20.0);
    assert!(shop.agents.iter().all(|agent| agent.current));
    let (one, two) = (&shop.routes[0], &shop.routes[1]);
    assert_eq!((one.intended, one.acknowledged), (8_000, Some(8_000)));
    assert_eq!((two.intended, two.acknowledged), (2_000, Some(2_000)));
    near(one.observed.unwrap(), 0.75);
    near(two.observed.unwrap(), 0.25);
    assert_eq!((one.requests, one.window_requests), (2_150, 150));
    assert_eq!((two.errors, two.error_rate), (5, Some(0.1)));
    near(two.p99_ms.unwrap(), 2.0);
    assert_eq!(
        (two.condition.as_deref(), two.condition_strength),
        (Some("has cookie x"), Some(10_000))
    );
    assert_eq!((one.condition.as_deref(), one.condition_strength), (None, None));
    assert_eq!(one.instances.len(), 1);
    assert_eq!(
        (one.instances[0].address.as_str(), one.instances[0].requests),
        ("127.0.0.1:1", 2_150)
    );
    assert_eq!(one.instances[0].healthy, None);
    assert_eq!(two.instances[0].healthy, Some(false), "an agent cannot reach it");

    let all = measured(&rig.state, Duration::from_secs(10)).await.unwrap();
    let shop = &all["shop"];
    near(shop.whole.rate, 20.0);
    near(shop.whole.response_time_ms, 2.0);
    near(shop.whole.error_rate, 0.025);
    assert!(shop.whole.has_failed && !shop.routes[ONE].whole.has_failed);
    near(shop.routes[TWO].whole.error_rate, 0.1);
    near(shop.routes[ONE].instances["127.0.0.1:1"].rate, 15.0);
    crate::figures::round(&rig.state).await.unwrap();
    for tags in [
        &["gateways:shop", "gateway", "metrics:rate"][..],
        &[
            "gateways:shop",
            "routes:[127.0.0.1:2]",
            "route",
            "metrics:errorRate",
        ],
        &["instances:127.0.0.1:1", "instance", "instance-metrics:rate"],
        &["gateways:shop", "gateway", "health"],
        &["gateways:shop", "routes:[127.0.0.1:1]", "route", "health"],
    ] {
        assert_eq!(rig.events(tags).await, 1, "{tags:?}");
    }
    for server in servers {
        server.abort();
    }
    rig.end().await;
}

#[tokio::test]
async fn without_agents_nothing_is_known() {
    let rig = Rig::new();
    published(&rig).await;
    let view = traffic(&rig.state, TrafficQuery::default()).await.unwrap();
    let route = &view.gateways[0].routes[0];
    assert_eq!(
        (route.intended, route.acknowledged, route.observed),
        (8_000, None, None)
    );
    assert_eq!((route.p50_ms, route.error_rate, route.requests), (None, None, 0));
    assert_eq!(list(&rig.state).await.unwrap(), []);
    rig.end().await;
}

#[tokio::test]
async fn an_agent_that_lags_is_seen_to() {
    let rig = Rig::new();
    published(&rig).await;
    let store = Arc::clone(&rig.state.store);
    let old = rig.published().await.unwrap();
    let agent = Agent::join(&*store, "edge", None).await;
    agent.acknowledge(&*store, Some(&old)).await;
    let mut moved = shop();
    for (route, percent) in moved.routes.values_mut().zip([50, 50]) {
        let weir_artifact::OrReference::Inline(route) = route else {
            panic!("in place")
        };
        route.weight = Some(weir_model::Weight::from_percent(percent).unwrap());
    }
    put_gateway(&rig.state, moved, false, false).await.unwrap();
    eventually(async || rig.published().await.unwrap().generation() > old.generation()).await;
    let look = async || {
        read(&rig.state, 0).await;
        let view = traffic(&rig.state, TrafficQuery::default()).await.unwrap();
        let shop = view.gateways.into_iter().next().unwrap();
        (
            shop.routes[0].intended,
            shop.routes[0].acknowledged,
            shop.agents[0].current,
        )
    };
    eventually(async || look().await == (5_000, Some(8_000), false)).await;
    let new = rig.published().await.unwrap();
    agent.acknowledge(&*store, Some(&new)).await;
    eventually(async || look().await == (5_000, Some(5_000), true)).await;
    let seen = list(&rig.state).await.unwrap();
    assert_eq!((seen[0].agent.as_str(), seen[0].live), ("edge", true));
    assert_eq!(seen[0].generation, new.generation());
    rig.end().await;
}

#[tokio::test]
async fn one_gateway_can_be_asked_for() {
    let rig = Rig::new();
    published(&rig).await;
    let query = |name: &str| TrafficQuery {
        gateway: Some(name.to_owned()),
        window_s: Some(100_000),
    };
    let view = traffic(&rig.state, query("shop")).await.unwrap();
    assert_eq!((view.gateways.len(), view.window_s), (1, 110));
    let missing = traffic(&rig.state, query("none")).await;
    assert!(matches!(missing, Err(OperationError::NotFound { .. })));
    rig.end().await;
}

#[test]
fn a_run_without_base_counts_from_its_start() {
    let mut figures = BTreeMap::new();
    window::add(&mut figures, &frame("a", 6_000, 10, 0, 0), None);
    near(figures["shop"].rate, 2.0);
    assert_eq!(figures["shop"].routes[ONE].window_requests, 10);
}

#[test]
fn an_error_with_an_answer_counts_once() {
    let mut latest = frame("a", 6_000, 10, 6, 2);
    // Four requests of the second route had an error: two were answered 503, two got nothing.
    let route = &mut latest.gateways[0].routes[1];
    route.outcomes.classes = [0, 2, 0, 0, 2];
    route.outcomes.errors = BTreeMap::from([("connect_refused".to_owned(), 2), ("client".to_owned(), 2)]);
    let mut figures = BTreeMap::new();
    window::add(&mut figures, &latest, None);
    assert_eq!(figures["shop"].routes[TWO].window_errors, 4);
    assert_eq!(figures["shop"].routes[ONE].window_errors, 0);
    let totals = Totals::of(&latest);
    assert_eq!(totals.0["shop"].routes[TWO].errors, 4);
}

#[tokio::test]
async fn a_refusal_is_told_once_for_each_agent() {
    let rig = Rig::new();
    let store = Arc::clone(&rig.state.store);
    let agent = Agent::join(&*store, "edge", None).await;
    let taken = Refusal {
        gateway: "shop".to_owned(),
        reason: "port 8080 is taken".to_owned(),
    };
    for _ in 0..2 {
        agent.refuse(&*store, None, vec![taken.clone()]).await;
        read(&rig.state, 0).await;
    }
    assert_eq!(
        rig.events(&["gateway_agent:ERROR", "agents:edge", "gateways:shop"])
            .await,
        1
    );
    agent.acknowledge(&*store, None).await;
    read(&rig.state, 0).await;
    agent.refuse(&*store, None, vec![taken]).await;
    read(&rig.state, 0).await;
    assert_eq!(
        rig.events(&["gateway_agent:ERROR"]).await,
        2,
        "it was well in between"
    );
    rig.end().await;
}

#[tokio::test]
async fn an_agent_whose_store_is_silent_is_told_once_and_shown() {
    let rig = Rig::new();
    published(&rig).await;
    let store = Arc::clone(&rig.state.store);
    let (admin, shown, server) = serve(frame("a", 100_000, 0, 0, 0)).await;
    Agent::join(&*store, "a", Some(admin))
        .await
        .acknowledge(&*store, None)
        .await;
    let tell = async |at_ms: u64, stale_ms: Option<u64>| {
        let mut frame = frame("a", at_ms, 0, 0, 0);
        frame.stale_ms = stale_ms;
        *shown.lock().unwrap() = frame;
        read(&rig.state, 0).await;
        list(&rig.state).await.unwrap().remove(0)
    };
    let told = async |word: &str| rig.events(&[&format!("gateway_agent:{word}"), "agents:a"]).await;
    let view = tell(101_000, Some(0)).await;
    assert_eq!((view.state, view.stale_ms), ("live", Some(0)));
    for at_ms in [102_000, 103_000] {
        let view = tell(at_ms, Some(at_ms - 100_000)).await;
        assert_eq!((view.state, view.stale_ms), ("stale", Some(at_ms - 100_000)));
    }
    assert_eq!((told("stale").await, told("fresh").await), (1, 0));
    assert_eq!(tell(104_000, Some(0)).await.state, "live");
    assert_eq!((told("stale").await, told("fresh").await), (1, 1));
    server.abort();
    let _ = server.await;
    eventually(async || {
        read(&rig.state, 0).await;
        list(&rig.state).await.unwrap()[0].state == "unreachable"
    })
    .await;
    eventually(async || told("unreachable").await == 1).await;
    rig.end().await;
}

//! What a fleet of instances costs control.
//!
//! `cargo run --release -p weir-tests --example fleet` deploys 100 services with 3 instances each as processes, prints how
//! long it took until all were healthy, what control costs while nothing changes, and how long a plan of 1 000 unchanged
//! services takes. `-- SERVICES INSTANCES` asks for another size.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement prints what it saw, and has failed if it cannot go on"
)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use weir_artifact::{Artifact, Deployment, Kind, read};
use weir_control::Control;
use weir_plan::{Desired, Held, LifeState, Observed, SeenHealth, SeenInstance, Settings, apply, plan};

/// For how long the steady state is measured.
const STEADY: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(180);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "service") {
        return service();
    }
    let number = |index: usize, usual: usize| {
        arguments
            .get(index)
            .and_then(|word| word.parse().ok())
            .unwrap_or(usual)
    };
    let (services, instances) = (number(0, 100), number(1, 3));
    plans(1_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(Box::pin(fleet(services, instances)));
}

/// As small as a service can be: answers whatever comes.
fn service() {
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    for mut stream in TcpListener::bind(("127.0.0.1", port))
        .unwrap()
        .incoming()
        .flatten()
    {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        // A check only connects.
        if let Ok(1..) = stream.read(&mut [0; 1024]) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    }
}

async fn fleet(services: usize, instances: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(weir_store::embedded::Embedded::open(&folder.path().join("store.redb")).unwrap());
    let mut config = weir_control::Config::new(folder.path().join("control"), store);
    config.listen = "127.0.0.1:0".parse().unwrap();
    let control = Control::start(config).await.unwrap();
    let base = format!("http://{}/api/v1/deployments/fleet", control.address());
    let http = reqwest::Client::new();
    let program = std::env::current_exe().unwrap();
    let mut blueprint = "name: fleet\nclusters:\n".to_owned();
    for number in 0..services {
        writeln!(
            blueprint,
            "  c{number}:\n    services:\n      breed: {{name: 's{number}', ports: {{web: 0/http}}, deployable: \
             {{type: command, definition: '{} service'}}}}\n      scale: {{cpu: 0.01, memory: 8MB, instances: {instances}}}",
            program.display()
        )
        .unwrap();
    }
    let began = Instant::now();
    let request = http
        .put(&base)
        .header("content-type", "application/x-yaml")
        .body(blueprint);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    loop {
        let answer = http.get(&base).send().await.unwrap().text().await.unwrap();
        let deployment: Value = serde_json::from_str(&answer).unwrap();
        let clusters = deployment["clusters"].as_object().unwrap();
        let is_done = |cluster: &&Value| {
            let service = &cluster["services"][0];
            service["status"]["phase"]["name"] == "Done" && service["health"]["healthy"] == instances
        };
        let done = clusters.values().filter(is_done).count();
        if done == services {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{done} of {services} services");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!(
        "{services} services x {instances} instances healthy after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = processor_time();
    let began = Instant::now();
    tokio::time::sleep(STEADY).await;
    let share = (processor_time() - before) / began.elapsed().as_secs_f64() * 100.0;
    println!(
        "control uses {share:.2} % of a processor while nothing changes ({} s)",
        STEADY.as_secs()
    );
    control.shutdown().await;
}

/// Seconds of processor time of this process so far.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // User and system time in ticks, of which Linux has a hundred a second everywhere.
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap()
    };
    (ticks(11) + ticks(12)) / 100.0
}

/// Plans for so many services that run as they should.
fn plans(services: usize) {
    let mut text = "name: fleet\nclusters:\n".to_owned();
    for number in 0..services {
        writeln!(
            text,
            "  c{number}: {{services: [{{breed: {{name: 's{number}', deployable: x, ports: {{web: 8080/http}}}}, \
             scale: {{cpu: 0.1, memory: 8MB, instances: 3}}}}]}}"
        )
        .unwrap();
    }
    let Ok(Artifact::Blueprint(blueprint)) = read::one(Kind::Blueprint, &text) else {
        panic!("it is a blueprint")
    };
    let settings = Settings {
        gateway_ports: 10_000..=60_000,
        ..Settings::default()
    };
    let world = weir_plan::gateway::World {
        gateways: &[],
        last_port: None,
    };
    let merged = weir_plan::merge(None, "fleet", &blueprint, &world, &settings, 0).unwrap();
    let mut deployments: Vec<Deployment> = vec![merged.deployment];
    let mut records = BTreeMap::new();
    let mut observed = Observed {
        held: Held::Only(Default::default()),
        ..Observed::default()
    };
    let mut counter = 0_u64;
    let mut unique = || {
        counter += 1;
        counter.to_string()
    };
    let mut took = Duration::ZERO;
    for round in 0..6 {
        let desired = Desired {
            deployments: &deployments,
            gateways: &merged.gateways,
            records: &records,
            settings: &settings,
        };
        let began = Instant::now();
        let actions = plan(&desired, &observed, 1_000 + round, &mut unique);
        took = began.elapsed();
        for action in &actions {
            apply(&mut deployments[0], action);
            match action {
                weir_plan::Action::Record(key, record) => {
                    records.insert(key.clone(), record.clone());
                }
                weir_plan::Action::Start(launch) => {
                    let seen = SeenInstance {
                        of_deployment: true,
                        host: "127.0.0.1".to_owned(),
                        ports: [("web".to_owned(), 1)].into(),
                        state: LifeState::Running,
                        health: SeenHealth::Healthy,
                        message: None,
                    };
                    observed.instances.insert(launch.id.clone(), seen);
                }
                _ => {}
            }
        }
        if actions.is_empty() {
            break;
        }
    }
    println!(
        "a plan of {services} unchanged services takes {:.1} ms",
        took.as_secs_f64() * 1_000.0
    );
}

//! `weir up` as a process: what was committed outlives any end.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{net::TcpListener, path::Path, process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::Value;
use weir_tests::{Finished, Program, eventually, processes};

const BOUND: Duration = Duration::from_secs(60);
/// Marks the instances of a test: `<test process>-<test>`.
const MARK: &str = "WEIR_TEST_MARK";

fn weir(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments);
    for variable in ["VAMP_HOST", "VAMP_API_TOKEN", "VAMP_NAMESPACE"] {
        command.env_remove(variable);
    }
    command
}

/// Ports that were free a moment ago, below those that the system gives out; each test has its own block.
fn ports(test: u16) -> u16 {
    (0..50)
        .map(|step| 14_000 + test * 1_000 + step * 20)
        .find(|first| (*first..first + 20).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
        .unwrap()
}

/// A running `weir up` and its address.
struct Up {
    program: Program,
    host: String,
}

fn up(data: &Path, ports: u16, arguments: &[&str]) -> Up {
    let gateways = format!("{}-{}", ports + 1, ports + 9);
    let instances = format!("{}-{}", ports + 10, ports + 19);
    let mut program = Program::start(
        weir(&["up", "--listen", "127.0.0.1:0", "--workers", "1"])
            .arg("--data")
            .arg(data)
            .args(["--gateway-ports", &gateways, "--instance-ports", &instances])
            .args(arguments),
    );
    let host = program.until("the address is printed", BOUND, |output| {
        let (_, rest) = output.split_once("API and UI")?;
        let (line, _) = rest.split_once('\n')?;
        Some(line.trim().to_owned())
    });
    Up { program, host }
}

impl Up {
    fn weir(&self, arguments: &[&str]) -> Finished {
        Program::start(&mut weir(&[&["--host", &self.host], arguments].concat())).finish(BOUND)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.weir(&[&["-o", "json"], arguments].concat());
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        serde_json::from_str(&finished.stdout).unwrap()
    }
}

fn blueprint(folder: &Path, port: u16, mark: &str) -> String {
    let weir = env!("CARGO_BIN_EXE_weir");
    let file = folder.join("shop.yaml");
    let text = format!(
        "name: shop\ngateways: {{{port}: front/web}}\nclusters:\n  front:\n    services:\n      breed:\n        \
         name: front:1\n        deployable: {{type: command, definition: \"{weir} demo-service --version 1\"}}\n        \
         ports: {{web: 0/http}}\n        env: {{{MARK}: {mark}}}\n      scale: {{cpu: 0.1, memory: 32MB, instances: 2}}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// The version that answers on a gateway's port; `None`: no good answer.
fn answer(port: u16) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n"
    )
    .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, _) = text.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200") {
        return None;
    }
    head.lines()
        .find_map(|line| line.strip_prefix("x-demo-version: "))
        .map(str::to_owned)
}

/// Ends instances that a failed test left.
struct Sweep(String);

impl Drop for Sweep {
    fn drop(&mut self) {
        for pid in processes::with_variable(MARK, &self.0) {
            processes::signal(pid, Signal::KILL);
        }
    }
}

#[test]
fn kill_9_loses_nothing_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ports = ports(0);
    let mark = format!("{}-kill", std::process::id());
    let _sweep = Sweep(mark.clone());
    let running = || processes::with_variable(MARK, &mark);

    let first = up(&data, ports, &[]);
    let deployed = first.weir(&["deploy", &blueprint(folder.path(), ports, &mark), "--wait"]);
    assert_eq!(deployed.code, Some(0), "{}", deployed.stderr);
    eventually("the gateway answers", BOUND, || answer(ports));
    let before = running();
    assert_eq!(before.len(), 2, "one process each, two instances");
    let gateways = first.json(&["get", "gateways"]);
    first.program.signal(Signal::KILL);
    drop(first);

    // Killed at once after each thing that was answered, while it is still busy with starting.
    for round in 0..4 {
        let up = up(&data, ports, &[]);
        let file = folder.path().join("scale.yaml");
        let text = format!("kind: scale\nname: round-{round}\ncpu: 0.1\nmemory: 64MB\n");
        std::fs::write(&file, text).unwrap();
        let applied = up.weir(&["apply", "-f", file.to_str().unwrap()]);
        assert_eq!(applied.code, Some(0), "{}", applied.stderr);
        up.program.signal(Signal::KILL);
    }

    let second = up(&data, ports, &[]);
    eventually("the gateway answers again", BOUND, || answer(ports));
    assert_eq!(names(&second.json(&["get", "gateways"])), names(&gateways));
    assert_eq!(
        names(&second.json(&["get", "scales"])),
        ["round-0", "round-1", "round-2", "round-3"]
    );
    eventually("two instances, not four", BOUND, || {
        (running().len() == 2).then_some(())
    });
    assert_eq!(running(), before, "the instances went on and were found again");

    second.program.signal(Signal::TERM);
    let finished = second.program.finish(BOUND);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(running(), [0_u32; 0], "a clean end stops the instances");
}

fn names(artifacts: &Value) -> Vec<String> {
    let mut names: Vec<String> = artifacts
        .as_array()
        .unwrap()
        .iter()
        .map(|artifact| artifact["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn kept_instances_are_found_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ports = ports(1);
    let mark = format!("{}-keep", std::process::id());
    let _sweep = Sweep(mark.clone());
    let running = || processes::with_variable(MARK, &mark);

    let first = up(&data, ports, &["--keep-instances"]);
    let deployed = first.weir(&["deploy", &blueprint(folder.path(), ports, &mark), "--wait"]);
    assert_eq!(deployed.code, Some(0), "{}", deployed.stderr);
    let before = running();
    first.program.signal(Signal::INT);
    assert_eq!(first.program.finish(BOUND).code, Some(0));
    assert_eq!(running(), before);

    let second = up(&data, ports, &[]);
    eventually("the gateway answers", BOUND, || answer(ports));
    let undeployed = second.weir(&["undeploy", "shop", "--gateways", "--wait"]);
    assert_eq!(undeployed.code, Some(0), "{}", undeployed.stderr);
    assert_eq!(running(), [0_u32; 0]);
    assert_eq!(second.json(&["get", "gateways"]), serde_json::json!([]));
}

#[test]
fn two_ups_on_one_folder_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let ports = ports(2);
    let first = up(folder.path(), ports, &[]);
    let second =
        Program::start(weir(&["up", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path())).finish(BOUND);
    assert_eq!(second.code, Some(1));
    assert!(
        second.stderr.contains(&format!("process {}", first.program.id())),
        "{}",
        second.stderr
    );
}

#[test]
fn verbs_against_the_real_server() {
    let folder = tempfile::tempdir().unwrap();
    let ports = ports(3);
    let up = up(&folder.path().join("data"), ports, &[]);

    let file = folder.path().join("artifacts.yaml");
    std::fs::write(
        &file,
        "kind: scale\nname: small\ncpu: 0.1\nmemory: 64MB\n---\nkind: breed\nname: front:1\ndeployable: acme/front\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let apply = || {
        let finished = up.weir(&["apply", "-f", file]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let mut lines: Vec<String> = finished.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(apply(), ["breed front:1 created", "scale small created"]);
    assert_eq!(apply(), ["breed front:1 unchanged", "scale small unchanged"]);
    let table = up.weir(&["get", "scales"]).stdout;
    assert_eq!(table, "NAME   CPU  MEMORY   INSTANCES\nsmall  0.1  64.00MB  1\n");

    let wrong = folder.path().join("wrong.yaml");
    std::fs::write(&wrong, "kind: scale\nname: small\ncpu: 0.1\nmemory: 64\n").unwrap();
    let wrong = wrong.to_str().unwrap();
    let online = up.weir(&["apply", "-f", wrong]);
    let offline = up.weir(&["check", "-f", wrong]);
    assert_eq!((online.code, offline.code), (Some(4), Some(4)));
    assert!(
        online.stderr.starts_with(&format!("{wrong}:4:9: ")),
        "{}",
        online.stderr
    );
    assert_eq!(
        online.stderr, offline.stderr,
        "the same problems with and without a server"
    );

    assert_eq!(up.weir(&["get", "deployment", "nothing"]).code, Some(3));
    assert_eq!(up.weir(&["delete", "-f", file]).code, Some(0));
    assert_eq!(up.json(&["get", "breeds"]), serde_json::json!([]));
    assert_eq!(up.weir(&["info"]).code, Some(0));
    eventually("the agent tells that it is there", BOUND, || {
        (up.json(&["agents"]).as_array().unwrap().len() == 1).then_some(())
    });
}

/// What is deployed goes out, gets another version, and comes back: the chain that Vamp documented.
#[test]
fn a_deployment_goes_through_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let ports = ports(4);
    let mark = format!("{}-pipe", std::process::id());
    let _sweep = Sweep(mark.clone());
    let up = up(&folder.path().join("data"), ports, &[]);
    let deployed = up.weir(&["deploy", &blueprint(folder.path(), ports, &mark), "--wait"]);
    assert_eq!(deployed.code, Some(0), "{}", deployed.stderr);

    let program = env!("CARGO_BIN_EXE_weir");
    let breed = folder.path().join("front.yaml");
    let text = format!(
        "name: front:2\ndeployable: {{type: command, definition: \"{program} demo-service --version 2\"}}\n\
         ports: {{web: 0/http}}\nenv: {{{MARK}: {mark}}}\n"
    );
    std::fs::write(&breed, text).unwrap();
    let created = up.weir(&["create", "breed", "-f", breed.to_str().unwrap()]);
    assert_eq!(created.code, Some(0), "{}", created.stderr);

    let chain = format!(
        "{program} inspect deployment shop --as_blueprint \
         | {program} generate blueprint --cluster front --breed front:2 --stdin \
         | {program} deploy --deployment shop --stdin --wait"
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &chain]).env("VAMP_HOST", &up.host);
    let merged = Program::start(&mut shell).finish(BOUND);
    assert_eq!(merged.code, Some(0), "{}", merged.stderr);
    let deployment = up.json(&["get", "deployment", "shop"]);
    let services = deployment["clusters"]["front"]["services"].as_array().unwrap();
    let names: Vec<&str> = services
        .iter()
        .map(|service| service["breed"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["front:1", "front:2"]);
    eventually("the first version answers", BOUND, || {
        answer(ports).filter(|version| version == "1")
    });
}

//! Control killed at every step of a redeployment: what it left is found again, nothing twice, nothing left behind.
//!
//! `WEIR_CRASH_STRIDE` says which steps are tried: every so manieth (default 7; 1 for all).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a failed unwrap is a failed test, a schedule says how long it was"
)]

use std::{net::TcpListener, path::Path, process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::Value;
use weir_tests::{Finished, Program, eventually, processes};

const BOUND: Duration = Duration::from_secs(60);
/// Marks the instances.
const MARK: &str = "WEIR_TEST_MARK";
/// Says at which step the process ends (builds with debug assertions only).
const STEP: &str = "WEIR_ABORT_AT_STEP";

fn weir(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments);
    for variable in ["VAMP_HOST", "VAMP_API_TOKEN", "VAMP_NAMESPACE", "WEIR_TOKEN"] {
        command.env_remove(variable);
    }
    command
}

struct Up {
    program: Program,
    host: String,
}

/// First of a block of ports that were free a moment ago, below those that the system gives out.
fn block() -> u16 {
    (0..50)
        .map(|step| 19_200 + step * 30)
        .find(|first| (*first..first + 30).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
        .unwrap()
}

fn start(data: &Path, ports: u16, step: Option<u32>) -> Program {
    let gateways = format!("{}-{}", ports + 1, ports + 9);
    let instances = format!("{}-{}", ports + 10, ports + 29);
    let mut command = weir(&["up", "--listen", "127.0.0.1:0", "--workers", "1"]);
    command.args(["--gateway-ports", &gateways, "--instance-ports", &instances]);
    command.arg("--data").arg(data);
    if let Some(step) = step {
        command.env(STEP, step.to_string());
    }
    Program::start(&mut command)
}

/// Waits for the address; `None`: it ended before.
fn address(program: &mut Program) -> Option<String> {
    eventually("the address is printed, or it ends", BOUND, || {
        let output = program.stdout();
        let found = output.split_once("API and UI").and_then(|(_, rest)| {
            let (line, _) = rest.split_once('\n')?;
            Some(line.trim().to_owned())
        });
        match found {
            Some(host) => Some(Some(host)),
            None if !processes::is_there(program.id()) => Some(None),
            None => None,
        }
    })
}

fn run(host: &str, arguments: &[&str]) -> Finished {
    Program::start(&mut weir(
        &[&["--host", host, "--timeout", "40s"], arguments].concat(),
    ))
    .finish(BOUND)
}

/// Two instances that say which version they are.
fn blueprint(folder: &Path, port: u16, mark: &str, version: u32) -> String {
    let weir = env!("CARGO_BIN_EXE_weir");
    let file = folder.join(format!("shop-{version}.yaml"));
    let text = format!(
        "name: shop\ngateways: {{{port}: front/web}}\nclusters:\n  front:\n    services:\n      breed:\n        \
         name: front\n        deployable: {{type: command, definition: \"{weir} demo-service --version {version}\"}}\n        \
         ports: {{web: 0/http}}\n        env: {{{MARK}: {mark}}}\n      scale: {{cpu: 0.1, memory: 32MB, instances: 2}}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
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

/// The version that answers; `None`: no good answer.
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
    let version = head
        .lines()
        .find_map(|line| line.strip_prefix("x-demo-version: "))?;
    head.starts_with("HTTP/1.1 200").then(|| version.to_owned())
}

/// Ids of the instances that the deployment shows.
fn shown(host: &str) -> Vec<String> {
    let finished = run(host, &["-o", "json", "get", "deployment", "shop"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let deployment: Value = serde_json::from_str(&finished.stdout).unwrap();
    let service = &deployment["clusters"]["front"]["services"][0];
    let instances = service["instances"].as_array().unwrap();
    instances
        .iter()
        .map(|instance| instance["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn killed_at_any_step_control_goes_on_without_orphans_or_doubles() {
    let stride = std::env::var("WEIR_CRASH_STRIDE").ok();
    let stride: usize = stride.and_then(|stride| stride.parse().ok()).unwrap_or(2);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let port = block();
    let mark = format!("{}-crashes", std::process::id());
    let _sweep = Sweep(mark.clone());
    let mut tried = 0;
    for (version, step) in (1_u32..).zip((1_u32..).step_by(stride)) {
        let file = blueprint(folder.path(), port, &mark, version);
        // As far as it comes: it may end before it listens, while it is asked, or some time later.
        let mut doomed = start(&data, port, Some(step));
        if let Some(host) = address(&mut doomed) {
            run(&host, &["deploy", &file, "--wait"]);
        }
        let survived = processes::is_there(doomed.id());
        doomed.signal(Signal::KILL);
        doomed.finish(BOUND);

        let mut program = start(&data, port, None);
        let host = address(&mut program).expect("it starts on whatever was left");
        let up = Up { program, host };
        let deployed = run(&up.host, &["deploy", &file, "--wait"]);
        assert_eq!(deployed.code, Some(0), "step {step}: {}", deployed.stderr);
        eventually("the new version answers", BOUND, || {
            answer(port).filter(|answer| *answer == version.to_string())
        });
        eventually("two instances, neither fewer nor more", BOUND, || {
            (processes::with_variable(MARK, &mark).len() == 2).then_some(())
        });
        assert_eq!(shown(&up.host).len(), 2, "step {step}");
        // The next one finds what a kill leaves.
        up.program.signal(Signal::KILL);
        up.program.finish(BOUND);
        tried += 1;
        if survived {
            println!("{tried} steps of {step} tried");
            assert!(step > 8, "so few steps cannot be all: {step}");
            break;
        }
    }
    let mut program = start(&data, port, None);
    let host = address(&mut program).unwrap();
    let undeployed = run(&host, &["undeploy", "shop", "--gateways", "--wait"]);
    assert_eq!(undeployed.code, Some(0), "{}", undeployed.stderr);
    assert_eq!(processes::with_variable(MARK, &mark), [0_u32; 0]);
}

//! The program `weir-control`: its verbs, its signals, its exit codes.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-control"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn check(folder: &Path, text: &str) -> Output {
    let file = folder.join("artifacts.yaml");
    std::fs::write(&file, text).unwrap();
    program().arg("check").arg(file).output().unwrap()
}

#[test]
fn check_tells_every_problem_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let good = check(folder.path(), "kind: breed\nname: a\ndeployable: x\n");
    assert!(good.status.success());
    assert!(good.stderr.is_empty());
    let bad = check(folder.path(), "kind: breed\nname: a b\nports:\n  web:\n");
    assert_eq!(bad.status.code(), Some(1));
    let told = String::from_utf8(bad.stderr).unwrap();
    assert!(told.contains("artifacts.yaml:2:7: IllegalName: name: "), "{told}");
    assert!(told.contains("MissingPortValueError"), "{told}");
    let missing = program().args(["check", "/none/such"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
}

/// Ends the program whatever happens.
struct Running(Child);

impl Running {
    /// The lines of standard error, as they come.
    fn log(&mut self) -> mpsc::Receiver<String> {
        let stderr = BufReader::new(self.0.stderr.take().unwrap());
        let (sender, lines) = mpsc::sync_channel(1024);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        lines
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_signal_ends_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let mut running = Running(
            program()
                .args(["run", "--listen", "127.0.0.1:0", "--store", "memory:", "--data"])
                .arg(folder.path().join("data"))
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let lines = running.log();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = lines.recv_timeout(deadline - Instant::now()).unwrap();
            if line.contains("control serves") {
                break;
            }
        }
        let id = Pid::from_child(&running.0);
        kill_process(id, signal).unwrap();
        let status = loop {
            if let Some(status) = running.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::yield_now();
        };
        assert!(status.success(), "{signal:?}: {status}");
    }
}

#[test]
fn a_start_that_fails_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let mut failed = program()
        .args(["run", "--listen", "127.0.0.1:0", "--store", "memory:", "--data"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    failed.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(failed.wait().unwrap().code(), Some(1));
    assert!(told.contains("weir-control: "), "{told}");
    assert!(told.contains(file.to_str().unwrap()), "{told}");
    let wrong = program().args(["run", "--store", "nothing:"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("nothing:"));
    let ports = program()
        .args(["run", "--store", "memory:", "--gateway-ports", "9-1"])
        .output()
        .unwrap();
    assert_eq!(ports.status.code(), Some(2));
}

/// Starts a run and reads both of its outputs until it serves; answers standard output.
fn served(mut command: Command) -> (Running, String, String) {
    let mut running = Running(
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut stdout = running.0.stdout.take().unwrap();
    let lines = running.log();
    let deadline = Instant::now() + PATIENCE;
    let mut log = String::new();
    while !log.contains("control serves") {
        log.push_str(&lines.recv_timeout(deadline - Instant::now()).unwrap());
        log.push('\n');
    }
    // A signal is taken after what is printed at the start: it is waited for after that.
    let id = Pid::from_child(&running.0);
    kill_process(id, Signal::TERM).unwrap();
    let mut told = String::new();
    stdout.read_to_string(&mut told).unwrap();
    running.0.wait().unwrap();
    log.extend(lines.iter().map(|line| line + "\n"));
    (running, told, log)
}

fn run(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    command
        .args(["run", "--listen", "127.0.0.1:0", "--store", "memory:", "--data"])
        .arg(folder.join("data"))
        .args(arguments);
    command
}

/// The token in a text.
fn token(text: &str) -> Option<&str> {
    let length = "weir_".len() + 16 + 1 + 64;
    text.split_whitespace()
        .find(|word| word.starts_with("weir_") && word.len() == length)
}

#[test]
fn the_first_start_shows_the_admins_token_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_, told, log) = served(run(folder.path(), &[]));
    assert!(token(&told).is_some(), "{told}");
    assert_eq!(token(&log), None, "logs are kept by others");
    let (_, told, _) = served(run(folder.path(), &[]));
    assert_eq!(told, "", "it is shown once");

    // Whoever lost it gets another one, while control does not run.
    let rescue = |name: &str| {
        let mut command = program();
        command
            .arg("admin-token")
            .arg("--data")
            .arg(folder.path().join("data"));
        command.args(["--name", name]).output().unwrap()
    };
    let made = rescue("rescue");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(token(&String::from_utf8(made.stdout).unwrap()).is_some());
    let again = rescue("rescue");
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("there is a token `rescue` already"));
}

#[test]
fn the_admins_token_may_go_to_a_file_and_may_not_be_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let (_, told, log) = served(run(
        folder.path(),
        &["--admin-token-file", file.to_str().unwrap()],
    ));
    assert_eq!(told, "");
    assert_eq!(token(&log), None);
    assert!(token(&std::fs::read_to_string(&file).unwrap()).is_some());

    let open = tempfile::tempdir().unwrap();
    let (_, told, _) = served(run(open.path(), &["--no-authentication"]));
    assert_eq!(told, "");
}

#[test]
fn a_certificate_that_cannot_be_used_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("garbage.pem");
    std::fs::write(&file, "garbage").unwrap();
    let file = file.to_str().unwrap();
    let failed = run(folder.path(), &["--tls-certificate", file, "--tls-key", file])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(told.contains("garbage.pem holds no PEM certificate"), "{told}");
    let half = run(folder.path(), &["--tls-certificate", file]).output().unwrap();
    assert_eq!(half.status.code(), Some(2), "a certificate needs its key");
}

//! One process after the other serves the same sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weir-agent");
const PATIENCE: Duration = Duration::from_secs(30);

#[track_caller]
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Answers everything with `ok`, `/slow` after a second.
fn origin() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_all(stream));
        }
    });
    port
}

fn answer_all(stream: TcpStream) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut is_slow) = (String::new(), false);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        is_slow |= line.starts_with("GET /slow");
        if line == "\r\n" {
            if std::mem::take(&mut is_slow) {
                std::thread::sleep(Duration::from_secs(1));
            }
            writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
    }
}

/// An agent of its own program file; whatever process it is at the end is killed.
struct Agent {
    folder: tempfile::TempDir,
    program: PathBuf,
    gateway: SocketAddr,
    admin: SocketAddr,
    first: Child,
}

impl Agent {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("weir-agent");
        let (gateway, admin) = (free(), free());
        let document = format!(
            "gateways:\n  g:\n    address: 127.0.0.1\n    port: {}\n    routes:\n      r: {{ weight: 100%, instances: [\"127.0.0.1:{}\"] }}\n",
            gateway.port(),
            origin()
        );
        fs::write(folder.path().join("gateways.yaml"), document).unwrap();
        install(Path::new(PROGRAM), &program);
        let first = Command::new(&program)
            .env_clear()
            .args(["run", "--workers", "2", "--drain", "8", "--health", "none"])
            .args(["--admin", &admin.to_string()])
            .args([
                "--admin-socket",
                &folder.path().join("admin").display().to_string(),
            ])
            .arg("--data")
            .arg(folder.path().join("data"))
            .arg("--store")
            .arg(format!("file:{}", folder.path().join("gateways.yaml").display()))
            .stderr(Stdio::from(fs::File::create(folder.path().join("log")).unwrap()))
            .spawn()
            .unwrap();
        let agent = Self {
            folder,
            program,
            gateway,
            admin,
            first,
        };
        eventually("it serves", || request(agent.gateway, "/").ok());
        eventually("it has a number", || agent.process());
        agent
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn process(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data().join("process")).ok()?;
        Pid::from_raw(text.parse().ok()?)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Exit code and what was said.
    fn upgrade(&self) -> (Option<i32>, String) {
        let output = Command::new(PROGRAM)
            .env_clear()
            .args(["upgrade", "--data"])
            .arg(self.data())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(process) = self.process() {
            let _ = kill_process(process, Signal::KILL);
        }
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

/// Puts a program in place as an installer does it: under another name first.
fn install(from: &Path, to: &Path) {
    let fresh = to.with_extension("new");
    // By a process of its own: one that another test starts meanwhile would hold the file open for writing, and a file that is
    // written to cannot be run (ETXTBSY).
    let copied = Command::new("cp").args([from, &fresh]).status().unwrap();
    assert!(copied.success());
    fs::rename(&fresh, to).unwrap();
}

/// One request on a connection of its own.
fn request(address: SocketAddr, path: &str) -> Result<String, String> {
    let said = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(|error| format!("connecting: {error}"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(said)?;
    let text = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).map_err(said)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(said)?;
    if answer.starts_with("HTTP/1.1 200 ") {
        Ok(answer)
    } else {
        Err(format!("answer: {answer:?}"))
    }
}

/// Requests on a connection that is kept until an answer says that it ends; how many answers were had on it.
fn kept(address: SocketAddr, ends: &AtomicBool, served: &AtomicU64) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| format!("connecting: {error}"))?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    while !ends.load(Ordering::Relaxed) {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            .map_err(|error| format!("sending on a kept connection: {error}"))?;
        let mut answer = Vec::new();
        let mut piece = [0; 1024];
        while !answer.ends_with(b"\r\n\r\nok") {
            match stream.read(&mut piece) {
                Ok(count @ 1..) => answer.extend_from_slice(&piece[..count]),
                other => {
                    return Err(format!(
                        "receiving on a kept connection: {other:?} after {answer:?}"
                    ));
                }
            }
        }
        served.fetch_add(1, Ordering::Relaxed);
        if String::from_utf8_lossy(&answer)
            .to_lowercase()
            .contains("connection: close")
        {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    Ok(())
}

struct Load {
    ends: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (ends, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let threads = (0..4)
            .map(|number| {
                let (ends, served) = (Arc::clone(&ends), Arc::clone(&served));
                std::thread::spawn(move || {
                    let mut failures = Vec::new();
                    while !ends.load(Ordering::Relaxed) {
                        let outcome = if number % 2 == 0 {
                            served.fetch_add(1, Ordering::Relaxed);
                            request(address, "/").map(drop)
                        } else {
                            kept(address, &ends, &served)
                        };
                        failures.extend(outcome.err());
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    failures
                })
            })
            .collect();
        Self {
            ends,
            served,
            threads,
        }
    }

    /// Waits for so many more answers.
    fn goes_on(&self, count: u64) {
        let before = self.served.load(Ordering::Relaxed);
        eventually("requests are served", || {
            (self.served.load(Ordering::Relaxed) >= before + count).then_some(())
        });
    }

    fn failures(self) -> Vec<String> {
        self.ends.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    }
}

#[test]
fn no_connection_is_refused_over_three_upgrades() {
    let mut agent = Agent::start();
    let load = Load::on(agent.gateway);
    load.goes_on(50);
    let mut before = agent.process().unwrap();
    for _ in 0..3 {
        install(Path::new(PROGRAM), &agent.program);
        let gateway = agent.gateway;
        let slow = std::thread::spawn(move || request(gateway, "/slow"));
        load.goes_on(20);
        let (code, said) = agent.upgrade();
        assert_eq!(code, Some(0), "{said}\n{}", agent.log());
        assert!(slow.join().unwrap().is_ok(), "what is under way is finished");
        let now = eventually("another process has the folder", || {
            agent.process().filter(|process| *process != before)
        });
        assert!(said.contains(&now.as_raw_nonzero().to_string()), "{said}");
        load.goes_on(50);
        // The admin listener and its file are the new one's.
        eventually("the process before ends", || {
            // The first one is this test's child, and is there until it is asked for.
            let _ = agent.first.try_wait();
            test_kill_process(before).is_err().then_some(())
        });
        assert!(request(agent.admin, "/health").is_ok());
        assert!(agent.folder.path().join("admin").exists());
        before = now;
        load.goes_on(50);
    }
    let failures = load.failures();
    assert_eq!(failures, Vec::<String>::new(), "{}", agent.log());
    // The data folder is still taken.
    let other = Command::new(PROGRAM)
        .env_clear()
        .args(["run", "--admin", "127.0.0.1:0", "--store"])
        .arg(format!(
            "file:{}",
            agent.folder.path().join("gateways.yaml").display()
        ))
        .arg("--data")
        .arg(agent.data())
        .output()
        .unwrap();
    assert!(!other.status.success());
    assert!(String::from_utf8_lossy(&other.stderr).contains("in use by another agent"));
    // And it ends as any other.
    kill_process(before, Signal::TERM).unwrap();
    eventually("it ends", || test_kill_process(before).is_err().then_some(()));
    assert!(request(agent.gateway, "/").is_err());
    assert_eq!(agent.upgrade().0, Some(1), "nobody is there any more");
}

#[test]
fn a_program_that_does_not_start_changes_nothing() {
    let agent = Agent::start();
    let load = Load::on(agent.gateway);
    let before = agent.process().unwrap();
    for (script, reason) in [
        ("#!/bin/sh\nexit 3\n", "exit status: 3"),
        // Reads what is handed over and does not serve.
        ("#!/bin/sh\nexec sleep 0.2\n", "does not take over"),
        ("#!/nowhere/interpreter\n", "cannot be started"),
    ] {
        let fresh = agent.folder.path().join("fresh");
        fs::write(&fresh, script).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&fresh, &agent.program).unwrap();
        let (code, said) = agent.upgrade();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(reason) && said.contains("serves on"), "{said}");
        assert_eq!(agent.process(), Some(before));
        load.goes_on(50);
    }
    // A program that knows its flags, but not these.
    install(Path::new(PROGRAM), &agent.program);
    fs::write(agent.folder.path().join("gateways.yaml"), "gateways: 7\n").unwrap();
    let (code, said) = agent.upgrade();
    assert_eq!(code, Some(0), "the last good snapshot is served: {said}");
    load.goes_on(50);
    assert_eq!(load.failures(), Vec::<String>::new(), "{}", agent.log());
}

#[test]
fn what_is_told_to_take_over_and_gets_nothing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .env_clear()
        .env("WEIR_TAKEOVER", "1")
        .args(["run", "--store", "file:/nowhere", "--data"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("WEIR_TAKEOVER"));
}

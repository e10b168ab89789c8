//! The program as it is run.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weir-agent");
const PATIENCE: Duration = Duration::from_secs(20);

/// Ends the process that it holds, whatever the test does.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn ended(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear();
    command
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn check(path: &Path) -> (Option<i32>, String) {
    let output = program().arg("check").arg(path).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_file_is_served_until_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateways.yaml");
    std::fs::write(&path, "gateways: {}\n").unwrap();
    let child = program()
        .args([
            "run",
            "--admin",
            "127.0.0.1:0",
            "--workers",
            "1",
            "--drain",
            "5",
            "--data",
        ])
        .arg(folder.path().join("data"))
        .env("WEIR_STORE", format!("file:{}", path.display()))
        .env("WEIR_LOG_FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let mut log = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let admin: SocketAddr = log
        .find_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            entry["fields"]["admin"]
                .as_str()
                .map(|admin| admin.parse().unwrap())
        })
        .expect("the log tells where the admin listener is");
    // A full pipe would stop the program.
    let draining = std::thread::spawn(move || log.map_while(Result::ok).collect::<Vec<_>>());
    let answer = get(admin, "/status").unwrap();
    assert!(answer.contains("\"store\":\"file\""), "{answer}");
    process.signal(Signal::HUP);
    assert!(get(admin, "/health").is_some(), "SIGHUP does not end it");
    process.signal(Signal::TERM);
    assert!(process.ended().success());
    assert!(get(admin, "/health").is_none());
    let log = draining.join().unwrap();
    assert!(log.iter().any(|line| line.contains("SIGHUP")), "{log:?}");
    assert!(log.last().unwrap().contains("the agent has ended"), "{log:?}");
}

/// An origin that answers everything, until the test ends.
fn origin() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
                    if line.ends_with("\r\n\r\n") {
                        line.clear();
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        if (&stream).write_all(answer).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

fn eventually<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn requests_are_logged_the_log_is_rotated_and_leave_is_announced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateways.yaml");
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    std::fs::write(
        &path,
        format!(
            "gateways: {{shop: {{address: 127.0.0.1, port: {port}, routes: {{a: {{instances: ['{}']}}}}}}}}\n",
            origin()
        ),
    )
    .unwrap();
    let access = folder.path().join("access.log");
    let child = program()
        .args(["run", "--admin", "127.0.0.1:0", "--workers", "1"])
        .args([
            "--drain",
            "5",
            "--drain-delay",
            "1",
            "--access-log-format",
            "combined",
            "--access-log",
        ])
        .arg(&access)
        .arg("--data")
        .arg(folder.path().join("data"))
        .env("WEIR_STORE", format!("file:{}", path.display()))
        .env("WEIR_LOG_FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let mut log = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let admin: SocketAddr = log
        .find_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            Some(entry["fields"]["admin"].as_str()?.parse().unwrap())
        })
        .unwrap();
    let draining = std::thread::spawn(move || log.map_while(Result::ok).collect::<Vec<_>>());
    let gateway = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("it is served", || {
        get(gateway, "/one").filter(|answer| answer.contains(" 200 "))
    });
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    eventually("it is logged", || {
        text(&access).contains("GET /one").then_some(())
    });

    let old = folder.path().join("access.log.1");
    for (signal, request) in [(Signal::USR1, "/two"), (Signal::HUP, "/three")] {
        std::fs::rename(&access, &old).unwrap();
        process.signal(signal);
        eventually("the log is opened anew", || access.exists().then_some(()));
        get(gateway, request).unwrap();
        eventually("it is logged there", || {
            text(&access).contains(request).then_some(())
        });
    }

    process.signal(Signal::TERM);
    eventually("leave is announced", || {
        get(admin, "/health").filter(|answer| answer.contains(" 503 ") && answer.contains("draining"))
    });
    assert!(
        get(gateway, "/late").unwrap().contains(" 200 "),
        "it still serves"
    );
    assert!(process.ended().success());
    assert!(text(&access).contains("/late"), "the last records are written");
    let log = draining.join().unwrap();
    assert!(log.last().unwrap().contains("\"cut\":0"), "{log:?}");
}

#[test]
fn check_tells_every_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateways.yaml");
    std::fs::write(&path, "gateways: {shop: {prot: 1, sticky: x, routes: {}}}\n").unwrap();
    let (code, text) = check(&path);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("prot") && text.contains("sticky"), "{text}");
    std::fs::write(&path, "gateways: {shop: {port: 80, routes: {}}}\n").unwrap();
    let (code, text) = check(&path);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("a sound document with 1 gateway\n"), "{text}");
    assert_eq!(check(&folder.path().join("none")).0, Some(1));
}

#[test]
fn the_example_is_sound() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/edge/gateways.yaml");
    let (code, text) = check(Path::new(example));
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn vamps_variables_lead_to_a_clear_answer() {
    let folder = tempfile::tempdir().unwrap();
    let output = program()
        .args(["run", "--data"])
        .arg(folder.path())
        .env("VAMP_KEY_VALUE_STORE_TYPE", "redis")
        .env("VAMP_KEY_VALUE_STORE_CONNECTION", "redis:6379")
        .env(
            "VAMP_KEY_VALUE_STORE_PATH",
            "/vamp/vamp/gateways/haproxy/1.7/configuration",
        )
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("redis://redis:6379"), "{text}");
}

/// The number of descriptors that a process has left is small; many clients come, stay, and go.
#[test]
fn without_descriptors_the_rest_is_served_and_later_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateways.yaml");
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let document = format!(
        "gateways: {{shop: {{address: 127.0.0.1, port: {port}, routes: {{a: {{instances: ['{}']}}}}}}}}\n",
        origin()
    );
    std::fs::write(&path, document).unwrap();
    let child = Command::new("sh")
        .env_clear()
        .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\"", PROGRAM])
        .args([
            "run",
            "--admin",
            "127.0.0.1:0",
            "--workers",
            "1",
            "--health",
            "none",
            "--data",
        ])
        .arg(folder.path().join("data"))
        .env("WEIR_STORE", format!("file:{}", path.display()))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let gateway = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("it is served", || {
        get(gateway, "/").filter(|answer| answer.contains(" 200 "))
    });
    let mut first = TcpStream::connect(gateway).unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut ask = || {
        first.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        first.read_exact(&mut answer).unwrap();
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            first.read_exact(&mut byte).unwrap();
            rest.push(byte[0]);
        }
        String::from_utf8(answer.to_vec()).unwrap()
    };
    assert_eq!(ask(), "HTTP/1.1 200");
    // More than it has descriptors for: they wait in the queue of the socket.
    let crowd: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(gateway).unwrap()).collect();
    for _ in 0..20 {
        // One that is there has its connection to the instance, too.
        assert_eq!(ask(), "HTTP/1.1 200");
    }
    drop(crowd);
    eventually("others are served again", || {
        get(gateway, "/").filter(|answer| answer.contains(" 200 "))
    });
    assert!(process.0.try_wait().unwrap().is_none(), "it has not ended");
    process.signal(Signal::TERM);
    assert!(process.ended().success());
}

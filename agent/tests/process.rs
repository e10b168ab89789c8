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

/// An embedded store with what is published in it, as a file; nobody has it open.
fn published(folder: &Path, snapshot: Option<&weir_model::Snapshot>) -> String {
    let url = format!("embedded:{}", folder.join("store.redb").display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = weir_store::connect(&url).unwrap();
        if let Some(snapshot) = snapshot {
            let place = weir_store::protocol::place(&*store, "vamp/default")
                .await
                .unwrap();
            weir_store::protocol::publish(&*store, "vamp/default", snapshot, place)
                .await
                .unwrap();
        }
    });
    url
}

#[test]
fn check_of_a_store_has_exit_codes_and_tells_every_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let url = published(folder.path(), None);
    let (code, text) = check(Path::new(&url));
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("nothing is published below `vamp/default`"),
        "{text}"
    );

    let document = "gateways:
  good: {port: 8080, routes: {a: {instances: ['127.0.0.1:1']}}}
  bad: {port: 8443, tls: {certificates: [{certificate: /nowhere/bad.pem, key: /nowhere/bad.key}]}, routes: {}}
  worse: {port: 8444, tls: {certificates: [{certificate: /nowhere/worse.pem, key: /nowhere/worse.key}]}, routes: {}}
";
    let file = folder.path().join("gateways.yaml");
    std::fs::write(&file, document).unwrap();
    let gateways = weir_store::file::read_gateways(document.as_bytes()).unwrap();
    let whole = weir_model::Snapshot::new("x", weir_model::Generation(1), gateways.clone()).unwrap();
    let url = published(folder.path(), Some(&whole));
    // The file and the store are refused for the same reasons.
    for what in [Path::new(&url), &file] {
        let (code, text) = check(what);
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains("gateway `bad`") && text.contains("/nowhere/bad.pem"),
            "{text}"
        );
        assert!(
            text.contains("gateway `worse`") && text.contains("worse.pem"),
            "{text}"
        );
        assert!(!text.contains("`good`"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }
    let good = gateways
        .into_iter()
        .filter(|gateway| gateway.name.as_str() == "good");
    let sound = weir_model::Snapshot::new("x", weir_model::Generation(2), good.collect()).unwrap();
    let url = published(folder.path(), Some(&sound));
    let (code, text) = check(Path::new(&url));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("a sound snapshot with 1 gateway\n"), "{text}");
    let (code, text) = check(Path::new("redis://me:geheim@h:1"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("use embedded:PATH"), "{text}");
}

/// Exit code and standard error.
fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let child = program()
        .args(arguments)
        .envs(variables.iter().copied())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that serves all the same would not end by itself.
    let mut process = Process(child);
    let code = process.ended().code();
    let mut text = String::new();
    let mut stderr = process.0.stderr.take().unwrap();
    stderr.read_to_string(&mut text).unwrap();
    (code, text)
}

#[test]
fn flags_and_variables_that_make_no_sense_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let run = [
        "run",
        "--store",
        "memory:",
        "--admin",
        "127.0.0.1:0",
        "--data",
        data,
    ];
    for (arguments, code, word) in [
        (&["--wrokers", "2"][..], 2, "--wrokers"),
        (&["--workers", "0"], 2, "--workers"),
        (&["--timeout-server", "5"], 2, "--timeout-server"),
        (&["--advertise", "edge"], 2, "--advertise"),
        (&["--admin-certificate", "c.pem"], 2, "--admin-key"),
        (&["--admin-token-file", "/nowhere/t"], 1, "/nowhere/t"),
        (&["--error-page", "503"], 1, "STATUS=FILE"),
        (&["--elasticsearch", "es:9200"], 1, "Elasticsearch"),
    ] {
        let (given, text) = refused(&[&run[..], arguments].concat(), &[]);
        assert_eq!(given, Some(code), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
    for (name, value, code, word) in [
        ("WEIR_WORKERS", "many", 2, "many"),
        ("WEIR_DRAIN", "soon", 2, "--drain"),
        ("WEIR_ADMIN_TOKEN", "", 1, "empty"),
        (
            "VAMP_KEY_VALUE_STORE_TYPE",
            "etcd",
            1,
            "VAMP_KEY_VALUE_STORE_CONNECTION",
        ),
    ] {
        let (given, text) = refused(&run, &[(name, value)]);
        assert_eq!(given, Some(code), "{name}: {text}");
        assert!(text.contains(word), "{name}: {text}");
    }
    let dns = [("VAMP_VGA_DNS_ENABLE", "1"), ("VAMP_VGA_DNS_PORT", "dns")];
    let (code, text) = refused(&run, &dns);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("VAMP_VGA_DNS_PORT"), "{text}");
}

/// Secrets of the environment are in no help text; every flag says something.
#[test]
fn help_tells_every_flag_and_no_secret() {
    let output = program()
        .args(["run", "--help"])
        .env("WEIR_ADMIN_TOKEN", "geheim")
        .env("WEIR_STATS_AUTH", "a:geheim")
        .env("WEIR_ELASTICSEARCH_URL", "http://a:geheim@es")
        .env("WEIR_ELASTICSEARCH_API_KEY", "geheim")
        .env("WEIR_STORE", "etcd://a:geheim@e")
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("geheim"), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let flags: Vec<usize> = (0..lines.len())
        .filter(|line| lines[*line].starts_with("      --"))
        .collect();
    for flag in &flags {
        let words = lines[flag + 1].trim();
        assert!(words.starts_with(char::is_uppercase), "{}: {words}", lines[*flag]);
    }
    assert!(flags.len() > 40, "{text}");
    // Each can be a variable.
    assert_eq!(text.matches("[env: WEIR_").count(), flags.len(), "{text}");
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

//! What the suites are played against: an agent of ours, HAProxy, and an origin behind both.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use weir_agent::{Agent, Config};
use weir_tests::{Program, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

/// A port that is free at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub fn wait_for(port: u16) {
    eventually("somebody listens", PATIENCE, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
    });
}

/// Answers `/large` with 256 kB, anything else with `ok`; takes any body.
pub fn origin() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    port
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut target, mut line) = (0, String::new(), String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if target.is_empty() {
                target = line.split(' ').nth(1).unwrap_or_default().to_owned();
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        let body = if target == "/large" {
            "x".repeat(256 * 1024)
        } else {
            "ok".to_owned()
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        writer.write_all(format!("{head}{body}").as_bytes())?;
    }
}

/// An agent in this process that leads everything to one origin; it ends when this is dropped.
pub struct Weir {
    pub port: u16,
    pub admin: SocketAddr,
    ends: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Weir {
    pub fn before(origin: u16) -> Self {
        Self::with(origin, "")
    }

    /// With further lines of its gateway.
    pub fn with(origin: u16, lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let document = folder.path().join("gateways.yaml");
        fs::write(
            &document,
            format!(
                "gateways:\n  suite:\n    address: 127.0.0.1\n    port: {port}\n    routes:\n      all: {{ weight: 100%, \
                 instances: [\"127.0.0.1:{origin}\"] }}\n{lines}"
            ),
        )
        .unwrap();
        let mut config = Config::new(
            weir_store::connect(&format!("file:{}", document.display())).unwrap(),
            folder.path(),
        );
        config.admin = SocketAddr::from(([127, 0, 0, 1], 0));
        config.proxy.workers = 1;
        let (started, is_started) = std::sync::mpsc::sync_channel(1);
        let (ends, ended) = tokio::sync::oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let agent = Agent::start(config).await.unwrap();
                started.send(agent.admin_address()).unwrap();
                let _ = ended.await;
                agent.shutdown(Duration::ZERO).await;
            });
        });
        let admin = is_started.recv_timeout(PATIENCE).unwrap();
        wait_for(port);
        Self {
            port,
            admin,
            ends: Some(ends),
            thread: Some(thread),
            _folder: folder,
        }
    }

    /// Sum of the metrics of this name.
    pub fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        if let Some(ends) = self.ends.take() {
            let _ = ends.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// HAProxy before an origin.
pub struct Haproxy {
    pub port: u16,
    /// HTTP/2 with prior knowledge.
    pub http2_port: u16,
    _program: Program,
    _folder: tempfile::TempDir,
}

impl Haproxy {
    pub fn before(program: &Path, origin: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, http2_port) = (free_port(), free_port());
        let config = fs::read_to_string(super::given("haproxy.cfg"))
            .unwrap()
            .replace("{{port}}", &port.to_string())
            .replace("{{http2_port}}", &http2_port.to_string())
            .replace("{{origin}}", &origin.to_string());
        let path = folder.path().join("haproxy.cfg");
        fs::write(&path, config).unwrap();
        let program = Program::start(Command::new(program).arg("-db").arg("-f").arg(&path));
        wait_for(port);
        Self {
            port,
            http2_port,
            _program: program,
            _folder: folder,
        }
    }
}

/// Asks now and then, as somebody who behaves, until it is ended.
pub struct Neighbour {
    ends: Arc<AtomicBool>,
    thread: thread::JoinHandle<Service>,
}

/// How a neighbour was served.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    pub asked: u32,
    pub unanswered: u32,
    pub longest: Duration,
}

impl Neighbour {
    pub fn of(port: u16) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let mut service = Service {
                asked: 0,
                unanswered: 0,
                longest: Duration::ZERO,
            };
            while !ended.load(Ordering::Relaxed) {
                let began = Instant::now();
                service.asked += 1;
                if !is_answered(port).unwrap_or(false) {
                    service.unanswered += 1;
                }
                service.longest = service.longest.max(began.elapsed());
                thread::sleep(Duration::from_millis(20));
            }
            service
        });
        Self { ends, thread }
    }

    pub fn end(self) -> Service {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn is_answered(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok"))
}

//! What is measured: our agent and its peers, each a process pinned to one processor.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{
    case::{Case, Measure, Place},
    connection::HOST,
    measure,
};

/// One of the programs that are compared.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    program: PathBuf,
}

/// A running target.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) processes: Vec<u32>,
    child: Child,
    /// The configuration that may be written anew while it runs.
    pub(crate) configuration: Option<(PathBuf, String)>,
    /// What it proves to be itself with, if it speaks TLS (DER).
    pub(crate) certificate: Option<Vec<u8>>,
    /// Kept until the process has ended.
    _dir: tempfile::TempDir,
}

/// Processor of the proxies; everything else runs on the others.
const PROXY_CPU: usize = 0;

const READY_WITHIN: Duration = Duration::from_secs(20);

impl Target {
    /// Every target that is installed. The agent is given.
    pub(crate) fn installed(agent: &Path) -> anyhow::Result<Vec<Self>> {
        let ours = std::env::current_exe()?;
        let mut targets = vec![Self {
            name: "weir",
            version: first_line(agent, &["--version"]).unwrap_or_default(),
            program: agent.to_owned(),
        }];
        if let Some(version) = first_line(Path::new("haproxy"), &["-v"]) {
            targets.push(Self {
                name: "haproxy",
                version,
                program: "haproxy".into(),
            });
        }
        for program in ["nginx", "/usr/sbin/nginx"] {
            if let Some(version) = first_line(Path::new(program), &["-v"]) {
                targets.push(Self {
                    name: "nginx",
                    version,
                    program: program.into(),
                });
                break;
            }
        }
        if let Some(version) = first_line(Path::new("envoy"), &["--version"]) {
            targets.push(Self {
                name: "envoy",
                version,
                program: "envoy".into(),
            });
        }
        targets.push(Self {
            name: "relay",
            version: "bare".to_owned(),
            program: ours,
        });
        Ok(targets)
    }

    /// Starts it for a case; `None` if it takes no part.
    pub(crate) fn start(&self, case: &Case, backend: SocketAddr) -> anyhow::Result<Option<Running>> {
        let dir = tempfile::tempdir()?;
        let listen = free_address()?;
        let place = Place {
            listen,
            backend,
            dir: dir.path().to_owned(),
        };
        let file = match self.name {
            "weir" => "weir.yaml",
            "haproxy" => "haproxy.cfg",
            "nginx" => "nginx.conf",
            "envoy" => "envoy.yaml",
            // The floor stands beside the others wherever they are compared.
            _ => "haproxy.cfg",
        };
        let Some(text) = case.configuration(file, &place)? else {
            return Ok(None);
        };
        if self.name == "relay" && (!case.keep_alive || case.tls || case.measure == Measure::Resident) {
            return Ok(None);
        }
        let certificate = if case.tls {
            Some(certify(dir.path())?)
        } else {
            None
        };
        let path = dir.path().join(file);
        fs::write(&path, &text)?;
        let mut command = Command::new("taskset");
        let cpus = format!("{PROXY_CPU}-{}", PROXY_CPU + case.workers.max(1) - 1);
        command.args(["-c", &cpus]).arg(&self.program);
        match self.name {
            "weir" => {
                command
                    .arg("run")
                    .arg("--store")
                    .arg(format!("file:{}", path.display()));
                command.arg("--data").arg(dir.path().join("data"));
                command
                    .args(["--admin", "127.0.0.1:0", "--workers", &case.workers.to_string()])
                    .args(case.arguments(&place))
                    .env("RUST_LOG", "warn");
            }
            "haproxy" => {
                command.arg("-db").arg("-f").arg(&path);
            }
            "nginx" => {
                command.arg("-c").arg(&path).arg("-p").arg(dir.path());
            }
            "envoy" => {
                command
                    .args(["--concurrency", "1", "--log-level", "warn", "-c"])
                    .arg(&path);
            }
            _ => {
                command.args([
                    "relay",
                    "--listen",
                    &listen.to_string(),
                    "--to",
                    &backend.to_string(),
                ]);
            }
        }
        let log = fs::File::create(dir.path().join("log"))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(listen).is_err() {
            let ended = child.try_wait()?.is_some();
            if ended || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
                bail!("{} did not become ready: {}", self.name, log.trim());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(Running {
            address: listen,
            processes: measure::family(child.id()),
            child,
            configuration: (self.name == "weir").then_some((path, text)),
            certificate,
            _dir: dir,
        }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(process) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The service behind the proxies, as a process of its own.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Backend {
    pub(crate) fn start(body_bytes: usize, cpus: &str) -> anyhow::Result<Self> {
        let mut child = Command::new("taskset")
            .args(["-c", cpus])
            .arg(std::env::current_exe()?)
            .args(["backend", "--body-bytes", &body_bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the service")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let port: u16 = line.trim().parse().context("the service did not tell its port")?;
        Ok(Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            child,
        })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn first_line(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    Some(String::from_utf8_lossy(&text).lines().next()?.trim().to_owned())
}

/// Makes a certificate and its key: `cert.pem`, `key.pem`, and `both.pem` for who wants them in one file.
fn certify(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(dir.join("cert.pem"), &certificate)?;
    fs::write(dir.join("key.pem"), &key)?;
    fs::write(dir.join("both.pem"), certificate + &key)?;
    Ok(made.cert.der().to_vec())
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

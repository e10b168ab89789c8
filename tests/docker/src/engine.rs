//! An engine of one's own.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{filter, http, http::Answer, image};

/// Longest start of an engine.
const START_MAX: Duration = Duration::from_secs(90);
/// Longest end of an engine without containers.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Beginning of the names of engines' folders.
const PREFIX: &str = "weir-dk-";
/// Held by the engine whose turn it is, among all of this machine's tests.
const TURN: &str = "weir-test-docker.lock";

/// How to start an engine.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Also serve the API at this port of 127.0.0.1, with TLS on both sides: `ca.pem`, `server.pem`,
    /// `server-key.pem` of this folder.
    pub tls: Option<(u16, PathBuf)>,
}

/// A Docker Engine that ends with its test.
#[derive(Debug)]
pub struct Engine {
    folder: TempDir,
    options: Options,
    bridge: String,
    /// Beginning of its addresses, as `10.200.`.
    pool: String,
    child: Option<Child>,
    _turn: fs::File,
}

/// Why there can be no engine here; `None`: there can.
pub fn why_not() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("an engine of one's own needs root".to_owned());
    }
    let missing: Vec<&str> = ["dockerd", "containerd", "runc", "iptables", "ip"]
        .into_iter()
        .filter(|name| program(name).is_none())
        .collect();
    (!missing.is_empty()).then(|| {
        format!(
            "{} is missing (tests/components/docker/install)",
            missing.join(", ")
        )
    })
}

/// Ends what a test left that was killed itself. Whoever has the turn knows that no engine is in use.
fn sweep() {
    let folders: Vec<PathBuf> = fs::read_dir("/tmp")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
        .map(|entry| entry.path())
        .collect();
    for folder in folders {
        let name = format!("{}/", folder.display());
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&name) {
                signal(number, Signal::KILL);
            }
        }
        // What is still mounted in it stays until the next reboot.
        let _ = fs::remove_dir_all(&folder);
    }
}

fn signal(number: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) {
        // It is there no more if it ended meanwhile: that is as well.
        let _ = kill_process(pid, signal);
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    path.split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|file| file.is_file())
}

impl Engine {
    /// Starts one; `None`: there can be none here, which has been printed, and in CI is a failure.
    ///
    /// # Panics
    /// If it does not start, or in CI (`CI=true`) if there can be none.
    pub fn start(options: Options) -> Option<Engine> {
        if let Some(reason) = why_not() {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "in CI a skip is a failure: {reason}"
            );
            #[expect(clippy::print_stderr, reason = "a skip has to be seen")]
            {
                eprintln!("skipped: {reason}");
            }
            return None;
        }
        let turn = fs::File::create(std::env::temp_dir().join(TURN)).expect("a file can be made");
        turn.lock().expect("a file can be locked");
        sweep();
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in("/tmp")
            .expect("a folder can be made");
        // Two engines with the same addresses break each other's ports.
        let number = std::process::id() % 100;
        let mut engine = Engine {
            folder,
            options,
            bridge: format!("wdk{}", std::process::id()),
            pool: format!("10.{}.", 130 + number),
            child: None,
            _turn: turn,
        };
        engine.prepare();
        engine.run();
        Some(engine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.path("docker.sock")
    }

    /// Its endpoint, as `unix://...`.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Address of this host in its usual network.
    pub fn gateway(&self) -> String {
        format!("{}0.1", self.pool)
    }

    fn prepare(&self) {
        filter::clean(&self.bridge, &self.pool);
        let ip = |words: &[&str]| {
            assert!(
                filter::quiet(Command::new("ip").args(words)),
                "ip {} failed",
                words.join(" ")
            );
        };
        ip(&["link", "add", &self.bridge, "type", "bridge"]);
        ip(&[
            "addr",
            "add",
            &format!("{}/24", self.gateway()),
            "dev",
            &self.bridge,
        ]);
        ip(&["link", "set", &self.bridge, "up"]);
        fs::create_dir_all(self.path("etc")).expect("a folder can be made");
        fs::write(self.path("etc/daemon.json"), "{}").expect("a file can be written");
        // Without CAP_SYS_RESOURCE no process may be given a negative score, which the engine asks for, and runc
        // fails at it.
        let wrapper = self.path("etc/runc");
        let script = "#!/bin/sh\nb=; p=\nfor a in \"$@\"; do\n  [ \"$p\" != --bundle ] || b=$a\n  case $a in --bundle=*) b=${a#--bundle=};; esac\n  p=$a\ndone\n[ -z \"$b\" ] || sed -i 's/\"oomScoreAdj\":-[0-9]*/\"oomScoreAdj\":0/' \"$b/config.json\"\nexec runc \"$@\"\n";
        fs::write(&wrapper, script).expect("a file can be written");
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// Starts the engine, again after [`Engine::kill`] or [`Engine::stop`]; returns when it answers.
    ///
    /// # Panics
    /// If it does not start.
    pub fn run(&mut self) {
        self.clear_up();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log can be written");
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(program("dockerd").expect("it was looked for"));
        command
            .env("PATH", path)
            .env_remove("DOCKER_HOST")
            .args(["--config-file".into(), self.path("etc/daemon.json")])
            .args(["--data-root".into(), self.path("data")])
            .args(["--exec-root".into(), self.path("exec")])
            .args(["--pidfile".into(), self.path("pid")])
            .args(["--host", self.endpoint().as_str()])
            .args(["--bridge", self.bridge.as_str()])
            .args(["--fixed-cidr", format!("{}0.0/24", self.pool).as_str()])
            .args([
                "--default-address-pool",
                format!("base={}128.0/17,size=24", self.pool).as_str(),
            ])
            .args(["--ip", "127.0.0.1", "--shutdown-timeout", "3"])
            .arg("--add-runtime")
            .arg(format!("plain={}", self.path("etc/runc").display()))
            .args(["--default-runtime", "plain"]);
        if let Some((port, folder)) = &self.options.tls {
            command.arg("--host").arg(format!("tcp://127.0.0.1:{port}"));
            command.arg("--tlsverify");
            for (option, file) in [
                ("--tlscacert", "ca.pem"),
                ("--tlscert", "server.pem"),
                ("--tlskey", "server-key.pem"),
            ] {
                command.arg(option).arg(folder.join(file));
            }
        }
        // A group of its own: a Ctrl-C for the tests leaves it to be ended in order.
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("dockerd can be started");
        self.child = Some(child);
        let deadline = Instant::now() + START_MAX;
        while self
            .ask("GET", "/_ping", &[])
            .is_none_or(|answer| answer.status != 200)
        {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the engine did not come up ({ended:?}):\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What its predecessor in this folder left: a new engine would wait for the other's containerd.
    fn clear_up(&self) {
        let containerd = self.path("exec/containerd/containerd.pid");
        let number = fs::read_to_string(&containerd)
            .ok()
            .and_then(|text| text.trim().parse::<u32>().ok());
        if let Some(number) = number {
            let line = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains(&*self.path("exec").to_string_lossy()) {
                signal(number, Signal::KILL);
                let deadline = Instant::now() + STOP_MAX;
                while fs::read(format!("/proc/{number}/cmdline")).is_ok_and(|line| !line.is_empty()) {
                    assert!(Instant::now() < deadline, "the old containerd does not end");
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        let _ = fs::remove_file(self.path("pid"));
        let _ = fs::remove_file(containerd);
        for entry in fs::read_dir(self.path("exec/containerd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().contains(".sock") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let text = fs::read(self.path("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(30);
        lines.into_iter().skip(skipped).collect::<Vec<&str>>().join("\n")
    }

    /// Kills it at once, as a crash does. Its containers live on without their ports.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it in order, and its containers with it.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        signal(child.id(), Signal::TERM);
        let deadline = Instant::now() + STOP_MAX;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it stand still, or go on.
    pub fn freeze(&self, frozen: bool) {
        if let Some(child) = &self.child {
            signal(child.id(), if frozen { Signal::STOP } else { Signal::CONT });
        }
    }

    /// Asks its API; `None`: it does not answer.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> Option<Answer> {
        http::ask(&self.socket(), method, path, "application/json", body).ok()
    }

    /// Asks its API for something that has to succeed.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let answer = self.ask(method, path, &body);
        let answer = answer.unwrap_or_else(|| panic!("{method} {path}: no answer\n{}", self.log()));
        assert!(
            answer.status < 400,
            "{method} {path}: {} {}",
            answer.status,
            answer.text()
        );
        answer.json()
    }

    /// All of its containers.
    pub fn containers(&self) -> Vec<Value> {
        let listed = self
            .ask("GET", "/containers/json?all=1", &[])
            .map(|answer| answer.json());
        listed
            .and_then(|list| list.as_array().cloned())
            .unwrap_or_default()
    }

    /// The engine's id of an instance's container.
    pub fn container_of(&self, instance: &str) -> Option<String> {
        self.containers().into_iter().find_map(|container| {
            let label = container.pointer("/Labels/io.weir.instance")?.as_str()?;
            (label == instance).then(|| container.get("Id")?.as_str().map(str::to_owned))?
        })
    }

    /// Runs the test service with these words in a container of its own until it ends: what it wrote.
    ///
    /// # Panics
    /// If it does not come to run.
    pub fn run_once(&self, image: &str, words: &[&str]) -> String {
        let mut command = vec![image::SERVICE];
        command.extend(words);
        let body = serde_json::json!({"Image": image, "Cmd": command, "Tty": true});
        let made = self.must("POST", "/containers/create", &body);
        let id = made
            .get("Id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        self.must("POST", &format!("/containers/{id}/start"), &Value::Null);
        self.must("POST", &format!("/containers/{id}/wait"), &Value::Null);
        let logs = self.ask("GET", &format!("/containers/{id}/logs?stdout=1&stderr=1"), &[]);
        self.must("DELETE", &format!("/containers/{id}?force=1"), &Value::Null);
        logs.map(|answer| answer.text()).unwrap_or_default()
    }

    /// Gives it an image with the test service as its only file.
    ///
    /// # Panics
    /// If the service cannot be built or the engine does not take it.
    pub fn image(&self, name: &str, command: &[&str]) {
        let tar = image::saved(name, command);
        let answer = http::ask(
            &self.socket(),
            "POST",
            "/images/load?quiet=1",
            "application/x-tar",
            &tar,
        )
        .expect("the engine answers");
        assert!(
            answer.status < 400 && !answer.text().contains("errorDetail"),
            "the image {name} was not taken: {}",
            answer.text()
        );
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.child.is_none() {
            // Its containers' shims may still be there; only an engine can end them.
            let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run()));
            if started.is_err() {
                return;
            }
        }
        self.freeze(false);
        for container in self.containers() {
            if let Some(id) = container.get("Id").and_then(Value::as_str) {
                let _ = self.ask("DELETE", &format!("/containers/{id}?force=1&v=1"), &[]);
            }
        }
        self.stop();
        filter::clean(&self.bridge, &self.pool);
        // Whatever is still mounted in the folder would keep it from being removed.
        if let Ok(mounts) = fs::read_to_string("/proc/mounts") {
            let folder = self.folder.path().to_string_lossy().into_owned();
            let below: Vec<&str> = mounts
                .lines()
                .filter_map(|line| line.split(' ').nth(1))
                .filter(|path| path.starts_with(&folder))
                .collect();
            for path in below.iter().rev() {
                filter::quiet(Command::new("umount").args(["-l", path]));
            }
        }
    }
}

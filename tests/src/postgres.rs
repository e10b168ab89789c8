//! Real PostgreSQL servers: started on loopback, killed, started again.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Certificates, eventually, ports};

/// The user that the server runs as where the test is root: it refuses to be root.
const USER: &str = "postgres";
/// Password of the database's user.
const PASSWORD: &str = "secret";
/// Longest time until a server that was started serves.
const START_MAX: Duration = Duration::from_secs(60);

/// A server of its own, which asks for a password and offers TLS; killed when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    port: u16,
    child: Option<Child>,
    certificates: Certificates,
    temporary: tempfile::TempDir,
}

impl Postgres {
    /// Starts a server; `None` (said on standard error) if its programs are not installed.
    ///
    /// # Panics
    /// If it does not serve in time, or is not installed where `CI` is `true`.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "PostgreSQL is not installed (tests/components/postgres/install)"
            );
            skipped();
            return None;
        };
        let temporary = tempfile::tempdir().expect("a folder");
        // The server's user must reach what is below.
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let certificates = Certificates::in_folder(&temporary.path().join("tls"));
        let mut server = Self {
            programs,
            port: ports::port(),
            child: None,
            certificates,
            temporary,
        };
        server.make();
        server.start_again();
        Some(server)
    }

    /// Where its database is, without encryption.
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    /// Its address with encryption asked for, checked by its authority.
    pub fn url_tls(&self) -> String {
        let ca = self.certificates.ca.display();
        format!("{}?sslmode=require&sslrootcert={ca}", self.url())
    }

    fn data(&self) -> PathBuf {
        self.temporary.path().join("data")
    }

    fn make(&self) {
        let data = self.data();
        let password = self.temporary.path().join("password");
        fs::write(&password, PASSWORD).expect("written");
        fs::create_dir(&data).expect("a folder");
        let mut initdb = self.command("initdb");
        initdb
            .args([
                "-U",
                USER,
                "-E",
                "UTF8",
                "--no-locale",
                "--auth",
                "scram-sha-256",
                "-N",
            ])
            .arg("--pwfile")
            .arg(&password)
            .arg("-D")
            .arg(&data);
        own(&[&data, &password]);
        let made = initdb.output().expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        for (from, to) in [
            (&self.certificates.server, "server.crt"),
            (&self.certificates.server_key, "server.key"),
        ] {
            let to = data.join(to);
            fs::copy(from, &to).expect("copied");
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).expect("it is ours");
            own(&[&to]);
        }
    }

    /// Starts it with what it held, and waits until it serves.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn start_again(&mut self) {
        let log = self.temporary.path().join("log");
        let spawn = || {
            let log = File::options()
                .create(true)
                .append(true)
                .open(&log)
                .expect("a file for its log");
            self.command("postgres")
                .arg("-D")
                .arg(self.data())
                .args([
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    "unix_socket_directories=",
                    "-c",
                    "ssl=on",
                ])
                .args(["-c", &format!("port={}", self.port)])
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a second handle"))
                .stderr(log)
                .spawn()
                .expect("the server's program runs")
        };
        let mut child = spawn();
        eventually("PostgreSQL serves", START_MAX, || {
            if child.try_wait().expect("it was started here").is_some() {
                // Children of one that was killed may still hold its memory.
                child = spawn();
            }
            // A port that is open is not enough: for a while connections are answered "starting up".
            let mut ready = self.command("pg_isready");
            ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            ready.status().is_ok_and(|status| status.success()).then_some(())
        });
        self.child = Some(child);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", USER, "--regid", USER, "--init-groups"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/").env("LC_ALL", "C");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

#[expect(clippy::print_stderr, reason = "a skip is to be seen")]
fn skipped() {
    eprintln!("skipped: PostgreSQL is not installed (tests/components/postgres/install)");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives files to the server's user.
fn own(paths: &[&Path]) {
    if is_root() {
        let status = Command::new("chown").arg(USER).args(paths).status();
        assert!(status.is_ok_and(|status| status.success()), "{paths:?}");
    }
}

/// The folder of the newest server's programs.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|folder| folder.join("postgres").exists())
        .collect();
    found.sort();
    found.pop()
}

//! Real servers of key-value stores: started on loopback, killed, started again, wiped, set back.

mod consul;
mod etcd;
mod zookeeper;

use std::{
    fmt,
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use weir_store::Store;

use crate::{certificates::Certificates, eventually, network::Host, ports, processes};

/// Longest time until a server that was started serves.
const START_MAX: Duration = Duration::from_secs(60);

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// etcd, version 3.
    Etcd,
    /// Consul.
    Consul,
    /// ZooKeeper.
    ZooKeeper,
}

impl Kind {
    /// Every store that other programs serve.
    pub const ALL: [Self; 3] = [Self::Etcd, Self::Consul, Self::ZooKeeper];

    /// As in an address.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Consul => "consul",
            Self::ZooKeeper => "zk",
        }
    }

    /// Whether its programs are installed.
    pub fn is_there(self) -> bool {
        match self {
            Self::Etcd => in_path("etcd") && in_path("etcdctl"),
            Self::Consul => consul::program().exists(),
            Self::ZooKeeper => in_path("java") && zookeeper::jar().exists(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Etcd => "etcd",
            Self::Consul => "Consul",
            Self::ZooKeeper => "ZooKeeper",
        })
    }
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// How a server is to be set up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// TLS, with certificates of clients asked for.
    pub tls: bool,
    /// Only for who has the credentials that [`Server::url`] has.
    pub auth: bool,
}

/// A server of one node; killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    setup: Setup,
    folder: PathBuf,
    certificates: Option<Certificates>,
    /// Where clients connect, and two for the server's own use.
    ports: [u16; 3],
    child: Option<Child>,
    /// Whether users were made in what the folder has.
    has_users: bool,
    /// Where it runs; `None`: here, on loopback alone.
    host: Option<Host>,
    /// Removed last.
    _temporary: Arc<tempfile::TempDir>,
}

/// What a server held at some time.
#[derive(Debug)]
pub struct Backup {
    folder: PathBuf,
    has_users: bool,
}

impl Server {
    /// Starts a server; `None` (said on standard error) if its programs are not installed.
    ///
    /// # Panics
    /// If it does not serve in time, or is not installed where `CI` is `true`.
    pub fn start(kind: Kind, setup: Setup) -> Option<Self> {
        Self::start_on(None, kind, setup)
    }

    /// As [`Server::start`], on a host of its own if there is one. Certificates are for loopback alone.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn start_on(host: Option<Host>, kind: Kind, setup: Setup) -> Option<Self> {
        if !kind.is_there() {
            let name = kind.to_string().to_lowercase();
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{kind} is not installed (tests/components/{name}/install)"
            );
            return None;
        }
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = temporary.path().to_owned();
        let certificates = setup.tls.then(|| Certificates::in_folder(&folder.join("tls")));
        let mut server = Self {
            kind,
            setup,
            certificates,
            folder,
            ports: [ports::port(), ports::port(), ports::port()],
            child: None,
            has_users: false,
            host,
            _temporary: Arc::new(temporary),
        };
        server.start_again();
        Some(server)
    }

    /// Which store.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where clients connect, on 127.0.0.1 or at the addresses of its host.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        let address = self.host.as_ref().and_then(|host| host.addresses().first());
        let address = address.copied().unwrap_or(Ipv4Addr::LOCALHOST);
        SocketAddr::from((address, self.port()))
    }

    /// The host on which it runs, if that is not this one.
    pub fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// Where it listens.
    fn listens_on(&self) -> IpAddr {
        let address = match self.host {
            Some(_) => Ipv4Addr::UNSPECIFIED,
            None => Ipv4Addr::LOCALHOST,
        };
        address.into()
    }

    /// Its address, credentials included.
    pub fn url(&self) -> String {
        self.url_of(self.address())
    }

    /// Its address by another port of 127.0.0.1, such as that of a proxy before it.
    pub fn url_at(&self, port: u16) -> String {
        self.url_of((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Its address by another way to it.
    pub fn url_of(&self, address: SocketAddr) -> String {
        let scheme = self.kind.scheme();
        let user = match self.kind {
            Kind::Etcd if self.setup.auth => "root:secret@",
            Kind::ZooKeeper if self.setup.auth => "weir:secret@",
            _ => "",
        };
        let mut options = Vec::new();
        if self.kind == Kind::Consul && self.setup.auth {
            options.push(format!("token={}", consul::TOKEN));
        }
        if let Some(files) = &self.certificates {
            options.push(format!(
                "ca={}&cert={}&key={}",
                files.ca.display(),
                files.client.display(),
                files.client_key.display()
            ));
        }
        format!("{scheme}://{user}{address}?{}", options.join("&"))
    }

    /// Files for TLS, if it speaks that.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// A fresh client of it.
    ///
    /// # Panics
    /// If the address is wrong.
    pub fn connect(&self) -> Arc<dyn Store> {
        weir_store::connect(&self.url()).expect("its address is right")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Starts it with what it held, and waits until it serves.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn start_again(&mut self) {
        fs::create_dir_all(self.data()).expect("a folder");
        let mut command = match self.kind {
            Kind::Etcd => etcd::command(self),
            Kind::Consul => consul::command(self),
            Kind::ZooKeeper => zookeeper::command(self),
        };
        if let Some(host) = &self.host {
            command = host.command(&command);
        }
        let log = self.folder.join("log");
        self.child = Some(start(&mut command, &log));
        if self.kind == Kind::Etcd && self.setup.auth && !self.has_users {
            etcd::make_users(self);
            self.has_users = true;
        }
        self.await_service();
    }

    /// Waits until a client is answered.
    fn await_service(&mut self) {
        let url = self.url();
        let log = self.folder.join("log");
        let child = self.child.as_mut().expect("it was started");
        let kind = self.kind;
        // On a thread of its own: the caller may be within a runtime.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                let store = weir_store::connect(&url).expect("its address is right");
                eventually(&format!("{kind} serves"), START_MAX, || {
                    if let Some(status) = child.try_wait().expect("it was started here") {
                        let text = fs::read_to_string(&log).unwrap_or_default();
                        let lines: Vec<&str> = text.lines().rev().take(20).collect();
                        panic!("{kind} ended ({status}): {lines:#?}");
                    }
                    runtime.block_on(store.place("ready")).ok()
                });
            });
            waiting.join().expect("it serves");
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends it a signal, such as SIGSTOP and SIGCONT.
    pub fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            processes::signal(child.id(), signal);
        }
    }

    /// Kills it and removes all that it held; it is not started.
    ///
    /// # Panics
    /// If its folder cannot be removed.
    pub fn wipe(&mut self) {
        self.kill();
        fs::remove_dir_all(self.data()).expect("its folder can be removed");
        self.has_users = false;
    }

    /// Kills it, keeps what it holds, and starts it again.
    ///
    /// # Panics
    /// If it does not serve in time.
    pub fn back_up(&mut self) -> Backup {
        self.kill();
        let folder = self.folder.join(format!("backup-{}", ports::port()));
        copy(&self.data(), &folder);
        self.start_again();
        Backup {
            folder,
            has_users: self.has_users,
        }
    }

    /// Kills it and replaces what it holds; it is not started.
    ///
    /// # Panics
    /// If its folder cannot be written.
    pub fn set_back(&mut self, backup: &Backup) {
        self.wipe();
        copy(&backup.folder, &self.data());
        self.has_users = backup.has_users;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(command: &mut Command, log: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log)
        .expect("a file for its log");
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"))
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{} can be copied",
        from.display()
    );
}

pub use etcd::Cluster;

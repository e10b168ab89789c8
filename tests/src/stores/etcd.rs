//! etcd: one node, or a cluster of three.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;

use super::{Server, start};
use crate::{eventually, ports, processes};

pub(super) fn command(server: &Server) -> Command {
    let [port, peer_port, _] = server.ports;
    let scheme = if server.setup.tls { "https" } else { "http" };
    let url = format!("{scheme}://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    let mut command = Command::new("etcd");
    node(
        &mut command,
        "n1",
        &server.data(),
        &url,
        &peer,
        &format!("n1={peer}"),
    );
    if let Some(files) = &server.certificates {
        command
            .arg("--cert-file")
            .arg(&files.server)
            .arg("--key-file")
            .arg(&files.server_key)
            .arg("--trusted-ca-file")
            .arg(&files.ca)
            .arg("--client-cert-auth");
    }
    command
}

fn node(command: &mut Command, name: &str, data: &Path, url: &str, peer: &str, cluster: &str) {
    command
        .args(["--name", name, "--data-dir"])
        .arg(data)
        .args(["--listen-client-urls", url, "--advertise-client-urls", url])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", cluster, "--initial-cluster-state", "new"])
        .args(["--logger", "zap", "--log-level", "error"])
        // A test's disk need not be waited for more than once.
        .args(["--snapshot-count", "5000"]);
}

/// Turns users on: `root` with the password `secret`.
pub(super) fn make_users(server: &Server) {
    let scheme = if server.setup.tls { "https" } else { "http" };
    let endpoint = format!("{scheme}://127.0.0.1:{}", server.port());
    let control = |arguments: &[&str]| {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoint]);
        if let Some(files) = &server.certificates {
            command.arg("--cacert").arg(&files.ca);
            command.arg("--cert").arg(&files.client);
            command.arg("--key").arg(&files.client_key);
        }
        command
            .args(arguments)
            .output()
            .expect("etcdctl runs")
            .status
            .success()
    };
    eventually("etcd serves", super::START_MAX, || {
        control(&["get", "ready"]).then_some(())
    });
    for arguments in [
        &["user", "add", "root:secret"][..],
        &["role", "add", "root"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        assert!(control(arguments), "etcdctl {arguments:?}");
    }
}

/// Three nodes of etcd; killed when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    cluster: String,
    _temporary: Arc<tempfile::TempDir>,
}

#[derive(Debug)]
struct Node {
    name: String,
    url: String,
    peer: String,
    port: u16,
    folder: PathBuf,
    child: Option<Child>,
}

impl Cluster {
    /// Starts three nodes; `None` if etcd is not installed.
    ///
    /// # Panics
    /// If they do not serve in time.
    pub fn start() -> Option<Self> {
        if !super::Kind::Etcd.is_there() {
            return None;
        }
        let temporary = tempfile::tempdir().expect("a folder");
        let nodes: Vec<Node> = (0..3)
            .map(|number| {
                let port = ports::port();
                Node {
                    name: format!("n{number}"),
                    url: format!("http://127.0.0.1:{port}"),
                    peer: format!("http://127.0.0.1:{}", ports::port()),
                    port,
                    folder: temporary.path().join(format!("n{number}")),
                    child: None,
                }
            })
            .collect();
        let cluster: Vec<String> = nodes
            .iter()
            .map(|node| format!("{}={}", node.name, node.peer))
            .collect();
        let mut cluster = Self {
            cluster: cluster.join(","),
            nodes,
            _temporary: Arc::new(temporary),
        };
        for number in 0..3 {
            cluster.start_again(number);
        }
        Some(cluster)
    }

    /// The address of all nodes.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        format!("etcd://{}", hosts.join(","))
    }

    /// The address of one node.
    pub fn url_of(&self, node: usize) -> String {
        format!("etcd://127.0.0.1:{}", self.nodes[node].port)
    }

    /// Starts a node; does not wait for it.
    pub fn start_again(&mut self, number: usize) {
        let cluster = self.cluster.clone();
        let node = &mut self.nodes[number];
        let data = node.folder.join("data");
        std::fs::create_dir_all(&data).expect("a folder");
        let mut command = Command::new("etcd");
        self::node(&mut command, &node.name, &data, &node.url, &node.peer, &cluster);
        // Three nodes on a busy machine: patience with each other.
        command.args(["--heartbeat-interval", "100", "--election-timeout", "1000"]);
        node.child = Some(start(&mut command, &node.folder.join("log")));
    }

    /// SIGKILL for a node.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.nodes[number].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// A node that is frozen takes connections and says nothing: for others it is cut off.
    pub fn signal(&self, number: usize, signal: Signal) {
        if let Some(child) = &self.nodes[number].child {
            processes::signal(child.id(), signal);
        }
    }

    /// How long nodes need at most to choose another leader.
    pub const ELECTION_MAX: Duration = Duration::from_secs(10);
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 0..self.nodes.len() {
            self.kill(number);
        }
    }
}

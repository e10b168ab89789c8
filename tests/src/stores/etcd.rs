//! etcd: one node, or a cluster of three.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;

use super::{Server, start};
use crate::{eventually, network::Host, ports, processes};

pub(super) fn command(server: &Server) -> Command {
    let [port, peer_port, _] = server.ports;
    let scheme = if server.setup.tls { "https" } else { "http" };
    let url = format!("{scheme}://{}", server.address());
    let listen = format!("{scheme}://{}:{port}", server.listens_on());
    let peer = format!("http://127.0.0.1:{peer_port}");
    let mut command = Command::new("etcd");
    node(
        &mut command,
        "n1",
        &server.data(),
        [&listen, &url],
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

/// `urls`: where it listens, and what it tells others of that.
fn node(command: &mut Command, name: &str, data: &Path, urls: [&str; 2], peer: &str, cluster: &str) {
    let [listen, url] = urls;
    command
        .args(["--name", name, "--data-dir"])
        .arg(data)
        .args(["--listen-client-urls", listen, "--advertise-client-urls", url])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", cluster, "--initial-cluster-state", "new"])
        .args(["--logger", "zap", "--log-level", "error"])
        // A test's disk need not be waited for more than once.
        .args(["--snapshot-count", "5000"]);
}

/// Turns users on: `root` with the password `secret`.
pub(super) fn make_users(server: &Server) {
    let scheme = if server.setup.tls { "https" } else { "http" };
    let endpoint = format!("{scheme}://{}", server.address());
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
    address: SocketAddr,
    peer: String,
    folder: PathBuf,
    child: Option<Child>,
    /// Where it runs; `None`: here.
    host: Option<Host>,
}

impl Cluster {
    /// Starts three nodes; `None` if etcd is not installed.
    ///
    /// # Panics
    /// If they do not serve in time.
    pub fn start() -> Option<Self> {
        Self::start_on([None, None, None])
    }

    /// As [`Cluster::start`], each node on a host of its own if there is one.
    ///
    /// # Panics
    /// If they do not serve in time.
    pub fn start_on(hosts: [Option<Host>; 3]) -> Option<Self> {
        if !super::Kind::Etcd.is_there() {
            return None;
        }
        let temporary = tempfile::tempdir().expect("a folder");
        let nodes: Vec<Node> = hosts
            .into_iter()
            .enumerate()
            .map(|(number, host)| {
                let address = host.as_ref().and_then(|host| host.addresses().first());
                let address = address.copied().unwrap_or(Ipv4Addr::LOCALHOST);
                Node {
                    name: format!("n{number}"),
                    address: (address, ports::port()).into(),
                    peer: format!("http://{address}:{}", ports::port()),
                    folder: temporary.path().join(format!("n{number}")),
                    child: None,
                    host,
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
        self.url_from(0)
    }

    /// The address of all nodes, this one first.
    pub fn url_from(&self, node: usize) -> String {
        let nodes = self.nodes.iter().cycle().skip(node).take(self.nodes.len());
        let addresses: Vec<String> = nodes.map(|node| node.address.to_string()).collect();
        format!("etcd://{}", addresses.join(","))
    }

    /// The address of one node.
    pub fn url_of(&self, node: usize) -> String {
        format!("etcd://{}", self.nodes[node].address)
    }

    /// Drops every packet between a node and the others, or passes them again.
    ///
    /// # Panics
    /// If the node has no host of its own, or it is so already.
    pub fn partition(&self, node: usize, is_apart: bool) {
        let host = self.nodes[node].host.as_ref().expect("it has a host of its own");
        for (number, other) in self.nodes.iter().enumerate() {
            match is_apart {
                _ if number == node => {}
                true => host.drop_packets(other.address.ip()),
                false => host.pass_packets(other.address.ip()),
            }
        }
    }

    /// Which node leads, if those that can be asked agree.
    pub fn leader(&self) -> Option<usize> {
        let endpoints: Vec<String> = self.nodes.iter().map(|node| node.address.to_string()).collect();
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3");
        command.args(["--endpoints", &endpoints.join(","), "--command-timeout", "2s"]);
        command.args(["endpoint", "status", "-w", "fields"]);
        let text = command.output().ok()?.stdout;
        let text = String::from_utf8_lossy(&text);
        let number = |name: &str| -> Vec<&str> {
            let values = text.lines().filter_map(|line| line.strip_prefix(name));
            values.map(|value| value.trim_start_matches(" : ")).collect()
        };
        let (members, leaders) = (number("\"MemberID\""), number("\"Leader\""));
        let leader = *leaders.first()?;
        (members.len() == self.nodes.len() && leaders.iter().all(|other| *other == leader))
            .then(|| members.iter().position(|member| *member == leader))?
    }

    /// Starts a node; does not wait for it.
    pub fn start_again(&mut self, number: usize) {
        let cluster = self.cluster.clone();
        let node = &mut self.nodes[number];
        let data = node.folder.join("data");
        std::fs::create_dir_all(&data).expect("a folder");
        let mut command = Command::new("etcd");
        let url = format!("http://{}", node.address);
        self::node(
            &mut command,
            &node.name,
            &data,
            [&url, &url],
            &node.peer,
            &cluster,
        );
        // Three nodes on a busy machine: patience with each other.
        command.args(["--heartbeat-interval", "100", "--election-timeout", "1000"]);
        if let Some(host) = &node.host {
            command = host.command(&command);
        }
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

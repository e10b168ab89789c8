//! Hosts of their own on this machine: network namespaces behind one switch, whose packets can be dropped.
//!
//! Unlike a relay, this is a network that fails: connections stay open on both sides and nobody is told anything. It needs
//! root, `ip` and `iptables`; [`why_not`] says what is missing. All names begin with `wt` and the number of this process; what
//! a process left behind that was killed is removed by the next.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Networks that this process has made.
static NETWORKS: AtomicU32 = AtomicU32::new(0);
/// Bits of the addresses that are the network's.
const BITS: u8 = 24;
/// Most networks that are looked through for one that nobody uses: all of 198.18.0.0/15, which is for such tests.
const SUBNETS: u32 = 512;

/// Why there are no hosts of their own here; `None`: there are.
pub fn why_not() -> Option<String> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    WHY.get_or_init(look).clone()
}

fn look() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    for (program, argument) in [("ip", "-V"), ("nsenter", "-V"), ("iptables", "-V")] {
        if !run_quietly(program, &[argument]) {
            return Some(format!("`{program}` is not installed"));
        }
    }
    // Containers often may not.
    let name = format!("wt{}probe", std::process::id());
    if !run_quietly("ip", &["netns", "add", &name]) {
        return Some("network namespaces are not permitted here".to_owned());
    }
    let may_drop = run_quietly("ip", &["netns", "exec", &name, "iptables", "-w", "-L"]);
    run_quietly("ip", &["netns", "del", &name]);
    (!may_drop).then(|| "iptables does not work in network namespaces here".to_owned())
}

/// A switch, with this host at one of its ports. It ends when this is dropped, after its hosts.
#[derive(Debug)]
pub struct Network {
    /// Of the switch's namespace.
    name: String,
    /// Of this host's end of the cable.
    cable: String,
    /// The first three numbers of every address.
    subnet: [u8; 3],
    hosts: u8,
}

/// A host: a network namespace with addresses of its own.
#[derive(Debug)]
pub struct Host {
    name: String,
    addresses: Vec<Ipv4Addr>,
}

impl Network {
    /// Makes it; `None` where that is not permitted ([`why_not`]).
    ///
    /// # Panics
    /// If it is permitted and fails.
    pub fn new() -> Option<Self> {
        if why_not().is_some() {
            return None;
        }
        sweep();
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let mut network = Self {
            name: format!("wt{process}x{number}"),
            cable: format!("wt{process}c{number}"),
            subnet: [198, 18, 0],
            hosts: 0,
        };
        let name = network.name.clone();
        ip(&["netns", "add", &name]);
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        ip(&["-n", &name, "link", "add", "switch", "type", "bridge"]);
        ip(&["-n", &name, "link", "set", "switch", "up"]);
        let cable = network.cable.clone();
        ip(&[
            "link", "add", &cable, "type", "veth", "peer", "name", "uplink", "netns", &name,
        ]);
        ip(&["-n", &name, "link", "set", "uplink", "master", "switch", "up"]);
        network.take_subnet(process.wrapping_add(number));
        ip(&["link", "set", &cable, "up"]);
        Some(network)
    }

    /// Gives this host's end an address of a subnet that no other interface of it has.
    fn take_subnet(&mut self, start: u32) {
        for step in 0..SUBNETS {
            let [_, _, second, third] = ((start.wrapping_mul(31) + step) % SUBNETS).to_be_bytes();
            self.subnet = [198, 18 + second, third];
            let own = self.address(1);
            let text = Command::new("ip").args(["-4", "-o", "address"]).output();
            let text = text.map(|output| output.stdout).unwrap_or_default();
            let [a, b, c] = self.subnet;
            if !String::from_utf8_lossy(&text).contains(&format!(" {a}.{b}.{c}.")) {
                return ip(&["address", "add", &format!("{own}/{BITS}"), "dev", &self.cable]);
            }
        }
        panic!("all of 198.18.0.0/15 is in use");
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last)
    }

    /// Where others reach this host.
    pub fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// Another host, with so many addresses (at most 9).
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn host(&mut self, addresses: u8) -> Host {
        assert!((1..=9).contains(&addresses), "{addresses} addresses");
        self.hosts += 1;
        let name = format!("{}h{}", self.name, self.hosts);
        let port = format!("p{}", self.hosts);
        ip(&["netns", "add", &name]);
        let host = Host {
            addresses: (0..addresses)
                .map(|number| self.address(self.hosts * 10 + number))
                .collect(),
            name,
        };
        let name = &host.name;
        ip(&["-n", name, "link", "set", "lo", "up"]);
        ip(&[
            "-n", &self.name, "link", "add", &port, "type", "veth", "peer", "name", "net", "netns", name,
        ]);
        ip(&["-n", &self.name, "link", "set", &port, "master", "switch", "up"]);
        for address in &host.addresses {
            ip(&[
                "-n",
                name,
                "address",
                "add",
                &format!("{address}/{BITS}"),
                "dev",
                "net",
            ]);
        }
        ip(&["-n", name, "link", "set", "net", "up"]);
        host
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Deleting one end of a cable deletes the other.
        run_quietly("ip", &["link", "del", &self.cable]);
        run_quietly("ip", &["netns", "del", &self.name]);
    }
}

impl Host {
    /// Its addresses, in order.
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }

    /// The same program, on this host.
    pub fn command(&self, command: &Command) -> Command {
        let mut there = Command::new("nsenter");
        there.arg(format!("--net=/run/netns/{}", self.name)).arg("--");
        there.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => there.env(name, value),
                None => there.env_remove(name),
            };
        }
        there
    }

    /// Drops every packet from and to an address, its own or another's.
    ///
    /// # Panics
    /// If the rules cannot be set.
    pub fn drop_packets(&self, address: impl Into<IpAddr>) {
        self.rules("-I", address.into());
    }

    /// Takes [`drop_packets`](Self::drop_packets) back.
    ///
    /// # Panics
    /// If it was not called before.
    pub fn pass_packets(&self, address: impl Into<IpAddr>) {
        self.rules("-D", address.into());
    }

    fn rules(&self, action: &str, address: IpAddr) {
        let address = address.to_string();
        for chain in ["INPUT", "OUTPUT"] {
            for side in ["-s", "-d"] {
                let mut command = Command::new("iptables");
                command.args(["-w", action, chain, side, &address, "-j", "DROP"]);
                must(&mut self.command(&command));
            }
        }
    }

    /// Pulls its cable, or plugs it in.
    ///
    /// # Panics
    /// If that fails.
    pub fn plug(&self, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        ip(&["-n", &self.name, "link", "set", "net", state]);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What runs there was killed before: its owner holds the host.
        run_quietly("ip", &["netns", "del", &self.name]);
    }
}

/// Removes what processes left behind that are gone.
fn sweep() {
    let owner = |name: &str| -> Option<u32> {
        let digits: String = name
            .strip_prefix("wt")?
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    };
    let is_left = |name: &str| owner(name).is_some_and(|process| !crate::processes::is_there(process));
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(name) = name.to_str().filter(|name| is_left(name)) {
            run_quietly("ip", &["netns", "del", name]);
        }
    }
    for entry in std::fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        if let Some(name) = name.to_str().filter(|name| is_left(name)) {
            run_quietly("ip", &["link", "del", name]);
        }
    }
}

#[track_caller]
fn ip(arguments: &[&str]) {
    must(Command::new("ip").args(arguments));
}

#[track_caller]
fn must(command: &mut Command) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("it was found before");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run_quietly(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

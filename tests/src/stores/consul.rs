//! Consul: one server.

use std::{fs, path::PathBuf, process::Command};

use serde_json::json;

use super::Server;

/// Management token of servers that ask for one.
pub(super) const TOKEN: &str = "11111111-2222-3333-4444-555555555555";

/// Where `tests/components/consul/install` puts it.
pub(super) fn program() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("WEIR_COMPONENTS").unwrap_or_else(|| {
        let home = variable("HOME").unwrap_or_default();
        variable("XDG_CACHE_HOME")
            .unwrap_or_else(|| home.join(".cache"))
            .join("weir-components")
    });
    cache.join("consul/usr/bin/consul")
}

pub(super) fn command(server: &Server) -> Command {
    let [port, lan, rpc] = server.ports;
    let tls = server.certificates.is_some();
    let mut config = json!({
        "datacenter": "dc1", "node_name": "n1", "bind_addr": "127.0.0.1", "client_addr": server.listens_on(),
        "advertise_addr": "127.0.0.1", "disable_update_check": true, "log_level": "warn",
        "server": true, "bootstrap_expect": 1, "data_dir": server.data(),
        // Elect at once.
        "performance": { "raft_multiplier": 1 },
        "ports": {
            "http": if tls { -1 } else { i32::from(port) }, "https": if tls { i32::from(port) } else { -1 },
            "dns": -1, "grpc": -1, "serf_lan": lan, "serf_wan": -1, "server": rpc,
        },
    });
    if server.setup.auth {
        config["acl"] = json!({
            "enabled": true, "default_policy": "deny", "enable_token_persistence": true,
            "tokens": { "master": TOKEN, "agent": TOKEN },
        });
    }
    if let Some(files) = &server.certificates {
        config["ca_file"] = json!(files.ca);
        config["cert_file"] = json!(files.server);
        config["key_file"] = json!(files.server_key);
        config["verify_incoming_https"] = json!(true);
    }
    let file = server.folder.join("consul.json");
    fs::write(&file, config.to_string()).expect("the folder can be written");
    let mut command = Command::new(program());
    command.args(["agent", "-config-file"]).arg(file);
    command
}

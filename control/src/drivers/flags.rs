//! Options of programs that run control.

use std::{net::IpAddr, path::PathBuf};

use super::{Docker, DockerEngine};

/// Where services reach gateways unless containers have to.
const LOOPBACK: &str = "127.0.0.1";

/// Options about the Docker Engine.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Containers")]
pub struct DockerFlags {
    /// Run containers on this Docker Engine: unix:///PATH, tcp://HOST:PORT, https://HOST:PORT; without a value
    /// the one that DOCKER_HOST names, or this host's. Containers can reach gateways then. Default: an engine
    /// that is found when a container is to be started, whose containers cannot
    #[arg(
        long,
        env = "WEIR_DOCKER",
        value_name = "ENDPOINT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with = "no_docker"
    )]
    docker: Option<String>,
    /// Refuse containers, whatever engine there is
    #[arg(long, env = "WEIR_NO_DOCKER")]
    no_docker: bool,
    /// Folder with ca.pem, cert.pem and key.pem, for an engine with TLS; default: DOCKER_CERT_PATH
    #[arg(long, env = "WEIR_DOCKER_CERTS", value_name = "FOLDER")]
    docker_certs: Option<PathBuf>,
    /// Let gateways reach containers at their own addresses, not at published ports: less work for the host,
    /// and possible only for gateways on the engine's host
    #[arg(long, env = "WEIR_DOCKER_OWN_ADDRESSES")]
    docker_own_addresses: bool,
    /// Address of the engine's host on which ports are published; default: 127.0.0.1 on this host, else all
    #[arg(long, env = "WEIR_DOCKER_PUBLISH", value_name = "ADDRESS")]
    docker_publish: Option<IpAddr>,
    /// Network of containers whose services name none; default: the engine's own
    #[arg(long, env = "WEIR_DOCKER_NETWORK", value_name = "NAME")]
    docker_network: Option<String>,
}

impl DockerFlags {
    /// What they choose.
    pub fn choice(&self) -> Docker {
        if self.no_docker {
            return Docker::Off;
        }
        let engine = DockerEngine {
            endpoint: self.docker.clone().filter(|endpoint| !endpoint.is_empty()),
            certificates: self.docker_certs.clone(),
            own_addresses: self.docker_own_addresses,
            publish_address: self.docker_publish,
            network: self.docker_network.clone(),
        };
        if engine == DockerEngine::default() && !self.is_asked_for() {
            return Docker::Found;
        }
        Docker::At(engine)
    }

    /// Whether an engine was asked for, so that gateways should be made for containers.
    pub fn is_asked_for(&self) -> bool {
        self.docker.is_some()
    }

    /// Default of [`crate::Config::gateway_host`]: an address of this host that containers reach, if an engine of
    /// this host was asked for and answers; else a loopback address.
    ///
    /// # Errors
    /// The endpoint or the files for it are wrong.
    pub async fn gateway_host(&self) -> anyhow::Result<String> {
        if !self.is_asked_for() {
            return Ok(LOOPBACK.to_owned());
        }
        Ok(match self.choice().gateway_address().await? {
            Some(address) => address.to_string(),
            None => {
                tracing::warn!(
                    "containers will not reach gateways: the engine does not say under which address (it does not answer, or is on another host); name it with --gateway-host"
                );
                LOOPBACK.to_owned()
            }
        })
    }
}

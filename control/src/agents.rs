//! Flags of the program for talking to agents, and for text that others read.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use weir_control::{AgentToken, Config};

#[derive(Debug, Args)]
pub(crate) struct Agents {
    /// File with the token that the agents' admin listeners ask for; the variable WEIR_AGENT_TOKEN may have the token
    #[arg(long, env = "WEIR_AGENT_TOKEN_FILE", value_name = "FILE")]
    agent_token_file: Option<PathBuf>,
    /// Certificates (PEM) that agents' admin listeners with TLS are trusted by; default: those of this host
    #[arg(long, env = "WEIR_AGENT_AUTHORITY", value_name = "FILE")]
    agent_authority: Option<PathBuf>,
    /// Names under which text for HAProxy is published (Vamp's marshallers)
    #[arg(
        long,
        env = "WEIR_HAPROXY",
        value_name = "NAME,..",
        value_delimiter = ',',
        default_value = "1.7"
    )]
    haproxy: Vec<String>,
    /// Folder of the Unix sockets in that text
    #[arg(
        long,
        env = "WEIR_HAPROXY_SOCKETS",
        value_name = "FOLDER",
        default_value = "/usr/local/vamp"
    )]
    haproxy_sockets: String,
}

impl Agents {
    /// Puts them into the settings.
    pub(crate) fn apply(self, config: &mut Config) -> anyhow::Result<()> {
        let token = match &self.agent_token_file {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .with_context(|| format!("the agents' token {} cannot be read", path.display()))?,
            ),
            None => std::env::var("WEIR_AGENT_TOKEN").ok(),
        };
        config.agent_token = token
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty())
            .map(AgentToken::new);
        config.agent_authority = self.agent_authority;
        for name in &self.haproxy {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            anyhow::ensure!(
                !name.is_empty() && name.bytes().all(is_word),
                "`{name}` cannot be part of a key: letters, digits, `.`, `_` and `-` only"
            );
        }
        config.haproxy = self.haproxy;
        config.haproxy_sockets = self.haproxy_sockets;
        Ok(())
    }
}

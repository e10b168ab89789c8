//! Flags of `weir-agent run`: a file for each part of the settings, and what they share.

mod admin;
mod names;
mod proxy;
mod records;

use std::{path::Path, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use clap::Args;
use weir_agent::{Config, Secret, environment::FromVamp};
use weir_model::AgentId;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The store: etcd://HOST:PORT, consul://HOST:PORT, zk://HOST:PORT, weir://HOST:PORT, embedded:PATH or file:PATH (a
    /// document of gateways); see docs/stores.md.
    /// Default: what Vamp's VAMP_KEY_VALUE_STORE_TYPE and _CONNECTION say
    #[arg(long, env = "WEIR_STORE", value_name = "URL", hide_env_values = true)]
    store: Option<String>,
    /// What the store's keys begin with. Default: from Vamp's VAMP_KEY_VALUE_STORE_PATH, else vamp/default
    #[arg(long, env = "WEIR_PREFIX")]
    prefix: Option<String>,
    /// Folder of the agent's id and the last good snapshot
    #[arg(
        long,
        env = "WEIR_DATA",
        value_name = "DIR",
        default_value = "/var/lib/weir-agent"
    )]
    data: PathBuf,
    /// The agent's id. Default: the one in the data folder, made at the first start
    #[arg(long, env = "WEIR_AGENT_ID")]
    id: Option<AgentId>,
    #[command(flatten)]
    admin: admin::AdminFlags,
    #[command(flatten)]
    proxy: proxy::ProxyFlags,
    /// Seconds that connections have to finish at the end
    #[arg(long, env = "WEIR_DRAIN", value_name = "SECONDS", default_value_t = 30)]
    drain: u64,
    /// Seconds before that in which /health answers 503 and connections are still accepted
    #[arg(long, env = "WEIR_DRAIN_DELAY", value_name = "SECONDS", default_value_t = 0)]
    drain_delay: u64,
    #[command(flatten)]
    records: records::RecordsFlags,
    #[command(flatten)]
    names: names::NamesFlags,
}

impl Run {
    /// How long `/health` says before the end that it comes, and how long connections then have to finish.
    pub(crate) fn leave(&self) -> (Duration, Duration) {
        (
            Duration::from_secs(self.drain_delay),
            Duration::from_secs(self.drain),
        )
    }

    /// The settings; the store is opened last.
    pub(crate) fn settings(self, vamp: &FromVamp) -> anyhow::Result<Config> {
        let url = self.store.as_deref().or(vamp.store.as_deref()).context(
            "no store is given: --store URL or WEIR_STORE (etcd://, consul://, zk:// or weir://HOST:PORT, embedded:PATH, file:PATH)",
        )?;
        let mut proxy = self.proxy.settings()?;
        let shipping = self.records.apply(vamp, &mut proxy)?;
        let admin = self.admin.settings()?;
        let mut config = Config::new(weir_store::connect(url)?, self.data);
        config.id = self.id;
        if let Some(prefix) = self.prefix.as_ref().or(vamp.prefix.as_ref()) {
            config.prefix.clone_from(prefix);
        }
        config.proxy = proxy;
        config.shipping = shipping;
        config.dns = self.names.settings(vamp);
        admin.put_into(&mut config);
        Ok(config)
    }
}

/// A secret that is given or is in a file. An empty one is refused: it would be none.
fn secret(given: Option<Secret>, file: Option<&Path>, what: &str) -> anyhow::Result<Option<Secret>> {
    let secret = match (given, file) {
        (Some(secret), _) => secret,
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{what} cannot be read from {}", path.display()))?;
            Secret::new(text.trim())
        }
        (None, None) => return Ok(None),
    };
    ensure!(!secret.reveal().is_empty(), "{what} is empty");
    Ok(Some(secret))
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};
    use weir_agent::environment::FromVamp;

    use super::Run;

    /// What a part reads from arguments.
    pub(super) fn parsed<T: Args + FromArgMatches>(arguments: &[&str]) -> Result<T, clap::Error> {
        let command = T::augment_args(clap::Command::new("test").no_binary_name(true));
        T::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    fn settings(arguments: &[&str], vamp: &FromVamp) -> anyhow::Result<weir_agent::Config> {
        parsed::<Run>(arguments)?.settings(vamp)
    }

    #[test]
    fn flags_come_before_vamps_variables() {
        let vamp = FromVamp {
            store: Some("redis://nowhere".to_owned()),
            prefix: Some("vamp/vamp".to_owned()),
            ..FromVamp::default()
        };
        let error = settings(&[], &vamp).unwrap_err().to_string();
        assert!(error.contains("redis://nowhere"), "{error}");
        let config = settings(&["--store", "memory:"], &vamp).unwrap();
        assert_eq!(
            (config.store.kind(), config.prefix.as_str()),
            ("memory", "vamp/vamp")
        );
        let config = settings(&["--store", "memory:", "--prefix", "x"], &vamp).unwrap();
        assert_eq!(config.prefix, "x");
        let error = settings(&[], &FromVamp::default()).unwrap_err().to_string();
        assert!(error.contains("--store"), "{error}");
    }

    #[test]
    fn faults_are_told_before_the_store_is_opened() {
        for fault in [
            ["--health", "ping"],
            ["--admin-token-file", "/nowhere/token"],
            ["--elasticsearch", "es:9200"],
        ] {
            let arguments = [&["--store", "embedded:/nowhere/at/all"], &fault[..]].concat();
            let error = format!("{:#}", settings(&arguments, &FromVamp::default()).unwrap_err());
            assert!(!error.contains("/nowhere/at/all"), "{error}");
        }
    }
}

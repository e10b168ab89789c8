//! Flags of the admin listener, of the shipping of records, and of names.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context as _, ensure};
use clap::Args;
use weir_agent::{AdminTls, Config, Dns, Secret, Shipping, environment::FromVamp};
use weir_proxy::{AccessLog, LogFormat, LogOutput};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Token that the admin listener asks of everybody but for /health (`Authorization: Bearer`, or the password of Basic)
    #[arg(long, env = "WEIR_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    admin_token: Option<Secret>,
    /// File with that token
    #[arg(
        long,
        env = "WEIR_ADMIN_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "admin_token"
    )]
    admin_token_file: Option<PathBuf>,
    /// Certificate chain of the admin listener, PEM: it then speaks TLS
    #[arg(
        long,
        env = "WEIR_ADMIN_CERTIFICATE",
        value_name = "FILE",
        requires = "admin_key"
    )]
    admin_certificate: Option<PathBuf>,
    /// Private key of that certificate, PEM
    #[arg(
        long,
        env = "WEIR_ADMIN_KEY",
        value_name = "FILE",
        requires = "admin_certificate"
    )]
    admin_key: Option<PathBuf>,
    /// Unix socket at which the same is served without a token
    #[arg(long, env = "WEIR_ADMIN_SOCKET", value_name = "PATH")]
    admin_socket: Option<PathBuf>,
    /// Name and password of the statistics pages (HTTP Basic)
    #[arg(
        long,
        env = "WEIR_STATS_AUTH",
        value_name = "NAME:PASSWORD",
        hide_env_values = true
    )]
    stats_auth: Option<Secret>,
    /// Ship records of the access log to Elasticsearch at http[s]://[NAME:PASSWORD@]HOST[:PORT].
    /// Default: what Vamp's VAMP_ELASTICSEARCH_URL says
    #[arg(
        long,
        env = "WEIR_ELASTICSEARCH_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    elasticsearch: Option<Secret>,
    /// Answer names of virtual hosts at this address (UDP). Default: what Vamp's VAMP_VGA_DNS_ENABLE and _PORT say
    #[arg(long, env = "WEIR_DNS", value_name = "ADDR")]
    dns: Option<SocketAddr>,
    /// What those names are answered with. Default: the address of this host towards who asks
    #[arg(long, env = "WEIR_DNS_ADDRESS", value_name = "IP,..", value_delimiter = ',')]
    dns_address: Vec<IpAddr>,
}

impl Options {
    /// Puts them into the settings of an agent, whose access log is set already.
    pub(crate) fn apply(self, vamp: &FromVamp, config: &mut Config) -> anyhow::Result<()> {
        config.admin_token = match (self.admin_token, &self.admin_token_file) {
            (Some(token), _) => Some(token),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("the token's file {} cannot be read", path.display()))?;
                Some(Secret::new(text.trim()))
            }
            (None, None) => None,
        };
        if let Some(token) = &config.admin_token {
            ensure!(
                !token.reveal().is_empty(),
                "an empty token would let everybody in"
            );
        }
        config.admin_tls = self
            .admin_certificate
            .zip(self.admin_key)
            .map(|(certificate, key)| AdminTls { certificate, key });
        config.admin_socket = self.admin_socket;
        config.statistics = self
            .stats_auth
            .map(|pair| {
                let (name, password) = pair
                    .reveal()
                    .split_once(':')
                    .context("the credentials of the statistics are not NAME:PASSWORD")?;
                anyhow::Ok((name.to_owned(), Secret::new(password)))
            })
            .transpose()?;
        let elasticsearch = self
            .elasticsearch
            .as_ref()
            .map(Secret::reveal)
            .or(vamp.elasticsearch.as_deref())
            .filter(|url| !url.is_empty());
        if let Some(url) = elasticsearch {
            let shipping = Shipping::new(url)?;
            let log = config
                .proxy
                .access_log
                .get_or_insert_with(|| AccessLog::new(LogFormat::Json, LogOutput::Nowhere));
            ensure!(
                log.format == LogFormat::Json,
                "records for Elasticsearch are JSON; use --access-log-format json"
            );
            log.tap = Some(shipping.tap());
            config.shipping = Some(shipping);
        }
        let of_vamp = vamp
            .dns_port
            .map(|port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        config.dns = self.dns.or(of_vamp).map(|listen| Dns {
            listen,
            addresses: self.dns_address,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::{Args as _, FromArgMatches as _};
    use weir_agent::{Config, environment::FromVamp};
    use weir_proxy::{AccessLog, LogFormat, LogOutput};

    use super::Options;

    fn applied(arguments: &[&str], format: Option<LogFormat>) -> anyhow::Result<Config> {
        let command = Options::augment_args(clap::Command::new("test").no_binary_name(true));
        let options = Options::from_arg_matches(&command.try_get_matches_from(arguments)?)?;
        let mut config = Config::new(weir_store::connect("memory:")?, "unused");
        config.proxy.access_log = format.map(|format| AccessLog::new(format, LogOutput::Stdout));
        let vamp = FromVamp {
            dns_port: Some(5353),
            ..FromVamp::default()
        };
        options.apply(&vamp, &mut config)?;
        assert!(Arc::strong_count(&config.store) > 0);
        Ok(config)
    }

    #[test]
    fn shipping_taps_the_log_and_makes_one_if_there_is_none() {
        let url = ["--elasticsearch", "http://es"];
        let config = applied(&url, None).unwrap();
        let log = config.proxy.access_log.unwrap();
        assert_eq!(log.output, LogOutput::Nowhere);
        assert_eq!(log.tap, config.shipping.map(|shipping| shipping.tap()));
        let config = applied(&url, Some(LogFormat::Json)).unwrap();
        assert_eq!(config.proxy.access_log.unwrap().output, LogOutput::Stdout);
        assert!(applied(&url, Some(LogFormat::Combined)).is_err());
        assert!(applied(&[], None).unwrap().proxy.access_log.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("token");
        std::fs::write(&empty, "\n").unwrap();
        for arguments in [
            ["--admin-token", ""],
            ["--admin-token-file", empty.to_str().unwrap()],
            ["--admin-token-file", "/nowhere/token"],
            ["--stats-auth", "nameless"],
            ["--elasticsearch", "es:9200"],
            ["--admin-certificate", "a.pem"],
            ["--dns", "here"],
        ] {
            assert!(applied(&arguments, None).is_err(), "{arguments:?}");
        }
        let config = applied(&["--stats-auth", "haproxy:ha:proxy"], None).unwrap();
        let (name, password) = config.statistics.unwrap();
        assert_eq!((name.as_str(), password.is(b"ha:proxy")), ("haproxy", true));
        assert_eq!(config.dns.unwrap().listen.port(), 5353);
    }
}

//! The admin listener: where it is, who may ask.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use weir_agent::{AdminTls, Config, Secret};

use super::secret;

#[derive(Debug, Args)]
pub(crate) struct AdminFlags {
    /// Where /status, /stats, /metrics, /frames and /health are served
    #[arg(long, env = "WEIR_ADMIN", value_name = "ADDR", default_value_t = Config::ADMIN_DEFAULT)]
    admin: SocketAddr,
    /// HOST:PORT under which control reaches the admin address; unix:PATH for its socket, if control runs on this host.
    /// Default: the admin address
    #[arg(long, env = "WEIR_ADVERTISE", value_name = "HOST:PORT|unix:PATH", value_parser = address)]
    advertise: Option<String>,
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
}

/// What the flags say, checked.
#[derive(Debug)]
pub(super) struct Settings {
    flags: AdminFlags,
    token: Option<Secret>,
    statistics: Option<(String, Secret)>,
}

impl AdminFlags {
    pub(super) fn settings(mut self) -> anyhow::Result<Settings> {
        let file = self.admin_token_file.as_deref();
        let token = secret(self.admin_token.take(), file, "the token of the admin listener")?;
        let statistics = self.stats_auth.take().map(|pair| {
            let (name, password) = pair
                .reveal()
                .split_once(':')
                .context("the credentials of the statistics are not NAME:PASSWORD")?;
            anyhow::Ok((name.to_owned(), Secret::new(password)))
        });
        Ok(Settings {
            token,
            statistics: statistics.transpose()?,
            flags: self,
        })
    }
}

impl Settings {
    pub(super) fn put_into(self, config: &mut Config) {
        let flags = self.flags;
        config.admin = flags.admin;
        config.advertise = flags.advertise;
        config.admin_token = self.token;
        config.admin_tls = flags
            .admin_certificate
            .zip(flags.admin_key)
            .map(|(certificate, key)| AdminTls { certificate, key });
        config.admin_socket = flags.admin_socket;
        config.statistics = self.statistics;
    }
}

/// `HOST:PORT`, with a scheme or not, or `unix:PATH`.
fn address(text: &str) -> Result<String, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') {
            Ok(text.to_owned())
        } else {
            Err("the path of a socket begins with /".to_owned())
        };
    }
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    let is_sound = rest.rsplit_once(':').is_some_and(|(host, port)| {
        let is_bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        let is_name = host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        !host.is_empty() && is_bare && is_name && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_sound {
        Ok(text.to_owned())
    } else {
        Err("expected HOST:PORT or unix:PATH".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use weir_agent::Config;

    use super::{super::tests::parsed, AdminFlags, address};

    fn applied(arguments: &[&str]) -> anyhow::Result<Config> {
        let mut config = Config::new(weir_store::connect("memory:")?, "unused");
        parsed::<AdminFlags>(arguments)?.settings()?.put_into(&mut config);
        Ok(config)
    }

    #[test]
    fn without_flags_it_is_open_on_loopback() {
        let config = applied(&[]).unwrap();
        assert_eq!(config.admin, Config::ADMIN_DEFAULT);
        assert!(config.admin_token.is_none() && config.admin_tls.is_none());
        assert!(config.admin_socket.is_none() && config.statistics.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("token");
        std::fs::write(&empty, "\n").unwrap();
        for arguments in [
            &["--admin-token", ""][..],
            &["--admin-token-file", empty.to_str().unwrap()],
            &["--admin-token-file", "/nowhere/token"],
            &["--admin-token", "a", "--admin-token-file", "b"],
            &["--stats-auth", "nameless"],
            &["--admin-certificate", "a.pem"],
            &["--admin-key", "a.pem"],
            &["--admin", "1988"],
            &["--advertise", "here"],
        ] {
            assert!(applied(arguments).is_err(), "{arguments:?}");
        }
        let config = applied(&["--stats-auth", "haproxy:ha:proxy"]).unwrap();
        let (name, password) = config.statistics.unwrap();
        assert_eq!((name.as_str(), password.is(b"ha:proxy")), ("haproxy", true));
    }

    #[test]
    fn a_token_is_read_from_its_file_without_the_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "t0ken\n").unwrap();
        let config = applied(&["--admin-token-file", path.to_str().unwrap()]).unwrap();
        assert!(config.admin_token.unwrap().is(b"t0ken"));
    }

    #[test]
    fn addresses_for_control_lead_somewhere() {
        for good in [
            "edge-1:1988",
            "10.0.0.7:1",
            "[::1]:1988",
            "https://edge:1",
            "unix:/run/a.sock",
        ] {
            assert_eq!(address(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "edge",
            ":1988",
            "edge:0",
            "edge:x",
            "::1:1988",
            "unix:a.sock",
            "a/b:1",
            "a b:1",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}

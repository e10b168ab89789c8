//! The data plane: where it listens, what to wait for, whom to trust, what to answer.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use weir_model::{HealthCheck, HealthProtocol, Millis};
use weir_proxy::{Config, ErrorPage, Network};

#[derive(Debug, Args)]
pub(crate) struct ProxyFlags {
    /// Worker threads. Default: one per processor
    #[arg(long, env = "WEIR_WORKERS", value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Where requests are told apart by their Host header. Default: virtual hosts are not served
    #[arg(long, env = "WEIR_VIRTUAL_HOSTS", value_name = "ADDR")]
    virtual_hosts: Option<SocketAddr>,
    /// Idle connections that are ended per second at the end; more if the time is short
    #[arg(long, env = "WEIR_DRAIN_RATE", value_name = "N", default_value = "1000")]
    drain_rate: NonZeroU32,
    /// Networks whose X-Forwarded-* and Forwarded lines are believed; those of others are then removed.
    /// Default: nobody's are believed or removed
    #[arg(
        long,
        env = "WEIR_TRUSTED_PROXIES",
        value_name = "NETWORK,..",
        value_delimiter = ','
    )]
    trusted_proxies: Vec<Network>,
    /// Answer of one's own for a status, such as 503=soon.html, up to 32 KiB. Can be given several times
    #[arg(
        long,
        env = "WEIR_ERROR_PAGES",
        value_name = "STATUS=FILE",
        value_delimiter = ','
    )]
    error_page: Vec<String>,
    /// How instances are checked whose route does not say it: tcp, none, or the path to ask for
    #[arg(
        long,
        env = "WEIR_HEALTH",
        value_name = "tcp|none|/PATH",
        default_value = "tcp"
    )]
    health: String,
    /// For the head of a request
    #[arg(long, env = "WEIR_TIMEOUT_HEAD", value_name = "TIME", default_value = "5s")]
    timeout_head: Millis,
    /// For a connection to an instance
    #[arg(long, env = "WEIR_TIMEOUT_CONNECT", value_name = "TIME", default_value = "5s")]
    timeout_connect: Millis,
    /// For the client to send or take more
    #[arg(long, env = "WEIR_TIMEOUT_CLIENT", value_name = "TIME", default_value = "50s")]
    timeout_client: Millis,
    /// For the instance to answer, or to send or take more
    #[arg(long, env = "WEIR_TIMEOUT_SERVER", value_name = "TIME", default_value = "50s")]
    timeout_server: Millis,
    /// For the next request on a connection
    #[arg(
        long,
        env = "WEIR_TIMEOUT_KEEP_ALIVE",
        value_name = "TIME",
        default_value = "50s"
    )]
    timeout_keep_alive: Millis,
    /// For either side of a TCP connection or an upgraded one
    #[arg(long, env = "WEIR_TIMEOUT_TUNNEL", value_name = "TIME", default_value = "1h")]
    timeout_tunnel: Millis,
    /// Attempts beyond the first; 0: nothing is tried again
    #[arg(long, env = "WEIR_RETRIES", value_name = "N", default_value_t = 3)]
    retries: u32,
    /// Retries per hundred requests that a worker may make, beside ten per second
    #[arg(long, env = "WEIR_RETRY_BUDGET", value_name = "PERCENT", default_value_t = 20)]
    retry_budget: u32,
    /// Tell instances of the client by Forwarded (RFC 7239), too
    #[arg(long, env = "WEIR_FORWARDED")]
    forwarded: bool,
    /// Tell instances of the host and the port by X-Forwarded-Host and X-Forwarded-Port
    #[arg(long, env = "WEIR_FORWARDED_HOST")]
    forwarded_host: bool,
    /// Tell instances of this hop by Via
    #[arg(long, env = "WEIR_VIA")]
    via: bool,
    /// Begin a trace (traceparent) for requests that have none
    #[arg(long, env = "WEIR_BEGIN_TRACE")]
    begin_trace: bool,
}

impl ProxyFlags {
    /// The settings of a proxy, without an access log.
    pub(super) fn settings(self) -> anyhow::Result<Config> {
        let mut proxy = Config {
            virtual_hosts: self.virtual_hosts,
            drain_rate: self.drain_rate,
            ..Config::default()
        };
        if let Some(workers) = self.workers {
            proxy.workers = workers.get();
        }
        proxy.trusted_proxies = self.trusted_proxies;
        for page in &self.error_page {
            let (status, path) = page
                .split_once('=')
                .with_context(|| format!("`{page}` is not STATUS=FILE"))?;
            let status = status
                .parse()
                .with_context(|| format!("`{status}` is not a status"))?;
            proxy.error_pages.insert(status, error_page(Path::new(path))?);
        }
        proxy.health = match self.health.as_str() {
            "none" => None,
            "tcp" => Some(HealthCheck::tcp()),
            path if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Some(HealthCheck {
                    protocol: HealthProtocol::Http,
                    path: path.to_owned(),
                    ..HealthCheck::tcp()
                })
            }
            other => anyhow::bail!("`{other}` is no check; write tcp, none, or a path such as /health"),
        };
        let timeouts = &mut proxy.timeouts;
        for (timeout, value) in [
            (&mut timeouts.head, self.timeout_head),
            (&mut timeouts.connect, self.timeout_connect),
            (&mut timeouts.client_idle, self.timeout_client),
            (&mut timeouts.server, self.timeout_server),
            (&mut timeouts.keep_alive, self.timeout_keep_alive),
            (&mut timeouts.tunnel, self.timeout_tunnel),
        ] {
            let value = value.duration();
            anyhow::ensure!(
                value > Duration::ZERO,
                "a time to wait of zero would let nothing through"
            );
            *timeout = value;
        }
        proxy.retries = self.retries;
        proxy.retry_budget.percent = self.retry_budget;
        proxy.announce.forwarded = self.forwarded;
        proxy.announce.host_and_port = self.forwarded_host;
        proxy.announce.via = self.via;
        proxy.announce.begin_trace = self.begin_trace;
        Ok(proxy)
    }
}

fn error_page(path: &Path) -> anyhow::Result<ErrorPage> {
    let shown = path.display();
    let size = std::fs::metadata(path)
        .with_context(|| format!("the error page {shown} cannot be read"))?
        .len();
    anyhow::ensure!(
        usize::try_from(size).is_ok_and(|size| size <= ErrorPage::BYTES_MAX),
        "the error page {shown} is longer than {} bytes",
        ErrorPage::BYTES_MAX
    );
    let body = std::fs::read(path).with_context(|| format!("the error page {shown} cannot be read"))?;
    let content_type = match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        _ => "text/plain; charset=utf-8",
    };
    Ok(ErrorPage {
        content_type: content_type.to_owned(),
        body: body.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parsed, ProxyFlags};

    fn applied(arguments: &[&str]) -> anyhow::Result<weir_proxy::Config> {
        parsed::<ProxyFlags>(arguments)?.settings()
    }

    #[test]
    fn without_flags_everything_is_as_the_proxy_has_it() {
        let config = applied(&[]).expect("defaults");
        assert_eq!(
            format!("{config:?}"),
            format!("{:?}", weir_proxy::Config::default())
        );
    }

    #[test]
    fn pages_are_read_from_files() {
        let folder = tempfile::tempdir().expect("folder");
        let page = folder.path().join("soon.html");
        std::fs::write(&page, "<p>soon</p>").expect("file");
        let config = applied(&["--error-page", &format!("503={}", page.display())]).expect("a page");
        assert_eq!(config.error_pages[&503].content_type, "text/html; charset=utf-8");
        assert_eq!(&config.error_pages[&503].body[..], b"<p>soon</p>");
        std::fs::write(&page, vec![b'x'; 40_000]).expect("file");
        assert!(applied(&["--error-page", &format!("503={}", page.display())]).is_err());
        assert!(applied(&["--error-page", "503"]).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            ["--trusted-proxies", "10.0.0.0/99"],
            ["--health", "ping"],
            ["--timeout-server", "0s"],
            ["--timeout-server", "5"],
            ["--workers", "0"],
            ["--drain-rate", "0"],
            ["--virtual-hosts", "8000"],
        ] {
            assert!(applied(&arguments).is_err(), "{arguments:?}");
        }
        let config = applied(&["--trusted-proxies", "10.0.0.0/8,::1", "--health", "/up"]).expect("good");
        assert_eq!(config.trusted_proxies.len(), 2);
        assert_eq!(config.health.expect("a check").path, "/up");
    }
}

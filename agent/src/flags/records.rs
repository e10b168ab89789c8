//! Records of requests: the access log, and what is shipped.

use std::{num::NonZeroU32, path::PathBuf};

use anyhow::ensure;
use clap::{Args, ValueEnum};
use weir_agent::{ElasticsearchAccess, Secret, Shipping, environment::FromVamp};
use weir_proxy::{AccessLog, LogFormat, LogOutput};

use super::secret;

#[derive(Debug, Args)]
pub(crate) struct RecordsFlags {
    /// File to which a record of each request is appended; `-`: standard output. SIGUSR1 and SIGHUP open it anew
    #[arg(long, env = "WEIR_ACCESS_LOG", value_name = "FILE|-")]
    access_log: Option<PathBuf>,
    /// How the records look
    #[arg(long, env = "WEIR_ACCESS_LOG_FORMAT", default_value = "json")]
    access_log_format: Format,
    /// Log one request in N
    #[arg(long, env = "WEIR_ACCESS_LOG_SAMPLE", value_name = "N", default_value = "1")]
    access_log_sample: NonZeroU32,
    /// Count the time in which a connection waited for its next request in Tq and Tt, as Vamp did
    #[arg(long, env = "WEIR_ACCESS_LOG_IDLE_TIME")]
    access_log_idle_time: bool,
    /// Ship records of the access log to Elasticsearch at http[s]://[NAME:PASSWORD@]HOST[:PORT].
    /// Default: what Vamp's VAMP_ELASTICSEARCH_URL says
    #[arg(
        long,
        env = "WEIR_ELASTICSEARCH_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    elasticsearch: Option<Secret>,
    /// Certificates (PEM) that Elasticsearch is trusted by. Default: those of this host
    #[arg(long, env = "WEIR_ELASTICSEARCH_CA", value_name = "FILE")]
    elasticsearch_ca: Option<PathBuf>,
    /// API key of Elasticsearch, as it shows it once (encoded), or ID:KEY
    #[arg(
        long,
        env = "WEIR_ELASTICSEARCH_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    elasticsearch_api_key: Option<Secret>,
    /// File with that key
    #[arg(
        long,
        env = "WEIR_ELASTICSEARCH_API_KEY_FILE",
        value_name = "FILE",
        conflicts_with = "elasticsearch_api_key"
    )]
    elasticsearch_api_key_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// An object per level crossed, with Vamp's fields.
    Json,
    /// A line per request, as Apache writes it and a little more.
    Combined,
}

impl RecordsFlags {
    /// Sets the access log of a proxy. Gives what is shipped, if anything is.
    pub(super) fn apply(
        self,
        vamp: &FromVamp,
        proxy: &mut weir_proxy::Config,
    ) -> anyhow::Result<Option<Shipping>> {
        proxy.access_log = self.access_log();
        let elasticsearch = self
            .elasticsearch
            .as_ref()
            .map(Secret::reveal)
            .or(vamp.elasticsearch.as_deref())
            .filter(|url| !url.is_empty());
        let file = self.elasticsearch_api_key_file.as_deref();
        let access = ElasticsearchAccess {
            authority: self.elasticsearch_ca,
            api_key: secret(self.elasticsearch_api_key, file, "the API key of Elasticsearch")?,
        };
        let Some(url) = elasticsearch else {
            ensure!(
                access.authority.is_none() && access.api_key.is_none(),
                "there is an API key or a certificate for Elasticsearch, and no address of it"
            );
            return Ok(None);
        };
        let shipping = Shipping::with_access(url, &access)?;
        let log = proxy
            .access_log
            .get_or_insert_with(|| AccessLog::new(LogFormat::Json, LogOutput::Nowhere));
        ensure!(
            log.format == LogFormat::Json,
            "records for Elasticsearch are JSON; use --access-log-format json"
        );
        log.tap = Some(shipping.tap());
        Ok(Some(shipping))
    }

    fn access_log(&self) -> Option<AccessLog> {
        let path = self.access_log.as_ref()?;
        let output = if path.as_os_str() == "-" {
            LogOutput::Stdout
        } else {
            LogOutput::File(path.clone())
        };
        let format = match self.access_log_format {
            Format::Json => LogFormat::Json,
            Format::Combined => LogFormat::Combined,
        };
        Some(AccessLog {
            sample: self.access_log_sample,
            idle_time: self.access_log_idle_time,
            ..AccessLog::new(format, output)
        })
    }
}

#[cfg(test)]
mod tests {
    use weir_agent::{Shipping, environment::FromVamp};
    use weir_proxy::{AccessLog, LogOutput};

    use super::{super::tests::parsed, RecordsFlags};

    fn applied(arguments: &[&str], vamp: &FromVamp) -> anyhow::Result<(Option<AccessLog>, Option<Shipping>)> {
        let mut proxy = weir_proxy::Config::default();
        let shipping = parsed::<RecordsFlags>(arguments)?.apply(vamp, &mut proxy)?;
        Ok((proxy.access_log, shipping))
    }

    #[test]
    fn shipping_taps_the_log_and_makes_one_if_there_is_none() {
        let vamp = FromVamp::default();
        let url = ["--elasticsearch", "http://es"];
        let (log, shipping) = applied(&url, &vamp).unwrap();
        let log = log.unwrap();
        assert_eq!(log.output, LogOutput::Nowhere);
        assert_eq!(log.tap, shipping.map(|shipping| shipping.tap()));
        let both = [&url[..], &["--access-log", "-", "--access-log-sample", "7"]].concat();
        let log = applied(&both, &vamp).unwrap().0.unwrap();
        assert_eq!((log.output, log.sample.get()), (LogOutput::Stdout, 7));
        assert!(log.tap.is_some());
        let combined = [&both[..], &["--access-log-format", "combined"]].concat();
        assert!(applied(&combined, &vamp).is_err());
        assert!(applied(&[], &vamp).unwrap().0.is_none());
        let vamp = FromVamp {
            elasticsearch: Some("http://es:9200".to_owned()),
            ..vamp
        };
        assert!(applied(&[], &vamp).unwrap().1.is_some());
        let off = applied(&["--elasticsearch", ""], &vamp).unwrap();
        assert!(off.0.is_none() && off.1.is_none(), "a flag can turn it off");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &["--elasticsearch", "es:9200"][..],
            &["--elasticsearch-api-key", "a:b"],
            &["--elasticsearch-ca", "ca.pem"],
            &[
                "--elasticsearch",
                "https://es",
                "--elasticsearch-ca",
                "/nowhere/ca.pem",
            ],
            &[
                "--elasticsearch",
                "http://es",
                "--elasticsearch-api-key-file",
                "/nowhere/key",
            ],
            &[
                "--elasticsearch",
                "http://a:b@es",
                "--elasticsearch-api-key",
                "a:b",
            ],
            &["--access-log-sample", "0"],
            &["--access-log-format", "xml"],
        ] {
            assert!(applied(arguments, &FromVamp::default()).is_err(), "{arguments:?}");
        }
    }
}

//! Bounded traffic: so many requests, so many a second, each with a known answer.

use std::time::Duration;

use reqwest::header::USER_AGENT;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::{counts::Counts, service::VERSION_HEADER};
use crate::failure::Failure;

/// Clients that keep their connections.
const KEEPING: usize = 4;
/// One in so many requests says that it is Firefox.
pub(crate) const FIREFOX_ONE_IN: u64 = 5;
/// One in so many requests comes on a new connection.
const NEW_ONE_IN: u64 = 7;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
const OTHER: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36";

/// Clients of the demo's gateway.
#[derive(Debug)]
pub(crate) struct Load {
    url: String,
    keeping: Vec<reqwest::Client>,
    new: reqwest::Client,
}

impl Load {
    /// For the gateway on that loopback port.
    pub(crate) fn new(port: u16) -> Result<Self, Failure> {
        let client = |idle_max| {
            reqwest::Client::builder()
                .timeout(TIMEOUT)
                .no_proxy()
                // Plain HTTP: the system's certificates are not needed, and need not be there.
                .tls_certs_only([])
                .pool_max_idle_per_host(idle_max)
                .build()
                .map_err(anyhow::Error::new)
        };
        Ok(Self {
            url: format!("http://127.0.0.1:{port}/"),
            keeping: (0..KEEPING).map(|_| client(8)).collect::<Result<_, _>>()?,
            new: client(0)?,
        })
    }

    /// Sends `count` requests at `rate` a second, numbered from `first`, and waits for all the answers.
    pub(crate) async fn send(&self, first: u64, count: u64, rate: u32) -> Counts {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Never more tasks than `count`, which callers keep to a hundred or so.
        let mut answers = JoinSet::new();
        for number in first..first + count {
            ticks.tick().await;
            answers.spawn(self.request(number));
        }
        let mut counts = Counts::default();
        while let Some(answer) = answers.join_next().await {
            match answer {
                Ok(Ok(version)) => counts.answer(&version),
                Ok(Err(reason)) => counts.failure(reason),
                Err(_) => counts.failure("a client ended too early".to_owned()),
            }
        }
        counts
    }

    /// One request: the version that answered, or what went wrong.
    fn request(&self, number: u64) -> impl Future<Output = Result<String, String>> + Send + use<> {
        let client = if number.is_multiple_of(NEW_ONE_IN) {
            &self.new
        } else {
            let index = usize::try_from(number).unwrap_or(0) % self.keeping.len();
            &self.keeping[index]
        };
        let agent = if is_firefox(number) { FIREFOX } else { OTHER };
        let request = client.get(&self.url).header(USER_AGENT, agent);
        async move {
            let response = request.send().await.map_err(|error| error.to_string())?;
            let status = response.status();
            let version = response
                .headers()
                .get(VERSION_HEADER)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned);
            // A body that breaks off is a failed request too.
            response.bytes().await.map_err(|error| error.to_string())?;
            match version {
                Some(version) if status.is_success() => Ok(version),
                _ => Err(format!("answered {status} without a version")),
            }
        }
    }
}

/// Whether that request says that it is Firefox.
pub(crate) fn is_firefox(number: u64) -> bool {
    number % FIREFOX_ONE_IN == FIREFOX_ONE_IN - 1
}

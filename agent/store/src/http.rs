//! HTTP to stores that other programs serve: several endpoints, time limits on every wait, bounded answers.
//!
//! A request that nobody can have seen is sent to the next endpoint; one that may have been seen only if it
//! can be repeated. Waits are bounded piece by piece (connection, head, each part of a body), so that a store
//! whose packets vanish is noticed in [`SILENCE_MAX`], and a large answer may take as long as it flows.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::future::{Either, select};
use reqwest::{Client, Method, Response, StatusCode, header::HeaderMap, redirect};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout};

use crate::{StoreError, address::Address, tls};

/// Longest silence before the answer's head or within its body.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Longest silence before another endpoint is asked as well what may be asked again: a member that was cut off costs its clients no
/// more. The first may still answer: a store that is slow everywhere is no worse off.
const SILENCE_AMONG_OTHERS: Duration = Duration::from_millis(700);
/// An endpoint that was silent for so long when the question was given up is not asked next.
const LEFT_AFTER: Duration = Duration::from_millis(500);
/// Longest time to connect.
const CONNECT_MAX: Duration = Duration::from_millis(1500);
/// Longest time for the whole body of an answer.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest body of an answer in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 192 * 1024 * 1024;
/// Characters of an answer that an error shows.
const SHOWN_CHARS_MAX: usize = 200;

/// A store behind one or several HTTP endpoints.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    /// `http://host:port`, no slash at the end.
    endpoints: Vec<String>,
    /// Which one answered last.
    current: AtomicUsize,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: &'a str,
    pub(crate) body: Option<Bytes>,
    /// Name and value of the line that carries a secret.
    pub(crate) secret: Option<(&'static str, String)>,
    /// Whether another endpoint may be asked although this one may have acted.
    pub(crate) repeatable: bool,
    /// How long the head of the answer may take on purpose, beyond [`SILENCE_MAX`].
    pub(crate) patience: Duration,
}

impl Http {
    pub(crate) fn new(address: &Address) -> Result<Self, StoreError> {
        let (scheme, config) = match &address.tls {
            Some(options) => ("https", tls::client(address, options)?),
            None => ("http", tls::unused()),
        };
        let client = Client::builder()
            .tls_backend_preconfigured(config)
            .http1_only()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_MAX)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            .tcp_keepalive(Duration::from_secs(5))
            .tcp_keepalive_interval(Duration::from_secs(2))
            .tcp_keepalive_retries(3)
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| address.wrong(&format!("no HTTP client can be made: {error}")))?;
        Ok(Self {
            client,
            endpoints: address
                .hosts
                .iter()
                .map(|host| format!("{scheme}://{host}"))
                .collect(),
            current: AtomicUsize::new(0),
        })
    }

    /// Asks, and reads the whole answer, whatever its status.
    pub(crate) async fn ask(&self, question: &Question<'_>) -> Result<Answer, StoreError> {
        self.over_endpoints(question, async |response| {
            let (status, headers) = (response.status(), response.headers().clone());
            let body = whole(response).await?;
            Ok(Answer {
                status,
                headers,
                body,
            })
        })
        .await
    }

    /// Asks, and gives the answer as soon as its head is there.
    pub(crate) async fn open(&self, question: &Question<'_>) -> Result<Response, StoreError> {
        self.over_endpoints(question, async |response| Ok(response)).await
    }

    async fn over_endpoints<T>(
        &self,
        question: &Question<'_>,
        read: impl AsyncFn(Response) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let at = self.current.load(Ordering::Relaxed) % self.endpoints.len();
            let mut asked = Asked {
                http: self,
                at,
                since: Instant::now(),
                is_open: question.patience.is_zero(),
            };
            // A question that waits on purpose says nothing about who is silent.
            let has_another =
                question.repeatable && question.patience.is_zero() && tries < self.endpoints.len();
            let outcome = if has_another {
                tries += 1;
                self.with_another(at, question, &read).await
            } else {
                self.read_from(at, question, &read).await
            };
            asked.is_open = false;
            let (error, seen) = match outcome {
                Ok(read) => return Ok(read),
                Err(failure) => failure,
            };
            self.leave(at);
            if tries >= self.endpoints.len() || (seen && !question.repeatable) {
                return Err(error);
            }
        }
    }

    /// One endpoint, and the next one as well if the first is silent for long.
    async fn with_another<T>(
        &self,
        at: usize,
        question: &Question<'_>,
        read: &impl AsyncFn(Response) -> Result<T, StoreError>,
    ) -> Result<T, (StoreError, bool)> {
        let next = (at + 1) % self.endpoints.len();
        let mut first = pin!(self.read_from(at, question, read));
        let early = timeout(SILENCE_AMONG_OTHERS, &mut first).await;
        if let Ok(Ok(read)) = early {
            return Ok(read);
        }
        self.leave(at);
        let mut second = pin!(self.read_from(next, question, read));
        let outcome = match early {
            Ok(_) => second.await,
            Err(_) => match select(&mut first, &mut second).await {
                Either::Left((Err(_), _)) => second.await,
                Either::Right((Err(_), _)) => first.await,
                Either::Left((outcome, _)) | Either::Right((outcome, _)) => outcome,
            },
        };
        if outcome.is_err() {
            self.leave(next);
        }
        outcome
    }

    /// Asks one endpoint and reads its answer; with an error, whether it may have seen the question.
    async fn read_from<T>(
        &self,
        at: usize,
        question: &Question<'_>,
        read: &impl AsyncFn(Response) -> Result<T, StoreError>,
    ) -> Result<T, (StoreError, bool)> {
        let response = self.once(at, question).await?;
        read(response).await.map_err(|error| (error, true))
    }

    /// The next endpoint is asked from now on, unless somebody has chosen another meanwhile.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.endpoints.len();
        let _ = self
            .current
            .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// One endpoint; with an error, whether it may have seen the question.
    async fn once(&self, at: usize, question: &Question<'_>) -> Result<Response, (StoreError, bool)> {
        let url = format!(
            "{}{}",
            self.endpoints.get(at).map_or("", |url| url),
            question.path
        );
        let mut request = self.client.request(question.method.clone(), url);
        if let Some((name, value)) = &question.secret {
            request = request.header(*name, value);
        }
        if let Some(body) = &question.body {
            request = request
                .header("content-type", "application/json")
                .body(body.clone());
        }
        let response = match timeout(SILENCE_MAX + question.patience, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let seen = !error.is_connect();
                // The address of the request may hold what is not to be shown.
                return Err((unavailable(error.without_url()), seen));
            }
            Err(_) => return Err((late(), true)),
        };
        // Who answers for a server behind it that is away.
        if matches!(response.status().as_u16(), 502..=504) {
            let status = response.status();
            return Err((answered(status, &whole(response).await.unwrap_or_default()), true));
        }
        Ok(response)
    }
}

/// A question that is under way. Whoever has less patience than [`SILENCE_MAX`] drops it; the endpoint that kept silent is
/// left then, else such a caller would ask it for ever.
struct Asked<'a> {
    http: &'a Http,
    at: usize,
    since: Instant,
    is_open: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.is_open && self.since.elapsed() >= LEFT_AFTER {
            self.http.leave(self.at);
        }
    }
}

/// The next part of a body; `None` at its end.
pub(crate) async fn part(response: &mut Response, patience: Duration) -> Result<Option<Bytes>, StoreError> {
    match timeout(SILENCE_MAX + patience, response.chunk()).await {
        Ok(Ok(part)) => Ok(part),
        Ok(Err(error)) => Err(unavailable(error.without_url())),
        Err(_) => Err(late()),
    }
}

async fn whole(mut response: Response) -> Result<Bytes, StoreError> {
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(part) = part(&mut response, Duration::ZERO).await? {
            if body.len() + part.len() > BODY_BYTES_MAX {
                return Err(StoreError::Unsupported(
                    "be read: an answer is over 192 MiB; is the prefix right?".into(),
                ));
            }
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    };
    timeout(BODY_TIME_MAX, reading)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// Writes what is asked.
pub(crate) fn json(value: &impl Serialize) -> Bytes {
    let text = serde_json::to_vec(value).expect("plain data with text keys always serialises");
    Bytes::from(text)
}

/// Reads what was answered.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| {
        StoreError::Corrupt(format!(
            "its answer does not make sense ({error}): {}",
            shown(bytes)
        ))
    })
}

/// The beginning of an answer, for people.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .take(SHOWN_CHARS_MAX)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// A status that means trouble at the store's side.
pub(crate) fn answered(status: StatusCode, body: &[u8]) -> StoreError {
    StoreError::Unavailable(format!("it answered {status}: {}", shown(body)).into())
}

pub(crate) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

pub(crate) fn late() -> StoreError {
    StoreError::Unavailable("no answer in time".into())
}

#[cfg(test)]
mod tests;

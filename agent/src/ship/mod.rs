//! Ships records of the access log to Elasticsearch, as Filebeat did beside Vamp's gateway agent.
//!
//! **Job.** Takes the records from the log's tap, makes documents of them, sends them in bulk.
//!
//! **Invariants.** Traffic never waits for it: it has a thread of its own and two buffers with bounds (the tap's queue,
//! [`BUFFER_BYTES_MAX`]); when they are full the oldest records are dropped and counted. What Elasticsearch did not
//! confirm is sent again, with the same ids. A record that it refuses for what it is (400) is counted and not sent again.
//!
//! **Absent.** No file position: what is in memory when the process is killed is lost to Elasticsearch. No spill to disk.

mod bulk;
mod client;

use std::{
    collections::VecDeque,
    fmt::Write as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use weir_model::AgentId;
use weir_proxy::{LogBatch, LogTap};

use self::{
    bulk::{Document, Maker, Origin, Taken},
    client::{Address, Client},
};
use crate::{Secret, backoff::Backoff};

/// Batches of records (about 32 KiB each) that wait in the tap.
const TAP_BATCHES: usize = 64;
/// Documents that wait, in bytes.
const BUFFER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A bulk request has about this many bytes at most.
const BULK_BYTES: usize = 2 * 1024 * 1024;
/// Longest that a record waits for others.
const FLUSH: Duration = Duration::from_millis(500);
/// Longest wait at the end for another batch of records.
const LAST_RECORDS: Duration = Duration::from_millis(200);
/// Longest wait at the end for what is not shipped yet.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// What Elasticsearch asks for, and what it is trusted by.
#[derive(Clone, Debug, Default)]
pub struct ElasticsearchAccess {
    /// Certificates (PEM) that it is trusted by, for https; `None`: those of this host.
    pub authority: Option<PathBuf>,
    /// An API key, as Elasticsearch shows it (`encoded`) or as `ID:KEY`; `None`: none.
    pub api_key: Option<Secret>,
}

/// Where and what to ship.
#[derive(Debug)]
pub struct Shipping {
    address: Address,
    tap: LogTap,
    records: Receiver<LogBatch>,
}

impl Shipping {
    /// To Elasticsearch at `http[s]://[NAME:PASSWORD@]HOST[:PORT][/PATH]`.
    ///
    /// # Errors
    /// The address is not one.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        Self::with_access(url, &ElasticsearchAccess::default())
    }

    /// As [`Shipping::new`], with more than the address says. Files are read now.
    ///
    /// # Errors
    /// The address is not one, or the certificates or the key cannot be used.
    pub fn with_access(url: &str, access: &ElasticsearchAccess) -> anyhow::Result<Self> {
        let (tap, records) = LogTap::new(TAP_BATCHES);
        Ok(Self {
            address: Address::parse(url, access)?,
            tap,
            records,
        })
    }

    /// For [`weir_proxy::AccessLog::tap`]: without it nothing is shipped. The log's format must be JSON.
    pub fn tap(&self) -> LogTap {
        self.tap.clone()
    }
}

/// Figures of the shipping.
#[derive(Debug)]
pub(crate) struct Figures {
    tap: LogTap,
    stored: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    failures: AtomicU64,
    waiting: AtomicU64,
    reached: AtomicBool,
}

impl Figures {
    /// Appends them in Prometheus' text format.
    pub(crate) fn expose(&self, text: &mut String) {
        let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let dropped = figure(&self.dropped) + self.tap.lost();
        let figures = [
            (
                "stored_total",
                "counter",
                "Records that Elasticsearch stored.",
                figure(&self.stored),
            ),
            (
                "dropped_total",
                "counter",
                "Records dropped since Elasticsearch did not keep up or was away.",
                dropped,
            ),
            (
                "refused_total",
                "counter",
                "Records that Elasticsearch refused for what they are.",
                figure(&self.refused),
            ),
            (
                "failures_total",
                "counter",
                "Requests to Elasticsearch that failed or were put off.",
                figure(&self.failures),
            ),
            (
                "waiting_bytes",
                "gauge",
                "Records that wait for Elasticsearch.",
                figure(&self.waiting),
            ),
            (
                "up",
                "gauge",
                "1 if the last request to Elasticsearch was answered well.",
                u64::from(self.reached.load(Ordering::Relaxed)),
            ),
        ];
        for (name, kind, help, value) in figures {
            // A string takes all.
            let _ = write!(
                text,
                "# HELP weir_elasticsearch_{name} {help}\n# TYPE weir_elasticsearch_{name} {kind}\nweir_elasticsearch_{name} {value}\n"
            );
        }
    }
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Shipper {
    figures: Arc<Figures>,
    end: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Shipper {
    pub(crate) fn start(shipping: Shipping, agent: &AgentId, started_at_ms: u64) -> anyhow::Result<Self> {
        let Shipping {
            address,
            tap,
            records,
        } = shipping;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let origin = Origin::new(agent.as_str(), host.trim(), started_at_ms);
        let figures = Arc::new(Figures {
            tap,
            stored: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            reached: AtomicBool::new(false),
        });
        let end = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        tracing::info!(elasticsearch = ?address, "records of the access log are shipped");
        let loading = Loading {
            sender: Some(Box::new(Sender {
                client: Client::new(address),
                typed: None,
            })),
            maker: Maker::new(origin),
            waiting: Waiting::default(),
            figures: Arc::clone(&figures),
            is_told: false,
        };
        let ended = end.clone();
        let thread = thread::Builder::new()
            .name("weir-ship".to_owned())
            .spawn(move || runtime.block_on(loading.run(records, ended)))?;
        Ok(Self {
            figures,
            end,
            thread: Some(thread),
        })
    }

    pub(crate) fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Ships what waits, if that can be done soon, and ends.
    pub(crate) async fn shutdown(mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Documents that wait.
#[derive(Debug, Default)]
struct Waiting {
    documents: VecDeque<Document>,
    bytes: usize,
}

impl Waiting {
    /// Adds documents; how many old ones were dropped for them.
    fn add(&mut self, documents: Vec<Document>) -> u64 {
        for document in documents {
            self.bytes += document.bytes();
            self.documents.push_back(document);
        }
        let mut dropped = 0;
        while self.bytes > BUFFER_BYTES_MAX {
            let Some(oldest) = self.documents.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            dropped += 1;
        }
        dropped
    }

    /// Puts back what is to be sent again, in front.
    fn put_back(&mut self, documents: impl DoubleEndedIterator<Item = Document>) {
        for document in documents.rev() {
            self.bytes += document.bytes();
            self.documents.push_front(document);
        }
    }

    /// Takes the next bulk.
    fn take(&mut self) -> Vec<Document> {
        let mut bulk = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.documents.front() {
            let more = next.bytes();
            if !bulk.is_empty() && bytes + more > BULK_BYTES {
                break;
            }
            bytes += more;
            self.bytes -= more;
            bulk.extend(self.documents.pop_front());
        }
        bulk
    }
}

struct Loading {
    /// `None` while a request is under way.
    sender: Option<Box<Sender>>,
    maker: Maker,
    waiting: Waiting,
    figures: Arc<Figures>,
    /// The failure that lasts was logged.
    is_told: bool,
}

impl Loading {
    async fn run(mut self, mut records: Receiver<LogBatch>, end: CancellationToken) {
        let mut backoff = Backoff::new();
        let mut due = Instant::now() + FLUSH;
        let mut sending = None;
        loop {
            if sending.is_none()
                && Instant::now() >= due
                && !self.waiting.documents.is_empty()
                && let Some(sender) = self.sender.take()
            {
                sending = Some(Box::pin(sender.send(self.waiting.take())));
            }
            tokio::select! {
                () = end.cancelled() => break,
                batch = records.recv() => match batch {
                    Some(batch) => self.take(&batch),
                    // The data plane has ended.
                    None => break,
                },
                (sender, outcome) = async {
                    match sending.as_mut() {
                        Some(sending) => sending.await,
                        None => std::future::pending().await,
                    }
                } => {
                    sending = None;
                    self.sender = Some(sender);
                    due = Instant::now() + self.sent(outcome, &mut backoff);
                }
                () = sleep_until(due.max(Instant::now() + FLUSH / 4)), if sending.is_none() => {
                    if self.waiting.documents.is_empty() {
                        due = Instant::now() + FLUSH;
                    }
                }
            }
        }
        // The end: one more try for what is there.
        let rest = async {
            if let Some(sending) = sending {
                let (sender, outcome) = sending.await;
                self.sender = Some(sender);
                self.sent(outcome, &mut backoff);
            }
            // The data plane's last records are on their way for a moment.
            while let Ok(Some(batch)) = timeout(LAST_RECORDS, records.recv()).await {
                self.take(&batch);
            }
            while !self.waiting.documents.is_empty()
                && let Some(sender) = self.sender.take()
            {
                let (sender, outcome) = sender.send(self.waiting.take()).await;
                let is_over = !matches!(outcome, Outcome::Taken(_));
                self.sender = Some(sender);
                self.sent(outcome, &mut backoff);
                if is_over {
                    return;
                }
            }
        };
        let _ = timeout(END_TIMEOUT, rest).await;
    }

    fn take(&mut self, batch: &LogBatch) {
        let documents = self.maker.documents(&batch.text, Timestamp::now());
        let dropped = self.waiting.add(documents);
        self.figures.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.level();
    }

    fn level(&self) {
        let bytes = u64::try_from(self.waiting.bytes).unwrap_or(u64::MAX);
        self.figures.waiting.store(bytes, Ordering::Relaxed);
    }

    /// Accounts for what became of a request. Gives the pause before the next one.
    fn sent(&mut self, outcome: Outcome, backoff: &mut Backoff) -> Duration {
        let figures = &self.figures;
        let pause = match outcome {
            Outcome::Taken(taken) => {
                figures.stored.fetch_add(taken.stored, Ordering::Relaxed);
                figures.refused.fetch_add(taken.refused, Ordering::Relaxed);
                figures.reached.store(true, Ordering::Relaxed);
                if let Some(reason) = taken.reason {
                    let refused = taken.refused;
                    tracing::warn!(refused, reason, "Elasticsearch refuses records");
                }
                if taken.again.is_empty() {
                    if std::mem::replace(&mut self.is_told, false) {
                        tracing::info!("Elasticsearch takes records again");
                    }
                    backoff.reset();
                    if self.waiting.bytes >= BULK_BYTES {
                        Duration::ZERO
                    } else {
                        FLUSH
                    }
                } else {
                    figures.failures.fetch_add(1, Ordering::Relaxed);
                    self.waiting.put_back(taken.again.into_iter());
                    backoff.next()
                }
            }
            Outcome::Refused { reason, documents } => {
                figures.refused.fetch_add(documents, Ordering::Relaxed);
                figures.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(reason, documents, "Elasticsearch refuses records");
                FLUSH
            }
            Outcome::Failed { reason, documents } => {
                figures.failures.fetch_add(1, Ordering::Relaxed);
                figures.reached.store(false, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_told, true) {
                    tracing::warn!(
                        reason,
                        "Elasticsearch does not take records; they are kept as far as there is room"
                    );
                }
                self.waiting.put_back(documents.into_iter());
                backoff.next()
            }
        };
        let dropped = self.waiting.add(Vec::new());
        self.figures.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.level();
        pause
    }
}

/// What became of a request.
enum Outcome {
    /// It was taken, perhaps not all of it.
    Taken(Taken),
    /// It will never be taken.
    Refused { reason: String, documents: u64 },
    /// It is to be sent again.
    Failed {
        reason: String,
        documents: Vec<Document>,
    },
}

struct Sender {
    client: Client,
    /// Whether Elasticsearch wants types (before 7); `None`: it was not asked yet.
    typed: Option<bool>,
}

impl Sender {
    async fn send(mut self: Box<Self>, documents: Vec<Document>) -> (Box<Self>, Outcome) {
        let outcome = self.try_send(documents).await;
        if matches!(outcome, Outcome::Failed { .. }) {
            // It may be another version when it comes back.
            self.typed = None;
        }
        (self, outcome)
    }

    async fn try_send(&mut self, documents: Vec<Document>) -> Outcome {
        let typed = match self.greet().await {
            Ok(typed) => typed,
            Err(error) => {
                return Outcome::Failed {
                    reason: format!("{error:#}"),
                    documents,
                };
            }
        };
        let body = Bytes::from(bulk::body(&documents, typed));
        let answer = self
            .client
            .ask(Method::POST, "_bulk", "application/x-ndjson", body)
            .await;
        match answer {
            Ok((StatusCode::OK, answer)) => match bulk::taken(&answer, documents) {
                Ok(taken) => Outcome::Taken(taken),
                Err((reason, documents)) => Outcome::Failed { reason, documents },
            },
            Ok((status, answer)) => {
                let reason = format!(
                    "it answers {status}: {}",
                    String::from_utf8_lossy(answer.get(..400).unwrap_or(&answer))
                );
                match status {
                    StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Outcome::Refused {
                        reason,
                        documents: documents.len() as u64,
                    },
                    _ => Outcome::Failed { reason, documents },
                }
            }
            Err(error) => Outcome::Failed {
                reason: format!("{error:#}"),
                documents,
            },
        }
    }

    /// Asks for the version, and makes the template of the indices, once per connection that was lost.
    async fn greet(&mut self) -> anyhow::Result<bool> {
        if let Some(typed) = self.typed {
            return Ok(typed);
        }
        let (status, answer) = self.client.ask(Method::GET, "", "", Bytes::new()).await?;
        anyhow::ensure!(
            !matches!(status, StatusCode::TOO_MANY_REQUESTS) && !status.is_server_error(),
            "it answers {status}"
        );
        // Who may not ask for the version speaks to a new one.
        let typed = status == StatusCode::OK && is_typed(&answer);
        let (path, body) = bulk::template(typed);
        let body = Bytes::from(body.to_string());
        let (status, answer) = self
            .client
            .ask(Method::PUT, &path, "application/json", body)
            .await?;
        if !status.is_success() {
            let reason = String::from_utf8_lossy(answer.get(..400).unwrap_or(&answer)).into_owned();
            tracing::warn!(%status, reason, "the template of the indices could not be made; their fields get default types");
        }
        self.typed = Some(typed);
        Ok(typed)
    }
}

/// Whether this is the greeting of a version before 7.
fn is_typed(greeting: &[u8]) -> bool {
    let greeting: serde_json::Value = serde_json::from_slice(greeting).unwrap_or_default();
    let is_elasticsearch = greeting["version"]["distribution"].is_null();
    let major = greeting["version"]["number"]
        .as_str()
        .and_then(|number| number.split('.').next()?.parse::<u32>().ok());
    is_elasticsearch && major.is_some_and(|major| major < 7)
}

#[cfg(test)]
mod tests {
    use super::{BUFFER_BYTES_MAX, BULK_BYTES, Maker, Origin, Waiting, is_typed};

    #[test]
    fn the_buffer_has_a_bound_and_drops_what_is_oldest() {
        let mut maker = Maker::new(Origin::new("a", "h", 0));
        let mut waiting = Waiting::default();
        let record = format!("{{\"r\":\"{}\"}}\n", "x".repeat(100_000));
        let mut dropped = 0;
        for _ in 0..400 {
            dropped += waiting.add(maker.documents(record.as_bytes(), jiff::Timestamp::UNIX_EPOCH));
            assert!(waiting.bytes <= BUFFER_BYTES_MAX);
        }
        let kept = waiting.documents.len();
        assert_eq!(dropped as usize + kept, 400);
        assert!(kept > 150, "{kept}");
        let bulk = waiting.take();
        let bytes: usize = bulk.iter().map(super::Document::bytes).sum();
        assert!((BULK_BYTES / 2..=BULK_BYTES).contains(&bytes), "{bytes}");
        let first = bulk[0].clone();
        waiting.put_back(bulk.into_iter());
        assert_eq!(waiting.documents.len(), kept);
        assert_eq!(waiting.take()[0], first);
        let mut sum = 0;
        while !waiting.documents.is_empty() {
            sum += waiting.take().len();
        }
        assert!(sum > 100);
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn versions_before_seven_want_types() {
        let greeting = |number: &str| format!("{{\"version\": {{\"number\": \"{number}\"}}}}");
        assert!(is_typed(greeting("2.4.4").as_bytes()));
        assert!(is_typed(greeting("5.1.1").as_bytes()));
        assert!(!is_typed(greeting("7.17.0").as_bytes()));
        assert!(!is_typed(greeting("8.1.0").as_bytes()));
        assert!(!is_typed(
            br#"{"version": {"number": "2.1.0", "distribution": "opensearch"}}"#
        ));
        assert!(!is_typed(b"<html>"));
    }
}

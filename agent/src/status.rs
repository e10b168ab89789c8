//! What the agent knows about itself: for `/status`, for the metrics, for the acknowledgement.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::sync::watch;
use weir_model::{Acknowledgement, AgentId, Digest, Generation, Refusal};

/// A store that answers is asked twice a second; silence up to this long is none.
const SILENCE: Duration = Duration::from_millis(900);
/// Longest reason in characters that is told to others; the log has it whole.
const REASON_CHARS_MAX: usize = 2_000;

/// Shared by the tasks of an agent.
#[derive(Debug)]
pub(crate) struct Status {
    started: Instant,
    store_kind: &'static str,
    prefix: String,
    /// What is served, as the store is to hear it.
    acknowledgement: watch::Sender<Acknowledgement>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// When the store last said what is published.
    contact: Option<Instant>,
    /// Why it has failed since.
    loss: Option<String>,
    /// Why it could not be told what is served.
    untold: Option<String>,
    /// What is wrong with what it holds.
    content: Option<String>,
    /// Whether the store has a manifest; `None`: it was not asked yet.
    published: Option<bool>,
    /// Why the last good snapshot could not be saved.
    unsaved: Option<String>,
    /// What is wrong with the data folder.
    folder: Option<String>,
}

impl Status {
    pub(crate) fn new(agent: AgentId, admin: String, store_kind: &'static str, prefix: String) -> Self {
        Self {
            started: Instant::now(),
            store_kind,
            prefix,
            acknowledgement: watch::Sender::new(Acknowledgement {
                agent,
                admin: Some(admin),
                generation: Generation::default(),
                digest: None,
                seen: Generation::default(),
                refused: Vec::new(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_at_ms: unix_ms(),
                at_ms: unix_ms(),
                stale_ms: 0,
            }),
            known: Mutex::default(),
        }
    }

    /// What is served now, with the time of now.
    pub(crate) fn acknowledgement(&self) -> Acknowledgement {
        let mut acknowledgement = self.acknowledgement.borrow().clone();
        acknowledgement.at_ms = unix_ms();
        acknowledgement.stale_ms = milliseconds(self.stale());
        acknowledgement
    }

    /// Wakes when there is something new to acknowledge.
    pub(crate) fn changes(&self) -> watch::Receiver<Acknowledgement> {
        self.acknowledgement.subscribe()
    }

    /// A snapshot is served, but for the gateways that were refused.
    pub(crate) fn serves(&self, generation: Generation, digest: Digest, refused: &[Refusal]) {
        self.acknowledgement.send_if_modified(|now| {
            let seen = now.seen.max(generation);
            let refused: Vec<Refusal> = refused.iter().map(shortened).collect();
            let same = now.generation == generation
                && now.digest == Some(digest)
                && now.seen == seen
                && now.refused == refused;
            (now.generation, now.digest, now.seen, now.refused) = (generation, Some(digest), seen, refused);
            !same
        });
    }

    /// A whole document was refused; what was served before is served on. True if that is news.
    pub(crate) fn refuses(&self, seen: Option<Generation>, reason: &str) -> bool {
        let refusal = shortened(&Refusal {
            gateway: String::new(),
            reason: reason.to_owned(),
        });
        self.acknowledgement.send_if_modified(|now| {
            let seen = now.seen.max(seen.unwrap_or_default());
            let same = now.seen == seen && now.refused == [refusal.clone()];
            (now.seen, now.refused) = (seen, vec![refusal]);
            !same
        })
    }

    /// The store has said what is published.
    pub(crate) fn contact(&self) {
        let mut known = self.lock();
        known.contact = Some(Instant::now());
        known.loss = None;
    }

    /// The store has failed.
    pub(crate) fn lost(&self, problem: String) {
        self.lock().loss = Some(problem);
    }

    /// The store was told what is served, or not.
    pub(crate) fn told(&self, outcome: Result<(), String>) {
        self.lock().untold = outcome.err();
    }

    /// The data folder cannot be used as it should be.
    pub(crate) fn folder(&self, problem: String) {
        self.lock().folder = Some(problem);
    }

    /// Whether what is served is not on disk.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.lock().unsaved.is_some()
    }

    /// What the store holds is wrong, though it answers; or no longer.
    pub(crate) fn content(&self, problem: Option<String>) {
        self.lock().content = problem;
    }

    /// Whether the store has a manifest. True if that is news.
    pub(crate) fn published(&self, published: bool) -> bool {
        self.lock().published.replace(published) != Some(published)
    }

    pub(crate) fn saved(&self, outcome: Result<(), String>) {
        self.lock().unsaved = outcome.err();
    }

    /// How long the store has been silent; zero as long as it answers.
    pub(crate) fn stale(&self) -> Duration {
        let known = self.lock();
        let silence = known.contact.unwrap_or(self.started).elapsed();
        if known.contact.is_some() && known.loss.is_none() && silence < SILENCE {
            Duration::ZERO
        } else {
            silence
        }
    }

    /// For `/status`.
    pub(crate) fn show(&self) -> Value {
        let uptime_ms = milliseconds(self.started.elapsed());
        let now = self.acknowledgement();
        let known = self.lock();
        json!({
            "id": now.agent,
            "version": now.version,
            "admin": now.admin,
            "store": self.store_kind,
            "prefix": self.prefix,
            "published": known.published,
            "problem": known.loss.as_ref().or(known.untold.as_ref()).or(known.content.as_ref()),
            "stale_ms": now.stale_ms,
            "generation": now.generation,
            "digest": now.digest,
            "seen": now.seen,
            "refused": now.refused,
            "last_good_problem": known.unsaved.as_ref().or(known.folder.as_ref()),
            "uptime_ms": uptime_ms,
        })
    }

    /// The agent's own part of the metrics, as Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        let now = self.acknowledgement();
        let (unsaved, folder) = {
            let known = self.lock();
            (
                u8::from(known.unsaved.is_some()),
                u8::from(known.folder.is_some()),
            )
        };
        let figures = [
            (
                "weir_store_stale_seconds",
                "Time since the store last said what is published; 0 while it answers.",
                format!("{:.3}", self.stale().as_secs_f64()),
            ),
            (
                "weir_agent_generation_seen",
                "Newest generation seen in the store; above the one served while a document is refused.",
                now.seen.to_string(),
            ),
            (
                "weir_agent_refused",
                "Refusals of the newest document: gateways, or the document as a whole.",
                now.refused.len().to_string(),
            ),
            (
                "weir_agent_last_good_unsaved",
                "1 if the snapshot served could not be saved to disk.",
                unsaved.to_string(),
            ),
            (
                "weir_agent_data_folder_faulty",
                "1 if the data folder was damaged or cannot be written.",
                folder.to_string(),
            ),
            (
                "weir_agent_started_at_seconds",
                "When the agent started, seconds since the Unix epoch.",
                format!("{:.3}", Duration::from_millis(now.started_at_ms).as_secs_f64()),
            ),
        ];
        figures
            .map(|(name, help, value)| format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"))
            .concat()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shortened(refusal: &Refusal) -> Refusal {
    Refusal {
        gateway: refusal.gateway.chars().take(REASON_CHARS_MAX).collect(),
        reason: refusal.reason.chars().take(REASON_CHARS_MAX).collect(),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use weir_model::{AgentId, Digest, Generation};

    use super::Status;

    #[test]
    fn a_refusal_is_news_once() {
        let status = Status::new(
            AgentId::new("edge").unwrap(),
            String::new(),
            "memory",
            String::new(),
        );
        assert!(status.refuses(None, "a chunk is not there"));
        assert!(!status.refuses(None, "a chunk is not there"));
        assert!(status.refuses(Some(Generation(2)), "a chunk is not there"));
        assert!(!status.refuses(None, "a chunk is not there"));
        assert!(status.refuses(None, "another"));
        status.serves(Generation(2), Digest::of(b"it"), &[]);
        assert!(status.refuses(None, "another"), "again, after it was over");
    }

    #[test]
    fn the_figures_match_the_golden_text() {
        let status = Status::new(
            AgentId::new("edge").unwrap(),
            "127.0.0.1:1988".to_owned(),
            "etcd",
            "vamp/default".to_owned(),
        );
        status.contact();
        let text = status.metrics();
        let shown: String = text
            .lines()
            .map(|line| match line.strip_prefix("weir_agent_started_at_seconds ") {
                Some(_) => "weir_agent_started_at_seconds 0\n".to_owned(),
                None => format!("{line}\n"),
            })
            .collect();
        assert_eq!(shown, include_str!("../testdata/metrics.txt"));
    }

    #[test]
    fn silence_counts_from_the_first_loss() {
        let status = Status::new(
            AgentId::new("edge").unwrap(),
            "127.0.0.1:1988".to_owned(),
            "etcd",
            String::new(),
        );
        status.contact();
        assert!(status.stale().is_zero());
        status.lost("connection refused".to_owned());
        assert!(!status.stale().is_zero(), "at once, not after the next look");
        assert_eq!(status.show()["problem"], "connection refused");
        // That what is served could not be told says nothing about what is read.
        status.contact();
        status.told(Err("no permission".to_owned()));
        assert!(status.stale().is_zero());
        assert_eq!(status.show()["problem"], "no permission");
        status.told(Ok(()));
        assert!(status.show()["problem"].is_null());
    }
}

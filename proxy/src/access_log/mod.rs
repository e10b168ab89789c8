//! The access log: what became of each request, one record for each level that it crossed.
//!
//! **Job.** Note what is known of a request when its head was read ([`Client::note`]), add moments while it is under way
//! ([`Entry`] rides in its [`Exchange`]), write its records when it ends.
//!
//! **Invariants.** Without a log nothing is noted: a branch is all that is paid. A worker never waits for the
//! output: records go to a thread through a queue with a bound, those that do not fit are dropped and counted. Nothing
//! that a client sends can forge a record. A request that was sampled has all its records.
//!
//! **Absent.** Bodies, and headers other than `Referer` and `User-Agent`.

mod config;
mod record;
mod tap;
mod text;
mod worker;
mod writer;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Instant, SystemTime},
};

pub use self::{
    config::{AccessLog, LogField, LogFields, LogFormat, LogOutput},
    tap::{LogBatch, LogTap},
};
pub(crate) use self::{
    record::{GatewayNames, RouteNames},
    worker::{FLUSH, Log},
    writer::Writer,
};
use crate::{
    choose::{Entry as Listened, Unrouted},
    condition::RequestView,
    exchange::{Exchange, Outcome},
    worker::Context,
};

/// Longest target that is noted, in bytes; `...` stands for the rest.
const TARGET_BYTES_MAX: usize = 4 * 1024;
/// Longest value of a header that is noted, in bytes.
const VALUE_BYTES_MAX: usize = 512;

/// Ends the accounting of a request; that writes its records.
pub(crate) fn end(_context: &Context, exchange: Exchange, outcome: Outcome) {
    exchange.finish(outcome);
}

/// Notes a request that got no instance.
pub(crate) fn refused(
    context: &Context,
    entry: Option<Box<Entry>>,
    listened: &Listened,
    unrouted: &Unrouted,
    outcome: Outcome,
) {
    if let (Some(entry), Some(log)) = (entry, &context.log) {
        log.refused(context, entry, listened, unrouted, outcome);
    }
}

/// A client connection as the log sees it; nothing if there is no log.
#[derive(Debug)]
pub(crate) struct Client(Option<Box<Times>>);

#[derive(Debug)]
struct Times {
    peer: SocketAddr,
    /// Since when the next request is waited for.
    waits_since: Instant,
    /// When its first byte was there.
    began: Instant,
    shared: Arc<writer::Shared>,
}

impl Client {
    /// A connection that was just accepted.
    pub(crate) fn new(context: &Context, peer: SocketAddr) -> Self {
        Self(context.log.as_ref().map(|log| {
            let shared = Arc::clone(log.shared());
            shared.connections.fetch_add(1, Ordering::Relaxed);
            let now = Instant::now();
            Box::new(Times {
                peer,
                waits_since: now,
                began: now,
                shared,
            })
        }))
    }

    /// The client's address is known better now.
    pub(crate) fn set_peer(&mut self, peer: SocketAddr) {
        if let Some(times) = &mut self.0 {
            times.peer = peer;
        }
    }

    /// The next request is waited for, or is there already.
    pub(crate) fn waits(&mut self) {
        if let Some(times) = &mut self.0 {
            times.waits_since = Instant::now();
            times.began = times.waits_since;
        }
    }

    /// Its first byte is there.
    pub(crate) fn begins(&mut self) {
        if let Some(times) = &mut self.0 {
            times.began = Instant::now();
        }
    }

    /// Notes a request whose head was received; `None`: it is not to be logged. `version`: `HTTP/1.1`.
    pub(crate) fn note(
        &self,
        context: &Context,
        request: &impl RequestView,
        version: &str,
    ) -> Option<Box<Entry>> {
        let (log, mut entry) = self.entry(context)?;
        let line = &mut entry.line;
        line.extend_from_slice(request.method());
        line.push(b' ');
        put_cut(line, request.target(), TARGET_BYTES_MAX);
        line.push(b' ');
        line.extend_from_slice(version.as_bytes());
        if log.settings().format == LogFormat::Combined {
            for index in 0..request.header_count() {
                let (name, value) = request.header(index);
                if entry.referer.is_empty() && name.eq_ignore_ascii_case(b"referer") {
                    put_cut(&mut entry.referer, value, VALUE_BYTES_MAX);
                } else if entry.user_agent.is_empty() && name.eq_ignore_ascii_case(b"user-agent") {
                    put_cut(&mut entry.user_agent, value, VALUE_BYTES_MAX);
                }
            }
        }
        Some(entry)
    }

    /// Notes a request that could not be read.
    pub(crate) fn note_unread(&self, context: &Context) -> Option<Box<Entry>> {
        let (_, mut entry) = self.entry(context)?;
        entry.line.extend_from_slice(b"<BADREQ>");
        Some(entry)
    }

    /// Notes a TCP connection.
    pub(crate) fn note_tcp(&self, context: &Context) -> Option<Box<Entry>> {
        let (_, mut entry) = self.entry(context)?;
        entry.is_tcp = true;
        Some(entry)
    }

    fn entry<'c>(&self, context: &'c Context) -> Option<(&'c Log, Box<Entry>)> {
        let times = self.0.as_ref()?;
        let log = context.log.as_ref()?;
        let mut entry = log.sampled()?;
        let now = Instant::now();
        let began = if log.settings().idle_time {
            times.waits_since
        } else {
            times.began
        };
        let so_far = now.saturating_duration_since(began);
        let at = SystemTime::now();
        entry.peer = Some(times.peer);
        entry.began = Some(began);
        entry.began_at = at.checked_sub(so_far).or(Some(at));
        entry.routed = Some(now);
        Some((log, entry))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(times) = &self.0 {
            times.shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Appends at most so many bytes; dots stand for the rest.
fn put_cut(out: &mut Vec<u8>, bytes: &[u8], max: usize) {
    match bytes.get(..max) {
        Some(front) if front.len() < bytes.len() => {
            out.extend_from_slice(front);
            out.extend_from_slice(b"...");
        }
        _ => out.extend_from_slice(bytes),
    }
}

/// What is noted of a request that is under way.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    peer: Option<SocketAddr>,
    began: Option<Instant>,
    began_at: Option<SystemTime>,
    routed: Option<Instant>,
    connected: Option<Instant>,
    answered: Option<Instant>,
    is_tcp: bool,
    line: Vec<u8>,
    referer: Vec<u8>,
    user_agent: Vec<u8>,
}

impl Entry {
    /// There is a connection to an instance.
    pub(crate) fn connected(&mut self) {
        self.connected = Some(Instant::now());
    }

    /// The head of the answer is there.
    pub(crate) fn answered(&mut self) {
        self.answered = Some(Instant::now());
    }

    /// Makes room for another request; keeps the memory.
    fn clear(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        let mut referer = std::mem::take(&mut self.referer);
        let mut user_agent = std::mem::take(&mut self.user_agent);
        line.clear();
        referer.clear();
        user_agent.clear();
        *self = Self {
            line,
            referer,
            user_agent,
            ..Self::default()
        };
    }
}

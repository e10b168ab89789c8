//! Checks of instances by the proxy itself.
//!
//! **Job.** One thread follows the table, asks every instance in its rhythm whether it is there, and writes what it
//! found to the instance's live part, from which the workers read it.
//!
//! **Invariants.** Instances of several routes at one address with equal settings are asked once. What is known of an
//! instance outlives swaps of the table that leave its address and settings alone; what a swap leaves alone costs nothing. At most [`CONCURRENT_MAX`] checks
//! run at a time; one that waits for its turn is late, not lost. An instance that was not checked yet takes requests.
//!
//! An HTTP check speaks as requests do: by TLS, by HTTP/2, after a PROXY protocol header. A TCP check only connects.
//!
//! **Absent.** No fail-over: a route whose instances are all ill answers 503 (spec of the gateway agent, §3.8).

mod ask;
mod follow;
#[cfg(test)]
mod tests;
mod verdict;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{sync::Notify, task::JoinSet};
use weir_model::{HealthCheck, HealthProtocol, ProxyProtocol, RouteOptions, UpstreamTls};

use self::{
    ask::{How, ask},
    verdict::{Change, Verdict},
};
use crate::{
    live::EndpointLive,
    resolve::Address,
    table::{Endpoint, Table},
    upstream::Preamble,
};

/// Checks that run at the same time.
const CONCURRENT_MAX: usize = 256;
/// Shortest time between two checks of an instance, whatever is asked for.
const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// How much earlier or later than its interval a check may be, in percent: many instances shall not be asked at once.
const SPREAD_PERCENT: u64 = 5;

/// The thread that checks. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Health {
    signals: Arc<Signals>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Signals {
    changed: Notify,
    ended: Notify,
}

impl Health {
    /// Begins to check. `default`: how, where a route does not say it.
    pub(crate) fn start(
        default: Option<HealthCheck>,
        tables: Arc<ArcSwap<Table>>,
        epoch: Instant,
    ) -> io::Result<Self> {
        let signals = Arc::new(Signals::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let told = Arc::clone(&signals);
        let thread = std::thread::Builder::new()
            .name("weir-health".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let mut checker = Checker::new(default, epoch);
                    tokio::select! {
                        () = checker.run(&tables, &told.changed) => {}
                        () = told.ended.notified() => {}
                    }
                });
            })?;
        Ok(Self {
            signals,
            thread: Some(thread),
        })
    }

    /// There is another table.
    pub(crate) fn follow(&self) {
        self.signals.changed.notify_one();
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.signals.ended.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that checks instances ended in a panic");
        }
    }
}

/// What is asked, and where: equal ones are asked once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    host: String,
    port: u16,
    http: bool,
    path: String,
    interval: Duration,
    timeout: Duration,
    rise: u32,
    fall: u32,
    /// What an HTTP check begins with; of a TCP check nothing.
    tls: Option<UpstreamTls>,
    proxy_header: Option<ProxyProtocol>,
    is_http2: bool,
}

impl Key {
    /// `None`: it is not checked.
    fn new(endpoint: &Endpoint, options: &RouteOptions, default: Option<&HealthCheck>) -> Option<Self> {
        let check = options.health.as_ref().or(default)?;
        let http = match check.protocol {
            HealthProtocol::None => return None,
            HealthProtocol::Tcp => false,
            HealthProtocol::Http => true,
        };
        Some(Self {
            host: endpoint.host.clone(),
            port: endpoint.port,
            http,
            path: if http { check.path.clone() } else { String::new() },
            interval: check.interval.duration().max(INTERVAL_MIN),
            timeout: check.timeout.duration().max(Duration::from_millis(1)),
            rise: check.rise,
            fall: check.fall,
            tls: options.tls.clone().filter(|_| http),
            proxy_header: options.send_proxy_protocol.filter(|_| http),
            is_http2: http && endpoint.is_http2,
        })
    }
}

#[derive(Debug)]
struct Target {
    address: Address,
    preamble: Option<Arc<Preamble>>,
    /// Instances of routes that are at this address.
    lives: Vec<Arc<EndpointLive>>,
    verdict: Verdict,
    saw: Option<Arc<str>>,
    /// Differs for a target that went and came back while a check of it was under way.
    serial: u64,
    /// When it is asked next; `None`: it is being asked.
    due: Option<tokio::time::Instant>,
}

struct Checker {
    default: Option<HealthCheck>,
    epoch: Instant,
    /// The table that `targets` are of.
    followed: Arc<Table>,
    targets: HashMap<Arc<Key>, Target>,
    /// What is to be asked next, by time; the number tells those of one moment apart.
    due: BTreeMap<(tokio::time::Instant, u64), Arc<Key>>,
    running: JoinSet<(Arc<Key>, u64, ask::Seen)>,
    serial: u64,
    random: u64,
}

impl Checker {
    fn new(default: Option<HealthCheck>, epoch: Instant) -> Self {
        Self {
            default,
            epoch,
            followed: Arc::new(Table::empty()),
            targets: HashMap::new(),
            due: BTreeMap::new(),
            running: JoinSet::new(),
            serial: 0,
            // A fixed seed: agents that start together differ by what they serve and when they got it.
            random: 0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id()),
        }
    }

    async fn run(&mut self, tables: &ArcSwap<Table>, changed: &Notify) {
        loop {
            let table = tables.load_full();
            if table.serial == self.followed.serial {
                drop(table);
            } else {
                self.follow(table);
            }
            self.begin_due();
            let next = self
                .due
                .first_key_value()
                .map(|((at, _), _)| *at)
                .filter(|_| self.running.len() < CONCURRENT_MAX);
            tokio::select! {
                () = changed.notified() => {}
                Some(ended) = self.running.join_next(), if !self.running.is_empty() => {
                    if let Ok((key, serial, seen)) = ended {
                        self.conclude(&key, serial, &seen);
                    }
                }
                () = sleep_until(next), if next.is_some() => {}
            }
        }
    }

    /// Begins the checks whose time has come.
    fn begin_due(&mut self) {
        let now = tokio::time::Instant::now();
        while self.running.len() < CONCURRENT_MAX {
            let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) else {
                return;
            };
            let key = entry.remove();
            let Some(target) = self.targets.get_mut(&key) else {
                continue;
            };
            target.due = None;
            let (address, serial) = (target.address.current(), target.serial);
            let preamble = target.preamble.clone().filter(|_| key.http);
            self.running.spawn(async move {
                let how = How {
                    path: key.http.then_some(key.path.as_str()),
                    preamble: preamble.as_deref(),
                    is_http2: key.is_http2,
                };
                let seen = ask(address, how, (&key.host, key.port), key.timeout).await;
                (key, serial, seen)
            });
        }
    }

    /// Writes down what a check saw and plans the next one.
    fn conclude(&mut self, key: &Arc<Key>, serial: u64, seen: &ask::Seen) {
        let now_ms = self.now_ms();
        let spread = key.interval * u32::try_from(2 * SPREAD_PERCENT).unwrap_or(0) / 100;
        let pause = key.interval - spread / 2 + self.part_of(spread);
        let Some(target) = self.targets.get_mut(key).filter(|target| target.serial == serial) else {
            return;
        };
        let change = target.verdict.take(seen.well, key.rise, key.fall);
        let well = target.verdict.well();
        if target.saw.as_deref() != Some(&*seen.text) {
            let text: Arc<str> = seen.text.as_ref().into();
            for live in &target.lives {
                live.saw(Some(&text));
            }
            target.saw = Some(text);
        }
        for live in &target.lives {
            live.checked(well, now_ms);
            if seen.well {
                live.connected(now_ms);
            }
        }
        match change {
            Change::None => {}
            Change::Well => {
                tracing::info!(endpoint = %format_args!("{}:{}", key.host, key.port), saw = %seen.text, "an instance is well");
            }
            Change::Ill => {
                tracing::warn!(endpoint = %format_args!("{}:{}", key.host, key.port), saw = %seen.text, "an instance is ill: it gets no requests");
            }
        }
        let at = tokio::time::Instant::now() + pause;
        target.due = Some(at);
        self.due.insert((at, serial), Arc::clone(key));
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Some part of a length of time.
    fn part_of(&mut self, whole: Duration) -> Duration {
        // Marsaglia's xorshift: spreading is all that is wanted of it.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        whole * u32::try_from(self.random >> 54).unwrap_or(0) / 1_024
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

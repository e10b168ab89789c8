//! What was measured, held against the bars, and printed.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::traffic::{Counts, RATE, WEBSOCKETS};

/// Longest time from the end of a fault until the newest change is served.
const CONVERGED_MAX: Duration = Duration::from_secs(5);
/// Longest time until everybody says that the agent's store is silent, and that it is not any more.
const STALE_MAX: Duration = Duration::from_secs(2);
/// Part of the meant rate that must be there, in percent.
const RATE_PERCENT_MIN: u64 = 90;
/// Idle time below which the machine is taken for too slow for that, in percent of all processors.
const IDLE_PERCENT_MIN: u64 = 5;

/// When staleness was seen, from the beginning of the fault.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub metrics: Duration,
    /// By control: as an event, in `GET /agents`, by `weir agents`.
    pub control: Option<[Duration; 3]>,
}

/// One scenario.
#[derive(Debug, Default)]
pub struct Row {
    pub name: String,
    pub time: Duration,
    pub requests: u64,
    pub failed: u64,
    pub closed: u64,
    /// Of all requests, from their time in the schedule.
    pub p99: Duration,
    /// Of the machine's processors, in percent.
    pub idle: u64,
    pub stale: Option<Seen>,
    /// From the agent's own word until the event.
    pub fresh: Option<Duration>,
    pub converged: Option<Duration>,
}

/// Counts since a scenario began.
#[derive(Debug)]
pub struct Since {
    began: Instant,
    processors: [u64; 2],
    requests: u64,
    failed: u64,
    closed: u64,
}

impl Since {
    pub fn now(counts: &Counts) -> Self {
        drop(counts.latencies());
        Self {
            began: Instant::now(),
            processors: processors(),
            requests: counts.requests.load(Relaxed),
            failed: counts.failed.load(Relaxed),
            closed: counts.closed.load(Relaxed),
        }
    }

    pub fn count(&self, counts: &Counts, row: &mut Row) {
        row.time = self.began.elapsed();
        let [idle, all] = processors();
        let [idle_before, all_before] = self.processors;
        row.idle = (idle - idle_before) * 100 / (all - all_before).max(1);
        row.requests = counts.requests.load(Relaxed) - self.requests;
        row.failed = counts.failed.load(Relaxed) - self.failed;
        row.closed = counts.closed.load(Relaxed) - self.closed;
        let mut latencies = counts.latencies();
        latencies.sort_unstable();
        let p99 = latencies.get(latencies.len() * 99 / 100).copied();
        row.p99 = Duration::from_micros(p99.unwrap_or_default().into());
        if row.failed + row.closed > 0 {
            eprintln!("{}: {:#?}", row.name, counts.why());
        }
    }
}

/// Time that the processors were idle, and all of their time. Needs `/proc`.
fn processors() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let times: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|time| time.parse().ok())
        .collect();
    let idle = times.iter().skip(3).take(2).sum();
    [idle, times.iter().sum()]
}

impl Row {
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Requests per second.
    fn rate(&self) -> u64 {
        let ms = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX);
        self.requests * 1000 / ms.max(1)
    }

    pub fn line(&self) -> String {
        let one = |time: Duration| format!("{:.2}", time.as_secs_f64());
        let seconds = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), |time| one(time) + " s");
        let stale = match &self.stale {
            None => "-".to_owned(),
            Some(Seen { metrics, control }) => {
                let by_control = control.map_or_else(
                    || " / -".to_owned(),
                    |times| times.map(|time| format!(" / {}", one(time))).concat(),
                );
                format!("{}{by_control} s", one(*metrics))
            }
        };
        format!(
            "| {} | {stale} | {} | {} | {} /s | {:.1} ms | {} of {} | {} of {WEBSOCKETS} |",
            self.name,
            seconds(self.fresh),
            seconds(self.converged),
            self.rate(),
            self.p99.as_secs_f64() * 1000.0,
            self.failed,
            self.requests,
            self.closed,
        )
    }

    /// Bars that it missed.
    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let mut miss = |is_missed: bool, what: &str| {
            if is_missed {
                missed.push(format!("{}: {what}", self.name));
            }
        };
        miss(self.failed > 0 || self.closed > 0, "traffic noticed");
        let is_slow = self.rate() < u64::from(RATE) * RATE_PERCENT_MIN / 100;
        if is_slow && self.idle < IDLE_PERCENT_MIN {
            eprintln!("{}: this machine is too slow for {RATE} requests/s", self.name);
        }
        miss(
            is_slow && self.idle >= IDLE_PERCENT_MIN,
            "the rate was not reached",
        );
        miss(self.requests == 0, "there was no traffic");
        if let Some(Seen { metrics, control }) = &self.stale {
            miss(*metrics > STALE_MAX, "staleness is in /metrics too late");
            let late = control.iter().flatten().any(|time| *time > STALE_MAX);
            miss(late, "staleness is told by control too late");
        }
        let is_late = |time: Option<Duration>, most: Duration| time.is_some_and(|time| time > most);
        miss(
            is_late(self.fresh, STALE_MAX),
            "the end of staleness is told too late",
        );
        miss(is_late(self.converged, CONVERGED_MAX), "converged too late");
        missed
    }
}

/// Prints the table, and fails if a bar was missed.
pub fn finish(store: &str, rows: &[Row]) {
    let lines: Vec<String> = rows.iter().map(Row::line).collect();
    println!(
        "\n| {store} | staleness in metrics / event / API / `weir agents` | its end told | newest change served | rate | p99 | \
         requests failed | WebSockets closed |\n|---|---|---|---|---|---|---|---|\n{}\n",
        lines.join("\n")
    );
    let missed: Vec<String> = rows.iter().flat_map(Row::missed).collect();
    assert!(missed.is_empty(), "{store}: {missed:#?}");
}

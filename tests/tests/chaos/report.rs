//! What was measured, held against the bars, and printed.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::traffic::{Counts, WEBSOCKETS};

/// Longest time from the end of a fault until the newest change is served.
const CONVERGED_MAX: Duration = Duration::from_secs(5);
/// Longest time until an agent says that its store is silent.
const STALE_MAX: Duration = Duration::from_secs(2);

/// One scenario.
#[derive(Debug, Default)]
pub struct Row {
    pub name: &'static str,
    pub requests: u64,
    pub failed: u64,
    pub closed: u64,
    pub stale: Option<Duration>,
    pub converged: Option<Duration>,
}

/// Counts since a scenario began.
#[derive(Debug)]
pub struct Since {
    requests: u64,
    failed: u64,
    closed: u64,
}

impl Since {
    pub fn now(counts: &Counts) -> Self {
        Self {
            requests: counts.requests.load(Relaxed),
            failed: counts.failed.load(Relaxed),
            closed: counts.closed.load(Relaxed),
        }
    }

    pub fn count(&self, counts: &Counts, row: &mut Row) {
        let now = Self::now(counts);
        row.requests = now.requests - self.requests;
        row.failed = now.failed - self.failed;
        row.closed = now.closed - self.closed;
    }
}

/// Prints the table, and fails if a bar was missed.
pub fn finish(store: &str, rows: &[Row], counts: &Counts) {
    let seconds = |time: Option<Duration>| {
        time.map_or_else(|| "-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
    };
    let mut table = format!(
        "\n| {store} | requests | failed | WebSockets closed of {WEBSOCKETS} | staleness seen after | newest change served after |\n|---|---|---|---|---|---|\n"
    );
    let mut missed = Vec::new();
    for row in rows {
        table.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            row.name,
            row.requests,
            row.failed,
            row.closed,
            seconds(row.stale),
            seconds(row.converged)
        ));
        if row.failed > 0 || row.closed > 0 {
            missed.push(format!("{}: traffic noticed", row.name));
        }
        if row.requests == 0 {
            missed.push(format!("{}: there was no traffic", row.name));
        }
        if row.stale.is_some_and(|took| took > STALE_MAX) {
            missed.push(format!("{}: staleness was seen too late", row.name));
        }
        if row.converged.is_some_and(|took| took > CONVERGED_MAX) {
            missed.push(format!("{}: converged too late", row.name));
        }
    }
    println!("{table}");
    assert!(missed.is_empty(), "{store}: {missed:#?}\n{:#?}", counts.why());
}

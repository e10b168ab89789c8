//! Leave-taking: connections end one after the other, and none whose request has arrived.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use super::Context;

/// Between two steps.
const STEP: Duration = Duration::from_millis(10);
/// How long a connection that had no request yet is left in peace: a client that has just connected is about
/// to send one.
const FRESH_MS: u64 = 1_000;
/// So much before the end nobody is spared.
const LATE: Duration = Duration::from_secs(1);

/// How to take leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leave {
    /// When what is left is cut.
    pub(crate) deadline: Instant,
    /// Connections that had a request within so many milliseconds are about to have another, and learn by its answer that
    /// it was the last: they are not asked to end while there is time.
    pub(crate) lively_ms: u64,
}

/// What became of a worker's connections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Left {
    /// Ended while they waited for a request.
    pub(crate) idle: usize,
    /// Cut at the deadline.
    pub(crate) cut: super::Cut,
}

/// Ends idle connections at the configured rate, or as fast as the deadline demands: a storm of reconnecting
/// clients would hit whatever takes over. What is left at the deadline is cut.
pub(super) async fn take(context: &Rc<Context>, leave: Leave) -> Left {
    let Leave { deadline, lively_ms } = leave;
    context.drain();
    let connections = &context.connections;
    let config = &context.config;
    let workers = u64::try_from(config.workers).unwrap_or(1).max(1);
    let mut pace = Pace::new(u64::from(config.drain_rate.get()) * 1_000 / workers);
    let mut left = Left::default();
    // Sockets first accept what waits in their queues.
    tokio::task::yield_now().await;
    let mut last = Instant::now();
    loop {
        let now = Instant::now();
        if connections.len() == 0 || now >= deadline {
            break;
        }
        let due = pace.due(now - last, connections.idle(), deadline - now);
        last = now;
        // At the end all have to go.
        let is_late = deadline - now < LATE;
        left.idle += connections.close_idle(due, FRESH_MS, if is_late { 0 } else { lively_ms });
        let until = tokio::time::Instant::from_std((now + STEP).min(deadline));
        while connections.len() > 0
            && tokio::time::timeout_at(until, connections.one_gone())
                .await
                .is_ok()
        {}
    }
    left.idle += connections.close_idle(usize::MAX, 0, 0);
    // Twice: to look for a request, and to answer that there is none.
    for _ in 0..2 {
        tokio::task::yield_now().await;
    }
    left.cut = connections.close_all();
    while connections.len() > 0 {
        tokio::task::yield_now().await;
    }
    left
}

/// How many connections are to end by now.
#[derive(Debug)]
struct Pace {
    /// Thousandths of a connection per second.
    rate: u64,
    /// Billionths of a connection.
    credit: u128,
}

const WHOLE: u128 = 1_000_000_000;

impl Pace {
    fn new(rate: u64) -> Self {
        // The first one need not wait.
        Self { rate, credit: WHOLE }
    }

    /// For the time that passed since the last step, with so many connections idle and so much time left.
    fn due(&mut self, passed: Duration, idle: usize, left: Duration) -> usize {
        // In four fifths of the time, so that the last ones are not cut.
        let left_us = (left.as_micros() * 4 / 5).max(1);
        let needed = (idle as u128) * 1_000_000_000 / left_us;
        let rate = needed.max(u128::from(self.rate));
        self.credit += rate * passed.as_micros();
        let due = self.credit / WHOLE;
        self.credit %= WHOLE;
        usize::try_from(due).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pace, STEP};

    /// How many are idle after each of so many steps.
    fn course(rate: u64, mut idle: usize, deadline: Duration) -> Vec<usize> {
        let mut pace = Pace::new(rate * 1_000);
        let mut at = Duration::ZERO;
        let mut course = Vec::new();
        while at < deadline {
            idle -= pace.due(STEP, idle, deadline - at).min(idle);
            course.push(idle);
            at += STEP;
        }
        course
    }

    #[test]
    fn the_rate_is_kept_while_the_deadline_allows_it() {
        let course = course(100, 500, Duration::from_secs(30));
        assert_eq!(course[99], 500 - 101);
        assert_eq!(course[199], 500 - 201);
        assert_eq!(course.iter().position(|idle| *idle == 0), Some(498));
    }

    #[test]
    fn a_near_deadline_makes_it_faster_and_even() {
        let course = course(1, 10_000, Duration::from_secs(1));
        assert!((8_500..9_000).contains(&course[9]), "{}", course[9]);
        assert!((2_500..5_500).contains(&course[49]), "{}", course[49]);
        assert_eq!(course.last(), Some(&0));
    }

    #[test]
    fn a_slow_rate_adds_up() {
        let course = course(2, 3, Duration::from_secs(600));
        assert_eq!(course[0], 2);
        assert_eq!(course[48], 2);
        assert_eq!(course[50], 1);
    }
}

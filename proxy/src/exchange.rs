//! Accounting of one request (or connection), the same for every lane.

use std::{rc::Rc, sync::atomic::Ordering, time::Instant};

use weir_model::Balance;

use crate::{
    access_log::Entry,
    choose::{By, Choice},
    error::ErrorKind,
    metrics::{add, subtract},
    table::Endpoint,
    waits::Waits,
    worker::Context,
};

/// How a request ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Status that the client received; 0 if none.
    pub(crate) status: u16,
    /// What went wrong, if anything.
    pub(crate) error: Option<ErrorKind>,
    /// Bytes received from the client, head included.
    pub(crate) bytes_in: u64,
    /// Bytes sent to the client, head included.
    pub(crate) bytes_out: u64,
}

/// A request on its way. Counted at each gateway and route that it crosses when it begins and when it ends;
/// dropped without an end, it counts as aborted by the client, or by us while we take leave.
#[derive(Debug)]
pub(crate) struct Exchange {
    context: Rc<Context>,
    choice: Choice,
    waits: Waits,
    began: Instant,
    retries: u64,
    ended: bool,
    log: Option<Box<Entry>>,
}

impl Exchange {
    /// Begins to account. The clock starts now.
    pub(crate) fn begin(context: &Rc<Context>, choice: Choice) -> Self {
        let mut waits = context.waits;
        for hop in choice.hops() {
            let Some(route) = choice.route(hop) else { continue };
            // The innermost comes last, so its word is the one that counts.
            if let Some(own) = &route.timeouts {
                waits.replace(own, context.now_ms());
            }
            let figures = route.live.shards.of(context.worker);
            add(&figures.requests, 1);
            add(&figures.in_flight, 1);
            match hop.by {
                By::Weight => {}
                By::Condition => add(&figures.by_condition, 1),
                By::Cookie => add(&figures.by_cookie, 1),
            }
        }
        context.budget.request();
        let exchange = Self {
            context: Rc::clone(context),
            waits,
            choice,
            began: Instant::now(),
            retries: 0,
            ended: false,
            log: None,
        };
        exchange.enter_endpoint();
        exchange
    }

    /// The way that was chosen.
    pub(crate) fn choice(&self) -> &Choice {
        &self.choice
    }

    /// How long it may wait.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// The instance that it goes to now.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.choice.endpoint()
    }

    /// Its records are written from this when it ends.
    pub(crate) fn log_as(&mut self, entry: Option<Box<Entry>>) {
        self.log = entry;
    }

    /// There is a connection to the instance.
    pub(crate) fn connected(&mut self) {
        if let Some(entry) = &mut self.log {
            entry.connected();
        }
    }

    /// The head of the answer is there.
    pub(crate) fn answered(&mut self) {
        if let Some(entry) = &mut self.log {
            entry.answered();
        }
    }

    /// Counts an attempt beyond the first.
    pub(crate) fn retried(&mut self) {
        self.retries += 1;
    }

    /// Moves on to an instance that was not tried yet; the one that it leaves is charged with `error`.
    /// `false` if there is none.
    pub(crate) fn another_endpoint(&mut self, error: ErrorKind) -> bool {
        self.leave_endpoint(0, Some(error));
        let moved = self.choice.another_endpoint(&self.context);
        self.enter_endpoint();
        moved
    }

    /// Lets go of the table, for what may last long.
    pub(crate) fn pin(&mut self) {
        self.choice.pin();
    }

    /// Ends it.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn enter_endpoint(&self) {
        let live = &self.choice.endpoint().live;
        let figures = live.shards.of(self.context.worker);
        add(&figures.requests, 1);
        add(&figures.in_flight, 1);
        if self.choice.balance() == Balance::LeastRequests {
            live.in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn leave_endpoint(&self, status: u16, error: Option<ErrorKind>) {
        let live = &self.choice.endpoint().live;
        let figures = live.shards.of(self.context.worker);
        subtract(&figures.in_flight, 1);
        figures.outcomes.record(status, error, self.began.elapsed());
        if error.is_none() {
            // Also over a connection that was made before it failed.
            live.connected(self.context.now_ms());
        }
        if let Some(ejection) = self.choice.ejection() {
            let is_error = match error {
                None => Some(status >= 500),
                Some(
                    ErrorKind::ResponseTimeout | ErrorKind::ResponseClosed | ErrorKind::ResponseMalformed,
                ) => Some(true),
                // The client's doing, or a connection that was not made, which counts on its own.
                Some(_) => None,
            };
            if let Some(is_error) = is_error {
                live.answered(is_error, ejection, self.context.now_ms());
            }
        }
        if self.choice.balance() == Balance::LeastRequests {
            live.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if let (Some(entry), Some(log)) = (self.log.take(), &self.context.log) {
            log.ended(&self.choice, entry, outcome, self.retries);
        }
        let took = self.began.elapsed();
        self.leave_endpoint(outcome.status, outcome.error);
        for hop in self.choice.hops() {
            let Some(route) = self.choice.route(hop) else {
                continue;
            };
            let figures = route.live.shards.of(self.context.worker);
            subtract(&figures.in_flight, 1);
            add(&figures.bytes_in, outcome.bytes_in);
            add(&figures.bytes_out, outcome.bytes_out);
            if self.retries > 0 {
                add(&figures.retries, self.retries);
            }
            figures.outcomes.record(outcome.status, outcome.error, took);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let error = if self.context.draining() {
            ErrorKind::Shutdown
        } else {
            ErrorKind::ClientAborted
        };
        self.end(Outcome {
            error: Some(error),
            ..Outcome::default()
        });
    }
}

//! Access log: one record per ended request. Off: there is no writer yet, and nothing is paid for it.

use crate::{
    exchange::{Exchange, Outcome},
    worker::Context,
};

/// Notes an ended request, before its exchange is finished. Every lane calls it at each end.
#[inline]
pub(crate) fn record(_context: &Context, _exchange: &Exchange, _outcome: &Outcome) {}

/// Notes a request in the log and ends its accounting.
pub(crate) fn end(context: &Context, exchange: Exchange, outcome: Outcome) {
    record(context, &exchange, &outcome);
    exchange.finish(outcome);
}

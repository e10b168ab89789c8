//! A worker's part: records are put together here, and handed over in batches.

use std::{
    cell::{Cell, RefCell},
    fmt,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{SyncSender, TrySendError},
    },
    time::{Duration, Instant},
};

use super::{
    Entry,
    config::AccessLog,
    record::{self, Way},
    writer::{Batch, Shared, Writer},
};
use crate::{
    choose::{Choice, Entry as Listened, Unrouted},
    exchange::Outcome,
    worker::Context,
};

/// Bytes of records that are handed over at once.
const BATCH_BYTES: usize = 32 * 1024;
/// Longest that a record waits for others.
pub(crate) const FLUSH: Duration = Duration::from_millis(100);
/// Entries kept for the next requests.
const SPARE_MAX: usize = 64;

/// The log of one worker.
pub(crate) struct Log {
    settings: AccessLog,
    queue: SyncSender<Batch>,
    shared: Arc<Shared>,
    text: RefCell<Vec<u8>>,
    records: Cell<u64>,
    turn: Cell<u32>,
    #[expect(clippy::vec_box, reason = "entries travel as boxes")]
    spare: RefCell<Vec<Box<Entry>>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// `None` after the end of the writer.
    pub(crate) fn new(settings: &AccessLog, writer: &Writer) -> Option<Self> {
        Some(Self {
            settings: settings.clone(),
            queue: writer.queue()?,
            shared: Arc::clone(writer.shared()),
            text: RefCell::default(),
            records: Cell::new(0),
            turn: Cell::new(0),
            spare: RefCell::default(),
        })
    }

    pub(crate) fn settings(&self) -> &AccessLog {
        &self.settings
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// An empty entry for a request, unless it is passed over.
    pub(super) fn sampled(&self) -> Option<Box<Entry>> {
        let turn = self.turn.get();
        self.turn.set(if turn + 1 < self.settings.sample.get() {
            turn + 1
        } else {
            0
        });
        (turn == 0).then(|| self.spare.borrow_mut().pop().unwrap_or_default())
    }

    /// Writes the records of a request that was sent to an instance, before its accounting ends.
    pub(crate) fn ended(&self, choice: &Choice, entry: Box<Entry>, outcome: Outcome, retries: u64) {
        let way = Way::Served { choice, retries };
        self.write(entry, &way, outcome);
    }

    pub(super) fn refused(
        &self,
        context: &Context,
        entry: Box<Entry>,
        listened: &Listened,
        unrouted: &Unrouted,
        outcome: Outcome,
    ) {
        let table = context.table();
        let first = if listened.virtual_hosts() {
            None
        } else {
            listened.slot(&table).and_then(|slot| table.gateway(slot))
        };
        let way = Way::Refused {
            unrouted,
            first: first.map(|gateway| &**gateway),
            virtual_hosts: listened.virtual_hosts(),
        };
        self.write(entry, &way, outcome);
    }

    fn write(&self, mut entry: Box<Entry>, way: &Way<'_>, outcome: Outcome) {
        let is_full = {
            let mut text = self.text.borrow_mut();
            let count = record::write(&mut text, self, &entry, way, outcome, Instant::now());
            self.records.set(self.records.get() + count);
            text.len() >= BATCH_BYTES
        };
        if is_full {
            self.flush();
        }
        entry.clear();
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(entry);
        }
    }

    pub(super) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Hands over what there is, or drops it if the writer is too far behind.
    pub(crate) fn flush(&self) {
        let mut text = self.text.borrow_mut();
        if text.is_empty() {
            return;
        }
        let batch = Batch {
            text: std::mem::take(&mut *text),
            records: self.records.take(),
        };
        match self.queue.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                self.shared.dropped.fetch_add(batch.records, Ordering::Relaxed);
                // Its memory serves the next ones.
                *text = batch.text;
                text.clear();
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{atomic::Ordering, mpsc::sync_channel};

    use super::Log;
    use crate::access_log::{
        AccessLog, LogFormat, LogOutput,
        writer::{Sink, Writer, tests::Gate},
    };

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (leave, gate) = sync_channel(1);
        let (out, written) = sync_channel(1_000);
        let writer = Writer::start_with(Sink::Other(Box::new(Gate(gate, out)))).unwrap();
        let settings = AccessLog::new(LogFormat::Json, LogOutput::Stdout);
        let log = Log::new(&settings, &writer).unwrap();
        let dropped = || log.shared.dropped.load(Ordering::Relaxed);
        let mut put = 0_u64;
        while dropped() == 0 {
            log.text.borrow_mut().extend_from_slice(b"a\nb\n");
            log.records.set(2);
            log.flush();
            put += 2;
            assert!(put < 1_000, "the queue has a bound");
        }
        assert_eq!(dropped(), 2);
        assert!(log.text.borrow().is_empty() && log.records.get() == 0);
        // The output goes on: so do the records.
        drop(leave);
        let shared = log.shared.clone();
        drop(log);
        drop(writer);
        assert_eq!(shared.written.load(Ordering::Relaxed), put - 2);
        assert_eq!(written.iter().count() as u64, put / 2 - 1);
    }
}

//! A second reader of the records, such as one that ships them elsewhere.
//!
//! **Invariants.** Neither a worker nor the writer ever waits for it: what does not fit into its queue is lost to it, and
//! counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Whole records, each with its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBatch {
    /// The records.
    pub text: Vec<u8>,
    /// How many there are.
    pub records: u64,
}

/// Where a second reader gets its records from. Equal to its clones only.
#[derive(Clone, Debug)]
pub struct LogTap {
    queue: Sender<LogBatch>,
    lost: Arc<AtomicU64>,
}

impl PartialEq for LogTap {
    fn eq(&self, other: &Self) -> bool {
        self.queue.same_channel(&other.queue)
    }
}

impl Eq for LogTap {}

impl LogTap {
    /// A tap, and what comes out of it. At most `batches` (about 32 KiB each) wait for the reader.
    pub fn new(batches: usize) -> (Self, Receiver<LogBatch>) {
        let (queue, records) = channel(batches.max(1));
        let lost = Arc::default();
        (Self { queue, lost }, records)
    }

    /// Records that did not fit into the queue.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn offer(&self, text: &[u8], records: u64) {
        let taken = self.queue.try_reserve().map(|place| {
            place.send(LogBatch {
                text: text.to_vec(),
                records,
            });
        });
        if taken.is_err() {
            self.lost.fetch_add(records, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LogTap;

    #[test]
    fn what_does_not_fit_is_lost_and_counted() {
        let (tap, mut records) = LogTap::new(2);
        for number in 0..5 {
            tap.offer(format!("{number}\n").as_bytes(), 3);
        }
        assert_eq!(tap.lost(), 9);
        assert_eq!(records.try_recv().map(|batch| batch.text), Ok(b"0\n".to_vec()));
        tap.offer(b"5\n", 1);
        drop(records);
        tap.offer(b"6\n", 1);
        assert_eq!(tap.lost(), 10, "a reader that is gone loses all");
    }
}

//! Saves what is served, beside serving it.
//!
//! **Job.** Keeps the copy on disk as new as what is served, without holding up a change: a storm of changes costs one save each
//! second, of the newest.
//!
//! **Invariants.** At most one save at a time. What is handed over last is saved in the end: at once after a quiet second, within
//! a second and the time of a save else, before [`Saver::flush`] returns (unless the disk hangs), and again every [`RETRY`] after a
//! failure. Nothing is saved while another process is taking over ([`Saver::hold`]): it has the folder then. Nobody waits for the disk
//! longer than [`FLUSH_MAX`].

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, OwnedMutexGuard, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::{
    last_good::{LastGood, Served},
    status::Status,
};

/// Time from the beginning of a save to that of the next one, if nobody is in a hurry.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause before a save that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Longest wait for the disk: a folder on a network that hangs must not keep anybody from ending.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Hands over what is to be saved.
#[derive(Clone, Debug)]
pub(crate) struct Saver {
    wanted: watch::Sender<Wanted>,
    /// Number of what was tried last.
    tried: watch::Receiver<u64>,
    /// Locked during a save, until the disk has done it.
    disk: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct Wanted {
    served: Option<Served>,
    /// Counts what was handed over.
    number: u64,
    /// Up to this number without a pause.
    hurry: u64,
    held: bool,
}

impl Saver {
    /// Must be called within a runtime. Ends when all its copies are dropped.
    pub(crate) fn start(last_good: LastGood, status: Arc<Status>) -> Self {
        let (wanted, orders) = watch::channel(Wanted::default());
        let (done, tried) = watch::channel(0);
        let disk = Arc::default();
        let task = Task {
            last_good,
            status,
            orders,
            done,
            disk: Arc::clone(&disk),
        };
        tokio::spawn(task.run());
        Self { wanted, tried, disk }
    }

    /// To be saved in the place of everything before.
    pub(crate) fn save(&self, served: Served) {
        self.wanted.send_modify(|wanted| {
            wanted.served = Some(served);
            wanted.number += 1;
        });
    }

    /// Returns when what was handed over so far is saved, or could not be, within [`FLUSH_MAX`].
    pub(crate) async fn flush(&self) {
        if !self.is_tried(Instant::now() + FLUSH_MAX).await {
            tracing::warn!(
                waited_s = FLUSH_MAX.as_secs(),
                "the disk hangs: nobody waits any longer until the snapshot served is saved"
            );
        }
    }

    /// Hurries until then. Whether what was handed over so far is saved, or could not be.
    async fn is_tried(&self, until: Instant) -> bool {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            // Who holds does not wait for it.
            number = if wanted.held { 0 } else { wanted.number };
            wanted.hurry = wanted.number;
        });
        // The task ends only after the last of these.
        let mut tried = self.tried.clone();
        timeout_at(until, tried.wait_for(|tried| *tried >= number))
            .await
            .is_ok()
    }

    /// Flushes; nothing is saved from then on.
    ///
    /// # Errors
    /// The disk hangs, for [`FLUSH_MAX`]: saving goes on.
    pub(crate) async fn hold(&self) -> io::Result<()> {
        let until = Instant::now() + FLUSH_MAX;
        let is_tried = self.is_tried(until).await;
        self.wanted.send_modify(|wanted| wanted.held = true);
        // A save that had begun before it could know ends first.
        let is_free = is_tried && timeout_at(until, self.disk.lock()).await.is_ok();
        if is_free {
            return Ok(());
        }
        self.release();
        let waited = FLUSH_MAX.as_secs();
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the data folder did not answer within {waited} s"),
        ))
    }

    /// Goes on after [`Saver::hold`].
    pub(crate) fn release(&self) {
        self.wanted.send_modify(|wanted| wanted.held = false);
    }
}

struct Task {
    last_good: LastGood,
    status: Arc<Status>,
    orders: watch::Receiver<Wanted>,
    done: watch::Sender<u64>,
    disk: Arc<Mutex<()>>,
}

impl Task {
    async fn run(mut self) {
        let mut tried = 0;
        let mut failed = false;
        loop {
            let again = async {
                if failed {
                    sleep(RETRY).await;
                } else {
                    std::future::pending().await
                }
            };
            tokio::select! {
                news = self.orders.wait_for(|wanted| wanted.number > tried) => if news.is_err() { return },
                () = again => {}
            }
            let Some(disk) = self.disk().await else { return };
            let (number, served) = {
                let wanted = self.orders.borrow_and_update();
                (wanted.number, wanted.served.clone())
            };
            let Some(served) = served else { continue };
            let next = Instant::now() + PAUSE;
            let outcome = self.save(served, disk).await;
            failed = outcome.is_err();
            self.tell(outcome);
            tried = number;
            self.done.send_replace(number);
            tokio::select! {
                () = sleep_until(next) => {}
                // An error: nobody is there any more, and what is left is saved at once.
                _ = self.orders.wait_for(|wanted| wanted.hurry > tried) => {}
            }
        }
    }

    /// The disk, when nobody else has the folder; `None` if nobody will give it back.
    async fn disk(&mut self) -> Option<OwnedMutexGuard<()>> {
        loop {
            self.orders.wait_for(|wanted| !wanted.held).await.ok()?;
            let disk = Arc::clone(&self.disk).lock_owned().await;
            // Whoever holds it from now on waits for the lock.
            if !self.orders.borrow().held {
                return Some(disk);
            }
        }
    }

    async fn save(&self, served: Served, disk: OwnedMutexGuard<()>) -> io::Result<()> {
        let last_good = self.last_good.clone();
        let saving = tokio::task::spawn_blocking(move || {
            let outcome = last_good.save(&served);
            drop(disk);
            outcome
        })
        .await;
        saving.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn tell(&self, outcome: io::Result<()>) {
        if let Err(error) = &outcome
            && !self.status.is_unsaved()
        {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the snapshot served could not be saved; a restart without the store would serve an older one"
            );
        }
        self.status.saved(outcome.map_err(|error| error.to_string()));
    }
}

#[cfg(test)]
mod tests;

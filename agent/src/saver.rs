//! Saves what is served, beside serving it.
//!
//! **Job.** Keeps the copy on disk as new as what is served, without holding up a change: a storm of changes costs one save each
//! second, of the newest.
//!
//! **Invariants.** At most one save at a time. What is handed over last is saved in the end: at once after a quiet second, within
//! a second and the time of a save else, before [`Saver::flush`] returns, and again every [`RETRY`] after a failure. Nothing is saved
//! while another process is taking over ([`Saver::hold`]): it has the folder then.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    last_good::{LastGood, Served},
    status::Status,
};

/// Time from the beginning of a save to that of the next one, if nobody is in a hurry.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause before a save that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Hands over what is to be saved.
#[derive(Clone, Debug)]
pub(crate) struct Saver {
    wanted: watch::Sender<Wanted>,
    /// Number of what was tried last.
    tried: watch::Receiver<u64>,
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
        let task = Task {
            last_good,
            status,
            orders,
            done,
        };
        tokio::spawn(task.run());
        Self { wanted, tried }
    }

    /// To be saved in the place of everything before.
    pub(crate) fn save(&self, served: Served) {
        self.wanted.send_modify(|wanted| {
            wanted.served = Some(served);
            wanted.number += 1;
        });
    }

    /// Returns when what was handed over so far is saved, or could not be.
    pub(crate) async fn flush(&self) {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            // Who holds does not wait for it.
            number = if wanted.held { 0 } else { wanted.number };
            wanted.hurry = wanted.number;
        });
        // The task ends only after the last of these.
        let _ = self.tried.clone().wait_for(|tried| *tried >= number).await;
    }

    /// Flushes; nothing is saved from then on.
    pub(crate) async fn hold(&self) {
        self.flush().await;
        self.wanted.send_modify(|wanted| wanted.held = true);
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
            if self.orders.wait_for(|wanted| !wanted.held).await.is_err() {
                return;
            }
            let (number, served) = {
                let wanted = self.orders.borrow_and_update();
                (wanted.number, wanted.served.clone())
            };
            let Some(served) = served else { continue };
            let next = Instant::now() + PAUSE;
            let outcome = self.save(served).await;
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

    async fn save(&self, served: Served) -> io::Result<()> {
        let last_good = self.last_good.clone();
        let saving = tokio::task::spawn_blocking(move || last_good.save(&served)).await;
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

//! Certificates in files: looked at every few seconds by a thread of its own, so that no worker waits for a disk.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    time::Duration,
};

use super::acceptor::{Acceptor, Certificates};

/// Between two looks at the files: a new certificate is served so much later at most.
const PERIOD: Duration = Duration::from_secs(2);

/// Watches until it is dropped. The thread starts with the first file.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    watched: Arc<Mutex<Vec<Weak<Certificates>>>>,
    /// Gone with this: the thread ends.
    alive: Option<mpsc::SyncSender<()>>,
}

impl Watch {
    /// Keeps the certificates of `acceptor` up to date for as long as it lives.
    pub(crate) fn add(&mut self, acceptor: &Acceptor) {
        if !acceptor.certificates().has_files() {
            return;
        }
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|one| one.strong_count() > 0);
        watched.push(Arc::downgrade(acceptor.certificates()));
        if self.alive.is_some() {
            return;
        }
        let (alive, end) = mpsc::sync_channel::<()>(1);
        let shared = Arc::clone(&self.watched);
        let thread = std::thread::Builder::new()
            .name("weir-certificates".to_owned())
            .spawn(move || {
                while end.recv_timeout(PERIOD) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let all: Vec<_> = shared
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .iter()
                        .filter_map(Weak::upgrade)
                        .collect();
                    for certificates in all {
                        certificates.refresh();
                    }
                }
            });
        match thread {
            Ok(_) => self.alive = Some(alive),
            Err(error) => tracing::error!(%error, "certificate files are not watched"),
        }
    }
}

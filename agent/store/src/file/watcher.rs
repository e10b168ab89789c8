//! Follows a file on a thread of its own: the system's notices on its folder, and a slow poll for file
//! systems that give none (network mounts).

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::AccessKind};
use tokio::sync::watch;

use super::{
    document::gateways,
    state::{State, lock},
};
use crate::Revision;

/// Pause between looks without a notice.
const POLL: Duration = Duration::from_secs(2);
/// Quiet time after a notice: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(100);
/// How often the quiet time may begin anew: a busy folder must not keep us from looking.
const SETTLE_ROUNDS_MAX: usize = 10;
/// Pause before a document with a fault is read once more: it may have been caught half written.
const SECOND_LOOK: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Watcher {
    newest: watch::Receiver<Revision>,
    /// Dropping both ends the thread.
    _notices: Option<RecommendedWatcher>,
    _wake: SyncSender<()>,
}

impl Watcher {
    /// Reads the file once, then follows it.
    pub(super) fn start(path: &Path, state: Arc<Mutex<State>>) -> io::Result<Self> {
        let path = path.to_owned();
        let (wake, woken) = sync_channel(1);
        let notices = notices(&path, wake.clone())
            .inspect_err(|error| {
                tracing::warn!(path = %path.display(), %error, "no notices of changes; the file is looked at every 2 s");
            })
            .ok();
        let seen = Seen::of(&path);
        let first = lock(&state).take(gateways(&path));
        let (newest, receiver) = watch::channel(first.unwrap_or_default());
        let mut follower = Follower {
            path,
            state,
            seen,
            newest,
        };
        thread::Builder::new()
            .name("weir-file-store".to_owned())
            .spawn(move || follower.run(&woken))?;
        Ok(Self {
            newest: receiver,
            _notices: notices,
            _wake: wake,
        })
    }

    pub(super) fn newest(&self) -> watch::Receiver<Revision> {
        self.newest.clone()
    }
}

/// The folder is watched, not the file: editors put a new file in its place.
fn notices(path: &Path, wake: SyncSender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading gives notices of access; they must not wake us.
        let wakes = match event {
            Ok(event) => match event.kind {
                EventKind::Access(AccessKind::Close(notify::event::AccessMode::Write)) => true,
                EventKind::Access(_) => false,
                _ => true,
            },
            Err(_) => true,
        };
        if wakes {
            // Full: a wake-up is waiting already.
            let _ = wake.try_send(());
        }
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    watcher.watch(folder.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen(Option<(u64, u64, i64, i64, i64, i64)>);

impl Seen {
    fn of(path: &Path) -> Self {
        Self(std::fs::metadata(path).ok().map(|file| {
            let changed = (file.ctime(), file.ctime_nsec());
            (
                file.ino(),
                file.len(),
                file.mtime(),
                file.mtime_nsec(),
                changed.0,
                changed.1,
            )
        }))
    }
}

struct Follower {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    seen: Seen,
    newest: watch::Sender<Revision>,
}

impl Follower {
    fn run(&mut self, woken: &Receiver<()>) {
        loop {
            match woken.recv_timeout(POLL) {
                Ok(()) => {
                    for _ in 0..SETTLE_ROUNDS_MAX {
                        if woken.recv_timeout(SETTLE).is_err() {
                            break;
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let seen = Seen::of(&self.path);
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        let mut read = gateways(&self.path);
        if read.is_err() {
            thread::sleep(SECOND_LOOK);
            self.seen = Seen::of(&self.path);
            read = gateways(&self.path);
        }
        let mut state = lock(&self.state);
        let Some(revision) = state.take(read) else { return };
        let path = self.path.display();
        if state.has_fault() {
            tracing::warn!(%path, "the document has faults; what was read last stays");
        } else {
            tracing::info!(%path, "the document was read");
        }
        drop(state);
        self.newest.send_replace(revision);
    }
}

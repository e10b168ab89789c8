//! Waits for the end of an instance's process and of its group.
//!
//! A child of ours is not reaped before its group was dealt with: until then the kernel gives its number to
//! nobody, and a signal to the group reaches the group.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open, waitid,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Instant,
};

use crate::proc::{Identity, Marker, members};

/// Between two looks at a process where the kernel cannot tell us.
const POLL: Duration = Duration::from_millis(250);
/// Between two looks at what is left of a group.
const GROUP_POLL: Duration = Duration::from_millis(20);
/// How long the remains of a group may take to vanish once killed, before they are given up.
const GROUP_GONE_MAX: Duration = Duration::from_secs(5);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// While nobody looked.
    Unknown,
}

/// The first process of an instance.
#[derive(Debug)]
pub(crate) struct Leader {
    identity: Identity,
    /// Becomes readable at its end. `None`: the kernel has none for us.
    pidfd: Option<AsyncFd<OwnedFd>>,
}

impl Leader {
    /// Within a runtime.
    pub(crate) fn new(identity: Identity) -> Leader {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an `OwnedFd` keeps its descriptor to itself"
        )]
        let pidfd = identity
            .raw()
            .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).ok())
            .and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE).ok());
        Leader { identity, pidfd }
    }

    /// Waits until the process has ended. May be called again.
    pub(crate) async fn ended(&self) {
        // The number may have gone to somebody else before the descriptor was opened, hence the first look.
        while self.identity.alive() {
            match &self.pidfd {
                Some(fd) => {
                    // The readiness is kept: it never goes away again. A second look that still finds the
                    // process must not spin on it.
                    let _ = fd.readable().await;
                    if self.identity.alive() {
                        tokio::time::sleep(POLL).await;
                    }
                }
                None => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Ends the rest of the group, at `deadline` by force, and reaps the process, which has ended.
    pub(crate) async fn clean_up(&self, marker: &Marker, deadline: Instant) -> Ending {
        let Some(pid) = self.identity.raw() else {
            return Ending::Unknown;
        };
        let ours = is_child(pid);
        let give_up = deadline.max(Instant::now()) + GROUP_GONE_MAX;
        loop {
            let left = remains(&self.identity, ours, marker);
            if left.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                if ours {
                    // It is there no more if the rest ended meanwhile: that is as well.
                    let _ = kill_process_group(pid, Signal::KILL);
                } else {
                    kill_each(&left);
                }
            }
            if Instant::now() >= give_up {
                tracing::warn!(pid = self.identity.pid, left = ?left, "processes of an instance do not end");
                break;
            }
            tokio::time::sleep(GROUP_POLL).await;
        }
        reap(pid)
    }
}

/// Ends what is left of a group whose leader ended while nobody looked.
pub(crate) fn sweep(identity: &Identity, marker: &Marker) {
    kill_each(&remains(identity, false, marker));
}

/// Live processes of the group but for its leader. If its number is not held by a child of ours, only those
/// that carry the marker: the number may be somebody else's by now.
fn remains(identity: &Identity, ours: bool, marker: &Marker) -> Vec<i32> {
    let mut left = members(identity.pid);
    left.retain(|pid| ours || marker.is_on(*pid));
    left
}

fn kill_each(pids: &[i32]) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // It is there no more if it ended meanwhile: that is as well.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Whether it is an unreaped child of this process.
fn is_child(pid: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    wait(pid, look).is_ok()
}

fn reap(pid: Pid) -> Ending {
    match wait(pid, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ending::Code(code),
            (None, Some(signal)) => Ending::Signal(signal),
            (None, None) => Ending::Unknown,
        },
        Ok(None) | Err(_) => Ending::Unknown,
    }
}

fn wait(pid: Pid, options: WaitIdOptions) -> io::Result<Option<rustix::process::WaitIdStatus>> {
    Ok(rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options))?)
}

/// Ends and reaps a child that was started a moment ago and cannot be kept.
pub(crate) fn discard(mut child: std::process::Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait();
}

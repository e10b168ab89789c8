//! One process takes over from another without a refused connection.
//!
//! **Job.** The process that serves starts its successor (the program of the same name with the same arguments) and sends it
//! what only one process can have: listening sockets, the admin listener, the lock of the data folder (`offer`). The
//! successor serves what is on disk with them, says so, and waits until the other has left the store ([`Inherited`]). Then the
//! other takes leave of its connections and ends.
//!
//! **Invariants.** A socket is always some process's, so the kernel queues connections for it all the time. A successor that does
//! not say in time that it serves is ended, and nothing has changed. Descriptors travel over a pair of sockets that no one else
//! can open. Nothing waits without a bound.
//!
//! **Absent.** Figures, health and connections stay with the old process; a store that only one process can open (`embedded:`)
//! cannot be handed over.

mod channel;
mod offer;
mod systemd;

use std::{
    collections::HashMap,
    fs::File,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use weir_proxy::{ListeningSocket, Proxy};

use self::channel::Channel;
pub(crate) use self::offer::offer;
pub use self::offer::{Offered, Successor};

/// Set for a process that is to take over; what it takes over comes by its standard input.
pub const VARIABLE: &str = "WEIR_TAKEOVER";

/// Of the messages: a successor that does not know it says so and ends.
const FORMAT: u32 = 1;
/// Longest wait for the next message of what is handed over.
const MESSAGE_WAIT: Duration = Duration::from_secs(10);
/// Longest wait of a successor for the other to leave the store.
const LEAVE_WAIT: Duration = Duration::from_secs(15);
/// How long sockets that no gateway asks for are kept: the store may know one that the disk did not.
const KEPT: Duration = Duration::from_secs(10);

/// Names of what is handed over besides the sockets of gateways.
pub(crate) const LOCK: &str = "lock";
pub(crate) const ADMIN: &str = "admin";
pub(crate) const ADMIN_SOCKET: &str = "admin-socket";
pub(crate) const DNS: &str = "dns";

/// What goes with the descriptors of a message, in their order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    /// The first one.
    Hello { format: u32, process: u32 },
    /// Things with a name.
    Named { names: Vec<String> },
    /// Sockets of gateways.
    Listeners { listeners: Vec<Listener> },
    /// There is no more.
    End,
    /// Of the successor: it serves.
    Serves,
    /// The other has left the store.
    Yours,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listener {
    address: std::net::SocketAddr,
    virtual_hosts: bool,
}

/// What a process got from the one that it takes over from.
#[derive(Debug)]
pub struct Inherited {
    channel: Channel,
    process: u32,
    named: HashMap<String, OwnedFd>,
    listeners: Vec<ListeningSocket>,
}

impl Inherited {
    /// Receives it by standard input, if this process was started for it.
    ///
    /// # Errors
    /// It does not come, or in a form that is not known.
    pub fn receive() -> anyhow::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let channel = Channel::of_standard_input()
            .with_context(|| format!("{VARIABLE} is set, but nothing is handed over by standard input"))?;
        let mut inherited = Self {
            channel,
            process: 0,
            named: HashMap::new(),
            listeners: Vec::new(),
        };
        inherited.read().context("what is handed over cannot be read")?;
        Ok(Some(inherited))
    }

    fn read(&mut self) -> anyhow::Result<()> {
        loop {
            let (message, descriptors) = self.channel.receive(MESSAGE_WAIT)?;
            match message {
                Message::Hello { format, process } => {
                    anyhow::ensure!(
                        format == FORMAT,
                        "its format is {format}, this program knows {FORMAT}: start it anew instead"
                    );
                    self.process = process;
                }
                Message::Named { names } => {
                    anyhow::ensure!(names.len() == descriptors.len(), "descriptors are missing");
                    self.named.extend(names.into_iter().zip(descriptors));
                }
                Message::Listeners { listeners } => {
                    anyhow::ensure!(listeners.len() == descriptors.len(), "descriptors are missing");
                    let all = listeners.into_iter().zip(descriptors);
                    self.listeners
                        .extend(all.map(|(listener, descriptor)| ListeningSocket {
                            address: listener.address,
                            virtual_hosts: listener.virtual_hosts,
                            socket: descriptor.into(),
                        }));
                }
                Message::End => return Ok(()),
                Message::Serves | Message::Yours => anyhow::bail!("it comes in a wrong order"),
            }
        }
    }

    /// The lock of the data folder.
    pub(crate) fn lock(&mut self) -> Option<File> {
        self.named.remove(LOCK).map(File::from)
    }

    /// The admin listener.
    pub(crate) fn admin(&mut self) -> Option<TcpListener> {
        self.named.remove(ADMIN).map(TcpListener::from)
    }

    /// The Unix socket of the admin listener.
    pub(crate) fn admin_socket(&mut self) -> Option<UnixListener> {
        self.named.remove(ADMIN_SOCKET).map(UnixListener::from)
    }

    /// The socket at which names are answered.
    pub(crate) fn dns(&mut self) -> Option<std::net::UdpSocket> {
        self.named.remove(DNS).map(std::net::UdpSocket::from)
    }

    /// Gives the sockets of gateways to the proxy, which has no table yet.
    pub(crate) async fn give_to(&mut self, proxy: &Proxy) {
        tracing::info!(
            process = self.process,
            sockets = self.listeners.len(),
            "this process takes over from another"
        );
        proxy.adopt(std::mem::take(&mut self.listeners)).await;
    }

    /// Says that it serves and waits for the other to leave the store.
    pub(crate) async fn served(self, proxy: &Proxy) {
        let Self { channel, process, .. } = self;
        let waited = tokio::task::spawn_blocking(move || {
            channel.send(&Message::Serves, channel::NOTHING)?;
            channel.receive(LEAVE_WAIT)
        })
        .await;
        match waited {
            Ok(Ok((Message::Yours, _))) => tracing::info!(process, "the process before has left the store"),
            Ok(Err(error)) => {
                // It is gone, or hangs: this one serves already.
                tracing::warn!(
                    process,
                    error = format!("{error:#}"),
                    "the process before does not say that it leaves"
                );
            }
            Ok(Ok(_)) | Err(_) => tracing::warn!(process, "the process before says what makes no sense"),
        }
        systemd::tell_main_process();
        let proxy = proxy.clone();
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            let unused = proxy.release().await;
            if unused > 0 {
                tracing::info!(unused, "sockets of gateways that are gone are closed");
            }
        });
    }
}

/// Number of the process that has a data folder.
const PROCESS_FILE: &str = "process";
/// What became of the last attempt to hand over.
const OUTCOME_FILE: &str = "upgrade";

/// Notes which process has the folder. Without it an upgrade must be asked for by signal.
pub(crate) fn note_process(data_dir: &Path) {
    let path = data_dir.join(PROCESS_FILE);
    if let Err(error) = std::fs::write(&path, std::process::id().to_string()) {
        tracing::debug!(%error, path = %path.display(), "the number of this process cannot be noted");
    }
}

/// Notes what became of an attempt, for whoever asked for it.
pub(crate) fn note_outcome(data_dir: &Path, outcome: &Result<u32, String>) {
    let text = match outcome {
        Ok(process) => format!("ok {process}"),
        Err(reason) => format!("failed {reason}"),
    };
    let path = outcome_file(data_dir);
    // Whole or not at all.
    let fresh = path.with_extension("new");
    if let Err(error) = std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &path)) {
        tracing::warn!(%error, path = %path.display(), "the outcome of the upgrade cannot be noted");
    }
}

fn outcome_file(data_dir: &Path) -> PathBuf {
    data_dir.join(OUTCOME_FILE)
}

/// Asks the process that has a data folder to hand over, and waits for it; the number of the new process.
///
/// # Errors
/// Nobody has it, or what was wrong with the successor.
pub fn ask(data_dir: &Path, wait: Duration) -> anyhow::Result<u32> {
    let shown = data_dir.display();
    let lock = File::open(data_dir.join("lock")).with_context(|| format!("no agent runs on {shown}"))?;
    anyhow::ensure!(
        matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)),
        "no agent runs on {shown}"
    );
    let number = std::fs::read_to_string(data_dir.join(PROCESS_FILE))
        .with_context(|| format!("which process runs on {shown} is not known"))?;
    let process = number
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .with_context(|| format!("`{}` is no number of a process", number.trim()))?;
    let outcome = outcome_file(data_dir);
    match std::fs::remove_file(&outcome) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{} cannot be written", outcome.display()));
        }
        _ => {}
    }
    rustix::process::kill_process(process, rustix::process::Signal::USR2)
        .with_context(|| format!("process {} cannot be asked", number.trim()))?;
    let deadline = std::time::Instant::now() + wait;
    loop {
        if let Ok(text) = std::fs::read_to_string(&outcome) {
            return match text.split_once(' ') {
                Some(("ok", process)) => Ok(process.parse()?),
                Some((_, reason)) => Err(anyhow::anyhow!("{reason}; process {} serves on", number.trim())),
                None => Err(anyhow::anyhow!("{} makes no sense", outcome.display())),
            };
        }
        anyhow::ensure!(
            std::time::Instant::now() < deadline,
            "process {} does not answer within {} s",
            number.trim(),
            wait.as_secs()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, time::Duration};

    use super::{FORMAT, HashMap, Inherited, Listener, Message, channel::Channel};

    fn received(messages: &[(Message, Vec<TcpListener>)]) -> anyhow::Result<Inherited> {
        let (ours, theirs) = Channel::pair().unwrap();
        for (message, sockets) in messages {
            ours.send(message, sockets).unwrap();
        }
        drop(ours);
        let mut inherited = Inherited {
            channel: theirs,
            process: 0,
            named: HashMap::new(),
            listeners: Vec::new(),
        };
        inherited.read().map(|()| inherited)
    }

    fn hello() -> (Message, Vec<TcpListener>) {
        (
            Message::Hello {
                format: FORMAT,
                process: 7,
            },
            Vec::new(),
        )
    }

    #[test]
    fn descriptors_arrive_with_their_names() {
        let (admin, gateway) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::bind("127.0.0.1:0").unwrap(),
        );
        let (admin_at, at) = (admin.local_addr().unwrap(), gateway.local_addr().unwrap());
        let mut inherited = received(&[
            hello(),
            (
                Message::Named {
                    names: vec![super::ADMIN.to_owned()],
                },
                vec![admin],
            ),
            (
                Message::Listeners {
                    listeners: vec![Listener {
                        address: at,
                        virtual_hosts: true,
                    }],
                },
                vec![gateway],
            ),
            (Message::End, Vec::new()),
        ])
        .unwrap();
        assert_eq!(inherited.process, 7);
        assert_eq!(inherited.admin().unwrap().local_addr().unwrap(), admin_at);
        assert!(inherited.admin().is_none() && inherited.lock().is_none());
        let [socket] = &inherited.listeners[..] else {
            panic!("one socket")
        };
        assert_eq!((socket.address, socket.virtual_hosts), (at, true));
        assert_eq!(socket.socket.local_addr().unwrap(), at);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let other = (
            Message::Hello {
                format: 99,
                process: 7,
            },
            Vec::new(),
        );
        let error = received(&[other]).unwrap_err();
        assert!(error.to_string().contains("format is 99"), "{error}");
        let lacking = (
            Message::Named {
                names: vec!["a".to_owned()],
            },
            Vec::new(),
        );
        assert!(received(&[hello(), lacking]).is_err());
        let error = received(&[hello()]).unwrap_err();
        assert!(format!("{error:#}").contains("closed"), "{error:#}");
        assert!(received(&[hello(), (Message::Yours, Vec::new())]).is_err());
    }

    #[test]
    fn nothing_is_waited_for_without_a_bound() {
        let (_ours, theirs) = Channel::pair().unwrap();
        let error = theirs.receive(Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("in time"), "{error}");
    }
}

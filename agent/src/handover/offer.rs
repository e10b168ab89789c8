//! The side that serves and wants to be succeeded.

use std::{
    ffi::OsString,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command},
    time::Duration,
};

use anyhow::Context as _;
use weir_proxy::ListeningSocket;

use super::{
    FORMAT, Listener, Message, VARIABLE,
    channel::{Channel, DESCRIPTORS_MAX, NOTHING},
};

/// Longest wait for a successor to serve.
const START_WAIT: Duration = Duration::from_secs(30);
/// How often a successor that was told to end is looked after, and how many times.
const END_LOOK: Duration = Duration::from_millis(10);
const END_LOOKS: u32 = 500;

/// How a successor is started: as this process was.
#[derive(Clone, Debug)]
pub struct Successor {
    program: PathBuf,
    name: Option<OsString>,
    arguments: Vec<OsString>,
}

impl Successor {
    /// As this process was started. To be asked at its start: later its file may be another's.
    ///
    /// A program that was called by a path is looked up by it again, so that a link to the newest version is followed; one
    /// that was found on the search path is the file that it was.
    pub fn of_this_process() -> Self {
        let mut arguments = std::env::args_os();
        let name = arguments.next();
        let by_path = name
            .as_ref()
            .filter(|name| name.to_string_lossy().contains('/'))
            .map(PathBuf::from);
        let program = by_path
            .or_else(|| std::env::current_exe().ok())
            .unwrap_or_else(|| PathBuf::from("weir-agent"));
        Self {
            program,
            name,
            arguments: arguments.collect(),
        }
    }
}

/// A successor that serves and waits for this process to leave the store.
#[derive(Debug)]
pub struct Offered {
    channel: Channel,
    process: u32,
}

impl Offered {
    /// Its number.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Tells it that the store is its own.
    pub(crate) fn left(self) {
        if let Err(error) = self.channel.send(&Message::Yours, NOTHING) {
            tracing::warn!(
                process = self.process,
                error = format!("{error:#}"),
                "the successor is not told"
            );
        }
    }
}

/// Starts a successor, sends it everything, and waits until it serves. Takes as long as it needs: for a thread that may wait.
///
/// # Errors
/// Why it does not serve; then it has ended.
pub(crate) fn offer(
    successor: &Successor,
    named: &[(&str, OwnedFd)],
    listeners: &[ListeningSocket],
) -> anyhow::Result<Offered> {
    let shown = successor.program.display();
    let (ours, theirs) = Channel::pair()?;
    let mut command = Command::new(&successor.program);
    if let Some(name) = &successor.name {
        command.arg0(name);
    }
    command
        .args(&successor.arguments)
        .env(VARIABLE, "1")
        .stdin(theirs.into_standard_input());
    let mut child = command
        .spawn()
        .with_context(|| format!("{shown} cannot be started"))?;
    // With it goes this process's handle of the other end.
    drop(command);
    match send(&ours, named, listeners) {
        Ok(()) => Ok(Offered {
            channel: ours,
            process: child.id(),
        }),
        Err(error) => {
            let ended = end(&mut child);
            Err(error).with_context(|| format!("{shown} does not take over ({ended})"))
        }
    }
}

fn send(channel: &Channel, named: &[(&str, OwnedFd)], listeners: &[ListeningSocket]) -> anyhow::Result<()> {
    let hello = Message::Hello {
        format: FORMAT,
        process: std::process::id(),
    };
    channel.send(&hello, NOTHING)?;
    let names = named.iter().map(|(name, _)| (*name).to_owned()).collect();
    let descriptors: Vec<&OwnedFd> = named.iter().map(|(_, descriptor)| descriptor).collect();
    channel.send(&Message::Named { names }, &descriptors)?;
    for some in listeners.chunks(DESCRIPTORS_MAX) {
        let message = Message::Listeners {
            listeners: some
                .iter()
                .map(|one| Listener {
                    address: one.address,
                    virtual_hosts: one.virtual_hosts,
                })
                .collect(),
        };
        let descriptors: Vec<_> = some.iter().map(|one| &one.socket).collect();
        channel.send(&message, &descriptors)?;
    }
    channel.send(&Message::End, NOTHING)?;
    match channel.receive(START_WAIT)? {
        (Message::Serves, _) => Ok(()),
        _ => anyhow::bail!("it says what makes no sense"),
    }
}

/// Ends a process that was started here; how it ended.
fn end(child: &mut Child) -> String {
    // It may be about to end by itself, with a reason of its own.
    for look in 0..END_LOOKS {
        match child.try_wait() {
            Ok(Some(status)) => return status.to_string(),
            Ok(None) if look == END_LOOKS / 10 => {
                let _ = child.kill();
            }
            Ok(None) => {}
            Err(error) => return error.to_string(),
        }
        std::thread::sleep(END_LOOK);
    }
    "it does not end".to_owned()
}

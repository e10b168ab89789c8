//! Messages with descriptors between two processes.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt::{Timeout, set_socket_timeout},
};

use super::Message;

/// Descriptors of one message; the kernel takes 253.
pub(super) const DESCRIPTORS_MAX: usize = 128;
/// Longest message in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for the other side to take a message.
const SEND_WAIT: Duration = Duration::from_secs(10);

/// A message without descriptors.
pub(super) const NOTHING: &[OwnedFd] = &[];

/// One end of a pair that keeps messages apart.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(one), Self(other)))
    }

    /// The end that this process was started with.
    pub(super) fn of_standard_input() -> anyhow::Result<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let kind = rustix::net::sockopt::socket_type(&input).context("standard input is no socket")?;
        anyhow::ensure!(kind == SocketType::SEQPACKET, "standard input is no such socket");
        Ok(Self(input))
    }

    /// For the process that is started with it.
    pub(super) fn into_standard_input(self) -> Stdio {
        Stdio::from(self.0)
    }

    /// Sends a message with at most [`DESCRIPTORS_MAX`] descriptors.
    pub(super) fn send(&self, message: &Message, descriptors: &[impl AsFd]) -> anyhow::Result<()> {
        let text = serde_json::to_vec(message)?;
        anyhow::ensure!(
            text.len() <= MESSAGE_BYTES_MAX && descriptors.len() <= DESCRIPTORS_MAX,
            "the message is too long"
        );
        set_socket_timeout(&self.0, Timeout::Send, Some(SEND_WAIT))?;
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            anyhow::ensure!(
                ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)),
                "there is no room for the descriptors"
            );
        }
        let sent = sendmsg(
            &self.0,
            &[IoSlice::new(&text)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .context("the other process does not take it")?;
        anyhow::ensure!(sent == text.len(), "a message was sent in part");
        Ok(())
    }

    /// Waits for the next message.
    pub(super) fn receive(&self, wait: Duration) -> anyhow::Result<(Message, Vec<OwnedFd>)> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(wait))?;
        let mut text = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut into = [IoSliceMut::new(&mut text)];
            match recvmsg(&self.0, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => anyhow::bail!("the other process does not answer in time"),
                other => break other?,
            }
        };
        let mut descriptors = Vec::new();
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(all) = part {
                descriptors.extend(all);
            }
        }
        anyhow::ensure!(received.bytes > 0, "the other process closed it");
        let message = serde_json::from_slice(text.get(..received.bytes).unwrap_or_default())
            .context("a message makes no sense")?;
        Ok((message, descriptors))
    }
}

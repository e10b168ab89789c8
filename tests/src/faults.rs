//! A relay before a server that spoils connections on purpose: cut, silent, slow.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Bytes that are taken at once.
const PIECE: usize = 64 * 1024;
/// Pieces that are under way in one direction of a slow connection.
const PIECES: usize = 1024;

/// What is wrong with the way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Connections are reset, new ones at once.
    Cut,
    /// Connections are taken and nothing passes any more, also later: as if packets were dropped for good. Only
    /// connections that are made afterwards work.
    Silence,
    /// Every piece takes so long, in each direction.
    Delay(Duration),
}

/// A relay on a port of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    fault: watch::Sender<Fault>,
    _end: DropGuard,
}

impl Relay {
    /// A relay to a port of this host. Needs a runtime.
    ///
    /// # Panics
    /// If no port can be bound.
    pub async fn to(port: u16) -> Self {
        Self::to_address((Ipv4Addr::LOCALHOST, port).into()).await
    }

    /// A relay to a server. Needs a runtime.
    ///
    /// # Panics
    /// If no port can be bound.
    pub async fn to_address(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let (fault, now) = watch::channel(Fault::None);
        let end = CancellationToken::new();
        let own = listener.local_addr().expect("it is bound").port();
        let ended = end.clone();
        tokio::spawn(ended.run_until_cancelled_owned(accept(listener, server, now, end.clone())));
        Self {
            port: own,
            fault,
            _end: end.drop_guard(),
        }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    fault: watch::Receiver<Fault>,
    end: CancellationToken,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let serving = serve(client, server, fault.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(serving));
    }
}

async fn serve(client: TcpStream, server: SocketAddr, mut fault: watch::Receiver<Fault>) {
    let _ = client.set_nodelay(true);
    let now = *fault.borrow_and_update();
    match now {
        Fault::Cut => return reset(client),
        Fault::Silence => return silent(&mut fault).await,
        Fault::None | Fault::Delay(_) => {}
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return reset(client);
    };
    let _ = server.set_nodelay(true);
    // With this, whoever closes first resets.
    for stream in [&client, &server] {
        let _ = stream.set_zero_linger();
    }
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let (there, back, mut watched) = (fault.clone(), fault.clone(), fault.clone());
    let relaying = async move {
        tokio::select! {
            () = pump(client_in, server_out, there) => {}
            () = pump(server_in, client_out, back) => {}
        }
    };
    let spoiled = async move {
        let spoiled = |fault: &Fault| matches!(fault, Fault::Cut | Fault::Silence);
        let fault = watched.wait_for(spoiled).await;
        fault.is_ok_and(|fault| *fault == Fault::Silence)
    };
    tokio::pin!(relaying);
    tokio::select! {
        () = &mut relaying => {}
        is_silent = spoiled => if is_silent {
            // The sockets stay open, in `relaying`, which does nothing any more.
            silent(&mut fault).await;
        },
    }
}

/// Until the end, or until connections are cut.
async fn silent(fault: &mut watch::Receiver<Fault>) {
    let _ = fault.wait_for(|fault| *fault == Fault::Cut).await;
}

fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

/// One direction.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: watch::Receiver<Fault>) {
    let (pieces, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let reading = async move {
        let mut buffer = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let delay = match *fault.borrow() {
                Fault::Delay(delay) => delay,
                _ => Duration::ZERO,
            };
            let piece = buffer.get(..read).unwrap_or_default().to_vec();
            if pieces.send((Instant::now() + delay, piece)).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((at, piece)) = due.recv().await {
            sleep_until(at).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    futures::join!(reading, writing);
}

//! Origins that answer with their letter and take WebSockets, all on one thread.

use std::{net::SocketAddr, thread};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::traffic::LETTERS;

/// One for each of [`LETTERS`]; they end when this is dropped.
#[derive(Debug)]
pub struct Origins {
    pub addresses: Vec<SocketAddr>,
    /// Dropped with the rest, which is what ends the thread.
    _end: oneshot::Sender<()>,
}

impl Origins {
    pub fn start() -> Self {
        let (end, ended) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut addresses = Vec::new();
                for letter in LETTERS {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    addresses.push(listener.local_addr().unwrap());
                    tokio::spawn(serve(listener, letter));
                }
                tell.send(addresses).unwrap();
                let _ = ended.await;
            });
        });
        Self {
            addresses: told.recv().unwrap(),
            _end: end,
        }
    }
}

async fn serve(listener: TcpListener, letter: u8) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, letter));
        }
    }
}

async fn answer(mut stream: TcpStream, letter: u8) -> std::io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n".to_vec();
    answer.push(letter);
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        if head.starts_with(b"GET /socket ") {
            break;
        }
        head.clear();
        stream.write_all(&answer).await?;
    }
    stream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .await?;
    // Short messages, back as they came but without the mask (which is of zeros).
    loop {
        let mut frame = [0; 14];
        stream.read_exact(&mut frame).await?;
        let mut back = vec![0x81, 8];
        back.extend_from_slice(&frame[6..]);
        stream.write_all(&back).await?;
    }
}

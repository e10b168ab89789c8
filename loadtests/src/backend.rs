//! The service behind the proxies: answers every request alike, as cheaply as it can.

use std::io::Write as _;

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use crate::websocket;

/// Serves until its standard input ends, so that it never outlives who started it. Prints its port first.
pub(crate) fn serve(body_bytes: usize) -> anyhow::Result<()> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: load\r\nContent-Type: text/plain\r\nContent-Length: {body_bytes}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + body_bytes, b'x');
    let answer: &'static [u8] = answer.leak();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut out = std::io::stdout();
        writeln!(out, "{}", listener.local_addr()?.port()).context("telling the port")?;
        out.flush()?;
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(async move {
                // A client that goes away is no news.
                let _ = answer_all(stream, answer).await;
            });
        }
    })
}

async fn answer_all(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        let read = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut begin = 0;
        while let Some(end) = memchr::memmem::find(buffer.get(begin..filled).unwrap_or_default(), b"\r\n\r\n")
        {
            let head = buffer.get(begin..begin + end).unwrap_or_default();
            begin += end + 4;
            if memchr::memmem::find(head, websocket::KEY).is_some() {
                stream.write_all(websocket::ACCEPTED).await?;
                return websocket::serve(stream).await;
            }
            stream.write_all(answer).await?;
            if memchr::memmem::find(head, b"\nConnection: close").is_some()
                || memchr::memmem::find(head, b"\nconnection: close").is_some()
            {
                return Ok(());
            }
        }
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
    }
}

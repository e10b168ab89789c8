//! WebSocket (RFC 6455) as far as an echo of short messages needs it, on both ends.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::connection::{HOST, wrong};

/// The key of every upgrade: that of RFC 6455 §1.3.
pub(crate) const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";
/// The answer to it.
pub(crate) const ACCEPTED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// First byte of a text message in one frame.
const TEXT: u8 = 0x81;
/// Set in the length's byte of a frame from a client; four bytes of masking key follow.
const MASKED: u8 = 0x80;
/// Longest message: one whose length is said in one byte.
const MESSAGE_BYTES_MAX: usize = 125;

/// Asks for the upgrade.
pub(crate) async fn upgrade(stream: &mut TcpStream) -> io::Result<()> {
    let request = format!(
        "GET /load HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {}\r\n\r\n",
        String::from_utf8_lossy(KEY)
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // A byte at a time: what follows belongs to the messages. Once per connection.
        head.push(stream.read_u8().await?);
        if head.len() > 16 * 1024 {
            return Err(wrong("no end of the head"));
        }
    }
    if head.starts_with(b"HTTP/1.1 101") {
        Ok(())
    } else {
        Err(wrong("no upgrade"))
    }
}

/// Sends a message of so many bytes and takes the echo.
pub(crate) async fn echo(stream: &mut TcpStream, buffer: &mut [u8], bytes: usize) -> io::Result<()> {
    let length = u8::try_from(bytes.min(MESSAGE_BYTES_MAX)).unwrap_or_default();
    // A key of zeros changes nothing, so that the load is the proxy's and not the mask's.
    let mut frame = vec![TEXT, MASKED | length, 0, 0, 0, 0];
    frame.resize(frame.len() + usize::from(length), b'x');
    stream.write_all(&frame).await?;
    let answer = buffer
        .get_mut(..2 + usize::from(length))
        .ok_or_else(|| wrong("too long"))?;
    stream.read_exact(answer).await?;
    if answer.starts_with(&[TEXT, length]) && answer.ends_with(b"x") {
        Ok(())
    } else {
        Err(wrong("another message"))
    }
}

/// Sends back what comes, until the client goes.
pub(crate) async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut frame = [0_u8; 6 + MESSAGE_BYTES_MAX];
    loop {
        let (head, rest) = frame.split_at_mut(6);
        stream.read_exact(head).await?;
        let length = usize::from(head.get(1).copied().unwrap_or_default() & !MASKED);
        let message = rest.get_mut(..length).ok_or_else(|| wrong("too long"))?;
        stream.read_exact(message).await?;
        // The frame of the answer has no key: its head lies in the key's last bytes.
        if let [_, _, _, _, first, second] = head {
            (*first, *second) = (TEXT, u8::try_from(length).unwrap_or_default());
        }
        stream
            .write_all(frame.get(4..6 + length).unwrap_or_default())
            .await?;
    }
}

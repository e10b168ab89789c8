//! One check.

use std::{borrow::Cow, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::upstream::{Preamble, Secured};

/// Bytes of an answer that are read: its first line tells all.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// What a check saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) well: bool,
    /// For people.
    pub(super) text: Cow<'static, str>,
}

/// How an instance is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct How<'k> {
    /// What is asked for; `None`: only a connection.
    pub(super) path: Option<&'k str>,
    /// What the connection begins with.
    pub(super) preamble: Option<&'k Preamble>,
    pub(super) is_http2: bool,
}

/// Connects, and asks for a path if there is one, all within `limit`.
pub(super) async fn ask(
    address: Option<SocketAddr>,
    how: How<'_>,
    (host, port): (&str, u16),
    limit: Duration,
) -> Seen {
    let Some(address) = address else {
        return ill("the host's name is not resolved");
    };
    if how
        .path
        .is_some_and(|path| !path.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return ill("the path to ask for is not one");
    }
    let asking = async {
        let Some(path) = how.path else {
            touch(address).await?;
            return Ok(Seen {
                well: true,
                text: "connected".into(),
            });
        };
        let root = if path.starts_with('/') { "" } else { "/" };
        let (path, host) = (format!("{root}{path}"), format!("{host}:{port}"));
        let stream = TcpStream::connect(address).await?;
        let secured = match how.preamble {
            None => Secured::Clear(stream),
            Some(preamble) => {
                let ends = (stream.local_addr()?, stream.peer_addr()?);
                match preamble.perform(stream, ends).await {
                    Ok(secured) => secured,
                    Err(_) => return Ok(ill("the TLS handshake failed")),
                }
            }
        };
        match (secured, how.is_http2) {
            (Secured::Clear(stream), false) => converse(stream, &path, &host).await,
            (Secured::Tls(stream), false) => converse(stream, &path, &host).await,
            (Secured::Clear(stream), true) => converse_http2(stream, "http", &path, &host).await,
            (Secured::Tls(stream), true) => converse_http2(stream, "https", &path, &host).await,
        }
    };
    // Large with TLS in it.
    match tokio::time::timeout(limit, Box::pin(asking)).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(error)) => Seen {
            well: false,
            text: fault(&error),
        },
        Err(_) => Seen {
            well: false,
            text: format!("no answer within {} ms", limit.as_millis()).into(),
        },
    }
}

fn ill(text: &'static str) -> Seen {
    Seen {
        well: false,
        text: text.into(),
    }
}

fn of_status(status: u16) -> Seen {
    Seen {
        well: (200..=399).contains(&status),
        text: format!("status {status}").into(),
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    path: &str,
    host: &str,
) -> io::Result<Seen> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: weir-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::with_capacity(512);
    loop {
        if let Some(seen) = read(&answer) {
            return Ok(seen);
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Ok(ill("closed without an answer"));
        }
    }
}

async fn converse_http2<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    scheme: &str,
    path: &str,
    host: &str,
) -> io::Result<Seen> {
    let Ok(request) = http::Request::get(format!("{scheme}://{host}{path}"))
        .header("user-agent", "weir-health")
        .header("accept", "*/*")
        .body(())
    else {
        return Ok(ill("the path to ask for is not one"));
    };
    let (send, connection) = ::h2::client::handshake(stream).await.map_err(io::Error::other)?;
    let asking = async {
        let mut send = send.ready().await?;
        let (response, _stream) = send.send_request(request, true)?;
        response.await
    };
    let answer = tokio::select! {
        answer = asking => answer,
        ended = connection => match ended {
            Ok(()) => return Ok(ill("closed without an answer")),
            Err(error) => Err(error),
        },
    };
    Ok(match answer {
        Ok(answer) => of_status(answer.status().as_u16()),
        Err(error) if error.is_io() => ill("closed without an answer"),
        Err(_) => ill("the answer is not HTTP/2"),
    })
}

/// Finds out whether connections are accepted, and ends at once with a reset. On Linux the last step of the handshake
/// is put off until then, so that most instances never see the connection (as HAProxy does).
async fn touch(address: SocketAddr) -> io::Result<()> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // If one of the two cannot be set, the instance sees a connection that ends.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&socket).set_tcp_quickack(false);
    let _ = socket.set_zero_linger();
    socket.connect(address).await.map(drop)
}

/// What an answer says as soon as its first line is there; `None`: more is needed.
fn read(answer: &[u8]) -> Option<Seen> {
    let Some(end) = memchr::memchr(b'\n', answer) else {
        return if answer.len() < ANSWER_BYTES_MAX {
            None
        } else {
            Some(ill("the answer is not HTTP"))
        };
    };
    let line = answer.get(..end).unwrap_or_default();
    let status = line
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .filter(|digits| digits.iter().all(u8::is_ascii_digit))
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    match status {
        None => Some(ill("the answer is not HTTP")),
        Some(status) => Some(of_status(status)),
    }
}

fn fault(error: &io::Error) -> Cow<'static, str> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::TimedOut => "no connection in time".into(),
        _ => error.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_first_line_decides() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some((true, "status 200"))),
            ("HTTP/1.0 399\n", Some((true, "status 399"))),
            (
                "HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n",
                Some((false, "status 404")),
            ),
            ("HTTP/1.1 100 Continue\r\n", Some((false, "status 100"))),
            ("HTTP/1.1 200", None),
            ("", None),
            ("SSH-2.0-x\r\n", Some((false, "the answer is not HTTP"))),
            ("HTTP/1.1 2x0 OK\r\n", Some((false, "the answer is not HTTP"))),
            ("HTTP/1.1 2\r\n", Some((false, "the answer is not HTTP"))),
        ] {
            let seen = read(answer.as_bytes());
            let seen = seen.as_ref().map(|seen| (seen.well, seen.text.as_ref()));
            assert_eq!(seen, expected, "{answer:?}");
        }
        assert!(read(&[b'a'; 5_000]).is_some_and(|seen| !seen.well));
    }
}

//! One check.

use std::{borrow::Cow, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

/// Bytes of an answer that are read: its first line tells all.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// What a check saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) well: bool,
    /// For people.
    pub(super) text: Cow<'static, str>,
}

/// Connects, and asks for `path` if there is one, all within `limit`.
pub(super) async fn ask(
    address: Option<SocketAddr>,
    path: Option<&str>,
    (host, port): (&str, u16),
    limit: Duration,
) -> Seen {
    let ill = |text: Cow<'static, str>| Seen { well: false, text };
    let Some(address) = address else {
        return ill("the host's name is not resolved".into());
    };
    if path.is_some_and(|path| !path.bytes().all(|byte| byte.is_ascii_graphic())) {
        return ill("the path to ask for is not one".into());
    }
    let asking = async {
        let Some(path) = path else {
            touch(address).await?;
            return Ok(Seen {
                well: true,
                text: "connected".into(),
            });
        };
        let mut stream = TcpStream::connect(address).await?;
        let root = if path.starts_with('/') { "" } else { "/" };
        let request = format!(
            "GET {root}{path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: weir-health\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        loop {
            if let Some(seen) = read(&answer) {
                return Ok(seen);
            }
            if stream.read_buf(&mut answer).await? == 0 {
                return Ok(ill("closed without an answer".into()));
            }
        }
    };
    match tokio::time::timeout(limit, asking).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(error)) => ill(fault(&error)),
        Err(_) => ill(format!("no answer within {} ms", limit.as_millis()).into()),
    }
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
    let ill = |text: &'static str| {
        Some(Seen {
            well: false,
            text: text.into(),
        })
    };
    let Some(end) = memchr::memchr(b'\n', answer) else {
        return if answer.len() < ANSWER_BYTES_MAX {
            None
        } else {
            ill("the answer is not HTTP")
        };
    };
    let line = answer.get(..end).unwrap_or_default();
    let status = line
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .filter(|digits| digits.iter().all(u8::is_ascii_digit))
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    match status {
        None => ill("the answer is not HTTP"),
        Some(status) => Some(Seen {
            well: (200..=399).contains(&status),
            text: format!("status {status}").into(),
        }),
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

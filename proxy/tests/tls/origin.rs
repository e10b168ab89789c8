//! An origin that answers by itself, clear or encrypted.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Answers every request with its head and its body, by path:
/// `/echo` both, `/trailers` with a trailer section, `/early` before the body is read, `/close` until the end of the
/// connection, `/cut` with half of what is promised, `/wait` never, `/size/N` N bytes.
pub struct Automatic {
    pub port: u16,
    pub connections: Arc<AtomicUsize>,
    pub requests: Arc<AtomicUsize>,
    /// Every answer is a 500.
    pub is_failing: Arc<AtomicBool>,
}

impl Automatic {
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let origin = Self {
            port: listener.local_addr().unwrap().port(),
            connections: Arc::default(),
            requests: Arc::default(),
            is_failing: Arc::default(),
        };
        let (connections, requests) = (Arc::clone(&origin.connections), Arc::clone(&origin.requests));
        let is_failing = Arc::clone(&origin.is_failing);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                connections.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                let (tls, requests) = (tls.clone(), Arc::clone(&requests));
                let is_failing = Arc::clone(&is_failing);
                std::thread::spawn(move || match tls {
                    None => serve(stream, &requests, &is_failing),
                    Some(config) => serve(
                        StreamOwned::new(ServerConnection::new(config).unwrap(), stream),
                        &requests,
                        &is_failing,
                    ),
                });
            }
        });
        origin
    }
}

fn serve<S: Read + Write>(stream: S, requests: &AtomicUsize, is_failing: &AtomicBool) {
    let mut stream = BufReader::new(stream);
    while let Some(()) = one(&mut stream, requests, is_failing) {}
}

fn one<S: Read + Write>(
    stream: &mut BufReader<S>,
    requests: &AtomicUsize,
    is_failing: &AtomicBool,
) -> Option<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let path = head.split(' ').nth(1)?.to_owned();
    if is_failing.load(Ordering::SeqCst) {
        let out = stream.get_mut();
        out.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
        return out.flush().ok();
    }
    if path == "/early" {
        stream
            .get_mut()
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .ok()?;
        return None;
    }
    if super::support::header(&head, "expect").is_some() {
        stream
            .get_mut()
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .ok()?;
    }
    let mut body = Vec::new();
    let mut trailers = String::new();
    if let Some(length) = super::support::header(&head, "content-length") {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).ok()?;
    } else if super::support::header(&head, "transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            let start = body.len();
            body.resize(start + size, 0);
            stream.read_exact(&mut body[start..]).ok()?;
            line.clear();
            stream.read_line(&mut line).ok()?;
        }
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            if line == "\r\n" {
                break;
            }
            trailers.push_str(&line);
        }
    }
    let out = stream.get_mut();
    if path == "/wait" {
        // Until the other side has enough.
        let _ = out.read(&mut [0; 1]);
        return None;
    }
    if path == "/cut" {
        out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .ok()?;
        return None;
    }
    if path == "/close" {
        out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")
            .ok()?;
        return None;
    }
    if path == "/trailers" {
        write!(
            out,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n"
        )
        .ok()?;
        for piece in body.chunks(7_777) {
            write!(out, "{:x}\r\n", piece.len()).ok()?;
            out.write_all(piece).ok()?;
            out.write_all(b"\r\n").ok()?;
        }
        write!(out, "0\r\ngrpc-status: 7\r\n{trailers}\r\n").ok()?;
        return Some(());
    }
    let answer = match path.strip_prefix("/size/") {
        Some(size) => vec![b'z'; size.parse().unwrap()],
        None => [head.as_bytes(), &body].concat(),
    };
    let body: &[u8] = if head.starts_with("HEAD") { b"" } else { &answer };
    write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nKeep-Alive: timeout=5\r\nX-Body: {}\r\n\r\n",
        answer.len(),
        body.len()
    )
    .ok()?;
    out.write_all(body).ok()?;
    out.flush().ok()
}

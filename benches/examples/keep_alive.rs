//! An origin and a client in one process: small requests over a number of connections, one after the other on each.
//!
//! `keep_alive GATEWAY_PORT ORIGIN_PORT REQUESTS CONNECTIONS`: listens on the origin's port, waits for the gateway's port, sends the
//! requests, and ends with a failure if an answer is not what the origin sent.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
const BODY_BYTES: usize = 128;

/// Reads to the end of a head and of `body` more bytes.
fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>, body: usize) -> io::Result<bool> {
    buffer.clear();
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Ok(false);
        }
        buffer.extend_from_slice(bytes.get(..count).unwrap_or_default());
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n")
            && buffer.len() >= end + 4 + body
        {
            return Ok(true);
        }
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + BODY_BYTES, b'x');
    let mut buffer = Vec::new();
    while read_message(&mut stream, &mut buffer, 0)? {
        stream.write_all(&answer)?;
    }
    Ok(())
}

fn connect(port: u16) -> io::Result<TcpStream> {
    // The agent may be slow: it may run step by step under an observer.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
            connected => return connected,
        }
    }
}

fn ask(gateway: u16, requests: u64) -> io::Result<()> {
    let mut stream = connect(gateway)?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    for _ in 0..requests {
        stream.write_all(REQUEST)?;
        if !read_message(&mut stream, &mut buffer, BODY_BYTES)? || !buffer.starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other("an answer is not the origin's"));
        }
    }
    Ok(())
}

fn run(gateway: u16, origin: u16, requests: u64, connections: u64) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, origin))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    let clients: Vec<_> = (0..connections)
        .map(|_| thread::spawn(move || ask(gateway, requests / connections.max(1))))
        .collect();
    clients.into_iter().try_for_each(|client| {
        client
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a client panicked")))
    })
}

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let outcome = match numbers.as_slice() {
        [gateway, origin, requests, connections] => match (u16::try_from(*gateway), u16::try_from(*origin)) {
            (Ok(gateway), Ok(origin)) => run(gateway, origin, *requests, *connections),
            _ => Err(io::Error::other("a port is below 65536")),
        },
        _ => Err(io::Error::other(
            "usage: keep_alive GATEWAY_PORT ORIGIN_PORT REQUESTS CONNECTIONS",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "keep_alive: {error}");
            ExitCode::FAILURE
        }
    }
}

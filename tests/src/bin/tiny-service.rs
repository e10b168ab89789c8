//! A service for tests: small, quick to start, and rude. It keeps connections, answers every request after a while
//! (`DELAY_MS`, 0 to so many milliseconds, by the request's number), and a signal ends it at once, in the middle of
//! whatever it does. So whoever stops it must know that nothing is under way.
//!
//! Listens on the loopback port `PORT`. The answer is `version pid length`, `length` being that of the request's body.
#![allow(
    clippy::unwrap_used,
    reason = "a service that cannot go on has ended, which is what tests look for"
)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

static REQUESTS: AtomicU64 = AtomicU64::new(0);

fn main() {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    let port: u16 = number("PORT").unwrap_or_default().try_into().unwrap();
    let delay_ms: u64 = number("DELAY_MS").unwrap_or_default();
    if let Some(slow_ms) = number("START_MS") {
        std::thread::sleep(Duration::from_millis(slow_ms));
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || serve(stream, delay_ms));
    }
}

/// Answers requests until the client leaves.
fn serve(stream: TcpStream, delay_ms: u64) -> Option<()> {
    let version = std::env::var("VERSION").unwrap_or_default();
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut length = 0;
        let mut line = String::new();
        let mut lines = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            lines += 1;
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        if lines == 0 {
            continue;
        }
        let taken = std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).ok()?;
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
        if let Some(wait_ms) = number.wrapping_mul(7_919).checked_rem(delay_ms) {
            std::thread::sleep(Duration::from_millis(wait_ms));
        }
        let body = format!("{version} {} {taken}\n", std::process::id());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).ok()?;
    }
}

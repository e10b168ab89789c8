//! What suites run in containers built from nothing: a service, and programs that do one thing.
//!
//! `service serve` answers HTTP/1.1 at `$PORT` on all addresses: every request with 200, its version and the
//! length of its body. `/slow` takes 300 ms, `/health` says `ok`, or 503 with `UNHEALTHY=1`. SIGTERM lets
//! requests in flight end.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a program of tests, and writes"
)]

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::Ipv4Addr,
    process::ExitCode,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Longest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Longest time for requests in flight after SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", version] => run(serve((*version).to_owned())),
        ["serve"] => run(serve("1".to_owned())),
        ["idle"] => run(idle()),
        ["stubborn", text] => run(stubborn((*text).to_owned())),
        ["exit", code, text] => {
            eprintln!("{text}");
            ExitCode::from(code.parse().unwrap_or(1))
        }
        ["say", code, text] => {
            println!("{text}");
            ExitCode::from(code.parse().unwrap_or(1))
        }
        ["speak", stdout, stderr] => {
            println!("{stdout}");
            eprintln!("{stderr}");
            run(idle())
        }
        ["environment"] => {
            let variables: BTreeMap<String, String> = std::env::vars().collect();
            for (name, value) in variables {
                println!("{name}={value}");
            }
            run(idle())
        }
        ["count"] => run(count()),
        ["hog"] => hog(),
        ["copy"] => copy(),
        ["get", address] => get(address),
        _ => {
            eprintln!("not a part of this program: {words:?}");
            ExitCode::from(2)
        }
    }
}

fn run(part: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(part),
        Err(error) => {
            eprintln!("no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(error) => eprintln!("SIGTERM cannot be caught: {error}"),
    }
}

async fn idle() -> ExitCode {
    terminated().await;
    ExitCode::SUCCESS
}

async fn stubborn(text: String) -> ExitCode {
    let Ok(mut signal) = signal(SignalKind::terminate()) else {
        return ExitCode::FAILURE;
    };
    println!("{text}");
    loop {
        signal.recv().await;
    }
}

async fn count() -> ExitCode {
    let ends = terminated();
    tokio::pin!(ends);
    for number in 0_u64.. {
        println!("line {number}");
        tokio::select! {
            () = &mut ends => break,
            () = sleep(Duration::from_millis(5)) => {}
        }
    }
    ExitCode::SUCCESS
}

fn hog() -> ExitCode {
    let mut kept = Vec::new();
    for _ in 0..4_096 {
        // Written to, or the system would not give it.
        kept.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&kept);
    }
    ExitCode::SUCCESS
}

fn copy() -> ExitCode {
    let mut bytes = Vec::new();
    let copied = std::io::stdin()
        .read_to_end(&mut bytes)
        .and_then(|_| std::io::stdout().write_all(&bytes));
    if copied.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints what a server at `HOST:PORT` answers to `GET /`.
fn get(address: &str) -> ExitCode {
    let answer = std::net::TcpStream::connect(address).and_then(|mut stream| {
        stream.set_read_timeout(Some(DRAIN))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    match answer {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(version: String) -> ExitCode {
    let port = std::env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok())
        .unwrap_or(8080);
    let listener = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("version {version} serves on port {port}");
    let version: Arc<str> = version.into();
    let open = Arc::new(AtomicUsize::new(0));
    let (stop, stopped) = watch::channel(false);
    let ends = terminated();
    tokio::pin!(ends);
    loop {
        let accepted = tokio::select! {
            () = &mut ends => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (version, open, stopped) = (Arc::clone(&version), Arc::clone(&open), stopped.clone());
        open.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            // A client that goes away is its own affair.
            let _ = connection(stream, &version, stopped).await;
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    drop(listener);
    let _ = stop.send(true);
    let deadline = Instant::now() + DRAIN;
    while open.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(5)).await;
    }
    ExitCode::SUCCESS
}

/// Requests of one connection, one after the other; between two of them it ends when told.
async fn connection(
    mut stream: TcpStream,
    version: &str,
    mut stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes: Vec<u8> = Vec::new();
    let mut part = vec![0_u8; 16 << 10];
    loop {
        let end_of_head = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if bytes.len() > HEAD_BYTES_MAX {
                return Ok(());
            }
            let count = tokio::select! {
                count = stream.read(&mut part) => count?,
                _ = stopped.wait_for(|stopped| *stopped), if bytes.is_empty() => return Ok(()),
            };
            if count == 0 {
                return Ok(());
            }
            bytes.extend(part.iter().take(count));
        };
        let head = String::from_utf8_lossy(bytes.get(..end_of_head).unwrap_or_default()).into_owned();
        let header = |wanted: &str| {
            head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
            })
        };
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let length: usize = header("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        if header("transfer-encoding").is_some() || length > BODY_BYTES_MAX {
            return answer(&mut stream, "411 Length Required", version, "", true).await;
        }
        let mut left = (end_of_head + length).saturating_sub(bytes.len());
        bytes.drain(..(end_of_head + length).min(bytes.len()));
        while left > 0 {
            let count = timeout(DRAIN, stream.read(&mut part)).await??;
            if count == 0 {
                return Ok(());
            }
            bytes.extend(part.iter().take(count).skip(left));
            left = left.saturating_sub(count);
        }
        let unhealthy = path == "/health" && std::env::var_os("UNHEALTHY").is_some();
        if path == "/slow" {
            sleep(Duration::from_millis(300)).await;
        }
        let closes = *stopped.borrow() || header("connection").is_some_and(|value| value == "close");
        let status = if unhealthy {
            "503 Service Unavailable"
        } else {
            "200 OK"
        };
        let body = format!("version {version}, {length} bytes\n");
        answer(&mut stream, status, version, &body, closes).await?;
        if closes {
            return Ok(());
        }
    }
}

async fn answer(
    stream: &mut TcpStream,
    status: &str,
    version: &str,
    body: &str,
    closes: bool,
) -> std::io::Result<()> {
    let close = if closes { "Connection: close\r\n" } else { "" };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nX-Version: {version}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n{close}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await
}

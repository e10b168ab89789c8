//! Traffic that must not notice anything: paced requests, and WebSockets that stay open.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

/// Connections that are kept, and requests per second on each.
const CONNECTIONS: usize = 10;
const RATE: u64 = 15;
/// Requests per second on a connection of their own.
const FRESH_RATE: u64 = 10;
/// WebSockets, each with a message per second.
pub const WEBSOCKETS: usize = 50;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Failures that are kept word by word.
const SHOWN: usize = 5;

/// What happened so far.
#[derive(Debug, Default)]
pub struct Counts {
    pub requests: AtomicU64,
    pub failed: AtomicU64,
    pub messages: AtomicU64,
    pub closed: AtomicU64,
    paused: AtomicBool,
    why: Mutex<Vec<String>>,
}

impl Counts {
    fn fail(&self, counter: &AtomicU64, why: String) {
        counter.fetch_add(1, Relaxed);
        let mut kept = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < SHOWN {
            kept.push(why);
        }
    }

    pub fn why(&self) -> Vec<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An origin that answers with its letter, and takes WebSockets.
pub async fn origin(letter: char) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, letter));
            }
        }
    });
    address
}

async fn answer(mut stream: TcpStream, letter: char) -> std::io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut head = Vec::new();
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        if String::from_utf8_lossy(&head)
            .to_lowercase()
            .contains("upgrade: websocket")
        {
            break;
        }
        head.clear();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{letter}");
        stream.write_all(answer.as_bytes()).await?;
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

/// Traffic to a gateway on 127.0.0.1 until this is dropped.
#[derive(Debug)]
pub struct Traffic {
    pub counts: Arc<Counts>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Traffic {
    pub async fn to(port: u16) -> Self {
        let counts = Arc::new(Counts::default());
        let mut tasks = Vec::new();
        for _ in 0..CONNECTIONS {
            tasks.push(tokio::spawn(kept(port, Arc::clone(&counts))));
        }
        tasks.push(tokio::spawn(fresh(port, Arc::clone(&counts))));
        for _ in 0..WEBSOCKETS {
            let stream = open(port).await.unwrap();
            tasks.push(tokio::spawn(websocket(stream, Arc::clone(&counts))));
        }
        Self { counts, tasks }
    }

    /// Ends WebSockets and holds requests back; for when the agent itself is to die.
    pub async fn pause(&self) {
        self.counts.paused.store(true, Relaxed);
        // What is under way ends.
        sleep(Duration::from_millis(1500)).await;
    }
}

fn pace(rate: u64) -> tokio::time::Interval {
    let mut pace = interval(Duration::from_millis(1000 / rate));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

async fn kept(port: u16, counts: Arc<Counts>) {
    let mut pace = pace(RATE);
    let mut stream = None;
    loop {
        pace.tick().await;
        if counts.paused.load(Relaxed) {
            return;
        }
        let outcome = async {
            if stream.is_none() {
                let opened = TcpStream::connect(("127.0.0.1", port)).await?;
                opened.set_nodelay(true)?;
                stream = Some(opened);
            }
            let open = stream.as_mut().expect("it was just opened");
            ask(open, "keep-alive").await
        };
        if let Err(error) = judged(outcome.await, &counts) {
            counts.fail(&counts.failed, format!("kept: {error}"));
            stream = None;
        }
    }
}

async fn fresh(port: u16, counts: Arc<Counts>) {
    let mut pace = pace(FRESH_RATE);
    loop {
        pace.tick().await;
        if counts.paused.load(Relaxed) {
            return;
        }
        let outcome = async {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            ask(&mut stream, "close").await
        };
        if let Err(error) = judged(outcome.await, &counts) {
            counts.fail(&counts.failed, format!("fresh: {error}"));
        }
    }
}

fn judged(outcome: std::io::Result<String>, counts: &Counts) -> Result<(), String> {
    counts.requests.fetch_add(1, Relaxed);
    match outcome {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") && answer.ends_with(['a', 'b']) => Ok(()),
        Ok(answer) => Err(answer),
        Err(error) => Err(error.to_string()),
    }
}

async fn ask(stream: &mut TcpStream, connection: &str) -> std::io::Result<String> {
    let request = format!("GET / HTTP/1.1\r\nHost: shop\r\nConnection: {connection}\r\n\r\n");
    let asking = async {
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        loop {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let text = String::from_utf8_lossy(&answer);
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && (!body.is_empty() || !text.starts_with("HTTP/1.1 200"))
            {
                return Ok(text.into_owned());
            }
        }
    };
    timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

async fn open(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream
        .write_all(
            b"GET /socket HTTP/1.1\r\nHost: shop\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    Ok(stream)
}

async fn websocket(mut stream: TcpStream, counts: Arc<Counts>) {
    let mut pace = pace(1);
    let began = Instant::now();
    loop {
        pace.tick().await;
        if counts.paused.load(Relaxed) {
            return;
        }
        let number = u64::try_from(began.elapsed().as_millis())
            .unwrap_or(0)
            .to_be_bytes();
        let exchange = async {
            // A final frame of text with 8 bytes and a mask of zeros.
            let mut frame = vec![0x81, 0x88, 0, 0, 0, 0];
            frame.extend_from_slice(&number);
            stream.write_all(&frame).await?;
            let mut back = [0; 10];
            stream.read_exact(&mut back).await?;
            Ok::<_, std::io::Error>(back[2..] == number)
        };
        match timeout(PATIENCE, exchange).await {
            Ok(Ok(true)) => {
                counts.messages.fetch_add(1, Relaxed);
            }
            other => {
                counts.fail(&counts.closed, format!("WebSocket: {other:?}"));
                return;
            }
        }
    }
}

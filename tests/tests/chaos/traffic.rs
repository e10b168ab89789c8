//! Traffic that must not notice anything: requests by a schedule, and WebSockets that stay open.
//!
//! **Open loop.** Each request has its time, however late the one before it was: a stall delays what follows and drops
//! nothing, so the rate that was meant is the rate that was sent, and lateness is in the latencies. Threads with blocking
//! sockets send what is due every 10 ms over kept connections and then read the answers: there is nothing to poll, and no
//! memory is taken for a request.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Requests per second of a thread on kept connections, and such threads.
const KEPT_RATE: u32 = 980;
const KEPT_THREADS: u32 = 2;
/// Connections of such a thread.
const CONNECTIONS: usize = 20;
/// Requests per second on a connection of their own.
const FRESH_RATE: u32 = 40;
/// Requests per second of all of them.
pub const RATE: u32 = KEPT_RATE * KEPT_THREADS + FRESH_RATE;
/// WebSockets, each with a message per second.
pub const WEBSOCKETS: usize = 50;
/// Between two looks at what is due.
const STEP: Duration = Duration::from_millis(10);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Failures that are kept word by word.
const SHOWN: usize = 5;
/// Longest answer in bytes.
const ANSWER_MAX: usize = 1024;
/// Letters of the origins.
pub const LETTERS: std::ops::RangeInclusive<u8> = b'a'..=b'h';

/// What happened so far.
#[derive(Debug, Default)]
pub struct Counts {
    pub requests: AtomicU64,
    pub failed: AtomicU64,
    pub messages: AtomicU64,
    pub closed: AtomicU64,
    paused: AtomicBool,
    why: Mutex<Vec<String>>,
    /// Of answers that came, in microseconds from their time in the schedule.
    latencies: Mutex<Vec<u32>>,
}

impl Counts {
    fn fail(&self, counter: &AtomicU64, why: String) {
        counter.fetch_add(1, Relaxed);
        let mut kept = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < SHOWN {
            kept.push(why);
        }
    }

    fn took(&self, latencies: &mut Vec<u32>) {
        let mut all = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        all.append(latencies);
    }

    pub fn why(&self) -> Vec<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Latencies since this was asked last, in microseconds, in no order.
    pub fn latencies(&self) -> Vec<u32> {
        std::mem::take(&mut self.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Traffic to a gateway on 127.0.0.1 until this is dropped.
#[derive(Debug)]
pub struct Traffic {
    pub counts: Arc<Counts>,
    threads: Vec<thread::JoinHandle<()>>,
    websockets: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.counts.paused.store(true, Relaxed);
        for websocket in &self.websockets {
            websocket.abort();
        }
    }
}

impl Traffic {
    pub async fn to(port: u16) -> Self {
        let counts = Arc::new(Counts::default());
        let mut websockets = Vec::new();
        for _ in 0..WEBSOCKETS {
            let stream = open(port).await.unwrap();
            websockets.push(tokio::spawn(websocket(stream, Arc::clone(&counts))));
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut threads = Vec::new();
        for _ in 0..KEPT_THREADS {
            let counts = Arc::clone(&counts);
            threads.push(thread::spawn(move || kept(address, &counts)));
        }
        let fresh_counts = Arc::clone(&counts);
        threads.push(thread::spawn(move || fresh(address, &fresh_counts)));
        Self {
            counts,
            threads,
            websockets,
        }
    }

    /// Ends it, once what is under way has ended; for when the agent itself is to die.
    pub async fn end(mut self) -> Arc<Counts> {
        self.counts.paused.store(true, Relaxed);
        let threads = std::mem::take(&mut self.threads);
        tokio::task::block_in_place(|| {
            for thread in threads {
                thread.join().unwrap();
            }
        });
        for websocket in self.websockets.drain(..) {
            websocket.await.unwrap();
        }
        Arc::clone(&self.counts)
    }
}

/// When requests are due.
#[derive(Debug)]
struct Schedule {
    began: Instant,
    rate: u32,
    sent: u32,
}

impl Schedule {
    fn new(rate: u32) -> Self {
        Self {
            began: Instant::now(),
            rate,
            sent: 0,
        }
    }

    /// Waits until requests are due, and says how many.
    fn wait(&self) -> u32 {
        loop {
            let steps = self.began.elapsed().as_nanos() / STEP.as_nanos();
            let due = steps * STEP.as_millis() * u128::from(self.rate) / 1000;
            let due = u32::try_from(due).expect("it ends in time") - self.sent;
            if due > 0 {
                return due;
            }
            let next = STEP * u32::try_from(steps + 1).expect("it ends in time");
            thread::sleep(next.saturating_sub(self.began.elapsed()));
        }
    }

    /// Since the next request was due, in microseconds; then it is the next one's turn.
    fn done(&mut self) -> u32 {
        self.sent += 1;
        // The end of the step in which it was due.
        let per_step = u64::from(self.rate) * 10;
        let steps = (u64::from(self.sent) * 1000).div_ceil(per_step);
        let due = STEP * u32::try_from(steps).expect("it ends in time");
        let late = self.began.elapsed().saturating_sub(due);
        u32::try_from(late.as_micros()).unwrap_or(u32::MAX)
    }
}

fn kept(address: SocketAddr, counts: &Counts) {
    let mut connections: [Option<TcpStream>; CONNECTIONS] = Default::default();
    let mut schedule = Schedule::new(KEPT_RATE);
    let mut latencies = Vec::new();
    while !counts.paused.load(Relaxed) {
        let due = usize::try_from(schedule.wait()).unwrap();
        let due = connections.iter_mut().take(due);
        let mut asked: [Option<io::Error>; CONNECTIONS] = Default::default();
        let count = due.len();
        for (connection, error) in due.zip(&mut asked) {
            *error = ask(connection, address).err();
        }
        for (connection, error) in connections.iter_mut().zip(&mut asked).take(count) {
            let outcome = match (error.take(), connection.as_mut()) {
                (None, Some(stream)) => answer(stream),
                (Some(error), _) => Err(error.to_string()),
                (None, None) => Err("it is not open".to_owned()),
            };
            judge("kept", outcome, &mut schedule, &mut latencies, counts, connection);
        }
        counts.took(&mut latencies);
    }
}

fn fresh(address: SocketAddr, counts: &Counts) {
    let mut schedule = Schedule::new(FRESH_RATE);
    let mut latencies = Vec::new();
    while !counts.paused.load(Relaxed) {
        for _ in 0..schedule.wait() {
            let mut connection = None;
            let outcome = match ask(&mut connection, address) {
                Ok(()) => answer(connection.as_mut().expect("it was opened")),
                Err(error) => Err(error.to_string()),
            };
            judge(
                "fresh",
                outcome,
                &mut schedule,
                &mut latencies,
                counts,
                &mut connection,
            );
        }
        counts.took(&mut latencies);
    }
}

fn judge(
    what: &str,
    outcome: Result<u8, String>,
    schedule: &mut Schedule,
    latencies: &mut Vec<u32>,
    counts: &Counts,
    connection: &mut Option<TcpStream>,
) {
    counts.requests.fetch_add(1, Relaxed);
    latencies.push(schedule.done());
    if let Err(error) = outcome {
        counts.fail(&counts.failed, format!("{what}: {error}"));
        *connection = None;
    }
}

/// Sends a request, on the connection that is there or a new one.
fn ask(connection: &mut Option<TcpStream>, address: SocketAddr) -> io::Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            connection.insert(stream)
        }
    };
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
}

/// The letter of an answer, which has to be a good one.
fn answer(stream: &mut TcpStream) -> Result<u8, String> {
    let mut buffer = [0; ANSWER_MAX];
    let mut filled = 0;
    loop {
        let free = buffer.get_mut(filled..).unwrap_or_default();
        let read = stream.read(free).map_err(|error| error.to_string())?;
        filled += read;
        let answer = buffer.get(..filled).unwrap_or_default();
        if let Some((letter, head)) = answer.split_last()
            && head.ends_with(b"\r\n\r\n")
            && head.starts_with(b"HTTP/1.1 200")
            && LETTERS.contains(letter)
        {
            return Ok(*letter);
        }
        if read == 0 || filled == ANSWER_MAX || (filled > 12 && !answer.starts_with(b"HTTP/1.1 200")) {
            return Err(format!("answered {:?}", String::from_utf8_lossy(answer)));
        }
    }
}

/// Who answers a request now; `None` if nobody does well.
pub fn probe(port: u16) -> Option<u8> {
    let mut connection = None;
    ask(&mut connection, (Ipv4Addr::LOCALHOST, port).into()).ok()?;
    answer(&mut connection?).ok()
}

async fn open(port: u16) -> io::Result<tokio::net::TcpStream> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream
        .write_all(
            b"GET /socket HTTP/1.1\r\nHost: shop\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    Ok(stream)
}

async fn websocket(mut stream: tokio::net::TcpStream, counts: Arc<Counts>) {
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let began = Instant::now();
    loop {
        pace.tick().await;
        if counts.paused.load(Relaxed) {
            return;
        }
        let number = u64::try_from(began.elapsed().as_micros())
            .unwrap_or(0)
            .to_be_bytes();
        let exchange = async {
            // A final frame of text with 8 bytes and a mask of zeros.
            let mut frame = vec![0x81, 0x88, 0, 0, 0, 0];
            frame.extend_from_slice(&number);
            stream.write_all(&frame).await?;
            let mut back = [0; 10];
            stream.read_exact(&mut back).await?;
            Ok::<_, io::Error>(back.ends_with(&number))
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
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

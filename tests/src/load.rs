//! Requests without end, each of which has to succeed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Failures that are kept; one is too many anyhow.
const FAILURES_MAX: usize = 20;
/// Bytes of a posted body.
const BODY: usize = 3_000;

/// Clients that send requests at a fixed rate, GET and POST in turn.
#[derive(Debug)]
pub struct Load {
    seen: Arc<Seen>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    stop: AtomicBool,
    answered: AtomicU64,
    posted: AtomicU64,
    /// Bodies and how often they came.
    bodies: Mutex<BTreeMap<String, u64>>,
    failures: Mutex<Vec<String>>,
}

/// What clients saw.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Good answers.
    pub answered: u64,
    /// Those to POST.
    pub posted: u64,
    /// Bodies of good answers to GET, and how often they came.
    pub bodies: BTreeMap<String, u64>,
    /// What went wrong.
    pub failures: Vec<String>,
}

impl Load {
    /// Begins. `rate`: requests per second of all clients together.
    pub fn start(port: u16, clients: u32, rate: u32) -> Load {
        let seen = Arc::new(Seen::default());
        let pause = Duration::from_secs(1) * clients / rate.max(1);
        let clients = (0..clients)
            .map(|_| tokio::spawn(client(Arc::clone(&seen), port, pause)))
            .collect();
        Load { seen, clients }
    }

    /// What was seen so far.
    pub fn so_far(&self) -> Outcome {
        let unpoisoned = PoisonError::into_inner;
        Outcome {
            answered: self.seen.answered.load(Ordering::Relaxed),
            posted: self.seen.posted.load(Ordering::Relaxed),
            bodies: self.seen.bodies.lock().unwrap_or_else(unpoisoned).clone(),
            failures: self
                .seen
                .failures
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// Ends after the requests under way.
    pub async fn stop(mut self) -> Outcome {
        self.seen.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            if client.await.is_err() {
                self.seen.failed("a client panicked".to_owned());
            }
        }
        self.so_far()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    fn failed(&self, what: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < FAILURES_MAX {
            failures.push(what);
        }
    }
}

async fn client(seen: Arc<Seen>, port: u16, pause: Duration) {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let posted = format!(
        "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {BODY}\r\n\r\n{}",
        "x".repeat(BODY)
    );
    let mut kept: Option<TcpStream> = None;
    for number in 0_u64.. {
        ticks.tick().await;
        if seen.stop.load(Ordering::Relaxed) {
            return;
        }
        let posts = number % 2 == 1;
        let request = if posts {
            posted.as_str()
        } else {
            "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"
        };
        let connected = match kept.take() {
            Some(stream) => Ok(stream),
            None => TcpStream::connect(("127.0.0.1", port)).await,
        };
        let outcome = match connected {
            Ok(mut stream) => exchange(&mut stream, request).await.map(|body| (body, stream)),
            Err(error) => Err(format!("no connection: {error}")),
        };
        match outcome {
            Ok((body, stream)) => {
                kept = Some(stream);
                seen.answered.fetch_add(1, Ordering::Relaxed);
                if posts {
                    seen.posted.fetch_add(1, Ordering::Relaxed);
                } else {
                    let mut bodies = seen.bodies.lock().unwrap_or_else(PoisonError::into_inner);
                    *bodies.entry(body).or_default() += 1;
                }
            }
            Err(what) => seen.failed(format!("{} {what}", if posts { "POST" } else { "GET" })),
        }
    }
}

/// One request on a connection: the body of an answer with status 200 and a length.
///
/// # Errors
/// Any other answer, or none, in words.
pub async fn exchange(stream: &mut TcpStream, request: &str) -> Result<String, String> {
    let said = |error: std::io::Error| error.to_string();
    stream.write_all(request.as_bytes()).await.map_err(said)?;
    let mut answer = Vec::new();
    let mut part = [0_u8; 2_048];
    loop {
        let read = timeout(ANSWER_MAX, stream.read(&mut part));
        let count = read.await.map_err(|_| "no answer".to_owned())?.map_err(said)?;
        answer.extend(part.iter().take(count));
        let text = String::from_utf8_lossy(&answer);
        if count == 0 {
            return Err(format!("the connection ended after {text:?}"));
        }
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("answered {text:?}"));
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>())
        });
        let length = length.ok_or("no length")?.map_err(|error| error.to_string())?;
        if body.len() >= length {
            return Ok(body.to_owned());
        }
    }
}

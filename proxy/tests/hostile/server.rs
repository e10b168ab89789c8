//! An origin that reads like a lax recipient, answers by itself and keeps what it saw.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::reading::{Manner, Message, requests};

/// What is sent for a request; `None`: the connection is closed without an answer.
pub type Answer = dyn Fn(&Message) -> Option<Reply> + Send + Sync;

/// An answer, byte by byte, and whether the connection ends with it.
#[derive(Clone, Debug)]
pub struct Reply {
    pub bytes: Bytes,
    pub close: bool,
}

/// Says what was asked.
pub fn echo(message: &Message) -> Reply {
    let summary = &message.summary;
    Reply {
        bytes: format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{summary}",
            summary.len()
        )
        .into(),
        close: false,
    }
}

#[derive(Debug)]
pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    ends: Arc<AtomicBool>,
}

impl Server {
    pub fn echoing() -> Self {
        Self::answering(|message| Some(echo(message)))
    }

    pub fn answering(answer: impl Fn(&Message) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let ends = Arc::new(AtomicBool::new(false));
        let answer: Arc<Answer> = Arc::new(answer);
        let server = Self {
            port,
            seen: Arc::clone(&seen),
            ends: Arc::clone(&ends),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &seen, &*answer));
            }
        });
        server
    }

    /// What came over each connection since the last call, byte by byte.
    pub fn take(&self) -> Vec<Vec<u8>> {
        self.seen
            .lock()
            .unwrap()
            .iter_mut()
            .map(std::mem::take)
            .filter(|bytes| !bytes.is_empty())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Vec<u8>>>, answer: &Answer) {
    let place = {
        let mut seen = seen.lock().unwrap();
        seen.push(Vec::new());
        seen.len() - 1
    };
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut unread = Vec::new();
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        unread.extend_from_slice(&bytes[..count]);
        // Kept before it is answered: who has the answer can rely on it.
        seen.lock().unwrap()[place].extend_from_slice(&bytes[..count]);
        let (messages, taken) = requests(&unread, Manner::Lax);
        unread.drain(..taken);
        for message in messages {
            let reply = answer(&message);
            if let Some(reply) = &reply {
                let _ = stream.write_all(&reply.bytes);
            }
            if reply.is_none_or(|reply| reply.close) {
                let _ = stream.shutdown(Shutdown::Write);
                // A close with bytes unread would be a reset.
                while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
                return;
            }
        }
    }
}

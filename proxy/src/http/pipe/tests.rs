use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{Broken, Pipe, Side};
use crate::{
    buffer::{Buffer, Buffers},
    http::framing::{Framing, FramingError},
};

struct Bench {
    pipe: Pipe,
    buffers: Buffers,
    buffer: Buffer,
    progress: bool,
}

impl Bench {
    fn new(pipe: Pipe) -> Self {
        Self {
            pipe,
            buffers: Buffers::default(),
            buffer: Buffer::default(),
            progress: false,
        }
    }

    fn poll(&mut self, from: &mut DuplexStream, to: &mut DuplexStream) -> Poll<Result<(), Broken>> {
        let mut context = Context::from_waker(Waker::noop());
        self.progress = false;
        self.pipe.poll(
            &mut context,
            &self.buffers,
            &mut self.buffer,
            (from, to),
            &mut self.progress,
        )
    }
}

#[tokio::test]
async fn what_follows_the_body_stays_and_waiting_holds_no_buffer() {
    let (mut client, mut from) = duplex(100);
    let (mut to, mut server) = duplex(100);
    let mut bench = Bench::new(Pipe::new(Framing::Length(5), None));
    assert_eq!(bench.poll(&mut from, &mut to), Poll::Pending);
    assert_eq!((bench.buffer.room(), bench.progress), (0, false));
    client.write_all(b"he").await.expect("sent");
    assert_eq!(bench.poll(&mut from, &mut to), Poll::Pending);
    assert_eq!((bench.buffer.room(), bench.progress), (0, true));
    client.write_all(b"lloGET /").await.expect("sent");
    assert_eq!(bench.poll(&mut from, &mut to), Poll::Ready(Ok(())));
    assert_eq!(bench.buffer.data(), b"GET /");
    let mut seen = [0; 5];
    server.read_exact(&mut seen).await.expect("arrived");
    assert_eq!(&seen, b"hello");
    assert!(bench.pipe.is_done());
}

#[tokio::test]
async fn nothing_is_read_while_the_sink_is_full() {
    let (mut client, mut from) = duplex(64);
    let (mut to, mut server) = duplex(4);
    let mut bench = Bench::new(Pipe::new(Framing::UntilClose, None));
    client.write_all(b"123456").await.expect("sent");
    assert_eq!(bench.poll(&mut from, &mut to), Poll::Pending);
    assert_eq!(bench.pipe.waits_for(), Side::Sink);
    client.write_all(b"789").await.expect("sent");
    drop(client);
    assert_eq!(bench.poll(&mut from, &mut to), Poll::Pending);
    assert_eq!((bench.buffer.data(), bench.pipe.taken()), (&b"56"[..], 6));
    let mut seen = [0; 4];
    server.read_exact(&mut seen).await.expect("arrived");
    assert_eq!(bench.poll(&mut from, &mut to), Poll::Pending);
    server.read_exact(&mut seen).await.expect("arrived");
    assert_eq!(&seen, b"5678");
    assert_eq!(
        bench.poll(&mut from, &mut to),
        Poll::Ready(Ok(())),
        "the end of the stream ends the body"
    );
}

#[tokio::test]
async fn breaks_are_told_apart() {
    for (framing, sent, expected) in [
        (Framing::Length(5), &b"1234"[..], Broken::Source),
        (Framing::Chunked, b"5\r\nhello\r\n", Broken::Source),
        (
            Framing::Chunked,
            b"5\r\nhello!",
            Broken::Framing(FramingError::ChunkEnd),
        ),
        (Framing::Length(200), &[0; 101], Broken::TooLong),
    ] {
        let (mut client, mut from) = duplex(200);
        let (mut to, _server) = duplex(200);
        client.write_all(sent).await.expect("sent");
        drop(client);
        let mut bench = Bench::new(Pipe::new(framing, Some(100)));
        assert_eq!(
            bench.poll(&mut from, &mut to),
            Poll::Ready(Err(expected)),
            "{sent:?}"
        );
    }
    let (mut client, mut from) = duplex(200);
    let (mut to, server) = duplex(200);
    drop(server);
    client.write_all(b"x").await.expect("sent");
    let mut bench = Bench::new(Pipe::new(Framing::Length(1), None));
    assert_eq!(bench.poll(&mut from, &mut to), Poll::Ready(Err(Broken::Sink)));
}

#[tokio::test]
async fn framing_is_taken_off_at_any_cut() {
    let body = b"3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: v\r\n\r\n";
    for cut in 1..body.len() {
        // A task that never yields has no budget left some day.
        tokio::task::yield_now().await;
        let (mut client, mut from) = duplex(200);
        let (mut to, mut server) = duplex(200);
        let mut pipe = Pipe::new(Framing::Chunked, None);
        pipe.take_framing_off();
        let mut bench = Bench::new(pipe);
        client.write_all(&body[..cut]).await.expect("sent");
        assert_eq!(bench.poll(&mut from, &mut to), Poll::Pending);
        client.write_all(&body[cut..]).await.expect("sent");
        client.write_all(b"next").await.expect("sent");
        assert_eq!(bench.poll(&mut from, &mut to), Poll::Ready(Ok(())));
        assert_eq!(bench.buffer.data(), b"next");
        drop(to);
        let mut seen = Vec::new();
        server.read_to_end(&mut seen).await.expect("arrived");
        assert_eq!(seen, b"abcde", "{cut}");
    }
}

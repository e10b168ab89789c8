use std::{rc::Rc, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};

use super::{Patience, serve};
use crate::{
    choose::Entry,
    config::Config,
    table::Table,
    worker::{Accepted, Context, WorkerFigures},
};

/// A connection that waits costs little more than its future (and what the kernel and the runtime keep).
#[tokio::test]
async fn the_future_of_a_connection_is_small() {
    let context = Rc::new(Context::new(
        Arc::new(Config::default()),
        0,
        Arc::new(ArcSwap::from_pointee(Table::empty())),
        Arc::new(WorkerFigures::default()),
        Instant::now(),
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let local = listener.local_addr().expect("bound");
    let stream = TcpStream::connect(local).await.expect("connected");
    let accepted = Accepted {
        stream,
        peer: local,
        local,
        entry: Entry::new(local, false),
    };
    let connection = context.connections.open(Rc::clone(&context));
    let future = serve(context, accepted, connection);
    let size = std::mem::size_of_val(&future);
    assert!(size <= FUTURE_BYTES_MAX, "{size} bytes");
}

/// Of 1.5 kB in all that an idle connection may cost, with what runtime, clock and sockets keep of it.
const FUTURE_BYTES_MAX: usize = 900;

#[test]
fn a_head_in_pieces_is_looked_at_when_it_may_be_whole() {
    let head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut patience = Patience::default();
    let looks: Vec<usize> = (1..=head.len())
        .filter(|&length| patience.is_time(&head[..length]))
        .collect();
    assert_eq!(looks, [1, 2, 4, 8, 16, 27]);
    for end in ["\r\n\r\n", "\n\n", "\n\r\n"] {
        for cut in 0..end.len() {
            let mut patience = Patience::default();
            let head = format!("GET / HTTP/1.1{end}");
            assert!(patience.is_time(&head.as_bytes()[..14 + cut]));
            assert!(patience.is_time(head.as_bytes()), "{end:?} cut at {cut}");
        }
    }
}

#[test]
fn a_head_that_drips_costs_few_looks() {
    let bytes = vec![b'x'; 60_000];
    let mut patience = Patience::default();
    let looks = (1..bytes.len())
        .filter(|&length| patience.is_time(&bytes[..length]))
        .count();
    assert!(looks < 20, "{looks}");
}

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use super::Pool;
use crate::config::{Config, Timeouts};

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (near, far) = tokio::join!(
        TcpStream::connect(listener.local_addr().expect("bound")),
        listener.accept()
    );
    let near = near.expect("connected");
    // As after a first exchange: writable, nothing to read.
    near.writable().await.expect("writable");
    (near, far.expect("accepted").0)
}

fn pool(per_endpoint: usize) -> Pool {
    let timeouts = Timeouts {
        pool_idle: Duration::from_millis(1_000),
        ..Timeouts::default()
    };
    Pool::new(&Config {
        pool_idle_max: per_endpoint,
        timeouts,
        ..Config::default()
    })
}

#[tokio::test]
async fn the_newest_is_handed_out_first_and_only_to_its_instance() {
    let pool = pool(2);
    let (first, _first_far) = pair().await;
    let (second, _second_far) = pair().await;
    let newest = second.local_addr().expect("address");
    pool.put(7, first.into(), 0);
    pool.put(7, second.into(), 1);
    assert!(pool.take(8, 1, u64::MAX).is_none());
    assert_eq!(
        pool.take(7, 1, u64::MAX)
            .expect("one")
            .below()
            .expect("a connection")
            .local_addr()
            .expect("address"),
        newest
    );
    assert!(pool.take(7, 1, u64::MAX).is_some());
    assert!(pool.take(7, 1, u64::MAX).is_none());
}

#[tokio::test]
async fn what_waited_too_long_is_not_handed_out() {
    let pool = pool(2);
    let (stream, _far) = pair().await;
    pool.put(7, stream.into(), 0);
    assert!(pool.take(7, 501, 500).is_none(), "too old for the one that asks");
    assert!(pool.take(7, 1_001, u64::MAX).is_none(), "too old for all");
    assert_eq!(pool.idle.borrow().total, 1);
    pool.expire(1_001);
    assert_eq!(pool.idle.borrow().total, 0);
}

#[tokio::test]
async fn what_was_closed_or_speaks_unasked_is_not_handed_out() {
    let pool = pool(4);
    let (closed, far) = pair().await;
    drop(far);
    closed.readable().await.expect("the end is seen");
    let (chatty, mut talking) = pair().await;
    talking.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("sent");
    chatty.readable().await.expect("the data are seen");
    let (good, _quiet) = pair().await;
    let address = good.local_addr().expect("address");
    pool.put(7, good.into(), 0);
    pool.put(7, closed.into(), 0);
    pool.put(7, chatty.into(), 0);
    assert_eq!(
        pool.take(7, 0, u64::MAX)
            .expect("the quiet one")
            .below()
            .expect("a connection")
            .local_addr()
            .expect("address"),
        address
    );
    assert_eq!(pool.idle.borrow().total, 0);
}

#[tokio::test]
async fn no_more_than_so_many_are_kept_and_all_can_be_given_up() {
    let pool = pool(1);
    let (first, _first_far) = pair().await;
    let (second, _second_far) = pair().await;
    pool.put(7, first.into(), 0);
    pool.put(7, second.into(), 0);
    assert_eq!(pool.idle.borrow().total, 1);
    pool.expire(0);
    assert_eq!(pool.idle.borrow().total, 1);
    pool.clear();
    assert!(pool.take(7, 0, u64::MAX).is_none());
    pool.expire(0);
    assert!(pool.idle.borrow().by_endpoint.is_empty());
}

use std::{net::SocketAddr, time::Duration};

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::Instant,
};

use super::{Http, Question, SILENCE_MAX};
use crate::address::Address;

fn question(repeatable: bool) -> Question<'static> {
    Question {
        method: Method::GET,
        path: "/",
        body: None,
        secret: None,
        repeatable,
        patience: Duration::ZERO,
    }
}

/// An endpoint that answers after a delay.
async fn slow(delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut question = [0; 1024];
                let _ = stream.read(&mut question).await;
                tokio::time::sleep(delay).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
                    .await;
            });
        }
    });
    address
}

/// An endpoint that takes connections and says nothing, and one that answers.
async fn silent_and_good() -> (Http, TcpListener) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = slow(Duration::ZERO).await;
    let url = format!("etcd://{},{good}", silent.local_addr().unwrap());
    let address = Address::parse(&url, 2379, &[]).unwrap();
    (Http::new(&address).unwrap(), silent)
}

#[tokio::test]
async fn a_silent_endpoint_is_left_for_another_before_patience_ends() {
    let (http, _silent) = silent_and_good().await;
    let began = Instant::now();
    let answer = http.ask(&question(true)).await.unwrap();
    assert_eq!(&answer.body[..], b"{}");
    assert!(began.elapsed() < SILENCE_MAX, "{:?}", began.elapsed());
    // And the other one is asked from now on, even what cannot be asked twice.
    http.ask(&question(false)).await.unwrap();
}

/// Both need longer than a silent one is waited for.
#[tokio::test]
async fn a_store_that_is_slow_everywhere_answers_as_soon_as_it_can() {
    let delay = Duration::from_millis(1200);
    let (one, other) = (slow(delay).await, slow(delay).await);
    let address = Address::parse(&format!("etcd://{one},{other}"), 2379, &[]).unwrap();
    let http = Http::new(&address).unwrap();
    let began = Instant::now();
    http.ask(&question(true)).await.unwrap();
    assert!(
        began.elapsed() < delay + Duration::from_millis(600),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn what_cannot_be_asked_twice_is_given_up_and_the_next_question_goes_elsewhere() {
    let (http, _silent) = silent_and_good().await;
    assert!(http.ask(&question(false)).await.is_err());
    http.ask(&question(false)).await.unwrap();
}

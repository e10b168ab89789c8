//! Streams of events: heartbeats, and going on where a reader was.

use std::time::Duration;

use crate::world::{PATIENCE, Stream, World};

#[tokio::test]
async fn a_stream_without_events_says_that_it_is_alive() {
    let world = World::with(|config| config.sse_heartbeat = Duration::from_millis(50)).await;
    for path in ["/events/stream?tag=none", "/logs?level=off"] {
        let mut response = world.http.get(world.url(path)).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut text = String::new();
        while text.matches(": heartbeat\n\n").count() < 3 {
            let chunk = tokio::time::timeout(PATIENCE, response.chunk())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn compression_does_not_hold_events_back() {
    let world = World::new().await;
    let request = world
        .http
        .get(world.url("/events/stream"))
        .header("accept-encoding", "gzip, deflate");
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers().get("content-encoding"), None);
    world.post("/events", "{tags: x, value: now}").await.is(201);
    // Comments that keep the connection may come before.
    let event = async {
        loop {
            let chunk = response.chunk().await.unwrap().expect("the stream ended");
            if std::str::from_utf8(&chunk).unwrap().contains("now") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, event).await.unwrap();
}

/// A reader that loses its connection again and again, while events go on, sees each once.
#[tokio::test]
async fn a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let world = World::new().await;
    let mut stream = Stream::open(&world, "/events/stream?tag=n", None).await;
    let publishing = async {
        for number in 0..300 {
            let body = format!("{{tags: n, value: {number}}}");
            world.post("/events", &body).await.is(201);
        }
    };
    let reading = async {
        let mut seen = Vec::new();
        let mut last = String::new();
        while seen.len() < 300 {
            for _ in 0..7 {
                if seen.len() == 300 {
                    break;
                }
                let (id, _, event) = stream.next().await.unwrap();
                last = id;
                seen.push(event["value"].as_u64().unwrap());
            }
            stream = Stream::open(&world, "/events/stream?tag=n", Some(&last)).await;
        }
        seen
    };
    let ((), seen) = tokio::join!(publishing, reading);
    assert_eq!(seen, (0..300).collect::<Vec<u64>>());
}

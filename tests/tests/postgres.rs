//! Artifacts and events in a real PostgreSQL server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use weir_persist::{
    EventDraft, EventQuery, Page, Persistence, Write, conformance,
    postgres::{ConnectError, Postgres as Storage},
};
use weir_tests::postgres::Postgres;

fn counted(number: u64) -> (Vec<Write>, Vec<EventDraft>) {
    let put = Write::Put {
        kind: "counters".to_owned(),
        name: "n".to_owned(),
        body: json!(number),
        expect: None,
    };
    let told = EventDraft {
        tags: vec!["counted".to_owned()],
        value: json!(number),
        timestamp_ms: number,
        kind: "event".to_owned(),
    };
    (vec![put], vec![told])
}

#[tokio::test]
async fn conforms() {
    let Some(server) = Postgres::start() else { return };
    let url = server.url();
    let count = AtomicU64::new(0);
    conformance::all(async || {
        let schema = format!("empty_{}", count.fetch_add(1, Ordering::Relaxed));
        Arc::new(Storage::connect(&url, &schema).await.unwrap()) as _
    })
    .await;
}

/// Two processes that share the storage see one order of events: a reader that goes on from the last id misses none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_misses_no_event_of_several_writers() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 50;
    let Some(server) = Postgres::start() else { return };
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let storage = Storage::connect(&server.url(), "weir").await.unwrap();
        writers.push(tokio::spawn(async move {
            for step in 0..EACH {
                let (writes, events) = counted(number * EACH + step);
                storage.commit(writes, events).await.unwrap();
            }
        }));
    }
    let storage = Storage::connect(&server.url(), "weir").await.unwrap();
    let (mut last, mut seen) = (None, Vec::new());
    let all = async {
        while seen.len() < (WRITERS * EACH) as usize {
            let query = EventQuery {
                after_id: last,
                ..EventQuery::default()
            };
            for event in storage.events_in_order(&query, 7).await.unwrap() {
                last = Some(event.id);
                seen.push(event.value.as_u64().unwrap());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..WRITERS * EACH).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_server_that_is_killed_while_it_writes() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let storage = Arc::new(Storage::connect(&server.url(), "weir").await.unwrap());
    let answered = Arc::new(AtomicU64::new(0));
    for _ in 0..3 {
        let before = answered.load(Ordering::Acquire);
        let (writing, count) = (Arc::clone(&storage), Arc::clone(&answered));
        let writer = tokio::spawn(async move {
            let mut number = count.load(Ordering::Acquire);
            loop {
                number += 1;
                let (writes, events) = counted(number);
                if writing.commit(writes, events).await.is_err() {
                    return number;
                }
                count.store(number, Ordering::Release);
            }
        });
        weir_tests::eventually("some were written", Duration::from_secs(30), || {
            (answered.load(Ordering::Acquire) > before + 20).then_some(())
        });
        server.kill();
        let tried = writer.await.unwrap();
        server.start_again();
        let found = first_answer(&storage).await;
        let kept = answered.load(Ordering::Acquire);
        // The last one's answer may have been lost, never its half.
        assert!(
            found == kept || found == tried,
            "{found} is neither {kept} nor {tried}"
        );
        let (events, total) = storage.events(&EventQuery::default(), Page::ALL).await.unwrap();
        assert_eq!(
            events.first().map(|event| event.value.clone()),
            Some(json!(found))
        );
        assert_eq!(total, found, "an event for every write");
        answered.store(found, Ordering::Release);
    }
}

/// The stored count, once the server serves again.
async fn first_answer(storage: &Storage) -> u64 {
    let answer = async {
        loop {
            if let Ok(stored) = storage.get("counters", "n").await {
                return stored.unwrap().body.as_u64().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answer)
        .await
        .unwrap()
}

#[tokio::test]
async fn encryption_checks_the_server_and_a_password_is_asked_for() {
    let Some(server) = Postgres::start() else { return };
    let storage = Storage::connect(&server.url_tls(), "weir").await.unwrap();
    let (writes, events) = counted(1);
    storage.commit(writes, events).await.unwrap();
    assert!(!format!("{storage:?}").contains("secret"));
    // Without its authority, the server is nobody's.
    let stranger = format!("{}?sslmode=require", server.url());
    let refused = Storage::connect(&stranger, "weir").await.unwrap_err();
    assert!(matches!(refused, ConnectError::Connect(_)), "{refused:?}");
    let wrong = server.url().replace("secret", "wrong");
    let refused = Storage::connect(&wrong, "weir").await.unwrap_err();
    let mut text = refused.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&refused);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    assert!(text.contains("password"), "{text}");
    // The same tables without encryption.
    let clear = Storage::connect(&server.url(), "weir").await.unwrap();
    assert_eq!(clear.get("counters", "n").await.unwrap().unwrap().body, json!(1));
}

//! The end of events: by age, by number, by size.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{append, event, found, put_if, tagged};
use crate::{EVENT_BYTES_MIN, EVENTS_REMOVED_MAX, EventBounds, EventQuery, EventTotals, Page, Persistence};

pub(super) async fn old_events_expire(storage: &dyn Persistence) {
    append(
        storage,
        (1..=5)
            .map(|at_ms| event(at_ms, "event", &["a:b"], json!(at_ms)))
            .collect(),
    )
    .await;
    assert_eq!(storage.expire_events(None, 4).await.expect("expired"), 3);
    assert_eq!(found(storage, EventQuery::default()).await, [5, 4]);
    assert_eq!(found(storage, tagged(&["a"])).await, [5, 4]);
    assert_eq!(storage.expire_events(None, 4).await.expect("expired"), 0);
    assert_eq!(storage.expire_events(None, 100).await.expect("expired"), 2);
    append(
        storage,
        vec![
            event(1, "metrics", &["a"], json!(1)),
            event(1, "event", &["a"], json!(2)),
            event(2, "metrics", &["a"], json!(3)),
        ],
    )
    .await;
    assert_eq!(
        storage.expire_events(Some("metrics"), 2).await.expect("expired"),
        1
    );
    assert_eq!(storage.expire_events(None, 100).await.expect("expired"), 2);
    let next = append(storage, vec![event(9, "event", &["c"], Value::Null)]).await;
    assert_eq!(
        next.first().map(|event| event.id),
        Some(9),
        "ids are not used again"
    );
}

fn at_most(events: Option<u64>, bytes: Option<u64>) -> EventBounds {
    EventBounds {
        events_max: events,
        bytes_max: bytes,
    }
}

async fn totals(storage: &dyn Persistence) -> EventTotals {
    storage.event_totals().await.expect("counted")
}

pub(super) async fn events_that_are_too_many_go_oldest_first(storage: &dyn Persistence) {
    assert_eq!(totals(storage).await, EventTotals::default());
    let trim = async |bounds| storage.trim_events(bounds).await.expect("trimmed");
    assert_eq!(trim(at_most(Some(0), Some(0))).await, 0, "there is none");
    // Oldest by their own time, not by when they came; of two at the same time the one that came first.
    let appended = append(
        storage,
        [(30, 1), (10, 2), (20, 3), (20, 4), (40, 5)]
            .map(|(at_ms, value)| event(at_ms, "event", &["a:b"], json!(value)))
            .to_vec(),
    )
    .await;
    let each = (r#"event["a:b","a"]1"#.len() as u64) + EVENT_BYTES_MIN;
    let all = EventTotals {
        events: 5,
        bytes: 5 * each,
    };
    assert_eq!(totals(storage).await, all);
    assert_eq!(trim(EventBounds::default()).await, 0, "no bound");
    assert_eq!(
        trim(at_most(Some(5), Some(5 * each))).await,
        0,
        "within the bounds"
    );
    assert_eq!(trim(at_most(Some(4), None)).await, 1);
    assert_eq!(found(storage, EventQuery::default()).await, [5, 1, 4, 3]);
    assert_eq!(
        found(storage, tagged(&["a"])).await,
        [5, 1, 4, 3],
        "tags go along"
    );
    assert_eq!(
        trim(at_most(None, Some(4 * each - 1))).await,
        1,
        "a byte too much"
    );
    assert_eq!(found(storage, EventQuery::default()).await, [5, 1, 4]);
    assert_eq!(trim(at_most(Some(2), Some(each))).await, 2, "the narrower bound");
    assert_eq!(found(storage, EventQuery::default()).await, [5]);
    assert_eq!(storage.expire_events(None, 100).await.expect("expired"), 1);
    assert_eq!(
        totals(storage).await,
        EventTotals::default(),
        "age counts as well"
    );
    let failed = storage
        .commit(
            vec![put_if("breeds", "guard", json!(1), Some(9))],
            vec![event(1, "event", &["t"], Value::Null)],
        )
        .await;
    assert!(failed.is_err());
    assert_eq!(
        totals(storage).await,
        EventTotals::default(),
        "nothing came of it"
    );
    let next = append(storage, vec![event(1, "event", &["é\n"], json!({"ü": "\u{1}"}))]).await;
    let last = appended.last().map(|event| event.id);
    assert!(
        next.first().map(|event| event.id) > last,
        "ids are not used again"
    );
    let size = "event".len() + r#"["é\n"]"#.len() + r#"{"ü":"\u0001"}"#.len();
    assert_eq!(totals(storage).await.bytes, size as u64 + EVENT_BYTES_MIN);
}

pub(super) async fn a_removal_is_bounded_and_commits_go_on(storage: Arc<dyn Persistence>) {
    const KEPT: u64 = 10;
    let many = 2 * EVENTS_REMOVED_MAX;
    let drafts = (0..many + KEPT).map(|at_ms| event(at_ms, "event", &["old"], json!(at_ms)));
    append(&*storage, drafts.collect()).await;
    let writer = Arc::clone(&storage);
    let appending = tokio::spawn(async move {
        for at_ms in 0..KEPT {
            append(
                &*writer,
                vec![event(many * 9 + at_ms, "event", &["new"], Value::Null)],
            )
            .await;
        }
    });
    let mut removed = 0;
    loop {
        let part = storage
            .trim_events(at_most(Some(KEPT), None))
            .await
            .expect("trimmed");
        assert!(part <= EVENTS_REMOVED_MAX, "{part}");
        removed += part;
        if part < EVENTS_REMOVED_MAX && appending.is_finished() {
            break;
        }
        tokio::task::yield_now().await;
    }
    appending.await.expect("ended well");
    removed += storage
        .trim_events(at_most(Some(KEPT), None))
        .await
        .expect("trimmed");
    assert_eq!(removed, many + KEPT, "as many as came beyond the bound");
    let (left, total) = storage
        .events(&EventQuery::default(), Page::ALL)
        .await
        .expect("read");
    assert_eq!(total, KEPT);
    assert!(
        left.iter().all(|event| event.tags == ["new"]),
        "the newest are left"
    );
}

//! What every backend must do. A backend's tests call [`all`] with a way to make an empty storage.
//!
//! # Panics
//! Every function panics with what was wrong.

mod retention;

use std::{future::Future, sync::Arc};

use serde_json::{Value, json};

use crate::{
    Aggregate, AggregateKind, Event, EventDraft, EventQuery, HISTORY_MAX, Page, PersistError, Persistence,
    Write,
};

/// Runs every case, each on a storage of its own that `empty` makes.
pub async fn all<F: Future<Output = Arc<dyn Persistence>>>(empty: impl Fn() -> F) {
    artifacts_are_written_read_and_removed(&*empty().await).await;
    lists_are_paged_in_order_of_names(&*empty().await).await;
    an_expectation_guards_a_write(&*empty().await).await;
    a_commit_is_all_or_nothing(&*empty().await).await;
    writers_at_the_same_time_lose_nothing(empty().await).await;
    revisions_go_on_after_a_removal(&*empty().await).await;
    history_is_bounded(&*empty().await).await;
    bodies_come_back_as_they_went(&*empty().await).await;
    tags_are_expanded_and_all_must_match(&*empty().await).await;
    events_are_newest_first_and_paged(&*empty().await).await;
    events_are_selected_by_type_time_and_id(&*empty().await).await;
    values_are_summed_up(&*empty().await).await;
    retention::old_events_expire(&*empty().await).await;
    retention::events_that_are_too_many_go_oldest_first(&*empty().await).await;
    retention::a_removal_is_bounded_and_commits_go_on(empty().await).await;
}

/// A write without an expectation.
fn put(kind: &str, name: &str, body: Value) -> Write {
    put_if(kind, name, body, None)
}

fn put_if(kind: &str, name: &str, body: Value, expect: Option<u64>) -> Write {
    Write::Put {
        kind: kind.to_owned(),
        name: name.to_owned(),
        body,
        expect,
    }
}

fn delete(kind: &str, name: &str) -> Write {
    Write::Delete {
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

fn event(at_ms: u64, kind: &str, tags: &[&str], value: Value) -> EventDraft {
    EventDraft {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        value,
        timestamp_ms: at_ms,
        kind: kind.to_owned(),
    }
}

async fn write(storage: &dyn Persistence, writes: Vec<Write>) {
    storage.commit(writes, Vec::new()).await.expect("written");
}

async fn append(storage: &dyn Persistence, events: Vec<EventDraft>) -> Vec<Event> {
    storage.commit(Vec::new(), events).await.expect("appended")
}

async fn found(storage: &dyn Persistence, query: EventQuery) -> Vec<Value> {
    let (events, total) = storage.events(&query, Page::ALL).await.expect("read");
    assert_eq!(events.len() as u64, total);
    let expected: Vec<_> = events.iter().filter(|event| query.matches(event)).collect();
    assert_eq!(expected.len(), events.len(), "matches() agrees with storage");
    events.into_iter().map(|event| event.value).collect()
}

fn tagged(tags: &[&str]) -> EventQuery {
    EventQuery {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..EventQuery::default()
    }
}

async fn artifacts_are_written_read_and_removed(storage: &dyn Persistence) {
    assert_eq!(storage.get("breeds", "front:1").await.expect("read"), None);
    write(storage, vec![put("breeds", "front:1", json!({"v": 1}))]).await;
    write(storage, vec![put("breeds", "front:1", json!({"v": 2}))]).await;
    let stored = storage
        .get("breeds", "front:1")
        .await
        .expect("read")
        .expect("there");
    assert_eq!((stored.revision, &stored.body), (2, &json!({"v": 2})));
    assert_eq!(
        (stored.kind.as_str(), stored.name.as_str()),
        ("breeds", "front:1")
    );
    assert!(stored.at_ms > 1_600_000_000_000, "{}", stored.at_ms);
    assert_eq!(storage.get("blueprints", "front:1").await.expect("read"), None);
    write(
        storage,
        vec![delete("breeds", "front:1"), delete("breeds", "never")],
    )
    .await;
    assert_eq!(storage.get("breeds", "front:1").await.expect("read"), None);
}

async fn lists_are_paged_in_order_of_names(storage: &dyn Persistence) {
    for name in ["b", "d", "a", "shop/front/web", "C"] {
        write(storage, vec![put("gateways", name, json!(name))]).await;
    }
    write(storage, vec![put("breeds", "a", json!("another kind"))]).await;
    let names = async |offset, limit| {
        let page = Page { offset, limit };
        let (part, total) = storage.list("gateways", page).await.expect("read");
        assert_eq!(total, 5);
        part.into_iter().map(|stored| stored.name).collect::<Vec<_>>()
    };
    assert_eq!(storage.kinds().await.expect("read"), ["breeds", "gateways"]);
    assert_eq!(names(0, 30).await, ["C", "a", "b", "d", "shop/front/web"]);
    assert_eq!(names(1, 2).await, ["a", "b"]);
    assert_eq!(names(4, 2).await, ["shop/front/web"]);
    assert_eq!(names(5, 2).await, [""; 0]);
    let (all, _) = storage.list("gateways", Page::ALL).await.expect("read");
    assert_eq!(all.len(), 5);
}

async fn an_expectation_guards_a_write(storage: &dyn Persistence) {
    write(storage, vec![put_if("breeds", "a", json!(1), Some(0))]).await;
    let again = storage
        .commit(vec![put_if("breeds", "a", json!(2), Some(0))], Vec::new())
        .await;
    match again {
        Err(PersistError::Conflict {
            kind,
            name,
            expected,
            found,
        }) => assert_eq!(
            (kind.as_str(), name.as_str(), expected, found),
            ("breeds", "a", 0, 1)
        ),
        other => panic!("a conflict, not {other:?}"),
    }
    write(storage, vec![put_if("breeds", "a", json!(3), Some(1))]).await;
    let stored = storage.get("breeds", "a").await.expect("read").expect("there");
    assert_eq!((stored.revision, stored.body), (2, json!(3)));
    let absent = storage
        .commit(vec![put_if("breeds", "b", json!(1), Some(7))], Vec::new())
        .await;
    assert!(
        matches!(absent, Err(PersistError::Conflict { found: 0, .. })),
        "{absent:?}"
    );
    // What is required of another record is not written, and guards what is.
    let guarded = async |revision| {
        let require = Write::Require {
            kind: "breeds".to_owned(),
            name: "a".to_owned(),
            revision,
        };
        let writes = vec![put("breeds", "guarded", json!(revision)), require];
        storage.commit(writes, Vec::new()).await
    };
    guarded(2).await.expect("it is there");
    for revision in [0, 1, 3] {
        let refused = guarded(revision).await;
        assert!(
            matches!(refused, Err(PersistError::Conflict { expected, found: 2, .. }) if expected == revision),
            "{refused:?}"
        );
    }
    let stored = storage.get("breeds", "a").await.expect("read").expect("there");
    assert_eq!(stored.revision, 2);
    let guarded = storage
        .get("breeds", "guarded")
        .await
        .expect("read")
        .expect("there");
    assert_eq!((guarded.revision, guarded.body), (1, json!(2)));
}

async fn a_commit_is_all_or_nothing(storage: &dyn Persistence) {
    write(storage, vec![put("breeds", "old", json!("old"))]).await;
    let failed = storage
        .commit(
            vec![
                put("breeds", "new", json!("new")),
                put("breeds", "old", json!("changed")),
                delete("breeds", "old"),
                put_if("breeds", "guard", json!(1), Some(9)),
            ],
            vec![event(1, "event", &["t"], Value::Null)],
        )
        .await;
    assert!(failed.is_err());
    assert_eq!(storage.get("breeds", "new").await.expect("read"), None);
    let old = storage.get("breeds", "old").await.expect("read").expect("there");
    assert_eq!((old.revision, old.body), (1, json!("old")));
    assert_eq!(found(storage, EventQuery::default()).await, [Value::Null; 0]);
    let versions = storage.history("breeds", "old", Page::ALL).await.expect("read");
    assert_eq!(versions.len(), 1);
    // The next one is not harmed, and sees the order of its own writes.
    write(
        storage,
        vec![
            put("breeds", "x", json!(1)),
            put_if("breeds", "x", json!(2), Some(1)),
        ],
    )
    .await;
    let stored = storage.get("breeds", "x").await.expect("read").expect("there");
    assert_eq!((stored.revision, stored.body), (2, json!(2)));
}

async fn writers_at_the_same_time_lose_nothing(storage: Arc<dyn Persistence>) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 10;
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                for _ in 0..EACH {
                    loop {
                        let stored = storage.get("counters", "n").await.expect("read");
                        let (revision, count) = stored.map_or((0, 0), |stored| {
                            (stored.revision, stored.body.as_u64().expect("a number"))
                        });
                        let next = put_if("counters", "n", json!(count + 1), Some(revision));
                        let told = vec![event(1, "event", &["counted"], json!(count + 1))];
                        match storage.commit(vec![next], told).await {
                            Ok(_) => break,
                            Err(PersistError::Conflict { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("ended well");
    }
    let stored = storage.get("counters", "n").await.expect("read").expect("there");
    assert_eq!(stored.body, json!(WRITERS * EACH));
    assert_eq!(stored.revision, WRITERS * EACH);
    let (events, total) = storage
        .events(&tagged(&["counted"]), Page::ALL)
        .await
        .expect("read");
    assert_eq!(total, WRITERS * EACH);
    let mut told: Vec<_> = events.iter().map(|event| event.value.as_u64()).collect();
    told.reverse();
    assert_eq!(told, (1..=WRITERS * EACH).map(Some).collect::<Vec<_>>());
}

async fn revisions_go_on_after_a_removal(storage: &dyn Persistence) {
    write(storage, vec![put("breeds", "a", json!(1))]).await;
    write(storage, vec![delete("breeds", "a")]).await;
    write(storage, vec![put_if("breeds", "a", json!(2), Some(0))]).await;
    let stored = storage.get("breeds", "a").await.expect("read").expect("there");
    assert_eq!((stored.revision, stored.body), (3, json!(2)));
    let versions = storage.history("breeds", "a", Page::ALL).await.expect("read");
    let versions: Vec<_> = versions
        .into_iter()
        .map(|stored| (stored.revision, stored.body))
        .collect();
    assert_eq!(versions, [(3, json!(2)), (1, json!(1))]);
}

async fn history_is_bounded(storage: &dyn Persistence) {
    for number in 1..=HISTORY_MAX + 5 {
        write(storage, vec![put("breeds", "a", json!(number))]).await;
    }
    let versions = storage.history("breeds", "a", Page::ALL).await.expect("read");
    assert_eq!(versions.len() as u64, HISTORY_MAX);
    assert_eq!(
        versions.first().map(|stored| stored.revision),
        Some(HISTORY_MAX + 5)
    );
    assert_eq!(versions.last().map(|stored| stored.revision), Some(6));
    let part = Page { offset: 1, limit: 1 };
    let part = storage.history("breeds", "a", part).await.expect("read");
    assert_eq!(part.len(), 1);
    assert_eq!(
        part.first().map(|stored| &stored.body),
        Some(&json!(HISTORY_MAX + 4))
    );
}

async fn bodies_come_back_as_they_went(storage: &dyn Persistence) {
    let body = json!({"z": 1, "a": [null, true, 0.1, -3, "é\u{1F600}\n\u{0}"], "m": {"": {}}});
    write(storage, vec![put("odd kind", "a%2F'\";--\n", body.clone())]).await;
    let stored = storage
        .get("odd kind", "a%2F'\";--\n")
        .await
        .expect("read")
        .expect("there");
    // Key order counts.
    assert_eq!(stored.body.to_string(), body.to_string());
    let events = append(storage, vec![event(5, "event", &["x"], body.clone())]).await;
    let (read, _) = storage
        .events(&EventQuery::default(), Page::ALL)
        .await
        .expect("read");
    assert_eq!(read, events);
    assert_eq!(
        read.first().map(|event| event.value.to_string()),
        Some(body.to_string())
    );
}

async fn tags_are_expanded_and_all_must_match(storage: &dyn Persistence) {
    let appended = append(
        storage,
        vec![
            event(
                1,
                "metrics",
                &["gateways:shop/80", "gateway", "metrics:rate"],
                json!(1),
            ),
            event(
                2,
                "metrics",
                &["gateways:shop/81", "gateway", "metrics:rate"],
                json!(2),
            ),
            event(3, "event", &["gateways:shop/80", "deployed"], json!(3)),
        ],
    )
    .await;
    assert_eq!(
        appended.first().map(|event| event.tags.join(" ")).as_deref(),
        Some("gateways:shop/80 gateway metrics:rate gateways metrics")
    );
    assert_eq!(found(storage, tagged(&["gateways"])).await, [3, 2, 1]);
    assert_eq!(found(storage, tagged(&["gateways:shop/80"])).await, [3, 1]);
    assert_eq!(
        found(storage, tagged(&["gateways:shop/80", "metrics:rate"])).await,
        [1]
    );
    assert_eq!(
        found(storage, tagged(&["metrics:rate", "gateways", "gateway"])).await,
        [2, 1]
    );
    assert_eq!(
        found(storage, tagged(&["gateways:shop/80", "never"])).await,
        [0; 0]
    );
    assert_eq!(found(storage, tagged(&["never"])).await, [0; 0]);
    assert_eq!(
        found(storage, tagged(&["gateways:shop"])).await,
        [0; 0],
        "no prefixes"
    );
}

async fn events_are_newest_first_and_paged(storage: &dyn Persistence) {
    let appended = append(
        storage,
        [(30, 1), (10, 2), (20, 3), (20, 4)]
            .map(|(at_ms, value)| event(at_ms, "event", &["t"], json!(value)))
            .to_vec(),
    )
    .await;
    assert!(
        appended
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.id < b.id))
    );
    for query in [EventQuery::default(), tagged(&["t"])] {
        assert_eq!(found(storage, query.clone()).await, [1, 4, 3, 2]);
        let (part, total) = storage
            .events(&query, Page { offset: 1, limit: 2 })
            .await
            .expect("read");
        let part: Vec<_> = part.into_iter().map(|event| event.value).collect();
        assert_eq!((part, total), (vec![json!(4), json!(3)], 4));
        let beyond = storage
            .events(&query, Page { offset: 9, limit: 2 })
            .await
            .expect("read");
        assert_eq!(beyond, (Vec::new(), 4));
    }
}

async fn events_are_selected_by_type_time_and_id(storage: &dyn Persistence) {
    let appended = append(
        storage,
        vec![
            event(10, "metrics", &["a:1"], json!(1)),
            event(20, "event", &["a:1"], json!(2)),
            event(30, "metrics", &["a:2"], json!(3)),
        ],
    )
    .await;
    let metrics = EventQuery {
        kind: Some("metrics".to_owned()),
        ..EventQuery::default()
    };
    assert_eq!(found(storage, metrics.clone()).await, [3, 1]);
    let both = EventQuery {
        tags: vec!["a:1".to_owned()],
        ..metrics
    };
    assert_eq!(found(storage, both).await, [1]);
    for tags in [&[][..], &["a"]] {
        let between = |from_ms, until_ms| EventQuery {
            from_ms,
            until_ms,
            ..tagged(tags)
        };
        assert_eq!(
            found(storage, between(Some(20), None)).await,
            [3, 2],
            "from is inclusive"
        );
        assert_eq!(
            found(storage, between(None, Some(20))).await,
            [1],
            "until is exclusive"
        );
        assert_eq!(found(storage, between(Some(10), Some(30))).await, [2, 1]);
        let after = EventQuery {
            after_id: appended.first().map(|event| event.id),
            ..tagged(tags)
        };
        assert_eq!(found(storage, after).await, [3, 2]);
    }
}

async fn values_are_summed_up(storage: &dyn Persistence) {
    append(
        storage,
        vec![
            event(10, "metrics", &["m"], json!(2)),
            event(20, "metrics", &["m"], json!(4.5)),
            event(30, "metrics", &["m"], json!("not a number")),
            event(40, "allocation", &["m"], json!({"cpu": {"used": 7}})),
        ],
    )
    .await;
    let sum = async |kind, field: Option<&str>, tag: &str| {
        let aggregate = Aggregate {
            kind,
            field: field.map(str::to_owned),
        };
        storage
            .aggregate(&tagged(&[tag]), &aggregate)
            .await
            .expect("read")
    };
    assert_eq!(sum(AggregateKind::Min, None, "m").await, Some(2.0));
    assert_eq!(sum(AggregateKind::Max, Some("metrics"), "m").await, Some(4.5));
    assert_eq!(sum(AggregateKind::Sum, Some("value"), "m").await, Some(6.5));
    assert_eq!(sum(AggregateKind::Average, None, "m").await, Some(3.25));
    assert_eq!(sum(AggregateKind::Max, Some("cpu.used"), "m").await, Some(7.0));
    assert_eq!(sum(AggregateKind::Count, None, "m").await, Some(4.0));
    assert_eq!(sum(AggregateKind::Count, Some("cpu.used"), "m").await, Some(1.0));
    assert_eq!(sum(AggregateKind::Count, None, "never").await, Some(0.0));
    assert_eq!(sum(AggregateKind::Average, None, "never").await, None);
}

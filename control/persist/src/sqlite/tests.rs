use std::{
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use serde_json::json;

use super::{OpenError, Sqlite, open};
use crate::{EventDraft, EventQuery, Page, Persistence, Write, conformance};

#[tokio::test]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    let folder = folder.path();
    conformance::all(async || {
        count.set(count.get() + 1);
        Arc::new(Sqlite::open(&folder.join(format!("{}.db", count.get()))).unwrap()) as _
    })
    .await;
}

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/folder/weir.db");
    let storage = Sqlite::open(&path).unwrap();
    count_up(&storage, 1).await;
    drop(storage);
    let storage = Sqlite::open(&path).unwrap();
    assert_eq!(counted(&storage).await, (1, vec![1]));
    count_up(&storage, 2).await;
    assert_eq!(counted(&storage).await, (2, vec![2, 1]));
}

#[test]
fn a_second_opener_is_refused_while_the_first_lives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.db");
    let first = Sqlite::open(&path).unwrap();
    let second = Sqlite::open(&path).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second:?}");
    assert_eq!(
        second.to_string(),
        format!("{} is in use by another process", path.display())
    );
    drop(first);
    Sqlite::open(&path).unwrap();
}

#[test]
fn what_is_not_a_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.db");
    let text = "a file of somebody's, longer than the header of a database. ".repeat(40);
    std::fs::write(&path, &text).unwrap();
    let error = Sqlite::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Sqlite::open(&file.join("weir.db")).unwrap_err();
    assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
    let error = Sqlite::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
}

#[test]
fn a_newer_layout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.db");
    drop(Sqlite::open(&path).unwrap());
    let connection = open::connection(&path).unwrap();
    connection
        .execute("INSERT INTO migrations VALUES (99, 0)", ())
        .unwrap();
    drop(connection);
    let error = Sqlite::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");
}

/// Events that were there before they were counted.
#[tokio::test]
async fn an_older_layout_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.db");
    let storage = Sqlite::open(&path).unwrap();
    count_up(&storage, 1).await;
    count_up(&storage, 2).await;
    let counted = storage.event_totals().await.unwrap();
    drop(storage);
    let connection = open::connection(&path).unwrap();
    connection
        .execute_batch(
            "DROP TRIGGER event_added; DROP TRIGGER event_removed; DROP TABLE event_totals;
             DELETE FROM migrations WHERE version > 1",
        )
        .unwrap();
    drop(connection);
    let storage = Sqlite::open(&path).unwrap();
    assert_eq!(counted.events, 2);
    assert_eq!(storage.event_totals().await.unwrap(), counted);
    count_up(&storage, 3).await;
    assert_eq!(storage.event_totals().await.unwrap().events, 3);
}

#[tokio::test]
async fn damage_is_an_error_and_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.db");
    drop(Sqlite::open(&path).unwrap());
    let connection = open::connection(&path).unwrap();
    connection
        .execute(
            "INSERT INTO artifacts VALUES ('breeds', 'a', 1, '{not json', 0)",
            (),
        )
        .unwrap();
    drop(connection);
    let storage = Sqlite::open(&path).unwrap();
    let error = storage.get("breeds", "a").await.unwrap_err();
    assert!(error.to_string().contains("breeds `a`"), "{error}");
    storage.get("breeds", "b").await.unwrap();
}

#[tokio::test]
async fn tag_queries_read_in_order_from_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.db");
    drop(Sqlite::open(&path).unwrap());
    let connection = open::connection(&path).unwrap();
    let tags = |tags: &[&str], kind: Option<&str>| EventQuery {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        kind: kind.map(str::to_owned),
        from_ms: Some(5),
        ..EventQuery::default()
    };
    for query in [
        tags(&["a", "b:c"], Some("metrics")),
        tags(&[], Some("metrics")),
        tags(&[], None),
    ] {
        let plan = super::reader::explain(&connection, &query);
        assert!(
            !plan.contains("TEMP B-TREE") && !plan.contains("SCAN"),
            "{query:?}: {plan}"
        );
    }
}

/// Kills a process that writes, many times over its life, and looks for what it had acknowledged. The process is
/// this test once more, told by a variable to be the writer.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    if let Some(path) = std::env::var_os(KILLED_DATABASE) {
        write_until_killed(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut acknowledged = 0;
    for round in 1..=4 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "sqlite::tests::what_was_acknowledged_survives_a_kill",
                "--nocapture",
            ])
            .env(KILLED_DATABASE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut seen = 0;
        for line in lines {
            if let Some(number) = line.strip_prefix("acknowledged ") {
                acknowledged = number.parse().unwrap();
                seen += 1;
                if seen == 10 * round {
                    // SIGKILL; lines that it wrote before are still read.
                    writer.kill().unwrap();
                }
            }
        }
        writer.wait().unwrap();
        assert!(
            seen >= 10 * round,
            "the writer ended by itself after {seen} commits"
        );

        let storage = Sqlite::open(&path).unwrap();
        let (count, events) = runtime.block_on(counted(&storage));
        assert!(
            count >= acknowledged,
            "{count} of {acknowledged} in round {round}"
        );
        assert_eq!(
            events,
            (1..=count).rev().collect::<Vec<_>>(),
            "writes and events belong together"
        );
        acknowledged = count;
    }
}

const KILLED_DATABASE: &str = "WEIR_TEST_KILLED_DATABASE";

fn write_until_killed(path: &Path) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let storage = Sqlite::open(path).unwrap();
    runtime.block_on(async {
        let (mut count, _) = counted(&storage).await;
        loop {
            count += 1;
            count_up(&storage, count).await;
            let mut out = std::io::stdout();
            writeln!(out, "\nacknowledged {count}").unwrap();
            out.flush().unwrap();
        }
    })
}

async fn count_up(storage: &Sqlite, count: u64) {
    let write = Write::Put {
        kind: "counters".to_owned(),
        name: "n".to_owned(),
        body: json!(count),
        expect: Some(count - 1),
    };
    let event = EventDraft {
        tags: vec!["count:up".to_owned()],
        value: json!(count),
        timestamp_ms: count,
        kind: "event".to_owned(),
    };
    storage.commit(vec![write], vec![event]).await.unwrap();
}

async fn counted(storage: &Sqlite) -> (u64, Vec<u64>) {
    let stored = storage.get("counters", "n").await.unwrap();
    let query = EventQuery {
        tags: vec!["count".to_owned()],
        ..EventQuery::default()
    };
    let (events, _) = storage.events(&query, Page::ALL).await.unwrap();
    let values = events.iter().map(|event| event.value.as_u64().unwrap()).collect();
    (stored.map_or(0, |stored| stored.body.as_u64().unwrap()), values)
}

//! The thread that writes.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Savepoint, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::{
    failed,
    retention::{self, Old},
    signed, unsigned,
};
use crate::{Event, EventDraft, HISTORY_MAX, PersistError, Write, event::expand_tags};

/// Jobs that share one transaction at most.
const TOGETHER_MAX: usize = 64;

/// What the thread is asked to do.
pub(super) enum Job {
    Commit {
        writes: Vec<Write>,
        events: Vec<EventDraft>,
        answer: oneshot::Sender<Result<Vec<Event>, PersistError>>,
    },
    Remove {
        old: Old,
        answer: oneshot::Sender<Result<u64, PersistError>>,
    },
}

/// A job's answer, kept back until the shared transaction is on the disk.
enum Answer {
    Commit(oneshot::Sender<Result<Vec<Event>, PersistError>>, Vec<Event>),
    Remove(oneshot::Sender<Result<u64, PersistError>>, u64),
}

/// Works until every sender is gone.
pub(super) fn run(mut connection: Connection, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut together = vec![first];
        while together.len() < TOGETHER_MAX {
            match jobs.try_recv() {
                Ok(job) => together.push(job),
                Err(_) => break,
            }
        }
        transaction(&mut connection, together);
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the database was not closed cleanly; it is recovered when it is opened next");
    }
}

fn transaction(connection: &mut Connection, jobs: Vec<Job>) {
    let mut done = Vec::with_capacity(jobs.len());
    let mut jobs = jobs.into_iter();
    let result = (|| {
        let mut shared = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in jobs.by_ref() {
            let step = shared.savepoint()?;
            match job {
                Job::Commit {
                    writes,
                    events,
                    answer,
                } => match commit(&step, writes, events) {
                    Ok(events) => {
                        done.push(Answer::Commit(answer, events));
                        step.commit()?;
                    }
                    Err(error) => {
                        let _ = answer.send(Err(error));
                        // A dropped savepoint rolls back; the others of this transaction stay.
                        step.finish()?;
                    }
                },
                Job::Remove { old, answer } => match retention::remove(&step, &old) {
                    Ok(removed) => {
                        done.push(Answer::Remove(answer, removed));
                        step.commit()?;
                    }
                    Err(error) => {
                        let _ = answer.send(Err(failed(error)));
                        step.finish()?;
                    }
                },
            }
        }
        shared.commit()
    })();
    let broken = result.err().map(|error: rusqlite::Error| {
        tracing::error!(%error, "a transaction failed");
        error
    });
    if broken.is_some() {
        // None of these was begun.
        for job in jobs {
            match job {
                Job::Commit { answer, .. } => drop(answer.send(whole(&broken, Vec::new()))),
                Job::Remove { answer, .. } => drop(answer.send(whole(&broken, 0))),
            }
        }
    }
    for answer in done {
        // A receiver that is gone does not need its answer.
        match answer {
            Answer::Commit(answer, events) => drop(answer.send(whole(&broken, events))),
            Answer::Remove(answer, removed) => drop(answer.send(whole(&broken, removed))),
        }
    }
}

/// What a job answers: its own value, unless what it shared with others is not on the disk.
fn whole<T>(broken: &Option<rusqlite::Error>, value: T) -> Result<T, PersistError> {
    let Some(error) = broken else {
        return Ok(value);
    };
    let why = error.to_string().into();
    Err(match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => PersistError::Full(why),
        Some(ErrorCode::ReadOnly) => PersistError::ReadOnly(why),
        _ => PersistError::Storage(why),
    })
}

fn commit(
    step: &Savepoint<'_>,
    writes: Vec<Write>,
    drafts: Vec<EventDraft>,
) -> Result<Vec<Event>, PersistError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    for write in writes {
        match write {
            Write::Put {
                kind,
                name,
                body,
                expect,
            } => {
                if let Some(expected) = expect {
                    let found = unsigned(present(step, &kind, &name).map_err(failed)?);
                    if found != expected {
                        return Err(PersistError::Conflict {
                            kind,
                            name,
                            expected,
                            found,
                        });
                    }
                }
                put(step, &kind, &name, &body.to_string(), at_ms).map_err(failed)?;
            }
            Write::Delete { kind, name } => remove(step, &kind, &name, at_ms).map_err(failed)?,
            Write::Require { kind, name, revision } => {
                let found = unsigned(present(step, &kind, &name).map_err(failed)?);
                if found != revision {
                    return Err(PersistError::Conflict {
                        kind,
                        name,
                        expected: revision,
                        found,
                    });
                }
            }
        }
    }
    drafts
        .into_iter()
        .map(|draft| append(step, draft).map_err(failed))
        .collect()
}

/// Revision that is there, 0 for none.
fn present(step: &Savepoint<'_>, kind: &str, name: &str) -> rusqlite::Result<i64> {
    step.prepare_cached("SELECT revision FROM artifacts WHERE kind = ?1 AND name = ?2")?
        .query_row([kind, name], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
}

fn next_revision(step: &Savepoint<'_>, kind: &str, name: &str) -> rusqlite::Result<i64> {
    step.prepare_cached("SELECT coalesce(max(revision), 0) + 1 FROM history WHERE kind = ?1 AND name = ?2")?
        .query_row([kind, name], |row| row.get(0))
}

fn put(step: &Savepoint<'_>, kind: &str, name: &str, body: &str, at_ms: i64) -> rusqlite::Result<()> {
    let revision = next_revision(step, kind, name)?;
    step.prepare_cached(
        "INSERT INTO artifacts (kind, name, revision, body, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (kind, name) DO UPDATE
         SET revision = excluded.revision, body = excluded.body, at_ms = excluded.at_ms",
    )?
    .execute(params![kind, name, revision, body, at_ms])?;
    remember(step, kind, name, revision, Some(body), at_ms)
}

fn remove(step: &Savepoint<'_>, kind: &str, name: &str, at_ms: i64) -> rusqlite::Result<()> {
    let removed = step
        .prepare_cached("DELETE FROM artifacts WHERE kind = ?1 AND name = ?2")?
        .execute([kind, name])?;
    if removed > 0 {
        let revision = next_revision(step, kind, name)?;
        remember(step, kind, name, revision, None, at_ms)?;
    }
    Ok(())
}

fn remember(
    step: &Savepoint<'_>,
    kind: &str,
    name: &str,
    revision: i64,
    body: Option<&str>,
    at_ms: i64,
) -> rusqlite::Result<()> {
    step.prepare_cached(
        "INSERT INTO history (kind, name, revision, body, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![kind, name, revision, body, at_ms])?;
    step.prepare_cached("DELETE FROM history WHERE kind = ?1 AND name = ?2 AND revision <= ?3")?
        .execute(params![kind, name, revision - signed(HISTORY_MAX)])?;
    Ok(())
}

fn append(step: &Savepoint<'_>, draft: EventDraft) -> rusqlite::Result<Event> {
    let tags = expand_tags(&draft.tags);
    let at_ms = signed(draft.timestamp_ms);
    step.prepare_cached("INSERT INTO events (kind, at_ms, tags, value) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            draft.kind,
            at_ms,
            serde_json::Value::from(tags.clone()).to_string(),
            draft.value.to_string()
        ])?;
    let id = step.last_insert_rowid();
    for tag in &tags {
        step.prepare_cached("INSERT OR IGNORE INTO tags (tag) VALUES (?1)")?
            .execute([tag])?;
        step.prepare_cached(
            "INSERT INTO event_tags (tag, at_ms, event) SELECT id, ?2, ?3 FROM tags WHERE tag = ?1",
        )?
        .execute(params![tag, at_ms, id])?;
    }
    Ok(Event {
        id: unsigned(id),
        tags,
        value: draft.value,
        timestamp_ms: unsigned(at_ms),
        kind: draft.kind,
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use serde_json::json;
    use tokio::sync::oneshot;

    use super::{super::open, Job, transaction};
    use crate::{PersistError, Write};

    fn put(bytes: usize) -> (Job, oneshot::Receiver<Result<Vec<crate::Event>, PersistError>>) {
        let (answer, answered) = oneshot::channel();
        let write = Write::Put {
            kind: "breeds".to_owned(),
            name: "a".to_owned(),
            body: json!("x".repeat(bytes)),
            expect: None,
        };
        let job = Job::Commit {
            writes: vec![write],
            events: Vec::new(),
            answer,
        };
        (job, answered)
    }

    fn opened(path: &std::path::Path) -> Connection {
        let mut connection = open::connection(path).unwrap();
        open::migrate(path, &mut connection).unwrap();
        connection
    }

    fn stored(connection: &Connection) -> i64 {
        let count = "SELECT count(*) FROM artifacts";
        connection.query_row(count, (), |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_full_disk_is_said_and_nothing_is_half_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = opened(&folder.path().join("weir.db"));
        let pages: i64 = connection
            .query_row("PRAGMA page_count", (), |row| row.get(0))
            .unwrap();
        connection
            .pragma_update(None, "max_page_count", pages + 2)
            .unwrap();
        let (large, mut answered) = put(1_000_000);
        transaction(&mut connection, vec![large]);
        let refused = answered.try_recv().unwrap();
        assert!(matches!(refused, Err(PersistError::Full(_))), "{refused:?}");
        assert_eq!(stored(&connection), 0);
        connection.pragma_update(None, "max_page_count", 10_000).unwrap();
        let (small, mut answered) = put(10);
        transaction(&mut connection, vec![small]);
        assert!(
            answered.try_recv().unwrap().is_ok(),
            "it goes on when there is room"
        );
        assert_eq!(stored(&connection), 1);
    }

    #[test]
    fn what_cannot_be_written_is_said_to_everybody_who_waits() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = opened(&folder.path().join("weir.db"));
        connection.pragma_update(None, "query_only", true).unwrap();
        let (jobs, answers): (Vec<_>, Vec<_>) = (0..3).map(|_| put(10)).unzip();
        transaction(&mut connection, jobs);
        for mut answered in answers {
            let refused = answered.try_recv().unwrap();
            assert!(matches!(refused, Err(PersistError::ReadOnly(_))), "{refused:?}");
        }
    }
}

//! The thread that writes.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Savepoint, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::{failed, signed, unsigned};
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
    Expire {
        before_ms: u64,
        events_max: u64,
        answer: oneshot::Sender<Result<u64, PersistError>>,
    },
}

/// A job's answer, kept back until the shared transaction is on the disk.
enum Answer {
    Commit(oneshot::Sender<Result<Vec<Event>, PersistError>>, Vec<Event>),
    Expire(oneshot::Sender<Result<u64, PersistError>>, u64),
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
    // Jobs that are not begun yet when something breaks are answered by dropping their sender.
    let result = (|| {
        let mut shared = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in jobs {
            let step = shared.savepoint()?;
            match job {
                Job::Commit {
                    writes,
                    events,
                    answer,
                } => match commit(&step, writes, events) {
                    Ok(events) => {
                        step.commit()?;
                        done.push(Answer::Commit(answer, events));
                    }
                    Err(error) => {
                        // A dropped savepoint rolls back; the others of this transaction stay.
                        step.finish()?;
                        let _ = answer.send(Err(error));
                    }
                },
                Job::Expire {
                    before_ms,
                    events_max,
                    answer,
                } => match expire(&step, before_ms, events_max) {
                    Ok(expired) => {
                        step.commit()?;
                        done.push(Answer::Expire(answer, expired));
                    }
                    Err(error) => {
                        step.finish()?;
                        let _ = answer.send(Err(failed(error)));
                    }
                },
            }
        }
        shared.commit()
    })();
    let broken = result.err().map(|error: rusqlite::Error| {
        tracing::error!(%error, "a transaction failed");
        error.to_string()
    });
    for answer in done {
        // A receiver that is gone does not need its answer.
        match answer {
            Answer::Commit(answer, events) => drop(answer.send(whole(&broken, events))),
            Answer::Expire(answer, expired) => drop(answer.send(whole(&broken, expired))),
        }
    }
}

fn whole<T>(broken: &Option<String>, value: T) -> Result<T, PersistError> {
    match broken {
        None => Ok(value),
        Some(why) => Err(PersistError::Storage(why.clone().into())),
    }
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

fn expire(step: &Savepoint<'_>, before_ms: u64, events_max: u64) -> rusqlite::Result<u64> {
    let mut expired = 0;
    let mut select = step
        .prepare_cached("SELECT id, at_ms, tags FROM events WHERE at_ms < ?1 ORDER BY at_ms, id LIMIT ?2")?;
    let mut untag = step.prepare_cached(
        "DELETE FROM event_tags WHERE tag IN (SELECT id FROM tags WHERE tag IN (SELECT value FROM json_each(?1)))
         AND at_ms = ?2 AND event = ?3",
    )?;
    let mut delete = step.prepare_cached("DELETE FROM events WHERE id = ?1")?;
    let old: Vec<(i64, i64, String)> = select
        .query_map([signed(before_ms), signed(events_max)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    for (id, at_ms, tags) in old {
        untag.execute(params![tags, at_ms, id])?;
        delete.execute([id])?;
        expired += 1;
    }
    Ok(expired)
}

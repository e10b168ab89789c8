//! Writing.

use std::time::{SystemTime, UNIX_EPOCH};

use deadpool_postgres::{Client, Transaction};
use tokio_postgres::Error;

use super::{failed, signed, unsigned};
use crate::{Event, EventDraft, HISTORY_MAX, PersistError, Write, event::expand_tags};

/// Does all of this in one transaction.
pub(super) async fn commit(
    client: &mut Client,
    turn: i64,
    writes: Vec<Write>,
    drafts: Vec<EventDraft>,
) -> Result<Vec<Event>, PersistError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    // A transaction that is dropped is rolled back.
    let step = client.transaction().await.map_err(failed)?;
    step.execute("SELECT pg_advisory_xact_lock($1)", &[&turn])
        .await
        .map_err(failed)?;
    for write in writes {
        match write {
            Write::Put {
                kind,
                name,
                body,
                expect,
            } => {
                if let Some(expected) = expect {
                    let found = unsigned(present(&step, &kind, &name).await.map_err(failed)?);
                    if found != expected {
                        return Err(PersistError::Conflict {
                            kind,
                            name,
                            expected,
                            found,
                        });
                    }
                }
                put(&step, &kind, &name, &body.to_string(), at_ms)
                    .await
                    .map_err(failed)?;
            }
            Write::Delete { kind, name } => remove(&step, &kind, &name, at_ms).await.map_err(failed)?,
            Write::Require { kind, name, revision } => {
                let found = unsigned(present(&step, &kind, &name).await.map_err(failed)?);
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
    let mut events = Vec::with_capacity(drafts.len());
    for draft in drafts {
        events.push(append(&step, draft).await.map_err(failed)?);
    }
    step.commit().await.map_err(failed)?;
    Ok(events)
}

/// Revision that is there, 0 for none.
async fn present(step: &Transaction<'_>, kind: &str, name: &str) -> Result<i64, Error> {
    let select = step
        .prepare_cached("SELECT revision FROM artifacts WHERE kind = $1 AND name = $2")
        .await?;
    let row = step.query_opt(&select, &[&kind, &name]).await?;
    Ok(row.map_or(0, |row| row.get(0)))
}

async fn next_revision(step: &Transaction<'_>, kind: &str, name: &str) -> Result<i64, Error> {
    let select = step
        .prepare_cached("SELECT coalesce(max(revision), 0) + 1 FROM history WHERE kind = $1 AND name = $2")
        .await?;
    Ok(step.query_one(&select, &[&kind, &name]).await?.get(0))
}

async fn put(step: &Transaction<'_>, kind: &str, name: &str, body: &str, at_ms: i64) -> Result<(), Error> {
    let revision = next_revision(step, kind, name).await?;
    let upsert = step
        .prepare_cached(
            "INSERT INTO artifacts (kind, name, revision, body, at_ms) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (kind, name) DO UPDATE
             SET revision = excluded.revision, body = excluded.body, at_ms = excluded.at_ms",
        )
        .await?;
    step.execute(&upsert, &[&kind, &name, &revision, &body, &at_ms])
        .await?;
    remember(step, kind, name, revision, Some(body), at_ms).await
}

async fn remove(step: &Transaction<'_>, kind: &str, name: &str, at_ms: i64) -> Result<(), Error> {
    let delete = step
        .prepare_cached("DELETE FROM artifacts WHERE kind = $1 AND name = $2")
        .await?;
    if step.execute(&delete, &[&kind, &name]).await? > 0 {
        let revision = next_revision(step, kind, name).await?;
        remember(step, kind, name, revision, None, at_ms).await?;
    }
    Ok(())
}

async fn remember(
    step: &Transaction<'_>,
    kind: &str,
    name: &str,
    revision: i64,
    body: Option<&str>,
    at_ms: i64,
) -> Result<(), Error> {
    let insert = step
        .prepare_cached("INSERT INTO history (kind, name, revision, body, at_ms) VALUES ($1, $2, $3, $4, $5)")
        .await?;
    step.execute(&insert, &[&kind, &name, &revision, &body, &at_ms])
        .await?;
    let forget = step
        .prepare_cached("DELETE FROM history WHERE kind = $1 AND name = $2 AND revision <= $3")
        .await?;
    let oldest = revision - signed(HISTORY_MAX);
    step.execute(&forget, &[&kind, &name, &oldest]).await?;
    Ok(())
}

async fn append(step: &Transaction<'_>, draft: EventDraft) -> Result<Event, Error> {
    let tags = expand_tags(&draft.tags);
    let at_ms = signed(draft.timestamp_ms);
    // One round trip: the event and its tags.
    let insert = step
        .prepare_cached(
            "WITH made AS (INSERT INTO events (kind, at_ms, tags, value) VALUES ($1, $2, $3, $4) RETURNING id),
             tagged AS (INSERT INTO event_tags (tag, at_ms, event) SELECT unnest($3), $2, id FROM made)
             SELECT id FROM made",
        )
        .await?;
    let value = draft.value.to_string();
    let id: i64 = step
        .query_one(&insert, &[&draft.kind, &at_ms, &tags, &value])
        .await?
        .get(0);
    Ok(Event {
        id: unsigned(id),
        tags,
        value: draft.value,
        timestamp_ms: unsigned(at_ms),
        kind: draft.kind,
    })
}

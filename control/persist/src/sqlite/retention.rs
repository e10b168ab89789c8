//! The end of events: by age, and by how many there are.
//!
//! **Invariants.** A removal is one of the writer's jobs, of [`EVENTS_REMOVED_MAX`] events at most, so that commits that wait
//! are never behind more than that. How many events there are is kept by triggers, in the transaction that changes it.

use rusqlite::{Connection, Savepoint, Statement, params};

use super::{failed, signed, unsigned};
use crate::{EVENTS_REMOVED_MAX, EventBounds, EventTotals, PersistError};

/// Which events are removed.
pub(super) enum Old {
    /// Those before this time, of one type or of all.
    Before {
        /// The type.
        kind: Option<String>,
        /// Milliseconds since the Unix epoch.
        before_ms: u64,
    },
    /// Those that are too many.
    Beyond(EventBounds),
}

/// An event on its way out.
struct Leaving {
    id: i64,
    at_ms: i64,
    tags: String,
    bytes: i64,
}

/// Removes the oldest of them; how many.
pub(super) fn remove(step: &Savepoint<'_>, old: &Old) -> rusqlite::Result<u64> {
    let leaving = match old {
        Old::Before { kind, before_ms } => before(step, kind.as_deref(), *before_ms)?,
        Old::Beyond(bounds) => beyond(step, *bounds)?,
    };
    let mut untag = step.prepare_cached(
        "DELETE FROM event_tags WHERE tag IN (SELECT id FROM tags WHERE tag IN (SELECT value FROM json_each(?1)))
         AND at_ms = ?2 AND event = ?3",
    )?;
    let mut delete = step.prepare_cached("DELETE FROM events WHERE id = ?1")?;
    for event in &leaving {
        untag.execute(params![event.tags, event.at_ms, event.id])?;
        delete.execute([event.id])?;
    }
    Ok(leaving.len() as u64)
}

fn before(step: &Savepoint<'_>, kind: Option<&str>, before_ms: u64) -> rusqlite::Result<Vec<Leaving>> {
    // Two statements, as each is to use the index that fits it.
    let of_kind = match kind {
        Some(_) => "kind = ?3 AND",
        None => "?3 IS NULL AND",
    };
    let mut select = step.prepare_cached(&format!(
        "SELECT id, at_ms, tags, 0 FROM events WHERE {of_kind} at_ms < ?1 ORDER BY at_ms, id LIMIT ?2"
    ))?;
    leaving(
        &mut select,
        params![signed(before_ms), signed(EVENTS_REMOVED_MAX), kind],
    )
}

fn beyond(step: &Savepoint<'_>, bounds: EventBounds) -> rusqlite::Result<Vec<Leaving>> {
    let mut left = counted(step)?;
    if !bounds.are_crossed_by(left) {
        return Ok(Vec::new());
    }
    let mut select = step.prepare_cached(
        "SELECT id, at_ms, tags, octet_length(kind) + octet_length(tags) + octet_length(value) + 64
         FROM events ORDER BY at_ms, id LIMIT ?1",
    )?;
    let mut oldest = leaving(&mut select, params![signed(EVENTS_REMOVED_MAX)])?;
    let enough = oldest.iter().position(|event| {
        let is_enough = !bounds.are_crossed_by(left);
        left.events = left.events.saturating_sub(1);
        left.bytes = left.bytes.saturating_sub(unsigned(event.bytes));
        is_enough
    });
    oldest.truncate(enough.unwrap_or(oldest.len()));
    Ok(oldest)
}

fn leaving(select: &mut Statement<'_>, parameters: impl rusqlite::Params) -> rusqlite::Result<Vec<Leaving>> {
    select
        .query_map(parameters, |row| {
            Ok(Leaving {
                id: row.get(0)?,
                at_ms: row.get(1)?,
                tags: row.get(2)?,
                bytes: row.get(3)?,
            })
        })?
        .collect()
}

/// How many events there are.
pub(super) fn totals(connection: &Connection) -> Result<EventTotals, PersistError> {
    counted(connection).map_err(failed)
}

fn counted(connection: &Connection) -> rusqlite::Result<EventTotals> {
    connection
        .prepare_cached("SELECT events, bytes FROM event_totals")?
        .query_row((), |row| {
            Ok(EventTotals {
                events: unsigned(row.get(0)?),
                bytes: unsigned(row.get(1)?),
            })
        })
}

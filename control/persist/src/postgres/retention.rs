//! The end of events: by age, and by how many there are.
//!
//! **Invariants.** A removal is one transaction of [`EVENTS_REMOVED_MAX`] events at most, and takes no turn among commits:
//! these go on meanwhile. How many events there are is kept by triggers, in the transaction that changes it.

use deadpool_postgres::Client;

use super::{failed, signed, unsigned};
use crate::{EVENTS_REMOVED_MAX, EventBounds, EventTotals, PersistError};

/// Removes the oldest events before a time, of one type or of all. How many it were.
pub(super) async fn expire(
    client: &mut Client,
    kind: Option<&str>,
    before_ms: u64,
) -> Result<u64, PersistError> {
    // Two statements, as each is to use the index that fits it.
    let of_kind = match kind {
        Some(_) => "kind = $3 AND",
        None => "$3::text IS NULL AND",
    };
    let work = async {
        let step = client.transaction().await?;
        // What another control removes at this moment is left to it.
        let delete = step
            .prepare_cached(&format!(
                "WITH old AS (
                     SELECT id FROM events WHERE {of_kind} at_ms < $1 ORDER BY at_ms, id LIMIT $2 FOR UPDATE SKIP LOCKED
                 ),
                 untagged AS (DELETE FROM event_tags WHERE event IN (SELECT id FROM old))
                 DELETE FROM events WHERE id IN (SELECT id FROM old)"
            ))
            .await?;
        let most = signed(EVENTS_REMOVED_MAX);
        let expired = step.execute(&delete, &[&signed(before_ms), &most, &kind]).await?;
        step.commit().await?;
        Ok(expired)
    };
    work.await.map_err(failed)
}

/// Removes the oldest events that are too many. How many it were. `turn`: key of the advisory lock by which controls do
/// so one after another; whoever does not get it leaves it to the other.
pub(super) async fn trim(client: &mut Client, turn: i64, bounds: EventBounds) -> Result<u64, PersistError> {
    let work = async {
        let step = client.transaction().await?;
        let is_ours: bool = step
            .query_one("SELECT pg_try_advisory_xact_lock($1)", &[&turn])
            .await?
            .get(0);
        if !is_ours {
            return Ok(0);
        }
        let row = step
            .query_one("SELECT events, bytes FROM event_totals", &[])
            .await?;
        let totals = EventTotals {
            events: unsigned(row.get(0)),
            bytes: unsigned(row.get(1)),
        };
        if !bounds.are_crossed_by(totals) {
            return Ok(0);
        }
        let beyond =
            |there: u64, most: Option<u64>| signed(most.map_or(0, |most| there.saturating_sub(most)));
        let events = beyond(totals.events, bounds.events_max);
        let bytes = beyond(totals.bytes, bounds.bytes_max);
        // An event goes as long as those before it were not enough.
        let delete = step
            .prepare_cached(
                "WITH oldest AS (
                     SELECT id, at_ms, event_bytes(kind, tags, value) AS bytes FROM events ORDER BY at_ms, id LIMIT $1
                 ),
                 counted AS (
                     SELECT id, row_number() OVER so_far AS number, sum(bytes) OVER so_far - bytes AS bytes_before
                     FROM oldest WINDOW so_far AS (ORDER BY at_ms, id ROWS UNBOUNDED PRECEDING)
                 ),
                 old AS (SELECT id FROM counted WHERE number <= $2::bigint OR bytes_before < $3::bigint),
                 untagged AS (DELETE FROM event_tags WHERE event IN (SELECT id FROM old))
                 DELETE FROM events WHERE id IN (SELECT id FROM old)",
            )
            .await?;
        let most = signed(EVENTS_REMOVED_MAX);
        let removed = step.execute(&delete, &[&most, &events, &bytes]).await?;
        step.commit().await?;
        Ok(removed)
    };
    work.await.map_err(failed)
}

/// How many events there are.
pub(super) async fn totals(client: &Client) -> Result<EventTotals, PersistError> {
    let row = client
        .query_one("SELECT events, bytes FROM event_totals", &[])
        .await
        .map_err(failed)?;
    Ok(EventTotals {
        events: unsigned(row.get(0)),
        bytes: unsigned(row.get(1)),
    })
}

//! Reading.

use deadpool_postgres::Client;
use futures_util::TryStreamExt as _;
use tokio_postgres::{IsolationLevel, Row, types::ToSql};

use super::{failed, signed, unsigned};
use crate::{Aggregate, Event, EventQuery, Page, PersistError, Stored, event::Accumulator};

fn stored(kind: &str, row: &Row) -> Result<Stored, PersistError> {
    let (name, body): (String, String) = (row.get(0), row.get(2));
    let body = serde_json::from_str(&body)
        .map_err(|error| PersistError::Corrupt(format!("{kind} `{name}`: {error}")))?;
    Ok(Stored {
        kind: kind.to_owned(),
        name,
        revision: unsigned(row.get(1)),
        body,
        at_ms: unsigned(row.get(3)),
    })
}

pub(super) async fn get(client: &Client, kind: &str, name: &str) -> Result<Option<Stored>, PersistError> {
    let work = async {
        let select = client
            .prepare_cached("SELECT name, revision, body, at_ms FROM artifacts WHERE kind = $1 AND name = $2")
            .await?;
        client.query_opt(&select, &[&kind, &name]).await
    };
    let row = work.await.map_err(failed)?;
    row.map(|row| stored(kind, &row)).transpose()
}

pub(super) async fn kinds(client: &Client) -> Result<Vec<String>, PersistError> {
    let rows = client
        .query("SELECT DISTINCT kind FROM artifacts ORDER BY kind", &[])
        .await
        .map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub(super) async fn list(
    client: &mut Client,
    kind: &str,
    page: Page,
) -> Result<(Vec<Stored>, u64), PersistError> {
    let work = async {
        // One view of the data, so that the total belongs to the part.
        let reading = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let count = reading
            .prepare_cached("SELECT count(*) FROM artifacts WHERE kind = $1")
            .await?;
        let total: i64 = reading.query_one(&count, &[&kind]).await?.get(0);
        let select = reading
            .prepare_cached(
                "SELECT name, revision, body, at_ms FROM artifacts WHERE kind = $1 ORDER BY name LIMIT $2 OFFSET $3",
            )
            .await?;
        let rows = reading
            .query(&select, &[&kind, &signed(page.limit), &signed(page.offset)])
            .await?;
        reading.commit().await?;
        Ok((rows, unsigned(total)))
    };
    let (rows, total) = work.await.map_err(failed)?;
    let all: Result<_, _> = rows.iter().map(|row| stored(kind, row)).collect();
    Ok((all?, total))
}

pub(super) async fn history(
    client: &Client,
    kind: &str,
    name: &str,
    page: Page,
) -> Result<Vec<Stored>, PersistError> {
    let work = async {
        let select = client
            .prepare_cached(
                "SELECT name, revision, body, at_ms FROM history
                 WHERE kind = $1 AND name = $2 AND body IS NOT NULL ORDER BY revision DESC LIMIT $3 OFFSET $4",
            )
            .await?;
        client
            .query(
                &select,
                &[&kind, &name, &signed(page.limit), &signed(page.offset)],
            )
            .await
    };
    let rows = work.await.map_err(failed)?;
    rows.iter().map(|row| stored(kind, row)).collect()
}

type Parameter = Box<dyn ToSql + Sync + Send>;

/// The part of a statement that says which events, and what is bound in it.
struct Selection {
    from: String,
    /// By which index events come in order of time.
    time: &'static str,
    id: &'static str,
    parameters: Vec<Parameter>,
}

impl Selection {
    /// `in_time`: they are wanted in order of time, which the index of a tag has.
    fn new(query: &EventQuery, in_time: bool) -> Self {
        let mut parameters: Vec<Parameter> = Vec::new();
        let mut bind = |parameter: Parameter| {
            parameters.push(parameter);
            format!("${}", parameters.len())
        };
        let (mut from, time, id, others) = match query.tags.split_first() {
            Some((first, others)) if in_time => {
                let first = bind(Box::new(first.clone()));
                let from = format!("event_tags t JOIN events e ON e.id = t.event WHERE t.tag = {first}");
                (from, "t.at_ms", "t.event", others)
            }
            _ => (
                "events e WHERE true".to_owned(),
                "e.at_ms",
                "e.id",
                query.tags.as_slice(),
            ),
        };
        for tag in others {
            let tag = bind(Box::new(tag.clone()));
            from.push_str(&format!(
                " AND EXISTS (SELECT 1 FROM event_tags o WHERE o.tag = {tag} AND o.at_ms = e.at_ms AND o.event = e.id)"
            ));
        }
        if let Some(kind) = &query.kind {
            let kind = bind(Box::new(kind.clone()));
            from.push_str(&format!(" AND e.kind = {kind}"));
        }
        for (bound, operator, column) in [
            (query.from_ms, ">=", time),
            (query.until_ms, "<", time),
            (query.after_id, ">", id),
        ] {
            if let Some(bound) = bound {
                let bound = bind(Box::new(signed(bound)));
                from.push_str(&format!(" AND {column} {operator} {bound}"));
            }
        }
        Self {
            from,
            time,
            id,
            parameters,
        }
    }

    fn bound(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.parameters
            .iter()
            .map(|parameter| {
                let parameter: &(dyn ToSql + Sync) = parameter.as_ref();
                parameter
            })
            .collect()
    }
}

fn event(row: &Row) -> Result<Event, PersistError> {
    let (id, value): (i64, String) = (row.get(0), row.get(4));
    let value = serde_json::from_str(&value)
        .map_err(|error| PersistError::Corrupt(format!("event {id}: {error}")))?;
    Ok(Event {
        id: unsigned(id),
        tags: row.get(3),
        value,
        timestamp_ms: unsigned(row.get(2)),
        kind: row.get(1),
    })
}

pub(super) async fn events(
    client: &mut Client,
    query: &EventQuery,
    page: Page,
) -> Result<(Vec<Event>, u64), PersistError> {
    let selection = Selection::new(query, true);
    let Selection { from, time, id, .. } = &selection;
    let bound = selection.bound();
    let (limit, offset) = (signed(page.limit), signed(page.offset));
    let mut paged = bound.clone();
    paged.extend([&limit as &(dyn ToSql + Sync), &offset]);
    let work = async {
        let reading = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let count = reading
            .prepare_cached(&format!("SELECT count(*) FROM {from}"))
            .await?;
        let total: i64 = reading.query_one(&count, &bound).await?.get(0);
        let select = reading
            .prepare_cached(&format!(
                "SELECT e.id, e.kind, e.at_ms, e.tags, e.value FROM {from}
                 ORDER BY {time} DESC, {id} DESC LIMIT ${} OFFSET ${}",
                bound.len() + 1,
                bound.len() + 2
            ))
            .await?;
        let rows = reading.query(&select, &paged).await?;
        reading.commit().await?;
        Ok((rows, unsigned(total)))
    };
    let (rows, total) = work.await.map_err(failed)?;
    let all: Result<_, _> = rows.iter().map(event).collect();
    Ok((all?, total))
}

pub(super) async fn events_in_order(
    client: &Client,
    query: &EventQuery,
    limit: u64,
) -> Result<Vec<Event>, PersistError> {
    let selection = Selection::new(query, false);
    let limit = signed(limit);
    let mut bound = selection.bound();
    bound.push(&limit);
    let work = async {
        let select = client
            .prepare_cached(&format!(
                "SELECT e.id, e.kind, e.at_ms, e.tags, e.value FROM {} ORDER BY e.id LIMIT ${}",
                selection.from,
                bound.len()
            ))
            .await?;
        client.query(&select, &bound).await
    };
    let rows = work.await.map_err(failed)?;
    rows.iter().map(event).collect()
}

pub(super) async fn aggregate(
    client: &Client,
    query: &EventQuery,
    aggregate: &Aggregate,
) -> Result<Option<f64>, PersistError> {
    let selection = Selection::new(query, true);
    let mut sum = Accumulator::new(aggregate);
    if sum.counts_events() {
        let work = async {
            let count = client
                .prepare_cached(&format!("SELECT count(*) FROM {}", selection.from))
                .await?;
            client.query_one(&count, &selection.bound()).await
        };
        let count: i64 = work.await.map_err(failed)?.get(0);
        #[expect(clippy::cast_precision_loss, reason = "events are far fewer than 2^53")]
        return Ok(Some(count as f64));
    }
    let select = client
        .prepare_cached(&format!("SELECT e.kind, e.value FROM {}", selection.from))
        .await
        .map_err(failed)?;
    // Row by row: there may be millions.
    let rows = client
        .query_raw(&select, selection.bound())
        .await
        .map_err(failed)?;
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let (kind, value): (String, String) = (row.get(0), row.get(1));
        let value = serde_json::from_str(&value).map_err(|error| PersistError::Corrupt(error.to_string()))?;
        sum.add(&kind, &value);
    }
    Ok(sum.result())
}

//! Reading.

use rusqlite::{Connection, OptionalExtension, Row, types::Value as Parameter};

use super::{failed, signed, unsigned};
use crate::{Aggregate, Event, EventQuery, Page, PersistError, Stored, event::Accumulator};

/// A row whose JSON is not parsed yet.
struct RawStored {
    name: String,
    revision: i64,
    body: String,
    at_ms: i64,
}

impl RawStored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get(0)?,
            revision: row.get(1)?,
            body: row.get(2)?,
            at_ms: row.get(3)?,
        })
    }

    fn parse(self, kind: &str) -> Result<Stored, PersistError> {
        let body = serde_json::from_str(&self.body)
            .map_err(|error| PersistError::Corrupt(format!("{kind} `{}`: {error}", self.name)))?;
        Ok(Stored {
            kind: kind.to_owned(),
            name: self.name,
            revision: unsigned(self.revision),
            body,
            at_ms: unsigned(self.at_ms),
        })
    }
}

pub(super) fn get(connection: &Connection, kind: &str, name: &str) -> Result<Option<Stored>, PersistError> {
    let row = connection
        .prepare_cached("SELECT name, revision, body, at_ms FROM artifacts WHERE kind = ?1 AND name = ?2")
        .and_then(|mut statement| statement.query_row([kind, name], RawStored::read).optional())
        .map_err(failed)?;
    row.map(|row| row.parse(kind)).transpose()
}

pub(super) fn kinds(connection: &Connection) -> Result<Vec<String>, PersistError> {
    connection
        .prepare_cached("SELECT DISTINCT kind FROM artifacts ORDER BY kind")
        .and_then(|mut statement| statement.query_map((), |row| row.get(0))?.collect())
        .map_err(failed)
}

pub(super) fn list(
    connection: &Connection,
    kind: &str,
    page: Page,
) -> Result<(Vec<Stored>, u64), PersistError> {
    let rows = || {
        // One transaction, so that the total belongs to the part.
        let reading = connection.unchecked_transaction()?;
        let total: i64 = reading
            .prepare_cached("SELECT count(*) FROM artifacts WHERE kind = ?1")?
            .query_row([kind], |row| row.get(0))?;
        let rows: Vec<RawStored> = reading
            .prepare_cached(
                "SELECT name, revision, body, at_ms FROM artifacts WHERE kind = ?1
                 ORDER BY name LIMIT ?2 OFFSET ?3",
            )?
            .query_map((kind, signed(page.limit), signed(page.offset)), RawStored::read)?
            .collect::<Result<_, _>>()?;
        Ok((rows, unsigned(total)))
    };
    let (rows, total) = rows().map_err(failed)?;
    let all: Result<_, _> = rows.into_iter().map(|row| row.parse(kind)).collect();
    Ok((all?, total))
}

pub(super) fn history(
    connection: &Connection,
    kind: &str,
    name: &str,
    page: Page,
) -> Result<Vec<Stored>, PersistError> {
    let rows = || {
        connection
            .prepare_cached(
                "SELECT name, revision, body, at_ms FROM history
                 WHERE kind = ?1 AND name = ?2 AND body IS NOT NULL
                 ORDER BY revision DESC LIMIT ?3 OFFSET ?4",
            )?
            .query_map(
                (kind, name, signed(page.limit), signed(page.offset)),
                RawStored::read,
            )?
            .collect::<Result<Vec<_>, _>>()
    };
    let rows = rows().map_err(failed)?;
    rows.into_iter().map(|row| row.parse(kind)).collect()
}

/// The order in which events are read.
#[derive(Clone, Copy)]
enum Order {
    Time,
    Id,
}

/// The part of a statement that selects events, after `FROM`. The rows are `e`; the order that is asked for
/// falls out of an index: by time that of the most telling tag, of the type, or of time; by id the table's.
struct Selection {
    from: String,
    /// Column that orders by time: of the index that is read.
    time: &'static str,
    id: &'static str,
    parameters: Vec<Parameter>,
}

impl Selection {
    fn new(query: &EventQuery, order: Order) -> Self {
        let mut parameters: Vec<Parameter> = Vec::new();
        let mut bind = |parameter: Parameter| {
            parameters.push(parameter);
            format!("?{}", parameters.len())
        };
        let mut tags: Vec<&String> = query.tags.iter().collect();
        // `gateways:shop/80` is on far fewer events than `metrics`: begin with the longest that has a colon.
        tags.sort_by_key(|tag| std::cmp::Reverse((tag.contains(':'), tag.len())));
        let (mut from, time, id) = match (order, tags.first()) {
            (Order::Time, Some(first)) => {
                let first = bind(Parameter::Text((*first).clone()));
                tags.remove(0);
                let from = format!(
                    "event_tags t CROSS JOIN events e ON e.id = t.event
                     WHERE t.tag = (SELECT id FROM tags WHERE tag = {first})"
                );
                (from, "t.at_ms", "t.event")
            }
            _ => ("events e WHERE 1".to_owned(), "e.at_ms", "e.id"),
        };
        for tag in tags {
            let tag = bind(Parameter::Text(tag.clone()));
            from.push_str(&format!(
                " AND EXISTS (SELECT 1 FROM event_tags o WHERE o.tag = (SELECT id FROM tags WHERE tag = {tag})
                  AND o.at_ms = e.at_ms AND o.event = e.id)"
            ));
        }
        if let Some(kind) = &query.kind {
            let kind = bind(Parameter::Text(kind.clone()));
            from.push_str(&format!(" AND e.kind = {kind}"));
        }
        for (bound, operator, column) in [
            (query.from_ms, ">=", time),
            (query.until_ms, "<", time),
            (query.after_id, ">", id),
        ] {
            if let Some(bound) = bound {
                let bound = bind(Parameter::Integer(signed(bound)));
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
}

struct RawEvent {
    id: i64,
    kind: String,
    at_ms: i64,
    tags: String,
    value: String,
}

impl RawEvent {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            kind: row.get(1)?,
            at_ms: row.get(2)?,
            tags: row.get(3)?,
            value: row.get(4)?,
        })
    }

    fn parse(self) -> Result<Event, PersistError> {
        let corrupt = |error| PersistError::Corrupt(format!("event {}: {error}", self.id));
        Ok(Event {
            id: unsigned(self.id),
            tags: serde_json::from_str(&self.tags).map_err(corrupt)?,
            value: serde_json::from_str(&self.value).map_err(corrupt)?,
            timestamp_ms: unsigned(self.at_ms),
            kind: self.kind,
        })
    }
}

pub(super) fn events(
    connection: &Connection,
    query: &EventQuery,
    page: Page,
) -> Result<(Vec<Event>, u64), PersistError> {
    let Selection {
        from,
        time,
        id,
        parameters,
    } = Selection::new(query, Order::Time);
    let count = parameters.len();
    let mut paged = parameters.clone();
    paged.extend([page.limit, page.offset].map(|number| Parameter::Integer(signed(number))));
    let rows = || {
        let reading = connection.unchecked_transaction()?;
        let total: i64 = reading
            .prepare_cached(&format!("SELECT count(*) FROM {from}"))?
            .query_row(rusqlite::params_from_iter(&parameters), |row| row.get(0))?;
        let rows: Vec<RawEvent> = reading
            .prepare_cached(&format!(
                "SELECT e.id, e.kind, e.at_ms, e.tags, e.value FROM {from}
                 ORDER BY {time} DESC, {id} DESC LIMIT ?{} OFFSET ?{}",
                count + 1,
                count + 2
            ))?
            .query_map(rusqlite::params_from_iter(&paged), RawEvent::read)?
            .collect::<Result<_, _>>()?;
        Ok((rows, unsigned(total)))
    };
    let (rows, total) = rows().map_err(failed)?;
    let all: Result<_, _> = rows.into_iter().map(RawEvent::parse).collect();
    Ok((all?, total))
}

pub(super) fn events_in_order(
    connection: &Connection,
    query: &EventQuery,
    limit: u64,
) -> Result<Vec<Event>, PersistError> {
    let Selection {
        from, mut parameters, ..
    } = Selection::new(query, Order::Id);
    parameters.push(Parameter::Integer(signed(limit)));
    let rows = || {
        connection
            .prepare_cached(&format!(
                "SELECT e.id, e.kind, e.at_ms, e.tags, e.value FROM {from} ORDER BY e.id LIMIT ?{}",
                parameters.len()
            ))?
            .query_map(rusqlite::params_from_iter(&parameters), RawEvent::read)?
            .collect::<Result<Vec<_>, _>>()
    };
    let rows = rows().map_err(failed)?;
    rows.into_iter().map(RawEvent::parse).collect()
}

pub(super) fn aggregate(
    connection: &Connection,
    query: &EventQuery,
    aggregate: &Aggregate,
) -> Result<Option<f64>, PersistError> {
    let Selection { from, parameters, .. } = Selection::new(query, Order::Time);
    let parameters = rusqlite::params_from_iter(&parameters);
    let mut sum = Accumulator::new(aggregate);
    if sum.counts_events() {
        let count: i64 = connection
            .prepare_cached(&format!("SELECT count(*) FROM {from}"))
            .and_then(|mut statement| statement.query_row(parameters, |row| row.get(0)))
            .map_err(failed)?;
        #[expect(clippy::cast_precision_loss, reason = "events are far fewer than 2^53")]
        return Ok(Some(count as f64));
    }
    let mut statement = connection
        .prepare_cached(&format!("SELECT e.kind, e.value FROM {from}"))
        .map_err(failed)?;
    let mut rows = statement.query(parameters).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let kind: String = row.get(0).map_err(failed)?;
        let value: String = row.get(1).map_err(failed)?;
        let value = serde_json::from_str(&value).map_err(|error| PersistError::Corrupt(error.to_string()))?;
        sum.add(&kind, &value);
    }
    Ok(sum.result())
}

/// How SQLite goes about a query of events.
#[cfg(test)]
pub(super) fn explain(connection: &Connection, query: &EventQuery) -> String {
    let Selection {
        from,
        time,
        id,
        parameters,
    } = Selection::new(query, Order::Time);
    let sql =
        format!("EXPLAIN QUERY PLAN SELECT e.value FROM {from} ORDER BY {time} DESC, {id} DESC LIMIT 30");
    let mut statement = connection.prepare(&sql).expect("prepared");
    let steps = statement
        .query_map(rusqlite::params_from_iter(&parameters), |row| {
            row.get::<_, String>(3)
        })
        .expect("explained");
    steps
        .map(|step| step.expect("text"))
        .collect::<Vec<_>>()
        .join("; ")
}

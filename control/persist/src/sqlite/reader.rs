//! Reading.

use rusqlite::{
    Connection, OptionalExtension, Row, params_from_iter,
    types::{ToSql, ToSqlOutput},
};

use super::{failed, signed, unsigned};
use crate::{
    Aggregate, Event, EventQuery, Page, PersistError, Stored,
    event::Accumulator,
    sql::{Bound, Dialect, Order, RawEvent, RawStored, Selection},
};

const DIALECT: Dialect = Dialect {
    sign: '?',
    // The order of the tables is ours to choose.
    join: "CROSS JOIN",
    tag: ["(SELECT id FROM tags WHERE tag = ", ")"],
};

impl ToSql for Bound {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Number(number) => number.to_sql(),
        }
    }
}

fn artifact(row: &Row<'_>) -> rusqlite::Result<RawStored> {
    Ok(RawStored {
        name: row.get(0)?,
        revision: row.get(1)?,
        body: row.get(2)?,
        at_ms: row.get(3)?,
    })
}

pub(super) fn get(connection: &Connection, kind: &str, name: &str) -> Result<Option<Stored>, PersistError> {
    let row = connection
        .prepare_cached("SELECT name, revision, body, at_ms FROM artifacts WHERE kind = ?1 AND name = ?2")
        .and_then(|mut statement| statement.query_row([kind, name], artifact).optional())
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
            .query_map((kind, signed(page.limit), signed(page.offset)), artifact)?
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
            .query_map((kind, name, signed(page.limit), signed(page.offset)), artifact)?
            .collect::<Result<Vec<_>, _>>()
    };
    let rows = rows().map_err(failed)?;
    rows.into_iter().map(|row| row.parse(kind)).collect()
}

fn event(row: &Row<'_>) -> rusqlite::Result<RawEvent<String>> {
    Ok(RawEvent {
        id: row.get(0)?,
        kind: row.get(1)?,
        at_ms: row.get(2)?,
        tags: row.get(3)?,
        value: row.get(4)?,
    })
}

fn parsed(rows: Vec<RawEvent<String>>) -> Result<Vec<Event>, PersistError> {
    rows.into_iter()
        .map(|row| row.parse(|tags| serde_json::from_str(&tags)))
        .collect()
}

pub(super) fn events(
    connection: &Connection,
    query: &EventQuery,
    page: Page,
) -> Result<(Vec<Event>, u64), PersistError> {
    let selection = Selection::new(query, Order::Time, &DIALECT);
    let mut paged = selection.bound().to_vec();
    paged.extend([page.limit, page.offset].map(|number| Bound::Number(signed(number))));
    let rows = || {
        let reading = connection.unchecked_transaction()?;
        let total: i64 = reading
            .prepare_cached(&selection.count())?
            .query_row(params_from_iter(selection.bound()), |row| row.get(0))?;
        let rows = reading
            .prepare_cached(&selection.newest_first())?
            .query_map(params_from_iter(&paged), event)?
            .collect::<Result<_, _>>()?;
        Ok((rows, unsigned(total)))
    };
    let (rows, total) = rows().map_err(failed)?;
    Ok((parsed(rows)?, total))
}

pub(super) fn events_in_order(
    connection: &Connection,
    query: &EventQuery,
    limit: u64,
) -> Result<Vec<Event>, PersistError> {
    let selection = Selection::new(query, Order::Id, &DIALECT);
    let mut bound = selection.bound().to_vec();
    bound.push(Bound::Number(signed(limit)));
    let rows = || {
        connection
            .prepare_cached(&selection.in_order())?
            .query_map(params_from_iter(&bound), event)?
            .collect::<Result<Vec<_>, _>>()
    };
    parsed(rows().map_err(failed)?)
}

pub(super) fn aggregate(
    connection: &Connection,
    query: &EventQuery,
    aggregate: &Aggregate,
) -> Result<Option<f64>, PersistError> {
    let selection = Selection::new(query, Order::Time, &DIALECT);
    let bound = params_from_iter(selection.bound());
    let mut sum = Accumulator::new(aggregate);
    if sum.counts_events() {
        let count: i64 = connection
            .prepare_cached(&selection.count())
            .and_then(|mut statement| statement.query_row(bound, |row| row.get(0)))
            .map_err(failed)?;
        sum.count(unsigned(count));
        return Ok(sum.result());
    }
    let mut statement = connection.prepare_cached(&selection.values()).map_err(failed)?;
    let mut rows = statement.query(bound).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let kind: String = row.get(0).map_err(failed)?;
        let value: String = row.get(1).map_err(failed)?;
        sum.add_text(&kind, &value)?;
    }
    Ok(sum.result())
}

/// How SQLite goes about a query of events.
#[cfg(test)]
pub(super) fn explain(connection: &Connection, query: &EventQuery) -> String {
    let selection = Selection::new(query, Order::Time, &DIALECT);
    let sql = format!("EXPLAIN QUERY PLAN {}", selection.newest_first());
    let mut paged = selection.bound().to_vec();
    paged.extend([30, 0].map(Bound::Number));
    let mut statement = connection.prepare(&sql).expect("prepared");
    let steps = statement
        .query_map(params_from_iter(&paged), |row| row.get::<_, String>(3))
        .expect("explained");
    steps
        .map(|step| step.expect("text"))
        .collect::<Vec<_>>()
        .join("; ")
}

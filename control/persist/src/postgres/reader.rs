//! Reading.

use deadpool_postgres::{Client, Transaction};
use futures_util::TryStreamExt as _;
use tokio_postgres::{Error, IsolationLevel, Row, types::ToSql};

use super::{failed, signed, unsigned};
use crate::{
    Aggregate, Event, EventQuery, Page, PersistError, Stored,
    event::Accumulator,
    sql::{Bound, Dialect, Order, RawEvent, RawStored, Selection},
};

const DIALECT: Dialect = Dialect {
    sign: '$',
    join: "JOIN",
    tag: ["", ""],
};

impl Bound {
    fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number,
        }
    }
}

fn parameters(selection: &Selection) -> Vec<&(dyn ToSql + Sync)> {
    selection.bound().iter().map(Bound::parameter).collect()
}

/// One view of the data, so that a total belongs to its part.
async fn reading(client: &mut Client) -> Result<Transaction<'_>, Error> {
    client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
}

fn stored(kind: &str, row: &Row) -> Result<Stored, PersistError> {
    let raw = RawStored {
        name: row.get(0),
        revision: row.get(1),
        body: row.get(2),
        at_ms: row.get(3),
    };
    raw.parse(kind)
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
        let reading = reading(client).await?;
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

fn event(row: &Row) -> Result<Event, PersistError> {
    let raw = RawEvent {
        id: row.get(0),
        kind: row.get(1),
        at_ms: row.get(2),
        tags: row.get(3),
        value: row.get(4),
    };
    raw.parse(Ok)
}

pub(super) async fn events(
    client: &mut Client,
    query: &EventQuery,
    page: Page,
) -> Result<(Vec<Event>, u64), PersistError> {
    let selection = Selection::new(query, Order::Time, &DIALECT);
    let bound = parameters(&selection);
    let (limit, offset) = (signed(page.limit), signed(page.offset));
    let mut paged = bound.clone();
    paged.extend([&limit as &(dyn ToSql + Sync), &offset]);
    let work = async {
        let reading = reading(client).await?;
        let count = reading.prepare_cached(&selection.count()).await?;
        let total: i64 = reading.query_one(&count, &bound).await?.get(0);
        let select = reading.prepare_cached(&selection.newest_first()).await?;
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
    let selection = Selection::new(query, Order::Id, &DIALECT);
    let limit = signed(limit);
    let mut bound = parameters(&selection);
    bound.push(&limit);
    let work = async {
        let select = client.prepare_cached(&selection.in_order()).await?;
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
    let selection = Selection::new(query, Order::Time, &DIALECT);
    let bound = parameters(&selection);
    let mut sum = Accumulator::new(aggregate);
    if sum.counts_events() {
        let work = async {
            let count = client.prepare_cached(&selection.count()).await?;
            client.query_one(&count, &bound).await
        };
        let count: i64 = work.await.map_err(failed)?.get(0);
        sum.count(unsigned(count));
        return Ok(sum.result());
    }
    let select = client.prepare_cached(&selection.values()).await.map_err(failed)?;
    // Row by row: there may be millions.
    let rows = client.query_raw(&select, bound).await.map_err(failed)?;
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let (kind, value): (String, String) = (row.get(0), row.get(1));
        sum.add_text(&kind, &value)?;
    }
    Ok(sum.result())
}

//! What both databases have in common: which events a query means, in SQL, and what a row says.
//!
//! **Absent.** Clients of databases, and how each of them orders what it reads: a [`Dialect`] says what differs.

use crate::{Event, EventQuery, PersistError, Stored};

/// What one database writes otherwise than the other.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// The sign before the number of a parameter.
    pub(crate) sign: char,
    /// How a tag's rows are joined with their events.
    pub(crate) join: &'static str,
    /// What stands for a tag among its rows, around its parameter.
    pub(crate) tag: [&'static str; 2],
}

/// What is bound to a parameter.
#[derive(Clone, Debug)]
pub(crate) enum Bound {
    Text(String),
    Number(i64),
}

/// The order in which events are read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    Time,
    Id,
}

/// The part of a statement that selects events, after `FROM`. The rows are `e`; the order that is asked for falls
/// out of an index: by time that of the most telling tag, of the type, or of time; by id the table's.
#[derive(Debug)]
pub(crate) struct Selection {
    sign: char,
    from: String,
    /// Column that orders by time: of the index that is read.
    time: &'static str,
    id: &'static str,
    bound: Vec<Bound>,
}

impl Selection {
    pub(crate) fn new(query: &EventQuery, order: Order, dialect: &Dialect) -> Self {
        let mut bound = Vec::new();
        let mut bind = |value: Bound| {
            bound.push(value);
            format!("{}{}", dialect.sign, bound.len())
        };
        let [before, after] = dialect.tag;
        let mut tags: Vec<&String> = query.tags.iter().collect();
        // `gateways:shop/80` is on far fewer events than `metrics`: begin with the longest that has a colon.
        tags.sort_by_key(|tag| std::cmp::Reverse((tag.contains(':'), tag.len())));
        let (mut from, time, id) = match (order, tags.first()) {
            (Order::Time, Some(first)) => {
                let first = bind(Bound::Text((*first).clone()));
                tags.remove(0);
                let join = dialect.join;
                let from = format!(
                    "event_tags t {join} events e ON e.id = t.event WHERE t.tag = {before}{first}{after}"
                );
                (from, "t.at_ms", "t.event")
            }
            _ => ("events e WHERE true".to_owned(), "e.at_ms", "e.id"),
        };
        for tag in tags {
            let tag = bind(Bound::Text(tag.clone()));
            from.push_str(&format!(
                " AND EXISTS (SELECT 1 FROM event_tags o WHERE o.tag = {before}{tag}{after}
                  AND o.at_ms = e.at_ms AND o.event = e.id)"
            ));
        }
        if let Some(kind) = &query.kind {
            let kind = bind(Bound::Text(kind.clone()));
            from.push_str(&format!(" AND e.kind = {kind}"));
        }
        for (limit, operator, column) in [
            (query.from_ms, ">=", time),
            (query.until_ms, "<", time),
            (query.after_id, ">", id),
        ] {
            if let Some(limit) = limit {
                let limit = bind(Bound::Number(signed(limit)));
                from.push_str(&format!(" AND {column} {operator} {limit}"));
            }
        }
        Self {
            sign: dialect.sign,
            from,
            time,
            id,
            bound,
        }
    }

    /// What the parameters of [`Self::count`] and [`Self::values`] are; the other statements have more after them.
    pub(crate) fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// How many there are.
    pub(crate) fn count(&self) -> String {
        format!("SELECT count(*) FROM {}", self.from)
    }

    /// Type and value of each, in any order.
    pub(crate) fn values(&self) -> String {
        format!("SELECT e.kind, e.value FROM {}", self.from)
    }

    /// A part of them, newest first. Two more parameters: how many, and how many to pass over.
    pub(crate) fn newest_first(&self) -> String {
        let Self {
            sign, from, time, id, ..
        } = self;
        let (limit, offset) = (self.bound.len() + 1, self.bound.len() + 2);
        format!(
            "SELECT e.id, e.kind, e.at_ms, e.tags, e.value FROM {from}
             ORDER BY {time} DESC, {id} DESC LIMIT {sign}{limit} OFFSET {sign}{offset}"
        )
    }

    /// The first of them, in the order of their ids. One more parameter: how many.
    pub(crate) fn in_order(&self) -> String {
        let Self { sign, from, .. } = self;
        let limit = self.bound.len() + 1;
        format!("SELECT e.id, e.kind, e.at_ms, e.tags, e.value FROM {from} ORDER BY e.id LIMIT {sign}{limit}")
    }
}

/// An artifact whose JSON is not parsed yet.
#[derive(Debug)]
pub(crate) struct RawStored {
    pub(crate) name: String,
    pub(crate) revision: i64,
    pub(crate) body: String,
    pub(crate) at_ms: i64,
}

impl RawStored {
    pub(crate) fn parse(self, kind: &str) -> Result<Stored, PersistError> {
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

/// An event whose JSON is not parsed yet.
#[derive(Debug)]
pub(crate) struct RawEvent<T> {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) at_ms: i64,
    /// As the database has them.
    pub(crate) tags: T,
    pub(crate) value: String,
}

impl<T> RawEvent<T> {
    pub(crate) fn parse(
        self,
        tags: impl FnOnce(T) -> Result<Vec<String>, serde_json::Error>,
    ) -> Result<Event, PersistError> {
        let corrupt = |error| PersistError::Corrupt(format!("event {}: {error}", self.id));
        Ok(Event {
            id: unsigned(self.id),
            tags: tags(self.tags).map_err(corrupt)?,
            value: serde_json::from_str(&self.value).map_err(corrupt)?,
            timestamp_ms: unsigned(self.at_ms),
            kind: self.kind,
        })
    }
}

/// Databases have no unsigned numbers; nothing here reaches half of them.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The reverse of [`signed`].
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

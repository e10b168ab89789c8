//! Which events a client asks for: as parameters, or as a body (spec of metrics and events §1.2).

use serde_json::{Map, Value};
use weir_artifact::Problem;
use weir_persist::{Aggregate, AggregateKind, EventQuery};

use super::{date, draft};
use crate::error::problem;

/// A question about events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Query {
    /// Which.
    pub(crate) filter: EventQuery,
    /// Whether their values are summed up instead of listed.
    pub(crate) aggregate: Option<Aggregate>,
}

/// From `tag`, `tags` and `type` parameters.
pub(crate) fn from_parameters(tags: Vec<String>, kind: Option<String>) -> Result<Query, Vec<Problem>> {
    let tags = draft::tags(Some(Value::from(tags))).map_err(|wrong| vec![wrong])?;
    Ok(Query {
        filter: EventQuery {
            tags,
            kind: kind.map(stored_kind),
            ..EventQuery::default()
        },
        aggregate: None,
    })
}

/// From a body.
///
/// # Errors
/// Every problem of it.
pub(crate) fn from_tree(tree: Value, now_ms: u64) -> Result<Query, Vec<Problem>> {
    let Value::Object(mut fields) = tree else {
        return Err(vec![problem(
            "UnexpectedTypeError",
            "/",
            "An event query is a map.",
        )]);
    };
    let mut problems = Vec::new();
    let mut query = Query::default();
    match draft::tags(fields.remove("tags").or_else(|| fields.remove("tag"))) {
        Ok(tags) => query.filter.tags = tags,
        Err(wrong) => problems.push(wrong),
    }
    match fields.remove("type") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) => query.filter.kind = Some(stored_kind(kind)),
        Some(_) => problems.push(problem("UnexpectedTypeError", "type", "A type is a text.")),
    }
    match fields.remove("timestamp") {
        None | Some(Value::Null) => {}
        Some(Value::Object(range)) => times(range, now_ms, &mut query.filter, &mut problems),
        Some(_) => problems.push(problem(
            "UnexpectedTypeError",
            "timestamp",
            "A time range is a map of `lt`, `lte`, `gt`, `gte`.",
        )),
    }
    match fields.remove("aggregator") {
        None | Some(Value::Null) => {}
        Some(aggregator) => match aggregate(aggregator) {
            Ok(aggregate) => query.aggregate = Some(aggregate),
            Err(wrong) => problems.push(wrong),
        },
    }
    for left in fields.keys() {
        problems.push(problem(
            "UnexpectedElement",
            left,
            format!("An event query has no `{left}`."),
        ));
    }
    if problems.is_empty() {
        Ok(query)
    } else {
        Err(problems)
    }
}

/// Vamp's documentation calls the type `archive` also `archiving`.
fn stored_kind(kind: String) -> String {
    if kind == "archiving" {
        "archive".to_owned()
    } else {
        kind
    }
}

fn times(mut range: Map<String, Value>, now_ms: u64, filter: &mut EventQuery, problems: &mut Vec<Problem>) {
    let mut bound = |name: &str| -> Option<u64> {
        let value = range.remove(name).filter(|value| !value.is_null())?;
        let at_ms = match &value {
            Value::String(text) => date::parse(text, now_ms),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        if at_ms.is_none() {
            problems.push(problem(
                "EventQueryTimeError",
                format!("timestamp/{name}"),
                format!("{value} is neither an ISO 8601 date and time nor date math such as `now-5m`."),
            ));
        }
        at_ms
    };
    let [lt, lte, gt, gte] = ["lt", "lte", "gt", "gte"].map(&mut bound);
    for (name, one, other) in [("lt", lt, lte), ("gt", gt, gte)] {
        if one.is_some() && other.is_some() {
            problems.push(problem(
                "EventQueryTimeError",
                "timestamp",
                format!("`{name}` and `{name}e` exclude each other."),
            ));
        }
    }
    for left in range.keys() {
        problems.push(problem(
            "UnexpectedElement",
            format!("timestamp/{left}"),
            format!("A time range has no `{left}`."),
        ));
    }
    // Times are whole milliseconds, so "after x" is "from x + 1".
    filter.from_ms = gte.or(gt.map(|gt| gt.saturating_add(1)));
    filter.until_ms = lt.or(lte.map(|lte| lte.saturating_add(1)));
}

fn aggregate(aggregator: Value) -> Result<Aggregate, Problem> {
    let unsupported = |what: &Value| {
        problem(
            "UnsupportedAggregatorError",
            "aggregator/type",
            format!("Aggregator {what} is not supported; use min, max, average, sum or count."),
        )
    };
    let (kind, field) = match aggregator {
        Value::Object(mut fields) => {
            let field = match fields.remove("field") {
                None | Some(Value::Null) => None,
                Some(Value::String(field)) => Some(field),
                Some(_) => {
                    return Err(problem(
                        "UnexpectedTypeError",
                        "aggregator/field",
                        "A field is a dotted path.",
                    ));
                }
            };
            (fields.remove("type").unwrap_or(Value::Null), field)
        }
        other => (other, None),
    };
    let kind = match kind.as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("min") => AggregateKind::Min,
        Some("max") => AggregateKind::Max,
        Some("average") => AggregateKind::Average,
        Some("sum") => AggregateKind::Sum,
        Some("count") => AggregateKind::Count,
        _ => return Err(unsupported(&kind)),
    };
    Ok(Aggregate { kind, field })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_persist::{Aggregate, AggregateKind, EventQuery};

    use super::{from_parameters, from_tree};

    #[test]
    fn a_body_says_everything() {
        let query = from_tree(
            json!({
                "tags": ["a:b", "c"],
                "type": "archiving",
                "timestamp": {"gt": "1970-01-01T00:00:01Z", "lte": "now-1s"},
                "aggregator": {"type": "average", "field": "metrics"}
            }),
            5_000,
        )
        .unwrap();
        assert_eq!(
            query.filter,
            EventQuery {
                tags: vec!["a:b".to_owned(), "c".to_owned()],
                kind: Some("archive".to_owned()),
                from_ms: Some(1_001),
                until_ms: Some(4_001),
                after_id: None,
            }
        );
        assert_eq!(
            query.aggregate,
            Some(Aggregate {
                kind: AggregateKind::Average,
                field: Some("metrics".to_owned())
            })
        );
    }

    #[test]
    fn every_problem_is_told() {
        let problems = from_tree(
            json!({
                "tags": {},
                "timestamp": {"lt": "now", "lte": "now", "gte": "soon", "before": 1},
                "aggregator": {"type": "median"},
                "page": 1
            }),
            5_000,
        )
        .unwrap_err();
        let codes: Vec<_> = problems
            .iter()
            .map(|problem| (problem.code, problem.path.as_str()))
            .collect();
        assert_eq!(
            codes,
            [
                ("UnexpectedTypeError", "tags"),
                ("EventQueryTimeError", "timestamp/gte"),
                ("EventQueryTimeError", "timestamp"),
                ("UnexpectedElement", "timestamp/before"),
                ("UnsupportedAggregatorError", "aggregator/type"),
                ("UnexpectedElement", "page"),
            ]
        );
    }

    #[test]
    fn parameters_are_tags_and_a_type() {
        let query = from_parameters(vec!["a".to_owned()], Some("metrics".to_owned())).unwrap();
        assert_eq!(query.filter.tags, ["a"]);
        assert_eq!(query.filter.kind.as_deref(), Some("metrics"));
        assert!(from_parameters(vec!["x".to_owned(); 65], None).is_err());
    }
}

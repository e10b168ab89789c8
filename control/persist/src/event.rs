//! What every backend does the same way with events: tags, matching, sums.

use serde_json::Value;

use crate::{Aggregate, AggregateKind, Event, EventQuery, PersistError};

/// Tags as they are stored: without duplicates, and `a:b` is followed by `a` (Vamp's tag expansion; the part
/// before the first colon). The given tags keep their order and come first.
pub fn expand_tags(tags: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::with_capacity(tags.len() * 2);
    let groups = tags
        .iter()
        .filter_map(|tag| tag.split_once(':').map(|(group, _)| group))
        .filter(|group| !group.is_empty());
    for tag in tags.iter().map(String::as_str).chain(groups) {
        if !all.iter().any(|known| known == tag) {
            all.push(tag.to_owned());
        }
    }
    all
}

impl EventQuery {
    /// Whether an event, its tags expanded, is one of these. Streams use the same answer as storage.
    pub fn matches(&self, event: &Event) -> bool {
        self.tags.iter().all(|tag| event.tags.contains(tag))
            && self.kind.as_ref().is_none_or(|kind| *kind == event.kind)
            && self.from_ms.is_none_or(|from| event.timestamp_ms >= from)
            && self.until_ms.is_none_or(|until| event.timestamp_ms < until)
            && self.after_id.is_none_or(|after| event.id > after)
    }
}

/// Sums up values one by one.
pub(crate) struct Accumulator<'a> {
    aggregate: &'a Aggregate,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl<'a> Accumulator<'a> {
    pub(crate) fn new(aggregate: &'a Aggregate) -> Self {
        Self {
            aggregate,
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// Whether the number of events alone is the answer.
    pub(crate) fn counts_events(&self) -> bool {
        self.aggregate.kind == AggregateKind::Count && self.aggregate.field.is_none()
    }

    /// So many events, where only their number is asked for.
    pub(crate) fn count(&mut self, events: u64) {
        self.count += events;
    }

    /// The same as [`Self::add`] with the JSON of a value.
    pub(crate) fn add_text(&mut self, kind: &str, value: &str) -> Result<(), PersistError> {
        let value = serde_json::from_str(value).map_err(|error| PersistError::Corrupt(error.to_string()))?;
        self.add(kind, &value);
        Ok(())
    }

    pub(crate) fn add(&mut self, kind: &str, value: &Value) {
        if self.counts_events() {
            self.count += 1;
            return;
        }
        let Some(number) = number_at(kind, value, self.aggregate.field.as_deref()) else {
            return;
        };
        self.count += 1;
        self.sum += number;
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }

    #[expect(clippy::cast_precision_loss, reason = "events are far fewer than 2^53")]
    pub(crate) fn result(&self) -> Option<f64> {
        let count = self.count as f64;
        match self.aggregate.kind {
            AggregateKind::Count => Some(count),
            _ if self.count == 0 => None,
            AggregateKind::Min => Some(self.min),
            AggregateKind::Max => Some(self.max),
            AggregateKind::Sum => Some(self.sum),
            AggregateKind::Average => Some(self.sum / count),
        }
    }
}

/// The number in an event's value at a dotted path; see [`Aggregate::field`].
fn number_at(kind: &str, value: &Value, field: Option<&str>) -> Option<f64> {
    let mut path = field.unwrap_or("value");
    for root in ["value", kind] {
        if path == root {
            // A key of the same name inside the value is closer than the value itself.
            return value.get(path).and_then(Value::as_f64).or_else(|| value.as_f64());
        }
    }
    if value.get(path.split('.').next().unwrap_or_default()).is_none() {
        for root in ["value", kind] {
            if let Some(rest) = path.strip_prefix(root).and_then(|rest| rest.strip_prefix('.')) {
                path = rest;
                break;
            }
        }
    }
    path.split('.')
        .try_fold(value, |value, key| value.get(key))
        .and_then(Value::as_f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{expand_tags, number_at};

    #[test]
    fn tags_are_expanded_once_at_the_first_colon() {
        let tags = ["services:sava:1.0", "services:other", "health", ":odd"].map(str::to_owned);
        assert_eq!(
            expand_tags(&tags),
            [
                "services:sava:1.0",
                "services:other",
                "health",
                ":odd",
                "services"
            ]
        );
    }

    #[test]
    fn fields_are_value_type_or_a_dotted_path() {
        assert_eq!(number_at("metrics", &json!(2.5), None), Some(2.5));
        assert_eq!(number_at("metrics", &json!(2.5), Some("value")), Some(2.5));
        assert_eq!(number_at("metrics", &json!(2.5), Some("metrics")), Some(2.5));
        let value = json!({"cpu": {"used": 3}});
        assert_eq!(number_at("allocation", &value, Some("cpu.used")), Some(3.0));
        assert_eq!(number_at("allocation", &value, Some("value.cpu.used")), Some(3.0));
        assert_eq!(
            number_at("allocation", &value, Some("allocation.cpu.used")),
            Some(3.0)
        );
        assert_eq!(number_at("allocation", &value, Some("cpu")), None);
        assert_eq!(number_at("allocation", &json!("3"), None), None);
    }
}

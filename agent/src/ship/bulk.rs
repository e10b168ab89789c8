//! Records as Elasticsearch takes them, and what it says of them.
//!
//! The documents are those of Vamp's gateway agent (spec of the gateway agent, §4): the fields of the record, and around
//! them what Filebeat added. Indices are daily: `vamp-vga-2026-11-22`. Each document has an id of its own, so that a
//! request that is sent again after a lost answer stores nothing twice.

use std::{collections::VecDeque, fmt::Write as _};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// What the names of indices begin with; a date follows.
const INDEX: &str = "vamp-vga-";

/// Who ships.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// `"beat":{...},"input_type":"log"`: the same in every document.
    fields: String,
    /// What ids begin with: agent and start.
    id: String,
}

impl Origin {
    pub(super) fn new(agent: &str, host: &str, started_at_ms: u64) -> Self {
        let beat = json!({
            "hostname": host,
            "name": agent,
            "version": env!("CARGO_PKG_VERSION"),
        });
        Self {
            fields: format!(r#""beat":{beat},"input_type":"log""#),
            id: format!("{agent}-{started_at_ms:x}"),
        }
    }
}

/// A document that waits to be shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// Its day: `2026-11-22`.
    day: String,
    id: String,
    text: String,
}

impl Document {
    /// Bytes that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.id.len() + 64
    }
}

/// Turns records to documents.
#[derive(Debug)]
pub(super) struct Maker {
    origin: Origin,
    /// Bytes of records so far.
    offset: u64,
    count: u64,
}

impl Maker {
    pub(super) fn new(origin: Origin) -> Self {
        Self {
            origin,
            offset: 0,
            count: 0,
        }
    }

    /// The documents of whole records, one per line; lines that are no JSON objects give none.
    pub(super) fn documents(&mut self, text: &[u8], now: Timestamp) -> Vec<Document> {
        let time = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let day: String = time.chars().take(10).collect();
        let mut documents = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let offset = self.offset;
            self.offset = self.offset.wrapping_add(line.len() as u64);
            let Some(fields) = std::str::from_utf8(line)
                .ok()
                .and_then(|line| line.trim_end().strip_prefix('{')?.strip_suffix('}'))
            else {
                continue;
            };
            let mut text = format!(
                r#"{{"@timestamp":"{time}",{},"offset":{offset},"source":"weir-agent","type":"log""#,
                self.origin.fields
            );
            if !fields.is_empty() {
                text.push(',');
                text.push_str(fields);
            }
            text.push('}');
            self.count += 1;
            documents.push(Document {
                day: day.clone(),
                id: format!("{}-{:x}", self.origin.id, self.count),
                text,
            });
        }
        documents
    }
}

/// The body of a bulk request. `typed`: as Elasticsearch before 7 wants it.
pub(super) fn body(documents: &[Document], typed: bool) -> String {
    let kind = if typed { r#","_type":"log""# } else { "" };
    let mut body = String::with_capacity(documents.iter().map(Document::bytes).sum::<usize>() + 64);
    for Document { day, id, text } in documents {
        // Writing to a string cannot fail.
        let _ = writeln!(
            body,
            r#"{{"index":{{"_index":"{INDEX}{day}"{kind},"_id":"{id}"}}}}"#
        );
        body.push_str(text);
        body.push('\n');
    }
    body
}

/// The template of the indices: texts are words, as Filebeat's was. Path and body.
pub(super) fn template(typed: bool) -> (String, Value) {
    let words = json!([{
        "strings": {
            "match_mapping_type": "string",
            "mapping": {"type": "keyword", "ignore_above": 4096}
        }
    }]);
    let mapping = json!({
        "dynamic_templates": words,
        "properties": {"@timestamp": {"type": "date"}}
    });
    let body = if typed {
        json!({"template": format!("{INDEX}*"), "mappings": {"log": mapping}})
    } else {
        json!({"index_patterns": [format!("{INDEX}*")], "mappings": mapping})
    };
    ("_template/vamp-vga".to_owned(), body)
}

/// What became of the documents of a bulk request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) stored: u64,
    /// Refused for what they are: sending them again would not help.
    pub(super) refused: u64,
    /// Why, of the first.
    pub(super) reason: Option<String>,
    /// To be sent again.
    pub(super) again: VecDeque<Document>,
}

/// Reads an answer of status 200.
///
/// # Errors
/// It is not an answer to a bulk request of so many documents.
pub(super) fn taken(answer: &[u8], documents: Vec<Document>) -> Result<Taken, (String, Vec<Document>)> {
    #[derive(Deserialize)]
    struct Answer {
        errors: bool,
        #[serde(default)]
        items: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        index: Outcome,
    }
    #[derive(Deserialize)]
    struct Outcome {
        status: u16,
        #[serde(default)]
        error: Value,
    }
    let answer: Answer = match serde_json::from_slice(answer) {
        Ok(answer) => answer,
        Err(error) => {
            return Err((
                format!("the answer is not one to a bulk request: {error}"),
                documents,
            ));
        }
    };
    if !answer.errors {
        return Ok(Taken {
            stored: documents.len() as u64,
            ..Taken::default()
        });
    }
    if answer.items.len() != documents.len() {
        let (said, sent) = (answer.items.len(), documents.len());
        return Err((
            format!("the answer is about {said} documents instead of {sent}"),
            documents,
        ));
    }
    let mut taken = Taken::default();
    for (document, Item { index }) in documents.into_iter().zip(answer.items) {
        match index.status {
            200..300 => taken.stored += 1,
            429 | 500.. => taken.again.push_back(document),
            _ => {
                taken.refused += 1;
                taken
                    .reason
                    .get_or_insert_with(|| index.error.to_string().chars().take(400).collect());
            }
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::{Document, Maker, Origin, Taken, body, taken};

    fn documents(text: &str) -> Vec<Document> {
        let now: Timestamp = "2026-11-22T23:59:59.999Z".parse().unwrap();
        let origin = Origin::new("edge-1", "host\"1", 255);
        let mut maker = Maker::new(origin);
        maker.documents(b"{\"a\":0}\n", now);
        maker.documents(text.as_bytes(), now)
    }

    #[test]
    fn a_document_is_the_record_and_what_filebeat_added() {
        let made = documents("{\"ft\":\"abc\",\"Tt\":3}\nnonsense\n{}\n");
        assert_eq!(made.len(), 2);
        let text = body(&made, true);
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines[0],
            json!({"index": {"_index": "vamp-vga-2026-11-22", "_type": "log", "_id": "edge-1-ff-2"}})
        );
        assert_eq!(
            lines[1],
            json!({
                "@timestamp": "2026-11-22T23:59:59.999Z",
                "beat": {"hostname": "host\"1", "name": "edge-1", "version": env!("CARGO_PKG_VERSION")},
                "input_type": "log",
                "offset": 8,
                "source": "weir-agent",
                "type": "log",
                "ft": "abc",
                "Tt": 3,
            })
        );
        assert_eq!(lines[3]["offset"], 8 + 20 + 9);
        assert!(!body(&made, false).contains("\"_type\""));
    }

    #[test]
    fn each_document_has_its_own_fate() {
        let made = documents("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n{\"a\":4}\n");
        let answer = json!({"errors": true, "items": [
            {"index": {"status": 201}},
            {"index": {"status": 429, "error": {"type": "es_rejected_execution_exception"}}},
            {"index": {"status": 400, "error": {"type": "mapper_parsing_exception"}}},
            {"index": {"status": 200}},
        ]});
        let outcome = taken(answer.to_string().as_bytes(), made.clone()).unwrap();
        assert_eq!((outcome.stored, outcome.refused), (2, 1));
        assert!(outcome.reason.unwrap().contains("mapper_parsing"));
        assert_eq!(outcome.again, [made[1].clone()]);
        let all = taken(br#"{"errors": false, "items": []}"#, made.clone()).unwrap();
        assert_eq!(
            all,
            Taken {
                stored: 4,
                ..Taken::default()
            }
        );
    }

    #[test]
    fn an_answer_that_makes_no_sense_loses_nothing() {
        let made = documents("{\"a\":1}\n");
        for answer in ["", "<html>", "[]", r#"{"errors": true, "items": []}"#] {
            let (_, back) = taken(answer.as_bytes(), made.clone()).unwrap_err();
            assert_eq!(back, made, "{answer}");
        }
    }
}

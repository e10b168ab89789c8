//! The messages of etcd's JSON gateway. Numbers of 64 bits are texts, keys and values base64; what has its
//! default is left out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Value, json};

use crate::{Entry, Expect, Revision};

/// A number of 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Int(pub(super) i64);

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(i64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => text.parse().map(Self).map_err(D::Error::custom),
        }
    }
}

impl Int {
    /// As a place in the history; what cannot be one is the beginning.
    pub(super) fn revision(self) -> Revision {
        Revision(u64::try_from(self.0).unwrap_or(0))
    }
}

/// Bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Base64(pub(super) Bytes);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        STANDARD
            .decode(&*text)
            .map(|bytes| Self(bytes.into()))
            .map_err(D::Error::custom)
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    pub(super) revision: Int,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    pub(super) key: Base64,
    pub(super) value: Base64,
    pub(super) mod_revision: Int,
}

impl KeyValue {
    /// The key without its slash; `None` if it is none of ours.
    pub(super) fn name(&self) -> Option<String> {
        let key = std::str::from_utf8(&self.key.0).ok()?;
        key.strip_prefix('/').map(str::to_owned)
    }

    pub(super) fn entry(self) -> Option<Entry> {
        Some(Entry {
            key: self.name()?,
            value: self.value.0,
            revision: self.mod_revision.revision(),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Range {
    pub(super) header: Header,
    pub(super) kvs: Vec<KeyValue>,
    pub(super) more: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Txn {
    pub(super) header: Header,
    pub(super) succeeded: bool,
    pub(super) responses: Vec<TxnPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TxnPart {
    pub(super) response_range: Option<Range>,
    pub(super) response_delete_range: Option<DeleteRange>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DeleteRange {
    pub(super) deleted: Int,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lease {
    #[serde(rename = "ID")]
    pub(super) id: Int,
    #[serde(rename = "TTL")]
    pub(super) ttl: Int,
    pub(super) error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Token {
    pub(super) token: String,
}

/// What went wrong, as the gateway says it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    pub(super) error: String,
    pub(super) message: String,
    pub(super) code: i64,
}

impl Failure {
    pub(super) fn text(&self) -> &str {
        if self.message.is_empty() {
            &self.error
        } else {
            &self.message
        }
    }
}

/// One line of a stream.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line<T> {
    Result(T),
    Error(Failure),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Watched {
    pub(super) header: Header,
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) compact_revision: Int,
    pub(super) cancel_reason: String,
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) kv: KeyValue,
}

/// A key of ours at the store: with a slash before it, as Vamp's readers expect.
pub(super) fn key(key: &str) -> Base64 {
    Base64(Bytes::from(format!("/{key}")))
}

/// The end of the keys that begin like this one.
pub(super) fn end(prefix: &Base64) -> Base64 {
    let mut end = prefix.0.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Base64(end.into());
        }
    }
    Base64(Bytes::from_static(&[0]))
}

/// What must hold, as a transaction compares it.
pub(super) fn compare(key: &Base64, expect: Expect) -> Vec<Value> {
    let revision = match expect {
        Expect::Any => return Vec::new(),
        Expect::Absent => 0,
        Expect::At(revision) => revision.0,
    };
    vec![json!({
        "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string(),
    })]
}

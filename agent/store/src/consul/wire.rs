//! The messages of Consul's HTTP API.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Entry, Revision};

/// A key and what it holds. Consul writes `null` for an empty value.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Pair {
    pub(super) key: String,
    #[serde(default, deserialize_with = "base64_or_null")]
    pub(super) value: Bytes,
    pub(super) modify_index: u64,
    #[serde(default)]
    pub(super) session: Option<String>,
}

fn base64_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(Bytes::new());
    };
    STANDARD
        .decode(text)
        .map(Bytes::from)
        .map_err(serde::de::Error::custom)
}

impl From<Pair> for Entry {
    fn from(pair: Pair) -> Self {
        Self {
            key: pair.key,
            value: pair.value,
            revision: Revision(pair.modify_index),
        }
    }
}

/// One step of a transaction.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Step<'a> {
    pub(super) verb: &'static str,
    pub(super) key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<&'a str>,
}

impl<'a> Step<'a> {
    pub(super) fn new(verb: &'static str, key: &'a str) -> Self {
        Self {
            verb,
            key,
            value: None,
            index: None,
            session: None,
        }
    }
}

/// A step, as a transaction has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Operation<'a> {
    Kv(Step<'a>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Committed {
    pub(super) results: Option<Vec<Done>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) struct Done {
    pub(super) kv: Option<Pair>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SessionRequest {
    pub(super) name: &'static str,
    #[serde(rename = "TTL")]
    pub(super) ttl: String,
    pub(super) lock_delay: &'static str,
    pub(super) behavior: &'static str,
    pub(super) checks: [&'static str; 0],
    pub(super) node_checks: [&'static str; 0],
}

#[derive(Debug, Deserialize)]
pub(super) struct Session {
    #[serde(rename = "ID")]
    pub(super) id: String,
}

/// `text` with `%xx` for what is special in a path or a query; slashes stay.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(digit), 16).expect("a half byte is a digit");
                encoded.push(digit.to_ascii_uppercase());
            }
        }
    }
    encoded
}

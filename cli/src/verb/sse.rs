//! Server-sent events, one after the other.

use std::{fmt, pin::Pin};

use futures::{Stream, StreamExt as _};
use serde_json::Value;

use crate::failure::Failure;

/// Longest event in bytes; a longer one ends the stream.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

type Bytes = Pin<Box<dyn Stream<Item = Result<Vec<u8>, reqwest::Error>> + Send>>;

/// Events of an answer that goes on.
pub(super) struct Events {
    bytes: Bytes,
    buffer: Vec<u8>,
    name: String,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Events {
    pub(super) fn new(response: reqwest::Response) -> Self {
        let bytes = response
            .bytes_stream()
            .map(|chunk| chunk.map(|chunk| chunk.to_vec()));
        Self {
            bytes: Box::pin(bytes),
            buffer: Vec::new(),
            name: String::new(),
        }
    }

    /// Name and data of the next event; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<(String, Value)>, Failure> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                if let Some(name) = line.strip_prefix("event:") {
                    name.trim().clone_into(&mut self.name);
                } else if let Some(data) = line.strip_prefix("data:") {
                    let data = serde_json::from_str(data.trim()).unwrap_or(Value::Null);
                    return Ok(Some((std::mem::take(&mut self.name), data)));
                }
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return Err(Failure::Other(anyhow::anyhow!(
                    "an event is longer than {EVENT_BYTES_MAX} bytes"
                )));
            }
            match self.bytes.next().await {
                None => return Ok(None),
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => {
                    return Err(Failure::Other(
                        anyhow::Error::new(error.without_url()).context("the stream broke off"),
                    ));
                }
            }
        }
    }
}

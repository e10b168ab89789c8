//! A watch: one request whose answer does not end, a line of JSON for each moment.
//!
//! A connection that has died without a word is found by asking over another one what changed last
//! ([`Guard`]).

use std::{collections::VecDeque, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::stream;
use reqwest::Response;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Client, Refused, outcome, refusal, wire};
use crate::{
    Change, Revision, StoreError, Watch,
    http::{self, Answer, BODY_BYTES_MAX, SILENCE_MAX},
};

/// How often a quiet watch is checked.
const CHECK: Duration = Duration::from_secs(10);

pub(super) async fn open(client: Client, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
    let (key, start) = (wire::key(prefix), after.0.saturating_add(1));
    let end = wire::end(&key);
    let body = http::json(&json!({ "create_request": {
        "key": key, "range_end": end, "start_revision": start.to_string(),
    }}));
    let mut renewed = false;
    let response = loop {
        let token = client.token().await?;
        let response = client
            .http
            .open(&client.question("/v3/watch", body.clone(), true, token.as_ref()))
            .await?;
        let status = response.status();
        if status.is_success() {
            break response;
        }
        let headers = response.headers().clone();
        let body = http::part(&mut { response }, Duration::ZERO)
            .await?
            .unwrap_or_default();
        let answer = Answer {
            status,
            headers,
            body,
        };
        match outcome(&answer) {
            Err(Refused::Token) if !renewed && client.access.user.is_some() => {
                renewed = true;
                client.forget(token.as_ref());
            }
            Err(refused) => return Err(refused.into()),
            Ok(()) => return Err(http::answered(status, &answer.body)),
        }
    };
    let mut lines = Lines {
        response,
        buffer: BytesMut::new(),
        searched: 0,
    };
    let first = timeout(SILENCE_MAX, lines.next())
        .await
        .unwrap_or_else(|_| Err(http::late()))?;
    let mut reading = Reading {
        client,
        lines,
        question: json!({
            "key": key, "range_end": end, "limit": 1, "keys_only": true,
            "sort_target": "MOD", "sort_order": "DESCEND",
        }),
        ready: VecDeque::new(),
        told: after,
        check: Instant::now() + CHECK,
        ended: false,
    };
    let watched = reading.line(first)?;
    // etcd would wait for a future revision: the store was replaced by an older one, or the member lags.
    if !watched.created || watched.header.revision.revision() < after {
        return Err(StoreError::Compacted);
    }
    reading.take(watched)?;
    Ok(Box::pin(stream::unfold(reading, |mut reading| async move {
        let next = reading.next().await?;
        Some((next, reading))
    })))
}

/// The lines of an answer.
struct Lines {
    response: Response,
    buffer: BytesMut,
    /// So many bytes of the buffer have no end of a line.
    searched: usize,
}

impl Lines {
    /// The next line that is not empty; `None` at the end. Can be dropped and called again.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            let unseen = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = unseen.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                if !line.is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            self.searched = self.buffer.len();
            match self.response.chunk().await {
                Ok(Some(part)) => self.buffer.extend_from_slice(&part),
                Ok(None) => return Ok(None),
                Err(error) => return Err(http::unavailable(error.without_url())),
            }
            if self.buffer.len() > BODY_BYTES_MAX {
                // So much has changed at once that reading anew is cheaper.
                return Err(StoreError::Compacted);
            }
        }
    }
}

struct Reading {
    client: Client,
    lines: Lines,
    /// Asks for the newest change below the prefix that has not been removed.
    question: serde_json::Value,
    ready: VecDeque<Change>,
    told: Revision,
    check: Instant,
    ended: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Change, StoreError>> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(Ok(change));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.more().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    /// Reads on, or finds that there is nothing to read.
    async fn more(&mut self) -> Result<(), StoreError> {
        let line = tokio::select! {
            line = self.lines.next() => Some(line?),
            () = sleep_until(self.check) => None,
        };
        self.check = Instant::now() + CHECK;
        let line = match line {
            Some(line) => line,
            None => {
                let range: wire::Range = self.client.ask("/v3/kv/range", &self.question, true).await?;
                let newest = range.kvs.first().map(|found| found.mod_revision.revision());
                if newest.is_none_or(|newest| newest <= self.told) {
                    return Ok(());
                }
                // It has been told by now, or the connection is dead.
                timeout(SILENCE_MAX, self.lines.next())
                    .await
                    .unwrap_or_else(|_| Err(StoreError::Unavailable("the watch has fallen silent".into())))?
            }
        };
        let watched = self.line(line)?;
        self.take(watched)
    }

    fn line(&self, line: Option<Bytes>) -> Result<wire::Watched, StoreError> {
        let Some(line) = line else {
            return Err(StoreError::Unavailable("the store ended the watch".into()));
        };
        match http::parse(&line)? {
            wire::Line::Result(watched) => Ok(watched),
            wire::Line::Error(failure) => Err(refusal(&failure).into()),
        }
    }

    fn take(&mut self, watched: wire::Watched) -> Result<(), StoreError> {
        if watched.canceled {
            if watched.compact_revision.0 > 0 {
                return Err(StoreError::Compacted);
            }
            let reason = http::shown(watched.cancel_reason.as_bytes());
            if reason.contains("auth token") {
                self.client.forget(self.client.known().as_ref());
            } else if reason.contains("permission denied") {
                return Err(StoreError::Denied(reason));
            }
            return Err(StoreError::Unavailable(
                format!("the store ended the watch: {reason}").into(),
            ));
        }
        for event in watched.events {
            let revision = event.kv.mod_revision.revision();
            self.told = self.told.max(revision);
            let change = if event.kind == "DELETE" {
                event.kv.name().map(|key| Change::Deleted { key, revision })
            } else {
                event.kv.entry().map(Change::Put)
            };
            self.ready.extend(change);
        }
        Ok(())
    }
}

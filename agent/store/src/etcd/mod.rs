//! etcd, version 3, by the JSON gateway that every member serves under `/v3`.
//!
//! **Job.** [`Store`] over etcd: revisions are etcd's, a write with an expectation is a transaction, leases
//! are leases, a watch begins at a revision.
//!
//! Keys have a slash before them at the store (`/vamp/default/..`), as Vamp and confd wrote them, so existing
//! roles fit. Several endpoints are asked in turn. Tokens do not outlive a restart of the server: a request
//! that is refused for its token is sent again with a new one.
//!
//! **Absent.** gRPC: its stubs need a compiler of their own at build time. Version 2 of the API.

mod watch;
mod wire;

use std::{sync::Mutex, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::wire::{Failure, Int, Line};
use crate::{
    Capabilities, Entry, Expect, LeaseId, Revision, Store, StoreError, Watch,
    address::{Address, Secret},
    http::{self, Answer, Http, Question},
    key::{check_key, check_prefix},
};

/// Longest value in bytes: etcd takes requests of 1.5 MiB by default.
const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Keys that are read at once.
const PAGE: usize = 100;
/// As [`PAGE`], without values.
const PAGE_OF_KEYS: usize = 5000;

/// `etcd://[USER:PASSWORD@]HOST:PORT[,HOST:PORT..][?ca=FILE&cert=FILE&key=FILE&tls=true&server_name=NAME&password_file=FILE]`.
#[derive(Debug)]
pub struct Etcd {
    http: std::sync::Arc<Http>,
    access: std::sync::Arc<Access>,
}

/// Who we are for the store.
#[derive(Debug)]
struct Access {
    user: Option<(String, Secret)>,
    token: Mutex<Option<Secret>>,
}

impl Etcd {
    /// A store at an address; nothing is asked yet.
    ///
    /// # Errors
    /// [`StoreError::Address`] if the address is none, or its files cannot be used.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url, 2379, &["password_file"])?;
        if !address.path.is_empty() {
            return Err(address.wrong("etcd has no path; what keys begin with is the prefix"));
        }
        Ok(Self {
            http: Http::new(&address)?.into(),
            access: std::sync::Arc::new(Access {
                user: address.user,
                token: Mutex::new(None),
            }),
        })
    }

    fn client(&self) -> Client {
        Client {
            http: self.http.clone(),
            access: self.access.clone(),
        }
    }

    async fn range(&self, question: Value) -> Result<wire::Range, StoreError> {
        self.client().ask("/v3/kv/range", &question, true).await
    }

    /// Pages of a range, all of one revision.
    async fn pages(
        &self,
        prefix: &str,
        keys_only: bool,
    ) -> Result<(Vec<wire::KeyValue>, Revision), StoreError> {
        check_prefix(prefix)?;
        let mut key = wire::key(prefix);
        let end = wire::end(&key);
        let mut all = Vec::new();
        let mut at: Option<Int> = None;
        loop {
            let page = self
                .range(json!({
                    "key": key, "range_end": end, "keys_only": keys_only,
                    "limit": if keys_only { PAGE_OF_KEYS } else { PAGE },
                    "revision": at.unwrap_or_default().0.to_string(),
                }))
                .await?;
            let revision = *at.get_or_insert(page.header.revision);
            all.extend(page.kvs);
            let Some(last) = all.last().filter(|_| page.more) else {
                return Ok((all, revision.revision()));
            };
            // The smallest key after the last one.
            key = wire::Base64([&last.key.0[..], &[0]].concat().into());
        }
    }
}

/// What a request needs; watches keep one.
#[derive(Clone, Debug)]
struct Client {
    http: std::sync::Arc<Http>,
    access: std::sync::Arc<Access>,
}

impl Client {
    /// Asks with a token if there is a user. A token that is refused is replaced once.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        question: &Value,
        repeatable: bool,
    ) -> Result<T, StoreError> {
        let body = http::json(question);
        let mut renewed = false;
        loop {
            let token = self.token().await?;
            let answer = self
                .http
                .ask(&self.question(path, body.clone(), repeatable, token.as_ref()))
                .await?;
            match outcome(&answer) {
                Err(Refused::Token) if !renewed && self.access.user.is_some() => {
                    renewed = true;
                    self.forget(token.as_ref());
                }
                Err(refused) => return Err(refused.into()),
                Ok(()) => return http::parse(&answer.body),
            }
        }
    }

    fn question<'a>(
        &self,
        path: &'a str,
        body: Bytes,
        repeatable: bool,
        token: Option<&Secret>,
    ) -> Question<'a> {
        Question {
            method: Method::POST,
            path,
            body: Some(body),
            secret: token.map(|token| ("authorization", token.0.clone())),
            repeatable,
            patience: Duration::ZERO,
        }
    }

    /// The token, fetched if there is none; `None` without a user, or if the store has no authentication.
    async fn token(&self) -> Result<Option<Secret>, StoreError> {
        let Some((name, password)) = &self.access.user else {
            return Ok(None);
        };
        if let Some(token) = self.known() {
            return Ok((!token.0.is_empty()).then_some(token));
        }
        let body = http::json(&json!({ "name": name, "password": password.0 }));
        let answer = self
            .http
            .ask(&self.question("/v3/auth/authenticate", body, true, None))
            .await?;
        let token = match outcome(&answer) {
            Ok(()) => http::parse::<wire::Token>(&answer.body)?.token,
            Err(Refused::NoAuthentication) => String::new(),
            Err(Refused::Other(_, text) | Refused::Denied(text)) => {
                return Err(StoreError::Denied(format!("user `{name}` is not let in: {text}")));
            }
            Err(refused) => return Err(refused.into()),
        };
        let token = Secret(token);
        *self.lock() = Some(token.clone());
        Ok((!token.0.is_empty()).then_some(token))
    }

    fn known(&self) -> Option<Secret> {
        self.lock().clone()
    }

    /// A token that the store does not know any more.
    fn forget(&self, token: Option<&Secret>) {
        let mut known = self.lock();
        // Somebody else may have fetched a new one meanwhile. "No authentication" is the empty token.
        if known.as_ref().filter(|known| !known.0.is_empty()) == token {
            *known = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Secret>> {
        self.access
            .token
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Why the gateway said no.
enum Refused {
    /// The token is not known (any more), or there must be one.
    Token,
    /// Authentication is off.
    NoAuthentication,
    Denied(String),
    NoLease,
    Compacted,
    TooLarge(String),
    Away(StoreError),
    Other(i64, String),
}

fn outcome(answer: &Answer) -> Result<(), Refused> {
    if answer.status.is_success() {
        return Ok(());
    }
    let Ok(failure) = serde_json::from_slice::<Failure>(&answer.body) else {
        // Such as for a client's certificate with a common name, which the gateway does not take for a user.
        if matches!(answer.status.as_u16(), 401 | 403) {
            return Err(Refused::Denied(http::shown(&answer.body)));
        }
        return Err(Refused::Away(http::answered(answer.status, &answer.body)));
    };
    Err(refusal(&failure))
}

/// By gRPC's code first; etcd tells some apart only by their text.
fn refusal(failure: &Failure) -> Refused {
    let text = failure.text();
    let shown = || http::shown(text.as_bytes());
    match failure.code {
        16 => Refused::Token,
        _ if text.contains("invalid auth token") || text.contains("user name is empty") => Refused::Token,
        // Roles or users were changed since the token was given.
        _ if text.contains("revision of auth store is old") => Refused::Token,
        _ if text.contains("authentication is not enabled") => Refused::NoAuthentication,
        7 => Refused::Denied(shown()),
        5 if text.contains("lease") => Refused::NoLease,
        11 => Refused::Compacted,
        _ if text.contains("request is too large") => Refused::TooLarge(shown()),
        8 if text.contains("message larger than max") => Refused::TooLarge(shown()),
        4 | 8 | 10 | 13 | 14 => Refused::Away(StoreError::Unavailable(shown().into())),
        code => Refused::Other(code, shown()),
    }
}

impl From<Refused> for StoreError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Token => {
                Self::Denied("a user and a password are needed, as in etcd://USER:PASSWORD@HOST".to_owned())
            }
            Refused::NoAuthentication => Self::Denied("the store has no authentication".to_owned()),
            Refused::Denied(text) => Self::Denied(text),
            Refused::NoLease => Self::LeaseLost,
            Refused::Compacted => Self::Compacted,
            Refused::TooLarge(text) => Self::Unsupported(format!("take that much at once: {text}").into()),
            Refused::Away(error) => error,
            Refused::Other(code, text) => {
                Self::Unavailable(format!("it refused (code {code}): {text}").into())
            }
        }
    }
}

fn lease_number(lease: &LeaseId) -> Result<i64, StoreError> {
    lease.0.parse().map_err(|_| StoreError::LeaseLost)
}

/// Where the key was found that was not where it was expected.
fn conflict(key: &str, txn: &wire::Txn) -> StoreError {
    let found = txn
        .responses
        .iter()
        .find_map(|part| part.response_range.as_ref()?.kvs.first());
    StoreError::Conflict {
        key: key.to_owned(),
        found: found.map(|found| found.mod_revision.revision()),
    }
}

#[async_trait]
impl Store for Etcd {
    fn kind(&self) -> &'static str {
        "etcd"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            value_bytes_max: VALUE_BYTES_MAX,
            leases: true,
            // With etcd's default of 1 s for elections.
            lease_ttl_min: Duration::from_secs(2),
            lease_factor_max: 1,
            history: true,
            writable: true,
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        let range = self.range(json!({ "key": wire::key(key) })).await?;
        Ok(range.kvs.into_iter().next().and_then(wire::KeyValue::entry))
    }

    async fn place(&self, key: &str) -> Result<Option<Revision>, StoreError> {
        check_key(key)?;
        let range = self
            .range(json!({ "key": wire::key(key), "keys_only": true }))
            .await?;
        Ok(range.kvs.first().map(|found| found.mod_revision.revision()))
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        let (found, revision) = self.pages(prefix, false).await?;
        let entries = found.into_iter().filter_map(wire::KeyValue::entry);
        Ok((entries.collect(), revision))
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let (found, _) = self.pages(prefix, true).await?;
        Ok(found.iter().filter_map(wire::KeyValue::name).collect())
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError> {
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::TooLarge {
                bytes: value.len(),
                bytes_max: VALUE_BYTES_MAX,
            });
        }
        let name = wire::key(key);
        let lease = lease.map_or(Ok(0), lease_number)?;
        let txn: wire::Txn = self
            .client()
            .ask(
                "/v3/kv/txn",
                &json!({
                    "compare": wire::compare(&name, expect),
                    "success": [{ "request_put": {
                        "key": name, "value": wire::Base64(value), "lease": lease.to_string(),
                    }}],
                    "failure": [{ "request_range": { "key": name, "keys_only": true } }],
                }),
                false,
            )
            .await?;
        if !txn.succeeded {
            return Err(conflict(key, &txn));
        }
        Ok(txn.header.revision.revision())
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        check_key(key)?;
        let name = wire::key(key);
        let txn: wire::Txn = self
            .client()
            .ask(
                "/v3/kv/txn",
                &json!({
                    "compare": wire::compare(&name, expect),
                    "success": [{ "request_delete_range": { "key": name } }],
                    "failure": [{ "request_range": { "key": name, "keys_only": true } }],
                }),
                false,
            )
            .await?;
        if !txn.succeeded {
            return Err(conflict(key, &txn));
        }
        let deleted = txn
            .responses
            .iter()
            .find_map(|part| part.response_delete_range.as_ref());
        Ok(deleted.is_some_and(|deleted| deleted.deleted.0 > 0))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        check_prefix(prefix)?;
        watch::open(self.client(), prefix, after).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        // Whole seconds, and never shorter than asked.
        let seconds = ttl.as_millis().div_ceil(1000).max(1);
        let lease: wire::Lease = self
            .client()
            .ask("/v3/lease/grant", &json!({ "TTL": seconds.to_string() }), false)
            .await?;
        if !lease.error.is_empty() {
            return Err(StoreError::Unavailable(
                http::shown(lease.error.as_bytes()).into(),
            ));
        }
        Ok(LeaseId(lease.id.0.to_string()))
    }

    async fn renew(&self, lease: &LeaseId) -> Result<(), StoreError> {
        let question = json!({ "ID": lease_number(lease)?.to_string() });
        let line: Line<wire::Lease> = self.client().ask("/v3/lease/keepalive", &question, true).await?;
        match line {
            // A lease that is over has no time left.
            Line::Result(lease) if lease.ttl.0 <= 0 => Err(StoreError::LeaseLost),
            Line::Result(_) => Ok(()),
            Line::Error(failure) => Err(refusal(&failure).into()),
        }
    }

    async fn revoke(&self, lease: &LeaseId) -> Result<(), StoreError> {
        let question = json!({ "ID": lease_number(lease)?.to_string() });
        let _: Value = self.client().ask("/v3/lease/revoke", &question, true).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Etcd, Failure, Refused, refusal, wire};

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_that_is_not_below_it() {
        let end = |bytes: &'static [u8]| wire::end(&wire::Base64(bytes::Bytes::from_static(bytes))).0;
        assert_eq!(&end(b"/a/")[..], b"/a0");
        assert_eq!(&end(b"a\xff\xff")[..], b"b");
        assert_eq!(&end(b"\xff")[..], b"\0");
    }

    #[test]
    fn refusals_are_told_apart() {
        let refused = |code, text: &str| {
            refusal(&Failure {
                error: text.to_owned(),
                message: String::new(),
                code,
            })
        };
        assert!(matches!(
            refused(16, "etcdserver: invalid auth token"),
            Refused::Token
        ));
        assert!(matches!(
            refused(3, "etcdserver: user name is empty"),
            Refused::Token
        ));
        let lease = refused(5, "etcdserver: requested lease not found");
        assert!(matches!(lease, Refused::NoLease));
        let off = refused(9, "etcdserver: authentication is not enabled");
        assert!(matches!(off, Refused::NoAuthentication));
        assert!(matches!(refused(14, "etcdserver: no leader"), Refused::Away(_)));
    }

    #[test]
    fn an_address_with_a_path_is_refused() {
        let message = Etcd::new("etcd://h:2379/vamp").unwrap_err().to_string();
        assert!(message.contains("prefix"), "{message}");
    }
}

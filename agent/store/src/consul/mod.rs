//! Consul, by its HTTP API.
//!
//! **Job.** [`Store`] over Consul's key-value store: a revision is a `ModifyIndex`, every write is a
//! transaction that first checks where the key is, a watch is a blocking query.
//!
//! **Leases** are sessions with the behaviour `delete`, without health checks and without lock delay: a write
//! with a dead session fails, and writes are fenced by their expectation, so there is nothing to wait for.
//! Consul keeps a session at least 10 s, and notices its end between once and twice its length.
//!
//! **Watches.** Consul does not remember changes. A watch begins at a listing that this store has made (what
//! it showed is kept for a while, see `crate::listings`); it tells the last state of each key. An index
//! that goes back ends it: the store was replaced by an older one.
//!
//! **Absent.** Namespaces and partitions of the enterprise edition.

mod watch;
mod wire;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use tokio::time::Instant;

use self::wire::{Committed, Operation, Pair, Session, SessionRequest, Step, encoded};
use crate::{
    Capabilities, Entry, Expect, LeaseId, Revision, Store, StoreError, Watch,
    address::{Address, Secret},
    http::{self, Answer, Http, Question},
    key::{check_path, check_prefix},
    listings::Listings,
};

/// Longest value in bytes: Consul takes 512 KiB for a whole transaction, in which the value is base64.
const VALUE_BYTES_MAX: usize = 372 * 1024;
/// Lengths of sessions that Consul takes.
const TTL_MIN: Duration = Duration::from_secs(10);
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// How long a write without an expectation is tried again because others write the same key.
const RACE_MAX: Duration = Duration::from_secs(3);

/// `consul://HOST:PORT[,HOST:PORT..][?token=TOKEN&token_file=FILE&dc=NAME&ca=FILE&cert=FILE&key=FILE&tls=true&server_name=NAME]`.
#[derive(Debug)]
pub struct Consul {
    client: Arc<Client>,
}

/// What a request needs; watches keep one.
#[derive(Debug)]
struct Client {
    http: Http,
    token: Option<Secret>,
    /// `dc=NAME` or nothing.
    dc: String,
    listings: Listings,
}

impl Consul {
    /// A store at an address; nothing is asked yet.
    ///
    /// # Errors
    /// [`StoreError::Address`] if the address is none, or its files cannot be used.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url, 8500, &["token", "token_file", "dc"])?;
        if !address.path.is_empty() || address.user.is_some() {
            return Err(address.wrong(
                "Consul has no path and no user: what keys begin with is the prefix, and access is by ?token=TOKEN",
            ));
        }
        let given = address.option("token").map(|token| Secret(token.to_owned()));
        let token = match address.secret_file("token_file")? {
            Some(token) => Some(token),
            None => given.filter(|token| !token.0.is_empty()),
        };
        let client = Client {
            http: Http::new(&address)?,
            token,
            dc: address
                .option("dc")
                .map(|dc| format!("dc={}", encoded(dc)))
                .unwrap_or_default(),
            listings: Listings::default(),
        };
        Ok(Self {
            client: Arc::new(client),
        })
    }
}

/// An answer to a reading, with the place of the store it is of.
struct Read {
    pairs: Vec<Pair>,
    index: u64,
}

impl Client {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<Bytes>,
        patience: Duration,
    ) -> Result<Answer, StoreError> {
        let query: Vec<&str> = [query, &self.dc]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        let question = Question {
            repeatable: method == Method::GET,
            method,
            path: &format!("/v1/{path}?{}", query.join("&")),
            body,
            secret: self
                .token
                .as_ref()
                .map(|token| ("x-consul-token", token.0.clone())),
            patience,
        };
        let answer = self.http.ask(&question).await?;
        match answer.status.as_u16() {
            401 | 403 => Err(StoreError::Denied(http::shown(&answer.body))),
            // A conflict and "not there" are answers.
            200..=299 | 404 | 409 => Ok(answer),
            _ => Err(http::answered(answer.status, &answer.body)),
        }
    }

    /// Reads keys. With an `index` the store holds the answer back until something is newer than that, or
    /// `wait` is over.
    async fn read(
        &self,
        key: &str,
        recurse: bool,
        blocking: Option<(u64, Duration)>,
    ) -> Result<Read, StoreError> {
        let mut query = if recurse { "recurse=true" } else { "" }.to_owned();
        let mut patience = Duration::ZERO;
        if let Some((index, wait)) = blocking {
            query.push_str(&format!("&index={index}&wait={}ms", wait.as_millis()));
            // Consul adds up to a sixteenth.
            patience = wait + wait / 16;
        }
        let path = format!("kv/{}", encoded(key));
        let answer = self
            .ask(Method::GET, &path, query.trim_start_matches('&'), None, patience)
            .await?;
        let index = answer
            .headers
            .get("x-consul-index")
            .and_then(|index| index.to_str().ok()?.parse().ok())
            .ok_or_else(|| {
                StoreError::Corrupt("the answer has no X-Consul-Index; is this Consul?".to_owned())
            })?;
        let pairs = match answer.status {
            StatusCode::NOT_FOUND => Vec::new(),
            _ => http::parse(&answer.body)?,
        };
        Ok(Read { pairs, index })
    }

    async fn one(&self, key: &str) -> Result<Option<Pair>, StoreError> {
        Ok(self.read(key, false, None).await?.pairs.into_iter().next())
    }

    /// Runs a transaction. `None` if one of its steps did not hold.
    async fn commit(&self, steps: Vec<Step<'_>>) -> Result<Option<Committed>, StoreError> {
        let operations: Vec<Operation<'_>> = steps.into_iter().map(Operation::Kv).collect();
        let body = http::json(&operations);
        let answer = self
            .ask(Method::PUT, "txn", "", Some(body), Duration::ZERO)
            .await?;
        match answer.status {
            StatusCode::CONFLICT => {
                let text = http::shown(&answer.body);
                // Denials come as conflicts, too.
                if text.contains("Permission denied") {
                    return Err(StoreError::Denied(text));
                }
                tracing::trace!(text, "a transaction did not hold");
                Ok(None)
            }
            StatusCode::NOT_FOUND => Err(http::answered(answer.status, &answer.body)),
            _ => http::parse(&answer.body).map(Some),
        }
    }

    async fn session_lives(&self, lease: &LeaseId) -> Result<bool, StoreError> {
        let path = format!("session/info/{}", encoded(&lease.0));
        let answer = self.ask(Method::GET, &path, "", None, Duration::ZERO).await?;
        let sessions: Option<Vec<Session>> = http::parse(&answer.body)?;
        Ok(sessions.is_some_and(|sessions| !sessions.is_empty()))
    }
}

/// Whether a key that is there, or is not, is as expected.
fn check(key: &str, expect: Expect, found: Option<&Pair>) -> Result<(), StoreError> {
    let found = found.map(|pair| Revision(pair.modify_index));
    let met = match expect {
        Expect::Any => true,
        Expect::Absent => found.is_none(),
        Expect::At(revision) => found == Some(revision),
    };
    if met {
        return Ok(());
    }
    Err(StoreError::Conflict {
        key: key.to_owned(),
        found,
    })
}

/// The step that holds if the key is still where it was found.
fn still<'a>(key: &'a str, found: Option<&Pair>) -> Step<'a> {
    match found {
        None => Step::new("check-not-exists", key),
        Some(pair) => Step {
            index: Some(pair.modify_index),
            ..Step::new("check-index", key)
        },
    }
}

#[async_trait]
impl Store for Consul {
    fn kind(&self) -> &'static str {
        "consul"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            value_bytes_max: VALUE_BYTES_MAX,
            leases: true,
            lease_ttl_min: TTL_MIN,
            lease_factor_max: 2,
            history: false,
            writable: true,
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_path(key)?;
        Ok(self.client.one(key).await?.map(Entry::from))
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        check_prefix(prefix)?;
        let read = self.client.read(prefix, true, None).await?;
        let mut entries: Vec<Entry> = read.pairs.into_iter().map(Entry::from).collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        let at = Revision(read.index);
        self.client.listings.remember(prefix, at, &entries);
        Ok((entries, at))
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        check_prefix(prefix)?;
        let path = format!("kv/{}", encoded(prefix));
        let answer = self
            .client
            .ask(Method::GET, &path, "keys=true", None, Duration::ZERO)
            .await?;
        let mut keys: Vec<String> = match answer.status {
            StatusCode::NOT_FOUND => Vec::new(),
            _ => http::parse(&answer.body)?,
        };
        keys.sort();
        Ok(keys)
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError> {
        check_path(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::TooLarge {
                bytes: value.len(),
                bytes_max: VALUE_BYTES_MAX,
            });
        }
        let value = STANDARD.encode(&value);
        let deadline = Instant::now() + RACE_MAX;
        loop {
            let found = self.client.one(key).await?;
            check(key, expect, found.as_ref())?;
            let mut steps = vec![still(key, found.as_ref())];
            let holder = found.as_ref().and_then(|pair| pair.session.as_deref());
            if let Some(holder) = holder.filter(|holder| lease.is_none_or(|lease| lease.0 != *holder)) {
                steps.push(Step {
                    value: Some(""),
                    session: Some(holder),
                    ..Step::new("unlock", key)
                });
            }
            steps.push(Step {
                value: Some(&value),
                session: lease.map(|lease| lease.0.as_str()),
                ..Step::new(if lease.is_some() { "lock" } else { "set" }, key)
            });
            if let Some(committed) = self.client.commit(steps).await? {
                let written = committed.results.and_then(|mut done| done.pop()?.kv);
                return written.map(|pair| Revision(pair.modify_index)).ok_or_else(|| {
                    StoreError::Corrupt(
                        "the transaction's answer does not say where the key is now".to_owned(),
                    )
                });
            }
            // Somebody was faster (the next round finds out who), or the lease is over.
            if let Some(lease) = lease
                && !self.client.session_lives(lease).await?
            {
                return Err(StoreError::LeaseLost);
            }
            if Instant::now() > deadline {
                return Err(StoreError::Unavailable(
                    "others write the same key all the time".into(),
                ));
            }
        }
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        check_path(key)?;
        let deadline = Instant::now() + RACE_MAX;
        loop {
            let found = self.client.one(key).await?;
            check(key, expect, found.as_ref())?;
            let Some(found) = found else { return Ok(false) };
            let step = Step {
                index: Some(found.modify_index),
                ..Step::new("delete-cas", key)
            };
            if self.client.commit(vec![step]).await?.is_some() {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Err(StoreError::Unavailable(
                    "others write the same key all the time".into(),
                ));
            }
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        check_prefix(prefix)?;
        let told = self
            .client
            .listings
            .recall(prefix, after)
            .ok_or(StoreError::Compacted)?;
        Ok(watch::open(
            Arc::clone(&self.client),
            prefix,
            after,
            (*told).clone(),
        ))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl = ttl.clamp(TTL_MIN, TTL_MAX);
        let body = http::json(&SessionRequest {
            name: "weir",
            ttl: format!("{}ms", ttl.as_millis()),
            lock_delay: "0s",
            behavior: "delete",
            checks: [],
            node_checks: [],
        });
        let answer = self
            .client
            .ask(Method::PUT, "session/create", "", Some(body), Duration::ZERO)
            .await?;
        let session: Session = http::parse(&answer.body)?;
        Ok(LeaseId(session.id))
    }

    async fn renew(&self, lease: &LeaseId) -> Result<(), StoreError> {
        let path = format!("session/renew/{}", encoded(&lease.0));
        let answer = self
            .client
            .ask(Method::PUT, &path, "", None, Duration::ZERO)
            .await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(StoreError::LeaseLost);
        }
        Ok(())
    }

    async fn revoke(&self, lease: &LeaseId) -> Result<(), StoreError> {
        let path = format!("session/destroy/{}", encoded(&lease.0));
        self.client
            .ask(Method::PUT, &path, "", None, Duration::ZERO)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Consul, encoded};

    #[test]
    fn keys_are_encoded_for_a_path() {
        assert_eq!(encoded("a b/ü%?x#y"), "a%20b/%C3%BC%25%3Fx%23y");
    }

    #[test]
    fn addresses_say_what_would_be_right_and_no_secret() {
        for url in [
            "consul://h/vamp",
            "consul://me:geheim@h",
            "consul://h?namespace=geheim",
        ] {
            let message = Consul::new(url).unwrap_err().to_string();
            assert!(!message.contains("geheim"), "{message}");
        }
        let shown = format!("{:?}", Consul::new("consul://h?token=geheim&dc=east").unwrap());
        assert!(!shown.contains("geheim"), "{shown}");
    }
}

//! How agents are asked for their frames: in clear, by TLS, or at a Unix socket of this host.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use reqwest::{Client, StatusCode, redirect::Policy};
use weir_model::Frame;

use super::AGENTS_MAX;
use crate::config::AgentToken;

/// Largest frame in bytes.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Addresses of agents at a socket of this host begin so.
const LOCAL: &str = "unix:";

/// Why an agent's frames could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It wants another token: asking again soon would not help.
    Denied(String),
    /// Anything else.
    Failed(String),
}

impl From<String> for Unread {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

/// What agents are asked with.
#[derive(Debug)]
pub(super) struct Clients {
    /// For plain HTTP: it needs no certificates of the system, which need not be there.
    plain: Client,
    /// For TLS, or why there is none.
    secure: Result<Client, String>,
    /// For Unix sockets, by path.
    local: Mutex<BTreeMap<String, Client>>,
}

impl Clients {
    /// `authority`: certificates (PEM) that agents with TLS are trusted by; `None`: those of this host.
    pub(super) fn new(authority: Option<&Path>) -> Self {
        let secure = match authority {
            None => client().build().map_err(|error| error.to_string()),
            Some(path) => trusting(path).map_err(|error| {
                tracing::error!(path = %path.display(), error, "agents with TLS cannot be asked");
                format!("the agents' authority {} cannot be used: {error}", path.display())
            }),
        };
        Self {
            plain: clear(client()),
            secure,
            local: Mutex::default(),
        }
    }

    /// The frames of an agent after that time, oldest first. `admin` is the address that it told: `HOST:PORT`,
    /// `https://HOST:PORT` or `unix:PATH`.
    ///
    /// The token goes to addresses of the network alone: who may open a socket may ask.
    pub(super) async fn frames(
        &self,
        admin: &str,
        since_ms: u64,
        token: Option<&AgentToken>,
    ) -> Result<Vec<Frame>, Unread> {
        let body = self
            .get(admin, &format!("/frames?since={since_ms}"), token)
            .await?;
        let wrong = |error: serde_json::Error| format!("its frames cannot be read: {error}");
        // One without a list is older than `since`.
        let frames = if body.trim_ascii_start().starts_with(b"[") {
            serde_json::from_slice(&body).map_err(wrong)?
        } else {
            vec![serde_json::from_slice(&body).map_err(wrong)?]
        };
        Ok(frames)
    }

    /// For how long an agent's store has been silent, in milliseconds; `None` if it does not say. Costs it less than a frame.
    pub(super) async fn stale_ms(
        &self,
        agent: &str,
        admin: &str,
        token: Option<&AgentToken>,
    ) -> Result<Option<u64>, Unread> {
        let body = self.get(admin, "/status", token).await?;
        let status: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| format!("its status cannot be read: {error}"))?;
        let stale_ms = status.get("stale_ms").and_then(serde_json::Value::as_u64);
        // Another one may have its address by now.
        Ok(stale_ms.filter(|_| status.get("id").is_some_and(|id| id == agent)))
    }

    async fn get(&self, admin: &str, path: &str, token: Option<&AgentToken>) -> Result<Vec<u8>, Unread> {
        let said = |error: reqwest::Error| crate::reconcile::chain(&error);
        let (client, base, token) = match admin.strip_prefix(LOCAL) {
            Some(path) => (self.local(path)?, "http://localhost".to_owned(), None),
            None if admin.starts_with("https://") => (self.secure.clone()?, admin.to_owned(), token),
            None => {
                let host = admin.trim_start_matches("http://");
                (self.plain.clone(), format!("http://{host}"), token)
            }
        };
        let mut request = client.get(format!("{base}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token.reveal());
        }
        let answer = request.send().await.map_err(said)?;
        if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let status = answer.status();
            return Err(Unread::Denied(match token {
                Some(_) => format!("it refuses control's token ({status})"),
                None => format!("it asks for a token, and control has none ({status})"),
            }));
        }
        let mut answer = answer.error_for_status().map_err(said)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(said)? {
            if body.len() + chunk.len() > FRAME_BYTES_MAX {
                return Err(format!("its frames are longer than {FRAME_BYTES_MAX} bytes").into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn local(&self, path: &str) -> Result<Client, Unread> {
        if !path.starts_with('/') {
            return Err(format!("`{LOCAL}{path}` is no absolute path of a socket").into());
        }
        let mut clients = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= AGENTS_MAX {
            clients.clear();
        }
        let made = clients.entry(path.to_owned());
        Ok(made
            .or_insert_with(|| clear(client().unix_socket(Path::new(path))))
            .clone())
    }
}

/// Agents are asked themselves: by no proxy of the environment, and nobody is sent elsewhere.
fn client() -> reqwest::ClientBuilder {
    Client::builder().no_proxy().redirect(Policy::none())
}

/// Without TLS.
fn clear(builder: reqwest::ClientBuilder) -> Client {
    let client = builder.tls_certs_only([]).build();
    client.expect("a client without certificates needs nothing of the system")
}

/// A client that trusts what these certificates have signed, and nothing else.
fn trusting(path: &Path) -> Result<Client, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let client = client().tls_certs_only(certificates).build();
    client.map_err(|error| crate::reconcile::chain(&error))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Clients, Unread};

    async fn reason(clients: &Clients, admin: &str) -> String {
        match clients.frames(admin, 0, None).await {
            Err(Unread::Failed(reason)) => reason,
            other => panic!("{admin}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn an_authority_that_cannot_be_used_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        for path in [empty.as_path(), Path::new("/nowhere/ca.pem")] {
            let clients = Clients::new(Some(path));
            let reason = reason(&clients, "https://127.0.0.1:1").await;
            assert!(reason.contains(&path.display().to_string()), "{reason}");
        }
    }

    #[tokio::test]
    async fn a_socket_has_an_absolute_path() {
        let clients = Clients::new(None);
        assert!(reason(&clients, "unix:admin.sock").await.contains("absolute"));
        let nowhere = reason(&clients, "unix:/nowhere/admin.sock").await;
        assert!(!nowhere.contains("absolute"), "{nowhere}");
    }
}

//! How agents are asked for their frames: in clear, by TLS, or at a Unix socket of this host.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use reqwest::{Client, StatusCode, Url, redirect::Policy};
use serde::Deserialize;
use weir_model::Frame;

use super::AGENTS_MAX;
use crate::config::AgentToken;

/// Largest frame in bytes.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest status in bytes.
const STATUS_BYTES_MAX: usize = 1024 * 1024;
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

/// What matters here of an agent's status.
#[derive(Debug, Deserialize)]
struct Status {
    id: Option<String>,
    /// For how long its store has been silent, in milliseconds.
    stale_ms: Option<u64>,
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
            .get(
                admin,
                &format!("/frames?since={since_ms}"),
                token,
                FRAME_BYTES_MAX,
            )
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
        let body = self.get(admin, "/status", token, STATUS_BYTES_MAX).await?;
        let status: Status =
            serde_json::from_slice(&body).map_err(|error| format!("its status cannot be read: {error}"))?;
        // Another one may have its address by now.
        Ok(status
            .stale_ms
            .filter(|_| status.id.is_some_and(|id| id == agent)))
    }

    async fn get(
        &self,
        admin: &str,
        path: &str,
        token: Option<&AgentToken>,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Unread> {
        let said = |error: reqwest::Error| crate::reconcile::chain(&error);
        let (client, base, token) = match admin.strip_prefix(LOCAL) {
            Some(path) => (self.local(path)?, address("http://localhost")?, None),
            None if admin.starts_with("https://") => (self.secure.clone()?, address(admin)?, token),
            None => (self.plain.clone(), address(admin)?, token),
        };
        let url = base
            .join(path)
            .map_err(|error| format!("`{admin}` is no address: {error}"))?;
        let mut request = client.get(url);
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
            if body.len() + chunk.len() > bytes_max {
                return Err(format!("its answer is longer than {bytes_max} bytes").into());
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

/// The address of an admin listener, of which an agent says where it is: the token must not go to another path.
fn address(admin: &str) -> Result<Url, String> {
    let url = match admin.starts_with("https://") || admin.starts_with("http://") {
        true => Url::parse(admin),
        false => Url::parse(&format!("http://{admin}")),
    };
    let url = url.map_err(|error| format!("`{admin}` is no address: {error}"))?;
    let is_more = url.path() != "/"
        || url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some();
    match is_more {
        true => Err(format!("`{admin}` is more than HOST:PORT")),
        false => Ok(url),
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

    use super::{Clients, STATUS_BYTES_MAX, Unread, address};

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

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (admin, expected) in [
            ("10.0.0.5:9200", "http://10.0.0.5:9200/"),
            ("http://agent:9200", "http://agent:9200/"),
            ("https://[::1]:9200", "https://[::1]:9200/"),
        ] {
            assert_eq!(address(admin).unwrap().as_str(), expected);
        }
        for admin in [
            "10.0.0.5:9200/_search?q=",
            "10.0.0.5:9200/_search",
            "10.0.0.5:9200?q=",
            "10.0.0.5:9200#",
            "https://10.0.0.5:9200/x",
            "https://user@10.0.0.5:9200",
            ":word@10.0.0.5:9200",
            "10.0.0.5:9200\\_search",
            "http://http://10.0.0.5:9200",
        ] {
            let refusal = address(admin).unwrap_err();
            assert!(refusal.contains("is more than HOST:PORT"), "{refusal}");
        }
        assert!(address("").is_err());
    }

    #[tokio::test]
    async fn a_status_is_bounded() {
        let long = axum::routing::get(|| async { "x".repeat(STATUS_BYTES_MAX + 1) });
        let router = axum::Router::new().route("/status", long);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let Err(Unread::Failed(reason)) = Clients::new(None).stale_ms("a", &admin, None).await else {
            panic!("it was read");
        };
        assert!(reason.contains("longer than 1048576 bytes"), "{reason}");
        server.abort();
    }

    #[tokio::test]
    async fn a_socket_has_an_absolute_path() {
        let clients = Clients::new(None);
        assert!(reason(&clients, "unix:admin.sock").await.contains("absolute"));
        let nowhere = reason(&clients, "unix:/nowhere/admin.sock").await;
        assert!(!nowhere.contains("absolute"), "{nowhere}");
    }
}

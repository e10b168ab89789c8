//! The REST interface as functions: addresses, paging, and typed errors.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::{args::Global, kind::Kind};

/// Artifacts per page; the most that control gives.
const PAGE: usize = 30;
/// Most pages that are followed: 300 000 artifacts.
const PAGES_MAX: usize = 10_000;
/// Longest part of an answer that is no JSON and is shown, in characters.
const TEXT_SHOWN_MAX: usize = 400;

/// One problem of a document, as the server tells it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Problem {
    /// Place in the tree.
    #[serde(default)]
    pub(crate) path: String,
    /// Line in the text, from 1.
    #[serde(default)]
    pub(crate) line: Option<usize>,
    /// Column in the text, from 1, in characters.
    #[serde(default)]
    pub(crate) column: Option<usize>,
    /// What is wrong.
    #[serde(default)]
    pub(crate) message: String,
    /// What would be right.
    #[serde(default)]
    pub(crate) hint: Option<String>,
}

/// Why a request had no good answer.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// The address is no address.
    #[error("{0}")]
    BadHost(String),
    /// A file that an option names cannot be used.
    #[error("{} cannot be used: {reason}", .path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The token cannot be one.
    #[error("the access token has characters that no token has")]
    BadToken,
    /// No connection.
    #[error("cannot reach {base}: {reason}")]
    Unreachable {
        /// Address of the server.
        base: String,
        /// Why: the innermost cause, in the system's words.
        reason: String,
    },
    /// No answer in time.
    #[error("{base} did not answer {action} within {timeout:?}")]
    TimedOut {
        /// Address of the server.
        base: String,
        /// Method and path.
        action: String,
        /// The bound.
        timeout: Duration,
    },
    /// The server said no.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The server's own words, or a sentence of ours where it has none.
        message: String,
        /// Every problem of the document that was sent.
        problems: Vec<Problem>,
        /// Method and path.
        action: String,
    },
    /// The answer is not what was expected.
    #[error("the answer to {action} cannot be read ({reason}); is it the right server?")]
    Unreadable {
        /// Method and path.
        action: String,
        /// What is wrong.
        reason: String,
    },
}

impl ClientError {
    /// Whether it says that something is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { reason, .. } if reason.contains("invalid peer certificate") => Some(
                "give the certificate of who signed the server's with --ca-file or the variable WEIR_CA_FILE",
            ),
            Self::Unreachable { .. } => Some(
                "start everything here with `weir up`, or name the server with --host or the variable VAMP_HOST",
            ),
            Self::Refused { status: 401, .. } => {
                Some("give an access token with --token-file, --token or the variable WEIR_TOKEN")
            }
            Self::Refused { status: 403, .. } => {
                Some("ask an admin for a token with that role (`weir token create`)")
            }
            _ => None,
        }
    }
}

/// A server and how to talk to it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// Without a slash at the end, without `/api/v1`.
    root: String,
    /// With `/api/v1` and the namespace.
    base: String,
    token: Option<String>,
    timeout: Duration,
}

#[derive(Deserialize)]
struct ErrorBody {
    message: String,
    #[serde(default)]
    problems: Vec<Problem>,
}

impl Client {
    /// Makes no connection yet.
    pub(crate) fn new(global: &Global) -> Result<Self, ClientError> {
        let root = root(&global.host)?;
        let base = match &global.namespace {
            Some(namespace) => format!("{root}/{}/api/v1", encode(namespace)),
            None => format!("{root}/api/v1"),
        };
        let mut http =
            reqwest::Client::builder().connect_timeout(global.timeout.min(Duration::from_secs(10)));
        if let Some(path) = &global.ca_file {
            http = http.tls_certs_only(authorities(path)?);
        } else if root.starts_with("http://") {
            // The system's certificates are not needed, and need not be there.
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|error| ClientError::Unreachable {
            base: root.clone(),
            reason: innermost(&error),
        })?;
        Ok(Self {
            http,
            root,
            base,
            token: token(global)?,
            timeout: global.timeout,
        })
    }

    /// The server's address without any path of the interface.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The bound of every wait.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .query(query)
            .header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request
    }

    fn transport(&self, source: reqwest::Error, action: &str) -> ClientError {
        if source.is_timeout() && !source.is_connect() {
            ClientError::TimedOut {
                base: self.root.clone(),
                action: action.to_owned(),
                timeout: self.timeout,
            }
        } else {
            ClientError::Unreachable {
                base: self.root.clone(),
                reason: innermost(&source),
            }
        }
    }

    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        action: &str,
    ) -> Result<(Value, Option<usize>), ClientError> {
        let response = request
            .timeout(self.timeout)
            .send()
            .await
            .map_err(|error| self.transport(error, action))?;
        let status = response.status();
        let total = response
            .headers()
            .get("x-total-count")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        let text = response
            .text()
            .await
            .map_err(|error| self.transport(error, action))?;
        if !status.is_success() {
            return Err(refusal(status, &text, action));
        }
        if text.trim().is_empty() {
            return Ok((Value::Null, total));
        }
        match serde_json::from_str(&text) {
            Ok(value) => Ok((value, total)),
            Err(error) => Err(ClientError::Unreadable {
                action: action.to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    /// `GET`; `path` begins with a slash and is encoded already.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, ClientError> {
        let action = format!("GET {path}");
        let request = self.request(Method::GET, path, query);
        Ok(self.answer(request, &action).await?.0)
    }

    /// `GET`, `None` if it is not there.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Value>, ClientError> {
        match self.get(path, &[]).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a text (YAML or JSON).
    pub(crate) async fn send(&self, method: Method, path: &str, body: String) -> Result<Value, ClientError> {
        let action = format!("{method} {path}");
        let request = self
            .request(method, path, &[])
            .header(CONTENT_TYPE, "application/x-yaml")
            .body(body);
        Ok(self.answer(request, &action).await?.0)
    }

    /// Sends a tree.
    pub(crate) async fn send_value(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, ClientError> {
        let action = format!("{method} {path}");
        let request = self.request(method, path, &[]).json(body);
        Ok(self.answer(request, &action).await?.0)
    }

    /// Every element of a paged list.
    pub(crate) async fn list(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, ClientError> {
        let action = format!("GET {path}");
        let per_page = PAGE.to_string();
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let page = page.to_string();
            let mut with_page = query.to_vec();
            with_page.push(("page", &page));
            with_page.push(("per_page", &per_page));
            let request = self.request(Method::GET, path, &with_page);
            let (value, total) = self.answer(request, &action).await?;
            let Value::Array(elements) = value else {
                return Err(ClientError::Unreadable {
                    action,
                    reason: "expected a list".to_owned(),
                });
            };
            let count = elements.len();
            all.extend(elements);
            if count == 0 || total.map_or(count < PAGE, |total| all.len() >= total) {
                break;
            }
        }
        Ok(all)
    }

    /// An open answer, for streams: only the head is bounded in time.
    pub(crate) async fn stream(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<reqwest::Response, ClientError> {
        let request = self.request(Method::GET, path, query);
        self.streamed(request, format!("GET {path}")).await
    }

    /// The same as the answer to a body.
    pub(crate) async fn stream_of(&self, path: &str, body: &Value) -> Result<reqwest::Response, ClientError> {
        let request = self
            .request(Method::POST, path, &[])
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        self.streamed(request, format!("POST {path}")).await
    }

    async fn streamed(
        &self,
        request: reqwest::RequestBuilder,
        action: String,
    ) -> Result<reqwest::Response, ClientError> {
        let request = request.header(ACCEPT, "text/event-stream");
        let response = tokio::time::timeout(self.timeout, request.send())
            .await
            .map_err(|_| ClientError::TimedOut {
                base: self.root.clone(),
                action: action.clone(),
                timeout: self.timeout,
            })?
            .map_err(|error| self.transport(error, &action))?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            return Err(refusal(status, &text, &action));
        }
        Ok(response)
    }
}

fn refusal(status: StatusCode, text: &str, action: &str) -> ClientError {
    let (message, problems) = match serde_json::from_str::<ErrorBody>(text) {
        Ok(body) => (body.message, body.problems),
        Err(_) if status == StatusCode::NOT_FOUND => (format!("{action}: not found"), Vec::new()),
        Err(_) => {
            let shown: String = text.trim().chars().take(TEXT_SHOWN_MAX).collect();
            let message = if shown.is_empty() {
                format!("{action}: {status}")
            } else {
                format!("{action}: {status}: {shown}")
            };
            (message, Vec::new())
        }
    };
    ClientError::Refused {
        status: status.as_u16(),
        message,
        problems,
        action: action.to_owned(),
    }
}

/// The last cause of an error: the layers above it say nothing that a person can use.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

/// The token that is sent: the option's, the file's, or that of Vamp's variable.
fn token(global: &Global) -> Result<Option<String>, ClientError> {
    let given = match (&global.token, &global.token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| ClientError::BadFile {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            Some(text)
        }
        (None, None) => std::env::var("VAMP_API_TOKEN").ok(),
    };
    let given = given
        .map(|token| token.trim().to_owned())
        .filter(|token| !token.is_empty());
    match given {
        // It goes into a header.
        Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => Err(ClientError::BadToken),
        given => Ok(given),
    }
}

/// The certificates of a PEM file.
fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let wrong = |reason: String| ClientError::BadFile {
        path: path.to_owned(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let all = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(innermost(&error)))?;
    if all.is_empty() {
        return Err(wrong("it holds no PEM certificate".to_owned()));
    }
    Ok(all)
}

/// The server's address without a slash or `/api/v1` at its end.
fn root(host: &str) -> Result<String, ClientError> {
    let host = host.trim();
    let wrong = |why: &str| ClientError::BadHost(format!("`{host}` is no address of a server: {why}"));
    if host.is_empty() {
        return Err(wrong("it is empty"));
    }
    let with_scheme = if host.contains("://") {
        host.to_owned()
    } else {
        format!("http://{host}")
    };
    let mut root = with_scheme.trim_end_matches('/');
    if let Some(shorter) = root.strip_suffix("/api/v1") {
        root = shorter.trim_end_matches('/');
    }
    match reqwest::Url::parse(root) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host_str().is_some() => {
            Ok(root.to_owned())
        }
        Ok(_) => Err(wrong("expected http://host:port or https://host:port")),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

/// Encodes a name for use in a path; slashes stay, they are part of gateway names.
pub(crate) fn encode(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@!$&'()*+,;=".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// Path of one artifact.
pub(crate) fn artifact(kind: Kind, name: &str) -> String {
    format!("/{}/{}", kind.plural(), encode(name))
}

#[cfg(test)]
mod tests {
    use super::{ClientError, encode, refusal, root};

    #[test]
    fn an_address_may_have_a_path_or_not() {
        for host in [
            "http://h:8080",
            "http://h:8080/",
            "http://h:8080/api/v1",
            "http://h:8080//api/v1/",
            "h:8080",
        ] {
            assert_eq!(root(host).unwrap(), "http://h:8080", "{host}");
        }
        assert_eq!(root("http://h/weir/api/v1").unwrap(), "http://h/weir");
        assert_eq!(root("https://h:8443/api/v1").unwrap(), "https://h:8443");
        for wrong in ["", "https://", "ftp://h", "http://", "http://h:99999"] {
            assert!(root(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_in_paths() {
        assert_eq!(encode("shop/front/web"), "shop/front/web");
        assert_eq!(encode("sava:1.0"), "sava:1.0");
        assert_eq!(encode("a b?#%é"), "a%20b%3F%23%25%C3%A9");
    }

    #[test]
    fn refusals_keep_the_servers_words() {
        let body = r#"{"message":"bad","problems":[{"code":"X","path":"a","line":3,"column":2,"message":"m","hint":null}]}"#;
        let ClientError::Refused {
            message, problems, ..
        } = refusal(reqwest::StatusCode::BAD_REQUEST, body, "PUT /")
        else {
            panic!("a refusal");
        };
        assert_eq!(message, "bad");
        assert_eq!(problems[0].line, Some(3));
        let ClientError::Refused { message, .. } =
            refusal(reqwest::StatusCode::NOT_FOUND, "The requested", "GET /x")
        else {
            panic!("a refusal");
        };
        assert_eq!(message, "GET /x: not found");
    }
}

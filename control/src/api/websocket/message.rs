//! What goes over the socket: requests and responses (spec of the API §11).

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, Method, Request as HttpRequest, StatusCode, Uri,
        header::{ACCEPT, CONTENT_TYPE},
    },
};
use reqwest::Url;
use serde_json::{Map, Value, json};

use crate::api::path::BASE;

/// Most parameters of a request.
const PARAMETERS_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Peek,
    Put,
    Remove,
}

/// The form of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Json,
    Yaml,
    PlainText,
    JavaScript,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    api: String,
    /// As it was sent: clients find the answer by it.
    path: String,
    /// The path without slashes at its ends and without query, which is among the parameters.
    target: String,
    pub(super) action: Action,
    pub(super) accept: Content,
    content: Content,
    transaction: String,
    data: Option<String>,
    pub(super) parameters: Map<String, Value>,
}

impl Action {
    fn read(word: &str) -> Option<Self> {
        match word.to_ascii_uppercase().as_str() {
            "PEEK" => Some(Self::Peek),
            "PUT" => Some(Self::Put),
            "REMOVE" => Some(Self::Remove),
            _ => None,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Peek => "PEEK",
            Self::Put => "PUT",
            Self::Remove => "REMOVE",
        }
    }
}

impl Content {
    fn read(word: &str) -> Option<Self> {
        match word.to_ascii_uppercase().as_str() {
            "JSON" => Some(Self::Json),
            "YAML" => Some(Self::Yaml),
            "PLAINTEXT" => Some(Self::PlainText),
            "JAVASCRIPT" => Some(Self::JavaScript),
            _ => None,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::PlainText => "PLAINTEXT",
            Self::JavaScript => "JAVASCRIPT",
        }
    }

    const fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Yaml => "application/x-yaml",
            Self::PlainText => "text/plain",
            Self::JavaScript => "application/javascript",
        })
    }

    /// A tree as text.
    pub(super) fn text(self, tree: &Value) -> String {
        match self {
            Self::Yaml => weir_artifact::write::yaml(tree),
            Self::Json | Self::PlainText | Self::JavaScript => tree.to_string(),
        }
    }
}

/// Every request of a message; several documents and lists are several requests.
pub(super) fn read(text: &str) -> Vec<Result<Request, Value>> {
    let trees = match weir_artifact::read::trees(text) {
        Ok(trees) => trees,
        Err(problems) => return vec![Err(wrong(&crate::error::messages(&problems), None))],
    };
    let requests = trees.into_iter().flat_map(|tree| match tree {
        Value::Array(items) => items,
        one => vec![one],
    });
    requests.map(Request::read).collect()
}

/// What answers something that is no request.
fn wrong(error: &str, transaction: Option<&str>) -> Value {
    let mut answer = json!({"status": "ERROR", "error": error});
    if let (Some(transaction), Some(fields)) = (transaction, answer.as_object_mut()) {
        fields.insert("transaction".to_owned(), Value::from(transaction));
    }
    answer
}

impl Request {
    fn read(tree: Value) -> Result<Self, Value> {
        let Value::Object(mut fields) = tree else {
            return Err(wrong("A request is a map.", None));
        };
        let transaction = match fields.remove("transaction") {
            Some(Value::String(text)) => text,
            Some(other @ (Value::Number(_) | Value::Bool(_))) => other.to_string(),
            _ => return Err(wrong("A request has a `transaction`, which is a text.", None)),
        };
        let wrong = |error: &str| wrong(error, Some(&transaction));
        let text = |fields: &mut Map<String, Value>, name: &str| match fields.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(wrong(&format!("A request has `{name}`, which is a text."))),
        };
        let api = text(&mut fields, "api")?;
        if api != "v1" {
            return Err(wrong(&format!("`api` is v1, not `{api}`.")));
        }
        let path = text(&mut fields, "path")?;
        let action = text(&mut fields, "action")?;
        let action = Action::read(&action)
            .ok_or_else(|| wrong(&format!("`action` is PEEK, PUT or REMOVE, not `{action}`.")))?;
        let form = |fields: &mut Map<String, Value>, name: &str| {
            let word = text(fields, name)?;
            Content::read(&word).ok_or_else(|| {
                wrong(&format!(
                    "`{name}` is JSON, YAML, PLAINTEXT or JAVASCRIPT, not `{word}`."
                ))
            })
        };
        let accept = form(&mut fields, "accept")?;
        let content = form(&mut fields, "content")?;
        let data = match fields.remove("data") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            // Not as Vamp has it, but what is meant is clear.
            Some(tree) => Some(tree.to_string()),
        };
        let mut parameters = match fields.remove("parameters") {
            Some(Value::Object(parameters)) if parameters.len() <= PARAMETERS_MAX => parameters,
            _ => {
                return Err(wrong(&format!(
                    "A request has `parameters`, a map of at most {PARAMETERS_MAX}; it may be empty."
                )));
            }
        };
        let target = match path.split_once('?') {
            Some((target, query)) => {
                // The host is of no meaning: only the query is taken.
                let url = Url::parse(&format!("http://localhost/?{query}"))
                    .map_err(|_| wrong("The query in `path` cannot be read."))?;
                for (name, value) in url.query_pairs() {
                    let values = parameters.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                    match values {
                        Value::Array(values) => values.push(Value::from(value)),
                        other => *other = Value::from(value),
                    }
                }
                target
            }
            None => &path,
        };
        let target = target.trim_matches('/').to_owned();
        Ok(Self {
            api,
            path,
            target,
            action,
            accept,
            content,
            transaction,
            data,
            parameters,
        })
    }

    /// The path without query and without `namespace` in front.
    pub(super) fn inside(&self, namespace: &str) -> &str {
        let rest = self
            .target
            .strip_prefix(namespace)
            .and_then(|rest| rest.strip_prefix('/'));
        rest.unwrap_or(&self.target)
    }

    /// The same as a request of REST.
    pub(super) fn as_http(&self, namespace: &str) -> Result<HttpRequest<Body>, Value> {
        let target = self.inside(namespace);
        let wrong = |what: &str| wrong(&format!("`path` {what}."), Some(&self.transaction));
        // The host is of no meaning: only path and query are taken.
        let mut url =
            Url::parse(&format!("http://localhost{BASE}/{target}")).map_err(|_| wrong("is no path"))?;
        if !self.parameters.is_empty() {
            let mut query = url.query_pairs_mut();
            for (name, value) in &self.parameters {
                for value in texts(value) {
                    query.append_pair(name, &value);
                }
            }
        }
        let path = url.path().trim_end_matches('/');
        if path != BASE && !path.starts_with(&format!("{BASE}/")) {
            return Err(wrong("leads out of the API"));
        }
        let uri = match url.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let uri: Uri = uri.parse().map_err(|_| wrong("is no path"))?;
        let method = match self.action {
            Action::Peek => Method::GET,
            Action::Put if target.contains('/') => Method::PUT,
            Action::Put => Method::POST,
            Action::Remove => Method::DELETE,
        };
        let body = self.data.clone().map_or_else(Body::empty, Body::from);
        let mut request = HttpRequest::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let accept = match self.accept {
            // Few answers are plain text; the others are taken as they are.
            Content::PlainText => HeaderValue::from_static("text/plain, */*"),
            accept => accept.media_type(),
        };
        request.headers_mut().insert(ACCEPT, accept);
        request
            .headers_mut()
            .insert(CONTENT_TYPE, self.content.media_type());
        Ok(request)
    }

    /// Values of a parameter, which may be a list.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.parameters.get(name).map(texts).unwrap_or_default()
    }

    /// The answer to it.
    pub(super) fn response(&self, status: StatusCode, headers: &HeaderMap, data: Option<String>) -> Value {
        let status = match status {
            StatusCode::OK | StatusCode::CREATED => "OK",
            StatusCode::ACCEPTED => "ACCEPTED",
            StatusCode::NO_CONTENT => "NOCONTENT",
            _ => "ERROR",
        };
        let parameters: Map<String, Value> = headers
            .iter()
            .filter_map(|(name, value)| Some((titled(name.as_str()), Value::from(value.to_str().ok()?))))
            .collect();
        let mut response = json!({
            "api": self.api,
            "path": self.path,
            "action": self.action.word(),
            "status": status,
            "accept": self.accept.word(),
            "content": self.accept.word(),
            "transaction": self.transaction,
            "parameters": parameters,
        });
        if let (Some(data), Some(fields)) = (data, response.as_object_mut()) {
            fields.insert("data".to_owned(), Value::from(data));
        }
        response
    }
}

/// A scalar or a list of scalars.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        other => vec![other.to_string()],
    }
}

/// `x-total-count` as `X-Total-Count`: clients look for names as Vamp wrote them.
fn titled(name: &str) -> String {
    let mut titled = String::with_capacity(name.len());
    let mut first = true;
    for character in name.chars() {
        titled.push(if first {
            character.to_ascii_uppercase()
        } else {
            character
        });
        first = character == '-';
    }
    titled
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, StatusCode};
    use serde_json::json;

    use super::{read, titled};

    fn request(change: serde_json::Value) -> serde_json::Value {
        let mut request = json!({"api": "v1", "path": "/breeds", "action": "peek", "accept": "JSON",
            "content": "yaml", "transaction": "t1", "parameters": {}});
        for (key, value) in change.as_object().unwrap() {
            request[key] = value.clone();
        }
        request
    }

    #[test]
    fn actions_are_methods() {
        for (action, path, expected) in [
            ("PEEK", "breeds/a", "GET /api/v1/breeds/a"),
            ("put", "/breeds", "POST /api/v1/breeds"),
            ("PUT", "/breeds/a b", "PUT /api/v1/breeds/a%20b"),
            ("Remove", "gateways/shop/80/", "DELETE /api/v1/gateways/shop/80"),
            ("PEEK", "", "GET /api/v1"),
            ("PUT", "/blue/breeds", "POST /api/v1/breeds"),
            (
                "PUT",
                "/deployments/x?validate_only=true",
                "PUT /api/v1/deployments/x?validate_only=true",
            ),
            ("PUT", "/breeds?a=b/c", "POST /api/v1/breeds?a=b%2Fc"),
        ] {
            let text = request(json!({"action": action, "path": path})).to_string();
            let http = read(&text).remove(0).unwrap().as_http("blue").unwrap();
            assert_eq!(format!("{} {}", http.method(), http.uri()), expected);
            assert_eq!(http.headers()["content-type"], "application/x-yaml");
        }
        let text = request(json!({"parameters": {"tag": ["a:b", "c d"], "page": 2}})).to_string();
        let http = read(&text).remove(0).unwrap().as_http("blue").unwrap();
        assert_eq!(http.uri().query(), Some("tag=a%3Ab&tag=c+d&page=2"));
        let text = request(json!({"path": "../../proxy/host"})).to_string();
        assert!(read(&text).remove(0).unwrap().as_http("blue").is_err());
    }

    #[test]
    fn several_in_a_message_and_what_is_wrong() {
        let yaml = "---\napi: v1\npath: info\naction: PEEK\naccept: YAML\ncontent: YAML\ntransaction: 7\n\
            parameters: {}\n---\napi: v2\ntransaction: x\n---\n- 5\n";
        let requests = read(yaml);
        assert_eq!(requests.len(), 3);
        let good = requests[0].as_ref().unwrap();
        assert_eq!(good.transaction, "7");
        let bad = requests[1].as_ref().unwrap_err();
        assert_eq!(
            (&bad["status"], &bad["transaction"]),
            (&json!("ERROR"), &json!("x"))
        );
        assert!(requests[2].is_err());
        assert!(read("{").remove(0).is_err());
        for missing in [
            "api",
            "path",
            "action",
            "accept",
            "content",
            "transaction",
            "parameters",
        ] {
            let mut request = request(json!({}));
            request.as_object_mut().unwrap().remove(missing);
            assert!(read(&request.to_string()).remove(0).is_err(), "{missing}");
        }
    }

    #[test]
    fn responses_have_the_fields_of_the_request() {
        let asked = read(&request(json!({"data": "x"})).to_string())
            .remove(0)
            .unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-total-count", HeaderValue::from_static("3"));
        assert_eq!(
            asked.response(StatusCode::CREATED, &headers, Some("[]".to_owned())),
            json!({"api": "v1", "path": "/breeds", "action": "PEEK", "status": "OK", "accept": "JSON",
                "content": "JSON", "transaction": "t1", "parameters": {"X-Total-Count": "3"}, "data": "[]"})
        );
        let none = asked.response(StatusCode::NO_CONTENT, &HeaderMap::new(), None);
        assert_eq!((&none["status"], none.get("data")), (&json!("NOCONTENT"), None));
        assert_eq!(
            asked.response(StatusCode::NOT_FOUND, &headers, None)["status"],
            "ERROR"
        );
        assert_eq!(titled("link"), "Link");
    }
}

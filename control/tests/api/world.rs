//! A control of one's own, and ways to talk to it.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, StatusCode, header};
use serde_json::Value;
use weir_control::{Config, Control, Storage};
use weir_driver::fake::Fake;
use weir_store::memory::Memory;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) control: Control,
    pub(crate) http: reqwest::Client,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

pub(crate) fn config(folder: &std::path::Path, storage: Storage) -> Config {
    let mut config = Config::new(folder, Arc::new(Memory::new()));
    config.listen = ([127, 0, 0, 1], 0).into();
    config.storage = storage;
    config.namespace = "blue".to_owned();
    // Events of the past are not to vanish while a test looks at them.
    config.events.age = Duration::ZERO;
    config.events.figures_age = Duration::ZERO;
    config
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), Storage::Memory);
        change(&mut config);
        let control = Control::start_with(config, Arc::new(Fake::new())).await.unwrap();
        Self {
            control,
            http: reqwest::Client::new(),
            folder,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.control.address())
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path)).timeout(PATIENCE)
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(self.request(Method::POST, path).body(body.to_owned()))
            .await
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> Answer {
        self.send(self.request(Method::PUT, path).body(body.to_owned()))
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Tags and values of the events that match, oldest first.
    pub(crate) async fn events(&self, query: &str) -> Vec<(Vec<String>, Value)> {
        let mut events: Vec<_> = self
            .get(&format!("/events?{query}"))
            .await
            .is(200)
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|event| {
                let tags = event["tags"].as_array().unwrap().iter();
                let tags = tags.map(|tag| tag.as_str().unwrap().to_owned()).collect();
                (tags, event["value"].clone())
            })
            .collect();
        events.reverse();
        events
    }
}

pub(crate) const FRONT: &str = "name: front:1\ndeployable: acme/front:1\nports: {web: 8080/http}\n";

pub(crate) const SHOP: &str = "
name: shop
gateways: {9050: front/web}
clusters:
  front:
    sla: {type: escalation_only}
    services:
      breed: {name: 'front:1', deployable: acme/front:1, ports: {web: 0/http}}
      scale: {cpu: 0.2, memory: 64MB, instances: 2}
";

/// Server-sent events as they come.
pub(crate) struct Stream {
    response: reqwest::Response,
    buffer: String,
}

impl Stream {
    pub(crate) async fn open(world: &World, path: &str, last: Option<&str>) -> Self {
        let mut request = world.http.get(world.url(path));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = tokio::time::timeout(PATIENCE, request.send())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            buffer: String::new(),
        }
    }

    /// Fields of the next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_else(|| panic!("{name} in {event:?}"))
                        .trim()
                        .to_owned()
                };
                let next = (
                    field("id:"),
                    field("event:"),
                    serde_json::from_str(&field("data:")).unwrap(),
                );
                self.buffer = rest.to_owned();
                return Some(next);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk())
                .await
                .unwrap()
                .unwrap()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

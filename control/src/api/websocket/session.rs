//! One socket from its opening to its end.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::ws::{CloseFrame, Message, WebSocket, close_code},
    http::{
        HeaderMap, HeaderValue, Request as HttpRequest, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, HOST},
    },
};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle, time::MissedTickBehavior};
use tower::ServiceExt as _;

use super::{
    Sockets,
    message::{Action, Request, read},
};
use crate::{
    api::{
        Api,
        answer::ApiError,
        gate::{GivenToken, Peer, revoked},
        logs::{Filter, Lines, Said},
        path::BASE,
        stream::Follower,
    },
    event::{query, view},
};

/// Messages of streams that wait for the socket.
const QUEUE_MAX: usize = 64;
/// Most requests of one message.
const REQUESTS_MAX: usize = 100;
/// Longest answer in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Heartbeats without any sign of the client after which it is gone.
const SILENT_BEATS_MAX: u32 = 4;

/// What a socket needs.
pub(super) struct Session {
    api: Api,
    router: Router,
    host: Option<HeaderValue>,
    peer: Option<Peer>,
    token: Option<GivenToken>,
    /// Messages of the streams.
    sender: mpsc::Sender<Value>,
    receiver: mpsc::Receiver<Value>,
    events: Option<Task>,
    logs: Option<Task>,
}

/// A stream; ends when it is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a socket ends.
struct End(Option<(u16, &'static str)>);

impl From<axum::Error> for End {
    fn from(_: axum::Error) -> Self {
        // The client has gone.
        Self(None)
    }
}

impl Session {
    pub(super) fn new(
        sockets: Sockets,
        host: Option<HeaderValue>,
        peer: Option<Peer>,
        token: Option<GivenToken>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        Self {
            api: sockets.api,
            router: sockets.router,
            host,
            peer,
            token,
            sender,
            receiver,
            events: None,
            logs: None,
        }
    }

    /// Answers until one of both sides has enough.
    pub(super) async fn run(mut self, mut socket: WebSocket) {
        let End(why) = self.talk(&mut socket).await;
        if let Some((code, reason)) = why {
            let close = Message::Close(Some(CloseFrame {
                code,
                reason: reason.into(),
            }));
            // A client that is gone need not be told.
            let _ = socket.send(close).await;
        }
    }

    async fn talk(&mut self, socket: &mut WebSocket) -> End {
        let ends = std::pin::pin!(ends(self.api.clone(), self.token.clone()));
        let mut ends = ends;
        let beat = self.api.state.config.sse_heartbeat.max(Duration::from_millis(1));
        let mut beats = tokio::time::interval(beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = 0;
        loop {
            let done = tokio::select! {
                received = socket.recv() => match received {
                    Some(Ok(message)) => {
                        silent = 0;
                        self.message(socket, message).await
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a socket ended early");
                        return End(Some((close_code::POLICY, "the message cannot be read, or is too long")));
                    }
                    None => return End(None),
                },
                Some(message) = self.receiver.recv() => send(socket, &message).await,
                _ = beats.tick() => {
                    silent += 1;
                    if silent > SILENT_BEATS_MAX {
                        return End(Some((close_code::AWAY, "no sign of life")));
                    }
                    socket.send(Message::Ping(Vec::new().into())).await.map_err(End::from)
                }
                end = &mut ends => return end,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn message(&mut self, socket: &mut WebSocket, message: Message) -> Result<(), End> {
        let text = match &message {
            Message::Text(text) => text.as_str(),
            Message::Binary(bytes) => std::str::from_utf8(bytes)
                .map_err(|_| End(Some((close_code::INVALID, "messages are UTF-8"))))?,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(End(None)),
        };
        let mut requests = read(text);
        if requests.len() > REQUESTS_MAX {
            requests.truncate(REQUESTS_MAX);
            let told = serde_json::json!({"status": "ERROR",
                "error": format!("A message has at most {REQUESTS_MAX} requests; the others are left out.")});
            send(socket, &told).await?;
        }
        for request in requests {
            let answer = match request {
                Ok(request) => Box::pin(self.answer(request)).await,
                Err(wrong) => Some(wrong),
            };
            if let Some(answer) = answer {
                send(socket, &answer).await?;
            }
        }
        Ok(())
    }

    /// The answer; streams begin without one.
    async fn answer(&mut self, request: Request) -> Option<Value> {
        if request.action == Action::Peek {
            let begun = match request.inside(&self.api.state.config.namespace) {
                "logs" | "log" => Some(self.stream_logs(&request)),
                "events/stream" => Some(self.stream_events(&request)),
                _ => None,
            };
            match begun {
                Some(Ok(())) => return None,
                Some(Err(message)) => {
                    let data = request.accept.text(&serde_json::json!({"message": message}));
                    return Some(request.response(StatusCode::BAD_REQUEST, &HeaderMap::new(), Some(data)));
                }
                None => {}
            }
        }
        let mut http = match request.as_http(&self.api.state.config.namespace) {
            Ok(http) => http,
            Err(wrong) => return Some(wrong),
        };
        self.dress(&mut http);
        let response = match self.router.clone().oneshot(http).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        let streams = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let data = if streams {
            None
        } else {
            to_bytes(body, ANSWER_BYTES_MAX).await.ok()
        };
        let Some(data) = data else {
            let message = "The answer is no text of bounded length.".to_owned();
            return Some(request.response(StatusCode::BAD_GATEWAY, &HeaderMap::new(), Some(message)));
        };
        let data = (!data.is_empty()).then(|| String::from_utf8_lossy(&data).into_owned());
        Some(request.response(parts.status, &parts.headers, data))
    }

    /// Gives a request what that of the upgrade had.
    fn dress(&self, http: &mut HttpRequest<Body>) {
        if let Some(host) = &self.host {
            http.headers_mut().insert(HOST, host.clone());
        }
        if let Some(token) = self.token.as_ref().and_then(GivenToken::header) {
            http.headers_mut().insert(AUTHORIZATION, token);
        }
        if let Some(peer) = self.peer {
            http.extensions_mut().insert(peer);
        }
        debug_assert!(http.uri().path().starts_with(BASE), "checked when it was made");
    }

    /// A new stream of the log replaces the one before.
    fn stream_logs(&mut self, request: &Request) -> Result<(), String> {
        self.logs = None;
        let first = |name| request.all(name).into_iter().next();
        let filter = Filter::new(first("level").as_deref(), first("logger").as_deref());
        let filter = filter.map_err(ApiError::into_message)?;
        let mut lines = Lines::open(&self.api, filter).map_err(ApiError::into_message)?;
        let (sender, request) = (self.sender.clone(), request.clone());
        self.logs = Some(Task(tokio::spawn(async move {
            while let Some(said) = lines.next().await {
                let tree = match said {
                    Said::Line(line) => line,
                    Said::LeftOut(count) => serde_json::json!({"logger": module_path!(), "level": "WARN",
                        "message": format!("{count} lines were left out: this reader is too slow")}),
                };
                let data = request.accept.text(&tree);
                let message = request.response(StatusCode::OK, &HeaderMap::new(), Some(data));
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        })));
        Ok(())
    }

    /// A new stream of events replaces the one before.
    fn stream_events(&mut self, request: &Request) -> Result<(), String> {
        self.events = None;
        let mut tags = request.all("tag");
        tags.extend(request.all("tags"));
        let kind = request.all("type").into_iter().next();
        let query = query::from_parameters(tags, kind).map_err(|wrong| crate::error::messages(&wrong))?;
        let mut follower = Follower::open(&self.api, query.filter, None).map_err(ApiError::into_message)?;
        let (sender, request) = (self.sender.clone(), request.clone());
        self.events = Some(Task(tokio::spawn(async move {
            while let Some(event) = follower.next().await {
                let data = request.accept.text(&view(&event));
                let message = request.response(StatusCode::OK, &HeaderMap::new(), Some(data));
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        })));
        Ok(())
    }
}

async fn send(socket: &mut WebSocket, message: &Value) -> Result<(), End> {
    let text = Message::Text(message.to_string().into());
    socket.send(text).await.map_err(End::from)
}

/// Returns when the socket has to end: control stops, or the token is no longer good.
async fn ends(api: Api, token: Option<GivenToken>) -> End {
    let stop = api.stop.clone();
    let over = async {
        match token {
            Some(token) => revoked(api, token).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop.cancelled() => End(Some((close_code::RESTART, "control stops"))),
        () = over => End(Some((close_code::POLICY, "the token is no longer good"))),
    }
}

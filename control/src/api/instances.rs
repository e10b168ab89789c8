//! What instances take, what they write, and commands inside of them.
//!
//! `/allocation`, and below an instance of a deployment's service `/logs` and `/exec`.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{Path, State},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};
use weir_driver::{DriverError, ExecEvent, ExecSpec, LogLine, LogStream};
use weir_plan::{Resources, allocation};

use super::{
    Api,
    answer::{Answer, ApiError, ErrorBody},
    request::{Parameters, Text},
};
use crate::{event::timestamp, reconcile::settings};

/// Lines that are answered if nobody says how many, and most of them.
const LINES: u64 = 100;
const LINES_MAX: u64 = 1_000;
/// Longest answer of the driver about what it has.
const CAPACITY_MAX: Duration = Duration::from_secs(2);
/// Longest command, in words.
const WORDS_MAX: usize = 1_000;

/// Deployment, cluster, service, instance.
type Place = (String, String, String, String);

/// What deployments ask for and have, what they may have together, and what there is.
#[utoipa::path(get, path = "/allocation", tag = "system",
    responses((status = 200, description = "`{deployments: [{name, wanted, granted}], wanted, granted, quota, \
        capacity}`; amounts are `{instances, cpu, memory_mb}`", body = Value)))]
pub(super) async fn show(State(api): State<Api>) -> Result<Answer, ApiError> {
    let settings = settings(&api.state);
    let (mut wanted, mut granted) = (Resources::default(), Resources::default());
    let mut deployments = Vec::new();
    for deployment in api.state.deployments().await? {
        let own = allocation(&deployment, &settings);
        wanted = wanted.plus(own.wanted);
        granted = granted.plus(own.granted);
        deployments.push(json!({"name": deployment.name, "wanted": own.wanted, "granted": own.granted}));
    }
    // Who does not know in time is not waited for.
    let capacity = match timeout(CAPACITY_MAX, api.state.driver.capacity()).await {
        Ok(Ok(capacity)) => json!(capacity),
        Ok(Err(_)) | Err(_) => Value::Null,
    };
    Ok(Answer::ok(json!({
        "deployments": deployments,
        "wanted": wanted,
        "granted": granted,
        "quota": api.state.config.quota,
        "capacity": capacity,
    })))
}

/// What an instance wrote; with `follow` as server-sent events, what it writes from now on as well.
#[utoipa::path(get, path = "/deployments/{deployment}/clusters/{cluster}/services/{service}/instances/{instance}/logs",
    tag = "deployments",
    params(("deployment" = String, Path), ("cluster" = String, Path), ("service" = String, Path),
        ("instance" = String, Path),
        ("lines" = Option<u64>, Query, description = "The last so many, at most 1000; default 100"),
        ("follow" = Option<bool>, Query, description = "Stay, and send every further line as an event `log`")),
    responses((status = 200, description = "Oldest first: `{timestamp, stream, text}`", body = [Value]),
        (status = 404, description = "No such instance", body = ErrorBody),
        (status = 503, description = "The driver does not answer, or there are too many streams", body = ErrorBody)))]
pub(super) async fn logs(
    State(api): State<Api>,
    Path(place): Path<Place>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let id = known(&api, &place).await?;
    let lines = parameters.number("lines")?.unwrap_or(LINES).min(LINES_MAX);
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    if !parameters.flag("follow")? {
        let lines = api.state.driver.logs(&id, lines).await.map_err(refused)?;
        let lines: Vec<Value> = lines.iter().map(shown).collect();
        return Ok(Answer::ok(Value::Array(lines)).into_response());
    }
    let permit = api.stream_permit()?;
    let receiver = api.state.driver.follow(&id, lines).await.map_err(refused)?;
    let stop = api.stop.clone();
    let events = stream::unfold((receiver, permit, false), move |(mut receiver, permit, ended)| {
        let stop = stop.clone();
        async move {
            if ended {
                return None;
            }
            let line = tokio::select! {
                line = receiver.recv() => line,
                () = stop.cancelled() => return None,
            };
            let ended = line.is_none();
            let event = match line {
                Some(line) => SseEvent::default().event("log").data(shown(&line).to_string()),
                None => SseEvent::default().event("end").data("{}"),
            };
            Some((Ok::<_, Infallible>(event), (receiver, permit, ended)))
        }
    });
    Ok(streamed(&api, events))
}

/// A command to be run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Program and arguments.
    command: Vec<String>,
    /// What it reads.
    #[serde(default)]
    input: Option<String>,
}

/// Runs a command inside of an instance, and tells what it writes and how it ends as server-sent events.
#[utoipa::path(post, path = "/deployments/{deployment}/clusters/{cluster}/services/{service}/instances/{instance}/exec",
    tag = "deployments",
    params(("deployment" = String, Path), ("cluster" = String, Path), ("service" = String, Path),
        ("instance" = String, Path)),
    request_body(content = Value, description = "`{command: [PROGRAM, ARGUMENT...], input?: TEXT}`"),
    responses((status = 200, description = "Events `output` (`{stream, text}`) and last `end` (`{code}`)",
            body = Value, content_type = "text/event-stream"),
        (status = 400, description = "Wrong, or not possible with the driver", body = ErrorBody),
        (status = 404, description = "No such instance", body = ErrorBody)))]
pub(super) async fn exec(
    State(api): State<Api>,
    Path(place): Path<Place>,
    Text(text): Text,
) -> Result<Response, ApiError> {
    let asked: Asked = serde_json::from_str(&text)
        .map_err(|error| ApiError::bad_request(format!("The body is not {{command: [...]}}: {error}.")))?;
    if asked.command.is_empty() || asked.command.len() > WORDS_MAX {
        return Err(ApiError::bad_request(format!(
            "`command` has one word or more, and at most {WORDS_MAX}."
        )));
    }
    let id = known(&api, &place).await?;
    let permit = api.stream_permit()?;
    let spec = ExecSpec {
        command: asked.command,
        input: asked.input.is_some(),
        ..ExecSpec::default()
    };
    let execution = api.state.driver.exec(&id, spec).await.map_err(refused)?;
    if let (Some(input), Some(text)) = (execution.input, asked.input) {
        // A command that does not read its input ends all the same.
        tokio::spawn(feed(input, text.into_bytes()));
    }
    let stop = api.stop.clone();
    let events = stream::unfold((execution.output, permit), move |(mut output, permit)| {
        let stop = stop.clone();
        async move {
            let event = tokio::select! {
                event = output.recv() => event?,
                () = stop.cancelled() => return None,
            };
            let event = match event {
                ExecEvent::Output { stream, bytes } => SseEvent::default().event("output").data(
                    json!({"stream": word(stream), "text": String::from_utf8_lossy(&bytes)}).to_string(),
                ),
                ExecEvent::Ended { code } => SseEvent::default()
                    .event("end")
                    .data(json!({"code": code}).to_string()),
            };
            Some((Ok::<_, Infallible>(event), (output, permit)))
        }
    });
    Ok(streamed(&api, events))
}

async fn feed(input: mpsc::Sender<Vec<u8>>, bytes: Vec<u8>) {
    let _ = input.send(bytes).await;
}

fn streamed(
    api: &Api,
    events: impl futures::Stream<Item = Result<SseEvent, Infallible>> + Send + 'static,
) -> Response {
    let keep_alive = KeepAlive::new()
        .interval(api.state.config.sse_heartbeat)
        .text("heartbeat");
    Sse::new(events).keep_alive(keep_alive).into_response()
}

/// The id of an instance that is one of the service's.
async fn known(api: &Api, (deployment, cluster, service, instance): &Place) -> Result<String, ApiError> {
    let missing = || ApiError::not_found();
    let stored = api.state.deployment(deployment).await?.ok_or_else(missing)?;
    let services = &stored.clusters.get(cluster).ok_or_else(missing)?.services;
    let service = services
        .iter()
        .find(|other| other.name() == service)
        .ok_or_else(missing)?;
    let is_shown = service
        .runtime
        .iter()
        .flat_map(|runtime| &runtime.instances)
        .any(|other| other.name == *instance);
    // One that leaves, or has ended, is not shown any more, but may well have something to say.
    let prefix = weir_plan::instance_id(
        &weir_plan::ServiceKey::new(deployment, cluster, service.name()),
        "",
    );
    if is_shown || instance.starts_with(&prefix) {
        Ok(instance.clone())
    } else {
        Err(missing())
    }
}

fn refused(error: DriverError) -> ApiError {
    match error {
        DriverError::NotFound(_) => ApiError::not_found(),
        DriverError::Unavailable(_) => ApiError::new(
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            crate::reconcile::chain(&error),
        ),
        error => ApiError::bad_request(crate::reconcile::chain(&error)),
    }
}

fn shown(line: &LogLine) -> Value {
    json!({
        "timestamp": (line.at_ms > 0).then(|| timestamp(line.at_ms)),
        "stream": word(line.stream),
        "text": line.text,
    })
}

const fn word(stream: LogStream) -> &'static str {
    match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    }
}

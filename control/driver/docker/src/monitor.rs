//! Keeps what is known of the engine's containers true.
//!
//! Its events say which container to look at again. Whenever they broke off, and every few seconds
//! anyway, all containers of the namespace are listed and compared. So an event that was lost is
//! made good, and an engine whose events we may not read costs seconds, not truth.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bollard::{
    errors::Error,
    models::{ContainerSummary, EventMessage},
    query_parameters::EventsOptions,
};
use futures::{StreamExt as _, stream};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use weir_driver::{InstanceState, NoticeKind};

use crate::{
    fault, labels,
    view::View,
    world::{Inner, Link},
};

/// First wait for an engine that does not answer; it doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(3);
/// After a subscription a second look: what happened while it was being set up may be in neither.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// Events that may wait for us before the engine has to keep them.
const EVENTS_MAX: usize = 1_024;
/// Containers looked at side by side.
const LOOKS_MAX: usize = 8;

/// Watches until it is aborted.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut retry = RETRY_FIRST;
    loop {
        let (events, reader) = subscribe(&inner);
        let _ends_with_this = Abort(reader);
        match look_at_all(&inner, true).await {
            Ok(()) => {
                retry = RETRY_FIRST;
                inner.set_link(Link::Up);
                let error = watch(&inner, events).await;
                tracing::debug!(error = fault::words(&error), "the engine's events broke off");
            }
            Err(error) => {
                inner.set_link(Link::Down(fault::words(&error)));
                tokio::select! {
                    () = tokio::time::sleep(retry) => {}
                    () = inner.look.notified() => tokio::time::sleep(RETRY_FIRST).await,
                }
                retry = (2 * retry).min(RETRY_MAX);
            }
        }
    }
}

struct Abort(JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Events = mpsc::Receiver<Result<EventMessage, Error>>;

/// Begins to read events; they wait until somebody asks.
fn subscribe(inner: &Arc<Inner>) -> (Events, JoinHandle<()>) {
    let label = format!("{}={}", labels::NAMESPACE, inner.config.namespace);
    let filters = [
        ("type".to_owned(), vec!["container".to_owned()]),
        ("label".to_owned(), vec![label]),
    ];
    let options = EventsOptions {
        filters: Some(filters.into()),
        ..EventsOptions::default()
    };
    let mut events = inner.engine.client().events(Some(options)).boxed();
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    let reader = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if sender.send(event).await.is_err() {
                return;
            }
        }
    });
    (receiver, reader)
}

/// Follows events and looks around from time to time, until either fails.
async fn watch(inner: &Arc<Inner>, mut events: Events) -> Error {
    let mut next_look = Instant::now() + SECOND_LOOK;
    let mut alone = false;
    loop {
        let failed = tokio::select! {
            event = events.recv(), if !alone => match event {
                Some(Ok(event)) => heard(inner, event).await.err(),
                // The engine answers, but this it does not tell (a proxy that guards it may do so).
                Some(Err(error)) if fault::status(&error).is_some() => {
                    tracing::warn!(error = fault::words(&error), "the engine does not tell its events; looking every few seconds");
                    alone = true;
                    None
                }
                Some(Err(error)) => Some(error),
                None => Some(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            },
            () = inner.look.notified() => look_at_all(inner, false).await.err(),
            () = sleep_until(next_look) => {
                let looked = look_at_all(inner, false).await.err();
                next_look = Instant::now() + if alone {
                    inner.config.poll_period_alone
                } else {
                    inner.config.poll_period
                };
                looked
            }
        };
        if let Some(error) = failed {
            return error;
        }
    }
}

async fn heard(inner: &Arc<Inner>, event: EventMessage) -> Result<(), Error> {
    let actor = event.actor.unwrap_or_default();
    let (Some(container), Some(action)) = (actor.id, event.action) else {
        return Ok(());
    };
    // `exec_create: command` and the like change nothing that is shown.
    match action.as_str() {
        "destroy" => inner.is_gone(&container),
        action if action.starts_with("exec_") || action == "create" || action == "attach" => {}
        "rename" => {
            let attributes = actor.attributes.unwrap_or_default();
            let of = |key: &str| {
                attributes
                    .get(key)
                    .map_or("", String::as_str)
                    .trim_start_matches('/')
            };
            let id = attributes.get(labels::INSTANCE).map(String::as_str);
            let message = format!(
                "somebody renamed the container `{}` to `{}`; it is still looked after",
                of("oldName"),
                of("name")
            );
            inner.say(id, NoticeKind::Interference, message);
            inner.refresh(&container, false).await?;
        }
        _ => inner.refresh(&container, false).await?,
    }
    Ok(())
}

/// Lists all containers and looks at those which are not as they are known; `closely`: at each.
async fn look_at_all(inner: &Arc<Inner>, closely: bool) -> Result<(), Error> {
    // Before the list: what is made after it is not missing from it.
    let known = inner.containers();
    let listed = inner.engine.ours().await?;
    let due: Vec<String> = listed
        .iter()
        .filter(|summary| closely || differs(summary, &known))
        .filter_map(|summary| summary.id.clone())
        .collect();
    let there: std::collections::HashSet<&str> = listed
        .iter()
        .filter_map(|summary| summary.id.as_deref())
        .collect();
    for container in known
        .keys()
        .filter(|container| !there.contains(container.as_str()))
    {
        inner.is_gone(container);
    }
    let mut looks = stream::iter(due)
        .map(|container| async move { inner.refresh(&container, false).await })
        .buffer_unordered(LOOKS_MAX);
    while let Some(look) = looks.next().await {
        look?;
    }
    Ok(())
}

fn differs(summary: &ContainerSummary, known: &BTreeMap<String, View>) -> bool {
    use bollard::models::ContainerSummaryStateEnum as State;
    let Some(view) = summary.id.as_ref().and_then(|id| known.get(id)) else {
        return true;
    };
    let runs = matches!(
        summary.state,
        Some(State::RUNNING | State::RESTARTING | State::PAUSED)
    );
    let status = summary.status.as_deref().unwrap_or_default();
    // The engine's word on a check of its own is only in this text; so is a pause.
    let has_word = status.contains("healthy)") || status.contains("(health:") || status.contains("(Paused)");
    runs != (view.state == InstanceState::Running) || has_word || view.own_health.is_some()
}

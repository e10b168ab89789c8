//! `/events/stream`: events as they happen, as server-sent events (spec of the API §7).
//!
//! **Invariants.** Ids of a stream ascend and none is sent twice. A reader that comes back with
//! `Last-Event-ID`, or that was so slow that its queue ran over, goes on in storage where it was, so it
//! misses nothing that is still kept.
//!
//! **Absent.** No replay for a reader that does not ask for one.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::stream;
use tokio::sync::{
    OwnedSemaphorePermit,
    broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
};
use tokio_util::sync::CancellationToken;
use weir_persist::{Event, EventQuery, Persistence};

use super::{
    Api,
    answer::{ApiError, ErrorBody},
    events::{EventBody, asked},
    request::{Parameters, Text},
};
use crate::{event::view, reconcile::chain};

/// Streams at the same time.
pub(super) const STREAMS_MAX: usize = 2048;
/// Events read from storage at once.
const BACKLOG_MAX: u64 = 200;

/// Streams events as they happen.
#[utoipa::path(get, path = "/events/stream", tag = "events",
    params(("tag" = Option<Vec<String>>, Query, description = "All of these; `tags` is the same"),
        ("type" = Option<String>, Query),
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on after this event; also as parameter \
            `last_event_id`")),
    responses((status = 200, description = "Server-sent events: `id`, `event` (the type) and `data` (the event)",
            body = EventBody, content_type = "text/event-stream"),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 503, description = "Too many streams", body = ErrorBody)))]
pub(super) async fn stream(
    State(api): State<Api>,
    parameters: Parameters,
    headers: HeaderMap,
    Text(text): Text,
) -> Result<Response, ApiError> {
    let filter = asked(&parameters, &text)?.filter;
    let resumed = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .or_else(|| parameters.one("last_event_id"))
        .filter(|id| !id.is_empty());
    let last_id = resumed
        .map(|id| {
            id.trim()
                .parse()
                .map_err(|_| ApiError::bad_request(format!("`{id}` is not the id of an event.")))
        })
        .transpose()?;
    let follower = Follower::open(&api, filter, last_id)?;
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(sent(&event)), follower))
    });
    let keep_alive = KeepAlive::new()
        .interval(api.state.config.sse_heartbeat)
        .text("heartbeat");
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

fn sent(event: &Event) -> SseEvent {
    // Types are words when they come in; one that breaks lines would break the stream.
    let kind = event.kind.replace(['\r', '\n'], " ");
    SseEvent::default()
        .id(event.id.to_string())
        .event(kind)
        .data(view(event).to_string())
}

/// One stream.
pub(super) struct Follower {
    persist: Arc<dyn Persistence>,
    live: Receiver<Arc<Event>>,
    filter: EventQuery,
    /// Whether storage may have events that come before the next live one.
    behind: bool,
    /// Newest event that was sent or passed over.
    last_id: Option<u64>,
    backlog: VecDeque<Event>,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// Begins now, or after the event that was seen last.
    pub(super) fn open(api: &Api, filter: EventQuery, last_id: Option<u64>) -> Result<Self, ApiError> {
        let permit = api.stream_permit()?;
        Ok(Self {
            persist: Arc::clone(&api.state.persist),
            // From here on nothing is missed; what storage has is read after.
            live: api.state.events.subscribe(),
            behind: last_id.is_some(),
            last_id,
            filter,
            backlog: VecDeque::new(),
            stop: api.stop.clone(),
            _permit: permit,
        })
    }

    /// The next event; `None` ends the stream.
    pub(super) async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            if let Some(event) = self.backlog.pop_front() {
                self.last_id = Some(event.id);
                return Some(Arc::new(event));
            }
            if self.behind {
                self.read_on().await?;
                continue;
            }
            let received = tokio::select! {
                received = self.live.recv() => received,
                () = self.stop.cancelled() => return None,
            };
            match received {
                Ok(event) => {
                    if self.last_id.is_some_and(|last| event.id <= last) {
                        continue;
                    }
                    self.last_id = Some(event.id);
                    if self.filter.matches(&event) {
                        return Some(event);
                    }
                }
                Err(RecvError::Lagged(_)) => self.fell_behind(),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The queue ran over: what is gone from it is in storage.
    fn fell_behind(&mut self) {
        if self.last_id.is_some() {
            self.behind = true;
            return;
        }
        // Nothing was received yet, so the oldest that is left is where this stream begins.
        match self.live.try_recv() {
            Ok(event) if self.filter.matches(&event) => self.backlog.push_back((*event).clone()),
            Ok(event) => self.last_id = Some(event.id),
            Err(TryRecvError::Empty | TryRecvError::Lagged(_) | TryRecvError::Closed) => {}
        }
    }

    /// Reads what comes after the last one from storage.
    async fn read_on(&mut self) -> Option<()> {
        let query = EventQuery {
            after_id: self.last_id,
            ..self.filter.clone()
        };
        match self.persist.events_in_order(&query, BACKLOG_MAX).await {
            Ok(events) => {
                self.behind = events.len() as u64 == BACKLOG_MAX;
                self.backlog.extend(events);
                Some(())
            }
            Err(error) => {
                // The client comes back with the last id it saw.
                tracing::error!(
                    error = chain(&error),
                    "a stream of events ends, as storage failed"
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Arc};

    use serde_json::json;
    use tokio::sync::{Semaphore, broadcast};
    use tokio_util::sync::CancellationToken;
    use weir_persist::{Event, EventDraft, EventQuery, Persistence, memory::Memory};

    use super::{BACKLOG_MAX, Follower};

    struct World {
        persist: Arc<Memory>,
        sender: broadcast::Sender<Arc<Event>>,
        streams: Arc<Semaphore>,
    }

    impl World {
        fn new(queue: usize) -> Self {
            Self {
                persist: Arc::new(Memory::new()),
                sender: broadcast::Sender::new(queue),
                streams: Arc::new(Semaphore::new(8)),
            }
        }

        async fn publish(&self, numbers: impl IntoIterator<Item = u64>) {
            for number in numbers {
                let draft = EventDraft {
                    tags: vec![if number % 2 == 0 { "even" } else { "odd" }.to_owned()],
                    value: json!(number),
                    timestamp_ms: 1,
                    kind: "event".to_owned(),
                };
                let events = self.persist.commit(Vec::new(), vec![draft]).await.unwrap();
                let _ = self.sender.send(Arc::new(events[0].clone()));
            }
        }

        fn follow(&self, tag: Option<&str>, last_id: Option<u64>) -> Follower {
            Follower {
                persist: Arc::clone(&self.persist) as _,
                live: self.sender.subscribe(),
                filter: EventQuery {
                    tags: tag.map(str::to_owned).into_iter().collect(),
                    ..EventQuery::default()
                },
                behind: last_id.is_some(),
                last_id,
                backlog: VecDeque::new(),
                stop: CancellationToken::new(),
                _permit: Arc::clone(&self.streams).try_acquire_owned().unwrap(),
            }
        }
    }

    async fn read(follower: &mut Follower, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(follower.next().await.unwrap().value.as_u64().unwrap());
        }
        numbers
    }

    #[tokio::test]
    async fn a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice() {
        let world = World::new(1024);
        world.publish(1..=500).await;
        let mut follower = world.follow(None, Some(7));
        world.publish(501..=503).await;
        assert_eq!(read(&mut follower, 496).await, (8..=503).collect::<Vec<_>>());
        world.publish([504]).await;
        assert_eq!(read(&mut follower, 1).await, [504]);
    }

    #[tokio::test]
    async fn a_slow_reader_goes_on_from_storage() {
        let world = World::new(4);
        let mut follower = world.follow(Some("even"), None);
        world.publish(1..=2).await;
        assert_eq!(read(&mut follower, 1).await, [2]);
        let many = BACKLOG_MAX * 5;
        world.publish(3..=many).await;
        let expected: Vec<u64> = (4..=many).step_by(2).collect();
        assert_eq!(read(&mut follower, expected.len()).await, expected);
        world.publish([many + 1, many + 2]).await;
        assert_eq!(read(&mut follower, 1).await, [many + 2]);
    }

    #[tokio::test]
    async fn a_stop_ends_the_stream() {
        let world = World::new(4);
        let mut follower = world.follow(None, None);
        follower.stop.cancel();
        assert!(follower.next().await.is_none());
    }
}

//! `/logs`: what control logs, as server-sent events (spec of the API §7).

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::{
    OwnedSemaphorePermit,
    broadcast::{Receiver, error::RecvError},
};
use tokio_util::sync::CancellationToken;
use tracing::{Level, level_filters::LevelFilter};

use super::{
    Api,
    answer::{ApiError, ErrorBody},
    request::Parameters,
};
use crate::{event::timestamp, logs::LogLine};

/// Begins the names of all modules of ours.
const OURS: &str = "weir";

/// Streams lines of the log from now on.
#[utoipa::path(get, path = "/logs", tag = "system",
    params(("level" = Option<String>, Query, description = "`error`, `warn`, `info`, `debug`, `trace`: this and \
        worse; default all that is logged"),
        ("logger" = Option<String>, Query, description = "Only modules whose names begin so")),
    responses((status = 200, description = "Server-sent events: `event: log`, `data` is `{logger, level, \
            message, timestamp}`", body = Value, content_type = "text/event-stream"),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 503, description = "Too many streams", body = ErrorBody)))]
pub(super) async fn stream(State(api): State<Api>, parameters: Parameters) -> Result<Response, ApiError> {
    let filter = Filter::new(parameters.one("level"), parameters.one("logger"))?;
    let lines = Lines::open(&api, filter)?;
    let events = stream::unfold(lines, |mut lines| async move {
        let sent = match lines.next().await? {
            Said::Line(line) => SseEvent::default().event("log").data(line.to_string()),
            Said::LeftOut(count) => {
                SseEvent::default().comment(format!("{count} lines were left out: this reader is too slow"))
            }
        };
        Some((Ok::<_, Infallible>(sent), lines))
    });
    let keep_alive = KeepAlive::new()
        .interval(api.state.config.sse_heartbeat)
        .text("heartbeat");
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// Which lines.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    level: LevelFilter,
    logger: String,
}

impl Filter {
    /// Vamp's words: levels in any case, `all` and `off` too; a logger is a prefix, and `io.vamp` is all of ours.
    pub(super) fn new(level: Option<&str>, logger: Option<&str>) -> Result<Self, ApiError> {
        let level = match level.map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "all" | "trace") => LevelFilter::TRACE,
            Some("debug") => LevelFilter::DEBUG,
            Some("info") => LevelFilter::INFO,
            Some("warn" | "warning") => LevelFilter::WARN,
            Some("error") => LevelFilter::ERROR,
            Some("off") => LevelFilter::OFF,
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "Query parameter `level` is error, warn, info, debug or trace, not `{other}`."
                )));
            }
        };
        Ok(Self {
            level,
            logger: match logger {
                Some("io.vamp") => OURS.to_owned(),
                logger => logger.unwrap_or_default().to_owned(),
            },
        })
    }

    fn takes(&self, line: &LogLine) -> bool {
        line.level <= self.level && line.logger.starts_with(&self.logger)
    }
}

/// What a reader is told.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Line(Value),
    /// So many lines came faster than they were read.
    LeftOut(u64),
}

/// One reader.
#[derive(Debug)]
pub(super) struct Lines {
    receiver: Option<Receiver<Arc<LogLine>>>,
    filter: Filter,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Lines {
    /// Begins now.
    pub(super) fn open(api: &Api, filter: Filter) -> Result<Self, ApiError> {
        Ok(Self {
            receiver: api.state.config.logs.as_ref().map(crate::LogFeed::subscribe),
            filter,
            stop: api.stop.clone(),
            _permit: api.stream_permit()?,
        })
    }

    /// The next line; `None` ends the stream.
    pub(super) async fn next(&mut self) -> Option<Said> {
        loop {
            let Some(receiver) = &mut self.receiver else {
                // Nothing is fed, so nothing comes.
                self.stop.cancelled().await;
                return None;
            };
            let received = tokio::select! {
                received = receiver.recv() => received,
                () = self.stop.cancelled() => return None,
            };
            match received {
                Ok(line) if self.filter.takes(&line) => return Some(Said::Line(view(&line))),
                Ok(_) => {}
                Err(RecvError::Lagged(count)) => return Some(Said::LeftOut(count)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn view(line: &LogLine) -> Value {
    let level = match line.level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    };
    json!({
        "logger": line.logger,
        "level": level,
        "message": line.message,
        "timestamp": timestamp(line.at_ms),
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::{Filter, LogLine};

    #[test]
    fn levels_and_loggers() {
        let line = |level, logger: &str| LogLine {
            logger: logger.to_owned(),
            level,
            message: String::new(),
            at_ms: 0,
        };
        let takes = |filter: &Filter| {
            [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE]
                .into_iter()
                .filter(|level| filter.takes(&line(*level, "weir_control::api")))
                .count()
        };
        for (level, expected) in [
            (None, 5),
            (Some("ALL"), 5),
            (Some("Info"), 3),
            (Some("error"), 1),
            (Some("off"), 0),
        ] {
            assert_eq!(takes(&Filter::new(level, None).unwrap()), expected, "{level:?}");
        }
        assert_eq!(takes(&Filter::new(None, Some("weir_control")).unwrap()), 5);
        assert_eq!(takes(&Filter::new(None, Some("io.vamp")).unwrap()), 5);
        assert_eq!(takes(&Filter::new(None, Some("weir_agent")).unwrap()), 0);
        assert!(Filter::new(Some("loud"), None).is_err());
    }
}

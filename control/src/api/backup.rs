//! `/backup`: all artifacts and events as one file (`weir_persist::backup`). Ours; Vamp had none.

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use futures::stream;
use weir_persist::backup::Export;

use super::{
    Api,
    answer::{ApiError, ErrorBody},
};
use crate::state::now_ms;

/// Streams a backup.
#[utoipa::path(get, path = "/backup", tag = "system",
    responses((status = 200, description = "Lines of JSON: a head, artifacts, events, an end with their numbers. A file \
            without the end was cut short", body = String, content_type = "application/x-ndjson"),
        (status = 503, description = "Too many streams", body = ErrorBody)))]
pub(super) async fn backup(State(api): State<Api>) -> Result<Response, ApiError> {
    let permit = api.stream_permit()?;
    let state = &api.state;
    let export = Export::new(state.persist.clone(), &state.config.namespace, now_ms());
    let pieces = stream::try_unfold((export, permit), |(mut export, permit)| async move {
        let piece = export.next().await.inspect_err(|error| {
            tracing::error!(%error, "a backup was broken off");
        })?;
        Ok::<_, weir_persist::PersistError>(piece.map(|piece| (Bytes::from(piece), (export, permit))))
    });
    let headers = [
        (CONTENT_TYPE, "application/x-ndjson"),
        (CONTENT_DISPOSITION, "attachment; filename=\"weir.backup\""),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

//! `/vga` and `/haproxy`: text for agents that run HAProxy, and its template (spec of the API §9).

use axum::{
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};

use super::{
    Api,
    answer::{ApiError, ErrorBody},
    request::Text,
};
use crate::{
    reconcile::chain,
    vga::{self, VgaError},
};

/// Type and name in a path.
type Named = Path<(String, String)>;

fn plain(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// Whether there is such a text.
fn known(api: &Api, kind: &str, name: &str) -> Result<(), ApiError> {
    if kind == vga::HAPROXY && api.state.config.haproxy.iter().any(|known| known == name) {
        return Ok(());
    }
    let names = api.state.config.haproxy.iter();
    let names: Vec<String> = names.map(|name| format!("{}/{name}", vga::HAPROXY)).collect();
    Err(ApiError::new(
        StatusCode::NOT_FOUND,
        format!(
            "There is no marshaller `{kind}/{name}`; there is {}.",
            names.join(", ")
        ),
    ))
}

impl From<VgaError> for ApiError {
    fn from(error: VgaError) -> Self {
        match error {
            VgaError::Load(error) | VgaError::Event(error) => error.into(),
            VgaError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}.")),
            VgaError::Store(_) | VgaError::NotLeading => {
                tracing::warn!(error = chain(&error), "a template or its text cannot be had");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("Try again: {}.", chain(&error)),
                )
            }
        }
    }
}

/// The template of the text for HAProxy.
#[utoipa::path(get, path = "/vga/{type}/{name}/template", tag = "system",
    params(("type" = String, Path, description = "`haproxy`"), ("name" = String, Path, description = "`1.7`")),
    responses((status = 200, description = "The template; the default one if none was put", body = String),
        (status = 404, description = "No such marshaller", body = ErrorBody)))]
pub(super) async fn template(
    State(api): State<Api>,
    Path((kind, name)): Named,
) -> Result<Response, ApiError> {
    known(&api, &kind, &name)?;
    Ok(plain(StatusCode::OK, vga::template(&api.state, &name).await?))
}

/// Replaces the template. It changes the text for HAProxy alone, not what Weir's own agents serve.
#[utoipa::path(put, path = "/vga/{type}/{name}/template", tag = "system",
    params(("type" = String, Path, description = "`haproxy`"), ("name" = String, Path, description = "`1.7`")),
    request_body(content = String, content_type = "text/plain",
        description = "Twig; the empty text stands for the default one"),
    responses((status = 202, description = "The template", body = String),
        (status = 400, description = "It cannot be used", body = ErrorBody),
        (status = 404, description = "No such marshaller", body = ErrorBody)))]
pub(super) async fn put_template(
    State(api): State<Api>,
    Path((kind, name)): Named,
    Text(text): Text,
) -> Result<Response, ApiError> {
    known(&api, &kind, &name)?;
    if text.trim().is_empty() {
        vga::set_template(&api.state, &name, None).await?;
        return Ok(plain(StatusCode::ACCEPTED, text));
    }
    if let Err(error) = vga::check(&api.state, &text).await? {
        return Err(ApiError::problem(
            "TemplateError",
            format!("The template cannot be used: {error}."),
        ));
    }
    vga::set_template(&api.state, &name, Some(&text)).await?;
    Ok(plain(StatusCode::ACCEPTED, text))
}

/// Goes back to the default template.
#[utoipa::path(delete, path = "/vga/{type}/{name}/template", tag = "system",
    params(("type" = String, Path, description = "`haproxy`"), ("name" = String, Path, description = "`1.7`")),
    responses((status = 200, description = "The default template", body = String),
        (status = 404, description = "No such marshaller", body = ErrorBody)))]
pub(super) async fn delete_template(
    State(api): State<Api>,
    Path((kind, name)): Named,
) -> Result<Response, ApiError> {
    known(&api, &kind, &name)?;
    vga::set_template(&api.state, &name, None).await?;
    Ok(plain(StatusCode::OK, vga::DEFAULT.to_owned()))
}

/// The text for HAProxy, as it is in the store.
#[utoipa::path(get, path = "/vga/{type}/{name}/configuration", tag = "system",
    params(("type" = String, Path, description = "`haproxy`"), ("name" = String, Path, description = "`1.7`")),
    responses((status = 200, description = "The text, to be appended to a base configuration", body = String),
        (status = 404, description = "No such marshaller, or no text yet", body = ErrorBody)))]
pub(super) async fn configuration(
    State(api): State<Api>,
    Path((kind, name)): Named,
) -> Result<Response, ApiError> {
    known(&api, &kind, &name)?;
    match vga::configuration(&api.state, &name).await? {
        Some(text) => Ok(plain(StatusCode::OK, text)),
        None => Err(ApiError::not_found()),
    }
}

/// The same under the path that Vamp's documentation has.
pub(super) async fn haproxy(state: State<Api>, Path(name): Path<String>) -> Result<Response, ApiError> {
    configuration(state, Path((vga::HAPROXY.to_owned(), name))).await
}

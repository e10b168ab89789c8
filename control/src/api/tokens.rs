//! `/tokens`: who may use the API. For admins alone (`crate::access`).

use std::time::Duration;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Map, Value, json};

use super::{
    Api,
    answer::{Answer, ApiError, ErrorBody},
    request::{Parameters, Text, tree},
};
use crate::{
    access::{CreateError, NewToken, Principal, Role, TokenRecord},
    error::problem,
    event::timestamp,
    reconcile::chain,
};

/// Longest life that can be asked for: a hundred years.
const LIFETIME_S_MAX: u64 = 100 * 365 * 24 * 60 * 60;

/// Lists the tokens, without what makes them work.
#[utoipa::path(get, path = "/tokens", tag = "access",
    responses((status = 200, description = "In order of names", body = [TokenBody]),
        (status = 401, description = "No token, or not a good one", body = ErrorBody),
        (status = 403, description = "The token has another role", body = ErrorBody)))]
pub(super) async fn list(State(api): State<Api>) -> Result<Answer, ApiError> {
    let all = api.state.access.list(&api.state).await?;
    Ok(Answer::ok(all.iter().map(view).collect()))
}

/// Makes a token. The answer alone has its text.
#[utoipa::path(post, path = "/tokens", tag = "access",
    request_body(content = Value, description = "`{name, role, namespace, expires_in_s}`; only the name is \
        required. The role is `viewer` unless given, the namespace this one; `*` is every one"),
    responses((status = 201, description = "The token, with its text in `token`", body = TokenBody),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 401, description = "No token, or not a good one", body = ErrorBody),
        (status = 403, description = "The token has another role", body = ErrorBody)))]
pub(super) async fn create(
    State(api): State<Api>,
    principal: Principal,
    parameters: Parameters,
    Text(text): Text,
) -> Result<Answer, ApiError> {
    no_trial(&parameters)?;
    let asked = asked(tree(&text)?.unwrap_or_default(), &api.state.config.namespace)?;
    let made = api.state.access.create(&api.state, asked, &principal.name).await;
    let (token, record) = made.map_err(refused)?;
    let mut view = view(&record);
    if let Value::Object(fields) = &mut view {
        fields.insert("token".to_owned(), Value::from(token.text()));
    }
    Ok(Answer::new(StatusCode::CREATED, view))
}

/// Revokes a token, named by its name or id. One that is not there is revoked already.
#[utoipa::path(delete, path = "/tokens/{token}", tag = "access",
    params(("token" = String, Path, description = "Name or id")),
    responses((status = 204, description = "Revoked"),
        (status = 401, description = "No token, or not a good one", body = ErrorBody),
        (status = 403, description = "The token has another role", body = ErrorBody)))]
pub(super) async fn revoke(
    State(api): State<Api>,
    principal: Principal,
    Path(which): Path<String>,
    parameters: Parameters,
) -> Result<Answer, ApiError> {
    no_trial(&parameters)?;
    api.state
        .access
        .revoke(&api.state, &which, &principal.name)
        .await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// Who wants to try it out must not be told that it was done.
pub(super) fn no_trial(parameters: &Parameters) -> Result<(), ApiError> {
    match parameters.flag("validate_only")? {
        true => Err(ApiError::bad_request(
            "This cannot be tried out with `validate_only`.",
        )),
        false => Ok(()),
    }
}

fn view(record: &TokenRecord) -> Value {
    json!({
        "id": record.id,
        "name": record.name,
        "role": record.role,
        "namespace": record.namespace,
        "created_at": timestamp(record.created_at_ms),
        "created_by": record.created_by,
        "expires_at": record.expires_at_ms.map(timestamp),
    })
}

fn asked(tree: Value, namespace: &str) -> Result<NewToken, ApiError> {
    let Value::Object(mut fields) = tree else {
        return Err(vec![problem(
            "UnexpectedTypeError",
            "/",
            "A token is asked for with a map.",
        )]
        .into());
    };
    let mut problems = Vec::new();
    let mut text = |fields: &mut Map<String, Value>, name: &str| match fields.remove(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(other) => {
            problems.push(problem(
                "UnexpectedTypeError",
                name,
                format!("{other} is no text."),
            ));
            None
        }
    };
    let name = text(&mut fields, "name");
    let role = text(&mut fields, "role");
    let namespace = text(&mut fields, "namespace").unwrap_or_else(|| namespace.to_owned());
    let role = match role.as_deref().map(str::parse::<Role>) {
        None => Role::Viewer,
        Some(Ok(role)) => role,
        Some(Err(wrong)) => {
            problems.push(problem("RoleError", "role", format!("{wrong}.")));
            Role::Viewer
        }
    };
    if name.is_none() {
        problems.push(problem("NoNameError", "name", "A token needs a name."));
    }
    let lifetime = match fields.remove("expires_in_s") {
        None | Some(Value::Null) => None,
        Some(seconds) => match seconds.as_u64() {
            Some(seconds) if (1..=LIFETIME_S_MAX).contains(&seconds) => Some(Duration::from_secs(seconds)),
            _ => {
                let message = format!("{seconds} is no number of seconds from 1 to {LIFETIME_S_MAX}.");
                problems.push(problem("UnexpectedTypeError", "expires_in_s", message));
                None
            }
        },
    };
    for left in fields.keys() {
        problems.push(problem(
            "UnexpectedElement",
            left,
            format!("A token has no `{left}`."),
        ));
    }
    if !problems.is_empty() {
        return Err(problems.into());
    }
    Ok(NewToken {
        name: name.unwrap_or_default(),
        role,
        namespace,
        lifetime,
    })
}

fn refused(error: CreateError) -> ApiError {
    let code = match error {
        CreateError::Persist(error) => return error.into(),
        CreateError::Random(_) => {
            tracing::error!(error = chain(&error), "no token was made");
            return ApiError::internal();
        }
        CreateError::Name(_) => "IllegalName",
        CreateError::Exists(_) => "TokenExists",
        CreateError::TooMany => "TooManyTokens",
    };
    ApiError::problem(code, format!("{}.", super::answer::sentence(&error.to_string())))
}

/// A token as it is shown.
#[derive(utoipa::ToSchema)]
#[schema(as = Token)]
#[expect(
    dead_code,
    reason = "the form of `view`, for the description of the interface"
)]
pub(super) struct TokenBody {
    /// Public part of the token.
    id: String,
    /// Whose it is; the `who` of events.
    name: String,
    /// `viewer`, `operator`, `approver` or `admin`.
    role: String,
    /// Where; `*` in every namespace.
    namespace: String,
    /// ISO 8601 in UTC.
    created_at: String,
    /// Name of the token that asked for it.
    created_by: String,
    /// ISO 8601 in UTC; null: never.
    expires_at: Option<String>,
    /// The token itself; only when it is made.
    token: Option<String>,
}

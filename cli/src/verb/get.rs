//! `weir get`: artifacts as tables or documents.

use clap::Args;

use super::Context;
use crate::{
    client::{self, ClientError},
    failure::Failure,
    kind::Kind,
    output::Format,
};

/// List artifacts of a kind, or show one.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir get gateways\n  weir get deployment shop -o yaml\n  \
    weir get breeds -o name"
)]
pub(crate) struct Get {
    /// Kind, singular or plural
    kind: Kind,
    /// Name; without it all are listed
    name: Option<String>,
    /// For a deployment: as the blueprint that would deploy it
    #[arg(long, requires = "name")]
    as_blueprint: bool,
}

pub(crate) async fn run(context: &Context, get: &Get) -> Result<(), Failure> {
    let Some(name) = &get.name else {
        let all = context.client.list(&format!("/{}", get.kind), &[]).await?;
        return context.output.artifacts(get.kind, &all);
    };
    if get.as_blueprint && get.kind != Kind::Deployments {
        return Err(Failure::Usage(
            "--as-blueprint is for deployments only".to_owned(),
        ));
    }
    let query: &[(&str, &str)] = if get.as_blueprint {
        &[("as_blueprint", "true")]
    } else {
        &[]
    };
    let value = context
        .client
        .get(&client::artifact(get.kind, name), query)
        .await
        .map_err(|error| missing(error, get.kind, name))?;
    match context.output.format {
        Format::Yaml | Format::Json => context.output.tree(&value),
        // A blueprint has too much for a row.
        Format::Table if get.as_blueprint => context.output.tree(&value),
        Format::Table | Format::Name => context.output.artifacts(get.kind, &[value]),
    }
}

/// Says what is missing, instead of which request failed.
pub(crate) fn missing(error: ClientError, kind: Kind, name: &str) -> Failure {
    if error.is_not_found() {
        Failure::NotFound(format!(
            "there is no {} `{name}` (see `weir get {kind}`)",
            kind.singular()
        ))
    } else {
        error.into()
    }
}

//! `weir get`: artifacts as tables or documents.

use clap::Args;
use serde_json::Value;

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
    #[arg(long, alias = "as_blueprint", requires = "name")]
    as_blueprint: bool,
}

pub(crate) async fn run(context: &Context, get: &Get) -> Result<(), Failure> {
    let Some(name) = &get.name else {
        let all = context.client.list(&format!("/{}", get.kind), &[]).await?;
        return context.output.artifacts(get.kind, &all);
    };
    let value = one(context, get.kind, name, get.as_blueprint).await?;
    match context.output.format {
        Format::Yaml | Format::Json => context.output.tree(&value),
        // A blueprint has too much for a row.
        Format::Table if get.as_blueprint => context.output.tree(&value),
        Format::Table | Format::Name => context.output.artifacts(get.kind, &[value]),
    }
}

/// Show one artifact as a document: YAML, or with -o json JSON.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir inspect breed front:1\n  weir inspect deployment shop --as-blueprint"
)]
pub(crate) struct Inspect {
    /// Kind, singular or plural
    kind: Kind,
    /// Name
    name: String,
    /// For a deployment: as the blueprint that would deploy it
    #[arg(long, alias = "as_blueprint")]
    as_blueprint: bool,
}

pub(crate) async fn inspect(context: &Context, inspect: &Inspect) -> Result<(), Failure> {
    let value = one(context, inspect.kind, &inspect.name, inspect.as_blueprint).await?;
    context.output.tree(&value)
}

async fn one(context: &Context, kind: Kind, name: &str, as_blueprint: bool) -> Result<Value, Failure> {
    if as_blueprint && kind != Kind::Deployments {
        return Err(Failure::Usage(
            "--as-blueprint is for deployments only".to_owned(),
        ));
    }
    let query: &[(&str, &str)] = if as_blueprint {
        &[("as_blueprint", "true")]
    } else {
        &[]
    };
    let found = context.client.get(&client::artifact(kind, name), query).await;
    found.map_err(|error| missing(error, kind, name))
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

//! `weir create` and `weir update`: one artifact of a named kind, as both of Vamp's command lines store it.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::Context;
use crate::{
    client,
    failure::{Failure, Source},
    kind::Kind,
    output::Format,
};

/// Store one artifact of a kind; prints what is stored.
///
/// Unlike `weir apply` the document need not name its kind.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir create breed -f front.yaml\n  cat shop.yaml | weir create blueprint --stdin"
)]
pub(crate) struct Create {
    /// Kind, singular or plural
    kind: Kind,
    #[command(flatten)]
    text: Text,
}

/// Replace one artifact; prints what is stored.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir update breed front:1 -f front.yaml")]
pub(crate) struct Update {
    /// Kind, singular or plural
    kind: Kind,
    /// Name
    name: String,
    #[command(flatten)]
    text: Text,
}

/// Where the artifact comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Text {
    /// File, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Read standard input
    #[arg(short, long)]
    stdin: bool,
}

impl Text {
    fn read(&self) -> Result<Source, Failure> {
        Source::read(self.file.as_deref().unwrap_or("-"))
    }
}

pub(crate) async fn create(context: &Context, create: &Create) -> Result<(), Failure> {
    let path = format!("/{}", create.kind);
    store(context, create.kind, Method::POST, &path, &create.text).await
}

pub(crate) async fn update(context: &Context, update: &Update) -> Result<(), Failure> {
    let path = client::artifact(update.kind, &update.name);
    store(context, update.kind, Method::PUT, &path, &update.text).await
}

async fn store(
    context: &Context,
    kind: Kind,
    method: Method,
    path: &str,
    text: &Text,
) -> Result<(), Failure> {
    let source = text.read()?;
    let answer = context.client.send(method, path, source.text.to_string()).await;
    let mut stored = answer.map_err(|error| source.blame(error))?;
    // Breeds that came within it stand before it.
    if let Value::Array(all) = &mut stored
        && all.len() == 1
        && let Some(one) = all.pop()
    {
        stored = one;
    }
    match (context.output.format, &stored) {
        (Format::Name, Value::Array(all)) => context.output.artifacts(kind, all),
        (Format::Name, one) => context.output.artifacts(kind, std::slice::from_ref(one)),
        _ => context.output.tree(&stored),
    }
}

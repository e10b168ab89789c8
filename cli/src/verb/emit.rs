//! `weir emit`: publish an event.

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::Context;
use crate::{failure::Failure, output::Format, tree};

/// Publish an event; prints it as it is stored.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir emit \"release 2 is out\" --tags release,shop\n  \
    weir emit rollback -t gateways:shop/9050 --type audit"
)]
pub(crate) struct Emit {
    /// Its value, a text
    value: String,
    /// Its tags, separated by commas
    #[arg(
        short,
        long,
        alias = "tag",
        required = true,
        value_delimiter = ',',
        value_name = "TAG,..."
    )]
    tags: Vec<String>,
    /// Its type; default: `event`
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

pub(crate) async fn run(context: &Context, emit: &Emit) -> Result<(), Failure> {
    let mut event = json!({"value": emit.value, "tags": emit.tags});
    if let Some(kind) = &emit.kind {
        event["type"] = json!(kind);
    }
    let stored = context.client.send_value(Method::POST, "/events", &event).await?;
    match context.output.format {
        Format::Name => context.output.print(&tree::text(&stored, "/id")),
        Format::Table | Format::Yaml | Format::Json => context.output.tree(&stored),
    }
}

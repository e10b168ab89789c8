//! `weir apply`: create or update everything that files hold.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::Context;
use crate::{
    client,
    failure::{Failure, Source},
    kind::{self, Kind},
    output::Format,
    tree,
};

/// Create or update everything in a file, a folder or standard input.
///
/// Every document needs its `kind`. Each file is sent as a whole, in order of names.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir apply -f shop.yaml\n  weir apply -f artifacts/\n  \
    weir get blueprint shop -o yaml | weir apply -f -"
)]
pub(crate) struct Apply {
    /// File, folder (.yaml, .yml, .json), or - for standard input; may be repeated
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    files: Vec<String>,
}

pub(crate) async fn run(context: &Context, apply: &Apply) -> Result<(), Failure> {
    let mut sources = Vec::new();
    for file in &apply.files {
        sources.extend(Source::read_all(file)?);
    }
    for source in sources {
        one(context, &source).await?;
    }
    Ok(())
}

/// Sends one text and tells what became of each artifact.
pub(crate) async fn one(context: &Context, source: &Source) -> Result<(), Failure> {
    let before = before(context, source).await?;
    let answer = context
        .client
        .send(Method::PUT, "/", source.text.to_string())
        .await
        .map_err(|error| source.blame(error))?;
    let mut stored = Vec::new();
    flatten(&answer, &mut stored);
    match context.output.format {
        Format::Yaml | Format::Json => {
            return context
                .output
                .tree(&Value::Array(stored.into_iter().cloned().collect()));
        }
        Format::Table | Format::Name => {}
    }
    for artifact in stored {
        let kind = tree::text(artifact, "/kind").parse::<Kind>().ok();
        let name = tree::name(artifact);
        if context.output.format == Format::Name {
            if let Some(kind) = kind {
                context.output.print(&format!("{kind}/{name}"))?;
            }
            continue;
        }
        let word = match before
            .iter()
            .find(|(known, known_name, _)| Some(*known) == kind && *known_name == name)
        {
            Some((_, _, Some(old))) if old == artifact => "unchanged",
            Some((_, _, Some(_))) => "updated",
            Some((_, _, None)) => "created",
            None => "applied",
        };
        let kind = kind.map_or("artifact", Kind::singular);
        context.output.note(&format!("{kind} {name} {word}"))?;
    }
    Ok(())
}

type Before = Vec<(Kind, String, Option<Value>)>;

/// What is stored under the names of the text, so that "created" can be told from "updated". A text that
/// cannot be read here is not judged here: the server's answer counts.
async fn before(context: &Context, source: &Source) -> Result<Before, Failure> {
    let mut before = Before::new();
    let Ok(documents) = kind::named(&source.text) else {
        return Ok(before);
    };
    for (kind, name) in documents {
        let stored = context.client.find(&client::artifact(kind, &name)).await?;
        before.push((kind, name, stored));
    }
    Ok(before)
}

/// The artifacts of an answer, which may be nested lists.
fn flatten<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| flatten(element, into)),
        Value::Object(_) => into.push(value),
        _ => {}
    }
}

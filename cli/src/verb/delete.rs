//! `weir delete`: one artifact, or everything that a file names.

use clap::Args;
use reqwest::Method;

use super::{Context, get::missing, undeploy};
use crate::{
    client,
    failure::{Failure, Located, Source},
    kind::{self, Kind},
};

/// Delete one artifact, or everything that a file names.
///
/// Deleting a deployment undeploys all of it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir delete gateway shop\n  weir delete -f shop.yaml")]
pub(crate) struct Delete {
    /// Kind, singular or plural
    #[arg(required_unless_present = "files")]
    kind: Option<Kind>,
    /// Name
    #[arg(required_unless_present = "files")]
    name: Option<String>,
    /// File, folder, or - for standard input; may be repeated
    #[arg(short, long = "file", value_name = "FILE", conflicts_with_all = ["kind", "name"])]
    files: Vec<String>,
}

pub(crate) async fn run(context: &Context, delete: &Delete) -> Result<(), Failure> {
    if let (Some(kind), Some(name)) = (delete.kind, &delete.name) {
        // Deleting is idempotent for the server; a person who mistyped a name wants to know.
        context
            .client
            .get(&client::artifact(kind, name), &[])
            .await
            .map_err(|error| missing(error, kind, name))?;
        return one(context, kind, name).await;
    }
    for file in &delete.files {
        for source in Source::read_all(file)? {
            from(context, &source).await?;
        }
    }
    Ok(())
}

async fn from(context: &Context, source: &Source) -> Result<(), Failure> {
    let documents = kind::named(&source.text).map_err(|problems| {
        Failure::Invalid(vec![Located {
            source: source.clone(),
            problems: problems.into_iter().map(super::check::problem).collect(),
        }])
    })?;
    // What uses others is often written after them: take it away first.
    for (kind, name) in documents.into_iter().rev() {
        if context
            .client
            .find(&client::artifact(kind, &name))
            .await?
            .is_none()
        {
            context
                .output
                .note(&format!("{} {name} is not there", kind.singular()))?;
            continue;
        }
        one(context, kind, &name).await?;
    }
    Ok(())
}

async fn one(context: &Context, kind: Kind, name: &str) -> Result<(), Failure> {
    if kind == Kind::Deployments {
        return undeploy::all(context, name).await;
    }
    context
        .client
        .send(Method::DELETE, &client::artifact(kind, name), String::new())
        .await?;
    context
        .output
        .note(&format!("{} {name} deleted", kind.singular()))
}

//! `weir describe`: one artifact with what runs and what its traffic does.

use clap::Args;
use serde_json::Value;

use super::{Context, get::missing};
use crate::{
    client,
    failure::Failure,
    kind::Kind,
    output::{self, Format},
    traffic, tree,
};

/// Show one artifact with what runs and what its traffic does.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir describe deployment shop\n  weir describe gateway shop/front/web")]
pub(crate) struct Describe {
    /// Kind, singular or plural
    kind: Kind,
    /// Name
    name: String,
}

pub(crate) async fn run(context: &Context, describe: &Describe) -> Result<(), Failure> {
    let Describe { kind, name } = describe;
    let value = context
        .client
        .get(&client::artifact(*kind, name), &[])
        .await
        .map_err(|error| missing(error, *kind, name))?;
    match context.output.format {
        Format::Yaml | Format::Json => return context.output.tree(&value),
        Format::Name => return context.output.print(&format!("{kind}/{name}")),
        Format::Table => {}
    }
    let text = match kind {
        Kind::Deployments => {
            let prefix = format!("{name}/");
            let gateways: Vec<Value> = context
                .client
                .list("/gateways", &[])
                .await?
                .into_iter()
                .filter(|gateway| tree::name(gateway).starts_with(&prefix))
                .collect();
            output::deployment(&value, &gateways, context.output.color)
        }
        Kind::Gateways => {
            // A gateway that is not published yet has no traffic; the artifact is shown all the same.
            let traffic = match traffic::read(&context.client, Some(name), traffic::WINDOW_S).await {
                Ok(traffic) => traffic,
                Err(error) if error.is_not_found() => traffic::Traffic::default(),
                Err(error) => return Err(error.into()),
            };
            let live = traffic.gateways.iter().find(|gateway| gateway.name == *name);
            output::gateway(&value, live, context.output.color)
        }
        _ => output::other(&value),
    };
    context.output.print(&text)
}

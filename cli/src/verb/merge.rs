//! `weir merge`: a blueprint joins a deployment that is there.

use clap::Args;

use super::{Context, deploy, get::missing};
use crate::{client, failure::Failure, kind::Kind};

/// Merge a blueprint into a deployment that is there: services that it lacks are added, the others stay.
///
/// A new version of a service joins with no traffic; `weir weight` gives it some.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir merge shop-2.yaml shop --wait\n  weir merge shop:2 shop")]
pub(crate) struct Merge {
    /// File (or - for standard input), or the name of a stored blueprint
    #[arg(value_name = "FILE|BLUEPRINT")]
    what: String,
    /// Name of the deployment
    deployment: String,
    /// Wait until every service runs, at most --timeout
    #[arg(short, long)]
    wait: bool,
}

pub(crate) async fn run(context: &Context, merge: Merge) -> Result<(), Failure> {
    let path = client::artifact(Kind::Deployments, &merge.deployment);
    let found = context.client.get(&path, &[]).await;
    found.map_err(|error| missing(error, Kind::Deployments, &merge.deployment))?;
    let deploy = deploy::Deploy::into(merge.what, merge.deployment, merge.wait);
    deploy::run(context, &deploy).await
}

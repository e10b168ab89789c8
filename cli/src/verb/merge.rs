//! `weir merge`: a blueprint joins a deployment that is there, or is only combined with what is stored.

use clap::Args;
use serde_json::Value;

use super::{
    Context, deploy,
    get::missing,
    input::{Given, Input},
};
use crate::{client, failure::Failure, kind::Kind};

/// Merge a blueprint into a deployment that is there: services that it lacks are added, the others stay.
///
/// A new version of a service joins with no traffic; `weir weight` gives it some. With --deployment or
/// --blueprint nothing is deployed: what both make together is printed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir merge shop-2.yaml shop --wait\n  weir merge shop:2 shop\n  \
    weir merge --deployment shop -f more.yaml"
)]
pub(crate) struct Merge {
    /// File (or - for standard input), or the name of a stored blueprint
    #[arg(value_name = "FILE|BLUEPRINT")]
    what: Option<String>,
    /// Name of the deployment
    #[arg(value_name = "DEPLOYMENT")]
    into: Option<String>,
    #[command(flatten)]
    input: Input,
    /// Print what the blueprint and this deployment make together
    #[arg(long, value_name = "NAME", conflicts_with_all = ["into", "blueprint", "wait"])]
    deployment: Option<String>,
    /// Print what the blueprint and this stored one make together
    #[arg(long, value_name = "NAME", conflicts_with_all = ["into", "wait"])]
    blueprint: Option<String>,
    /// Wait until every service runs, at most --timeout
    #[arg(short, long)]
    wait: bool,
}

pub(crate) async fn run(context: &Context, merge: Merge) -> Result<(), Failure> {
    let (kind, name, query): (_, _, &[_]) = match (&merge.deployment, &merge.blueprint) {
        (Some(name), _) => (Kind::Deployments, name, &[("as_blueprint", "true")]),
        (None, Some(name)) => (Kind::Blueprints, name, &[]),
        (None, None) => return perform(context, merge).await,
    };
    let given = Given::of(merge.what.as_deref(), &merge.input)?;
    let found = context.client.get(&client::artifact(kind, name), query).await;
    let mut whole = found.map_err(|error| missing(error, kind, name))?;
    combine(&mut whole, given.tree(context).await?);
    context.output.tree(&whole)
}

async fn perform(context: &Context, merge: Merge) -> Result<(), Failure> {
    let Some(deployment) = merge.into else {
        return Err(Failure::Usage(
            "name the deployment: `weir merge BLUEPRINT DEPLOYMENT`, or --deployment to see what both make together"
                .to_owned(),
        ));
    };
    let path = client::artifact(Kind::Deployments, &deployment);
    let found = context.client.get(&path, &[]).await;
    found.map_err(|error| missing(error, Kind::Deployments, &deployment))?;
    let deploy = deploy::Deploy::into(merge.what, merge.input, deployment, merge.wait);
    deploy::run(context, &deploy).await
}

/// Clusters, gateways and variables of both; where both have a name, the second's.
fn combine(whole: &mut Value, more: Value) {
    let Value::Object(mut more) = more else { return };
    if let Some(variables) = more.remove("env") {
        more.insert("environment_variables".to_owned(), variables);
    }
    for key in ["gateways", "clusters", "environment_variables"] {
        let Some(Value::Object(parts)) = more.remove(key) else {
            continue;
        };
        match whole.get_mut(key) {
            Some(Value::Object(known)) => known.extend(parts),
            _ => whole[key] = Value::Object(parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::combine;

    #[test]
    fn the_second_wins_by_name() {
        let mut whole = json!({"name": "shop", "clusters": {"a": 1, "b": 1}, "gateways": {"80": "a/web"}});
        let more = json!({"name": "other", "clusters": {"b": 2, "c": 2}, "env": {"c.X": "1"}});
        combine(&mut whole, more);
        assert_eq!(
            whole,
            json!({"name": "shop", "clusters": {"a": 1, "b": 2, "c": 2}, "gateways": {"80": "a/web"},
                "environment_variables": {"c.X": "1"}})
        );
    }
}

//! `weir undeploy`: take a deployment, or one service of it, away.

use std::time::{Duration, Instant};

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Context,
    deploy::services,
    get::missing,
    input::{Given, Input},
};
use crate::{
    client,
    failure::{Failure, Source},
    kind::Kind,
    tree,
};

/// Between two looks at a deployment.
const POLL: Duration = Duration::from_millis(100);

/// Take a deployment, or one service of it, away.
///
/// A service can only go when the weights of those that stay total 100 %: set them first with `weir weight`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir undeploy shop\n  weir undeploy shop --service front/front:1 --wait"
)]
pub(crate) struct Undeploy {
    /// Name of the deployment
    name: String,
    /// Only this service: CLUSTER/SERVICE, or the service's name
    #[arg(short, long, conflicts_with_all = ["file", "stdin"])]
    service: Option<String>,
    /// Only the services of this stored blueprint
    #[arg(long, value_name = "NAME", conflicts_with_all = ["service", "file", "stdin"])]
    blueprint: Option<String>,
    /// Only the services of the blueprint in a file or standard input
    #[command(flatten)]
    input: Input,
    /// Also delete the deployment's external gateways, so that their ports are free
    #[arg(long, conflicts_with_all = ["service", "blueprint", "file", "stdin"])]
    gateways: bool,
    /// Wait until it is gone, at most --timeout
    #[arg(short, long, conflicts_with_all = ["blueprint", "file", "stdin"])]
    wait: bool,
}

pub(crate) async fn run(context: &Context, undeploy: &Undeploy) -> Result<(), Failure> {
    let name = &undeploy.name;
    let given = match &undeploy.blueprint {
        Some(blueprint) => Some(Given::Stored(blueprint.clone())),
        None => undeploy.input.read()?.map(Given::Text),
    };
    if let Some(Given::Text(source)) = &given {
        names_services(source)?;
    }
    if let Some(given) = given {
        return part(context, name, &given).await;
    }
    let gone: Box<dyn Fn(&Value) -> bool> = match &undeploy.service {
        None => {
            all(context, name).await?;
            Box::new(|_| false)
        }
        Some(service) => {
            let (cluster, service) = one(context, name, service).await?;
            Box::new(move |deployment| {
                !services(deployment).any(|(in_cluster, value)| {
                    in_cluster == cluster
                        && value.pointer("/breed").map(tree::name).as_deref() == Some(&service)
                })
            })
        }
    };
    if undeploy.wait || undeploy.gateways {
        let began = Instant::now();
        let path = client::artifact(Kind::Deployments, name);
        while let Some(deployment) = context.client.find(&path).await? {
            if gone(&deployment) {
                break;
            }
            if began.elapsed() >= context.client.timeout() {
                return Err(Failure::TimedOut(format!(
                    "deployment {name} still has what was undeployed after {:?}",
                    context.client.timeout()
                )));
            }
            tokio::time::sleep(POLL).await;
        }
        context
            .output
            .note(&format!("gone after {} ms", began.elapsed().as_millis()))?;
    }
    if undeploy.service.is_none() {
        external_gateways(context, name, undeploy.gateways).await?;
    }
    Ok(())
}

/// Refuses a text without documents: what names nothing is undone by nobody.
fn names_services(source: &Source) -> Result<(), Failure> {
    match weir_artifact::read::trees(&source.text) {
        Ok(trees) if trees.iter().all(Value::is_null) => Err(Failure::Usage(format!(
            "{} is empty: it names no services",
            source.label()
        ))),
        // Anything else the server tells.
        _ => Ok(()),
    }
}

/// Undeploys the services of a blueprint.
async fn part(context: &Context, name: &str, given: &Given) -> Result<(), Failure> {
    let path = client::artifact(Kind::Deployments, name);
    let client = &context.client;
    let sent = match given {
        Given::Stored(blueprint) => {
            let reference = json!({"name": blueprint});
            client.send_value(Method::DELETE, &path, &reference).await
        }
        Given::Text(source) => client.send(Method::DELETE, &path, source.text.to_string()).await,
    };
    sent.map_err(|error| match given {
        _ if error.is_not_found() => missing(error, Kind::Deployments, name),
        Given::Text(source) => source.blame(error),
        Given::Stored(_) => error.into(),
    })?;
    context.output.note(&format!(
        "deployment {name}: undeploying what the blueprint names"
    ))
}

/// Undeploys everything: the deployment as a blueprint is the list of what to remove.
pub(crate) async fn all(context: &Context, name: &str) -> Result<(), Failure> {
    let path = client::artifact(Kind::Deployments, name);
    let blueprint = context
        .client
        .get(&path, &[("as_blueprint", "true")])
        .await
        .map_err(|error| missing(error, Kind::Deployments, name))?;
    context
        .client
        .send_value(Method::DELETE, &path, &blueprint)
        .await?;
    context.output.note(&format!("deployment {name}: undeploying"))
}

/// Undeploys one service; its cluster and name.
async fn one(context: &Context, name: &str, service: &str) -> Result<(String, String), Failure> {
    let path = client::artifact(Kind::Deployments, name);
    let deployment = context
        .client
        .get(&path, &[])
        .await
        .map_err(|error| missing(error, Kind::Deployments, name))?;
    let all: Vec<(String, String)> = services(&deployment)
        .map(|(cluster, value)| {
            (
                cluster.to_owned(),
                value.pointer("/breed").map(tree::name).unwrap_or_default(),
            )
        })
        .collect();
    let found = all.iter().find(|(cluster, breed)| {
        breed == service || service.split_once('/') == Some((cluster.as_str(), breed.as_str()))
    });
    let Some((cluster, breed)) = found.cloned() else {
        let known: Vec<String> = all
            .iter()
            .map(|(cluster, breed)| format!("{cluster}/{breed}"))
            .collect();
        return Err(Failure::NotFound(format!(
            "deployment {name} has no service `{service}`; it has {}",
            known.join(", ")
        )));
    };
    let slice = json!({"name": name, "clusters": {cluster.as_str(): {"services": [{"breed": {"reference": breed}}]}}});
    context.client.send_value(Method::DELETE, &path, &slice).await?;
    context.output.note(&format!(
        "service {cluster}/{breed} of deployment {name}: undeploying"
    ))?;
    Ok((cluster, breed))
}

/// External gateways outlive a deployment (Vamp's rule) and keep their ports: delete them or tell.
async fn external_gateways(context: &Context, deployment: &str, delete: bool) -> Result<(), Failure> {
    let left: Vec<String> = context
        .client
        .list("/gateways", &[])
        .await?
        .iter()
        .map(tree::name)
        .filter(|name| {
            name.split_once('/')
                .is_some_and(|(owner, port)| owner == deployment && !port.contains('/'))
        })
        .collect();
    for gateway in left {
        if delete {
            let path = client::artifact(Kind::Gateways, &gateway);
            context.client.send(Method::DELETE, &path, String::new()).await?;
            context.output.note(&format!("gateway {gateway} deleted"))?;
        } else {
            context.output.note(&format!(
                "gateway {gateway} stays and keeps its port; `weir delete gateway {gateway}` removes it"
            ))?;
        }
    }
    Ok(())
}

//! `weir deploy`: a blueprint becomes running services.

use std::time::{Duration, Instant};

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Context,
    get::missing,
    input::{Given, Input},
};
use crate::{
    client::{self, Client},
    failure::Failure,
    kind::Kind,
    output::{Format, service_status},
    tree,
};

/// Between two looks at a deployment.
const POLL: Duration = Duration::from_millis(100);

/// Deploy a blueprint: a file, or one that is stored.
///
/// A deployment of that name is merged with the blueprint: services that it lacks are added, the others stay.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir deploy shop.yaml --wait\n  weir deploy shop:2 shop\n  \
    cat shop.yaml | weir deploy -"
)]
pub(crate) struct Deploy {
    /// File (or - for standard input), or the name of a stored blueprint
    #[arg(value_name = "FILE|BLUEPRINT")]
    what: Option<String>,
    /// Name of the deployment; default: the blueprint's
    #[arg(value_name = "DEPLOYMENT", conflicts_with = "deployment")]
    into: Option<String>,
    /// The same as DEPLOYMENT
    #[arg(short, long, value_name = "NAME")]
    deployment: Option<String>,
    #[command(flatten)]
    input: Input,
    /// Wait until every service runs, at most --timeout
    #[arg(short, long)]
    wait: bool,
}

impl Deploy {
    /// Into a deployment of this name.
    pub(crate) fn into(what: Option<String>, input: Input, deployment: String, wait: bool) -> Self {
        Self {
            what,
            into: None,
            deployment: Some(deployment),
            input,
            wait,
        }
    }
}

pub(crate) async fn run(context: &Context, deploy: &Deploy) -> Result<(), Failure> {
    let given = Given::of(deploy.what.as_deref(), &deploy.input)?;
    let into = deploy.deployment.as_ref().or(deploy.into.as_ref());
    let (method, path) = match into {
        Some(name) => (Method::PUT, client::artifact(Kind::Deployments, name)),
        None => (Method::POST, "/deployments".to_owned()),
    };
    let answer = match given {
        Given::Text(source) => context
            .client
            .send(method, &path, source.text.to_string())
            .await
            .map_err(|error| source.blame(error))?,
        Given::Stored(name) => {
            let blueprint = client::artifact(Kind::Blueprints, &name);
            if context.client.find(&blueprint).await?.is_none() {
                return Err(Failure::NotFound(format!(
                    "`{name}` is neither a file nor a stored blueprint (see `weir get blueprints`)"
                )));
            }
            let reference = json!({"name": name});
            context.client.send_value(method, &path, &reference).await?
        }
    };
    let mut deployment = last_object(&answer).cloned().unwrap_or(Value::Null);
    let name = into.cloned().unwrap_or_else(|| tree::name(&deployment));
    if deploy.wait {
        let began = Instant::now();
        deployment = done(&context.client, &name, context.client.timeout()).await?;
        let ms = began.elapsed().as_millis();
        context
            .output
            .note(&format!("deployment {name} is up after {ms} ms"))?;
    } else if context.output.format == Format::Table {
        return context.output.note(&format!(
            "deployment {name} accepted; see `weir describe deployment {name}`"
        ));
    }
    match context.output.format {
        Format::Table => Ok(()),
        Format::Name => context.output.print(&format!("deployments/{name}")),
        Format::Yaml | Format::Json => context.output.tree(&deployment),
    }
}

/// The deployment stands last in the answer, after breeds that were stored with it.
fn last_object(value: &Value) -> Option<&Value> {
    match value {
        Value::Array(elements) => elements.iter().rev().find_map(last_object),
        Value::Object(_) => Some(value),
        _ => None,
    }
}

/// Waits until every service of a deployment is as wanted.
pub(crate) async fn done(client: &Client, name: &str, at_most: Duration) -> Result<Value, Failure> {
    let began = Instant::now();
    let path = client::artifact(Kind::Deployments, name);
    loop {
        let deployment = client
            .get(&path, &[])
            .await
            .map_err(|error| missing(error, Kind::Deployments, name))?;
        let mut waiting = Vec::new();
        for (cluster, service) in services(&deployment) {
            let service_name = service.pointer("/breed").map(tree::name).unwrap_or_default();
            let note = tree::text(service, "/status/phase/notification");
            match service_status(service) {
                "Deployed" => {}
                "Failed" => {
                    return Err(Failure::Other(anyhow::anyhow!(
                        "service {cluster}/{service_name} of deployment {name} failed: {note}"
                    )));
                }
                status => {
                    let note = if note.is_empty() {
                        note
                    } else {
                        format!(" ({note})")
                    };
                    waiting.push(format!("{cluster}/{service_name} is {status}{note}"));
                }
            }
        }
        if waiting.is_empty() {
            return Ok(deployment);
        }
        if began.elapsed() >= at_most {
            return Err(Failure::TimedOut(format!(
                "deployment {name} is not up after {at_most:?}: {}",
                waiting.join(", ")
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Services with the name of their cluster.
pub(crate) fn services(deployment: &Value) -> impl Iterator<Item = (&str, &Value)> {
    tree::entries(deployment, "/clusters").flat_map(|(cluster, value)| {
        tree::elements(value, "/services").map(move |service| (cluster, service))
    })
}

//! `weir scale`: how many instances a service has.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::Context;
use crate::{client::encode, failure::Failure};

/// Change how many instances a service has.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir scale shop/front/front:1 --instances 4\n  \
    weir scale shop/front/front:1 --cpu 0.5 --memory 256MB")]
pub(crate) struct Scale {
    /// DEPLOYMENT/CLUSTER/SERVICE
    #[arg(value_name = "DEPLOYMENT/CLUSTER/SERVICE")]
    service: String,
    /// Number of instances
    #[arg(short, long, required_unless_present_any = ["cpu", "memory"])]
    instances: Option<u32>,
    /// Processors of each, such as 0.5
    #[arg(long)]
    cpu: Option<f64>,
    /// Memory of each, such as 256MB
    #[arg(long)]
    memory: Option<String>,
}

pub(crate) async fn run(context: &Context, scale: &Scale) -> Result<(), Failure> {
    let parts: Vec<&str> = scale.service.split('/').collect();
    let [deployment, cluster, service] = parts.as_slice() else {
        return Err(Failure::Usage(format!(
            "`{}` is not DEPLOYMENT/CLUSTER/SERVICE, such as shop/front/front:1",
            scale.service
        )));
    };
    let path = format!(
        "/deployments/{}/clusters/{}/services/{}/scale",
        encode(deployment),
        encode(cluster),
        encode(service)
    );
    // The server accepts a scale for a service that is not there and does nothing (Vamp's rule), so the
    // question comes first.
    let before = context
        .client
        .find(&path)
        .await?
        .filter(Value::is_object)
        .ok_or_else(|| {
            Failure::NotFound(format!(
                "there is no service `{}` (see `weir describe deployment {deployment}`)",
                scale.service
            ))
        })?;
    let mut wanted = before.clone();
    if let Some(instances) = scale.instances {
        wanted["instances"] = json!(instances);
    }
    if let Some(cpu) = scale.cpu {
        wanted["cpu"] = json!(cpu);
    }
    if let Some(memory) = &scale.memory {
        wanted["memory"] = json!(memory);
    }
    context.client.send_value(Method::PUT, &path, &wanted).await?;
    context.output.note(&format!(
        "service {}: instances {} -> {}",
        scale.service, before["instances"], wanted["instances"]
    ))
}

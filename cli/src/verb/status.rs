//! `weir status`: how far each service is, and why.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{Context, deploy::services, get::missing};
use crate::{
    client, duration,
    failure::Failure,
    kind::Kind,
    live::{Keys, Screen},
    output::{Format, Table, service_status},
    signals::Signals,
    tree,
};

/// Shortest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Show how far each service of a deployment is, and what it waits for.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir status\n  weir status shop --watch")]
pub(crate) struct Status {
    /// Name of the deployment; all of them if none is given
    name: Option<String>,
    /// Draw it again until every service is deployed or has failed; q or Ctrl-C ends it
    #[arg(short, long)]
    watch: bool,
    /// Between two looks
    #[arg(short, long, default_value = "500ms", value_parser = duration::parse, value_name = "DURATION")]
    interval: Duration,
}

pub(crate) async fn run(context: &Context, status: &Status) -> Result<(), Failure> {
    let mut deployments = read(context, status.name.as_deref()).await?;
    if !status.watch {
        return match context.output.format {
            Format::Table => context.output.table(&table(&deployments)),
            _ => context.output.artifacts(Kind::Deployments, &deployments),
        };
    }
    let mut signals = Signals::new()?;
    let mut keys = Keys::new();
    let mut screen = Screen::new();
    let mut ticks = tokio::time::interval(status.interval.max(INTERVAL_MIN));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut drawn = String::new();
    loop {
        let block = table(&deployments).render(context.output.color);
        // Where blocks do not replace each other only a new one says something.
        if screen.in_place() || block != drawn {
            screen.draw(&block)?;
            drawn = block;
        }
        match settled(&deployments) {
            Some(true) => return Ok(()),
            Some(false) => return Err(Failure::Other(anyhow::anyhow!("a service has failed"))),
            None => {}
        }
        tokio::select! {
            _ = ticks.tick() => {}
            () = signals.next() => return Ok(()),
            () = keys.quit() => return Ok(()),
        }
        deployments = match read(context, status.name.as_deref()).await {
            // The last service took it along.
            Err(Failure::NotFound(_)) => return context.output.note("gone"),
            read => read?,
        };
    }
}

async fn read(context: &Context, name: Option<&str>) -> Result<Vec<Value>, Failure> {
    match name {
        None => Ok(context.client.list("/deployments", &[]).await?),
        Some(name) => {
            let path = client::artifact(Kind::Deployments, name);
            let deployment = context.client.get(&path, &[]).await;
            Ok(vec![
                deployment.map_err(|error| missing(error, Kind::Deployments, name))?,
            ])
        }
    }
}

/// Whether all is well in the end; `None` while something is under way.
fn settled(deployments: &[Value]) -> Option<bool> {
    let mut well = true;
    for (_, service) in deployments.iter().flat_map(services) {
        match service_status(service) {
            "Deployed" => {}
            "Failed" => well = false,
            _ => return None,
        }
    }
    Some(well)
}

fn table(deployments: &[Value]) -> Table {
    let mut table = Table::new(&[
        "DEPLOYMENT",
        "CLUSTER",
        "SERVICE",
        "STATUS",
        "READY",
        "HEALTHY",
        "WHY",
    ])
    .right(&["READY", "HEALTHY"]);
    for deployment in deployments {
        let name = tree::name(deployment);
        for (cluster, service) in services(deployment) {
            let ready = tree::elements(service, "/instances")
                .filter(|instance| instance.get("deployed").and_then(Value::as_bool) == Some(true))
                .count();
            let count = |what: &str| tree::text(service, &format!("/health/{what}"));
            table.row(vec![
                name.clone(),
                cluster.to_owned(),
                service.pointer("/breed").map(tree::name).unwrap_or_default(),
                service_status(service).to_owned(),
                format!("{ready}/{}", tree::text(service, "/scale/instances")),
                format!("{}/{}", count("healthy"), count("running")),
                tree::text(service, "/status/phase/notification"),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{settled, table};

    fn deployment(phase: &str) -> Value {
        json!({"name": "shop", "clusters": {"front": {"services": [{
            "status": {"intention": "Deployment", "phase": {"name": phase, "notification": "1 of 2 instances are ready"}},
            "breed": {"name": "front:1"}, "scale": {"instances": 2},
            "instances": [{"name": "a", "deployed": true}, {"name": "b", "deployed": false}],
            "health": {"staged": 0, "running": 2, "healthy": 1, "unhealthy": 1}}]}}})
    }

    #[test]
    fn progress_has_a_reason() {
        let shown = table(&[deployment("Updating")]).render(false);
        let row: Vec<&str> = shown.lines().nth(1).unwrap().split_ascii_whitespace().collect();
        assert_eq!(
            row,
            [
                "shop",
                "front",
                "front:1",
                "Deploying",
                "1/2",
                "1/2",
                "1",
                "of",
                "2",
                "instances",
                "are",
                "ready"
            ]
        );
    }

    #[test]
    fn it_ends_when_nothing_is_under_way() {
        assert_eq!(settled(&[deployment("Updating")]), None);
        assert_eq!(settled(&[deployment("Done"), deployment("Failed")]), Some(false));
        assert_eq!(settled(&[deployment("Done")]), Some(true));
        assert_eq!(settled(&[]), Some(true));
    }
}

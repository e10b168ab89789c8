//! `weir top`: intended, acknowledged and observed shares, again and again.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::Context;
use crate::{
    duration,
    failure::Failure,
    live::{Keys, Screen},
    output::{Format, Table},
    signals::Signals,
    traffic, tree,
};

/// Watch what was intended, what is acknowledged and what traffic does.
///
/// `weir top deployments` shows what each deployment asks for and has instead. The table is drawn again at each
/// interval; q or Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir top\n  weir top shop/front/web --window 60s\n  weir top --once -o json\n  weir top deployments"
)]
pub(crate) struct Top {
    /// Only this gateway; or `deployments`
    #[arg(value_name = "GATEWAY|deployments")]
    gateway: Option<String>,
    /// Print once and end
    #[arg(long)]
    once: bool,
    /// Between two looks
    #[arg(short, long, default_value = "1s", value_parser = duration::parse, value_name = "DURATION")]
    interval: Duration,
    /// Time over which shares, rates and latencies are taken
    #[arg(long, default_value = "10s", value_parser = duration::parse, value_name = "DURATION")]
    window: Duration,
}

/// Shortest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

pub(crate) async fn run(context: &Context, top: &Top) -> Result<(), Failure> {
    if top.gateway.as_deref() == Some("deployments") {
        return allocation(context, top).await;
    }
    let window_s = top.window.as_secs().max(1);
    let gateway = top.gateway.as_deref();
    if context.output.format != Format::Table {
        let window = window_s.to_string();
        let mut query = vec![("window", window.as_str())];
        query.extend(gateway.map(|gateway| ("gateway", gateway)));
        let value: Value = context.client.get("/traffic", &query).await?;
        return context.output.tree(&value);
    }
    let shown = async || -> Result<String, Failure> {
        let traffic = traffic::read(&context.client, gateway, window_s).await?;
        Ok(traffic::render(&traffic, context.output.color))
    };
    show(context, top, shown).await
}

/// What each deployment asks for and has.
async fn allocation(context: &Context, top: &Top) -> Result<(), Failure> {
    if context.output.format != Format::Table {
        let value = context.client.get("/allocation", &[]).await?;
        return context.output.tree(&value);
    }
    let shown = async || -> Result<String, Failure> {
        let value = context.client.get("/allocation", &[]).await?;
        Ok(amounts(&value).render(context.output.color))
    };
    show(context, top, shown).await
}

/// Prints a text once, or draws it anew until somebody ends it.
async fn show(
    context: &Context,
    top: &Top,
    text: impl AsyncFn() -> Result<String, Failure>,
) -> Result<(), Failure> {
    if top.once {
        return context.output.print(&text().await?);
    }
    let mut signals = Signals::new()?;
    let mut keys = Keys::new();
    let mut screen = Screen::new();
    let mut ticks = tokio::time::interval(top.interval.max(INTERVAL_MIN));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = signals.next() => return Ok(()),
            () = keys.quit() => return Ok(()),
        }
        screen.draw(&text().await?)?;
    }
}

/// A row for each deployment, one for all of them, and one for what they may have.
fn amounts(value: &Value) -> Table {
    const AMOUNTS: [&str; 3] = ["INSTANCES", "CPU", "MEMORY MB"];
    let mut table = Table::new(&["DEPLOYMENT", "INSTANCES", "CPU", "MEMORY MB"]).right(&AMOUNTS);
    let mut row = |name: &str, granted: Option<&Value>, wanted: Option<&Value>| {
        let mut cells = vec![name.to_owned()];
        for field in ["instances", "cpu", "memory_mb"] {
            let amount = |of: Option<&Value>| of.and_then(|of| of.get(field)).map(tree::scalar);
            cells.push(match (amount(granted), amount(wanted)) {
                (Some(granted), Some(wanted)) => format!("{granted}/{wanted}"),
                (_, wanted) => wanted.unwrap_or_default(),
            });
        }
        table.row(cells);
    };
    for deployment in tree::elements(value, "/deployments") {
        row(
            &tree::name(deployment),
            deployment.get("granted"),
            deployment.get("wanted"),
        );
    }
    row("all", value.get("granted"), value.get("wanted"));
    let quota = value
        .get("quota")
        .filter(|quota| quota.as_object().is_some_and(|quota| !quota.is_empty()));
    if quota.is_some() {
        row("quota", None, quota);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::amounts;

    #[test]
    fn what_is_there_of_what_is_asked_for() {
        let amount = |instances: u32, cpu: f64, memory_mb: f64| json!({"instances": instances, "cpu": cpu, "memory_mb": memory_mb});
        let value = json!({
            "deployments": [{"name": "shop", "granted": amount(1, 0.2, 64.0), "wanted": amount(2, 0.4, 128.0)}],
            "granted": amount(1, 0.2, 64.0), "wanted": amount(2, 0.4, 128.0), "quota": {"cpu": 4.0}});
        let shown = amounts(&value).render(false);
        let rows: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| line.split_ascii_whitespace().collect())
            .collect();
        assert_eq!(rows[1], ["shop", "1/2", "0.2/0.4", "64.0/128.0"]);
        assert_eq!(rows[3], ["quota", "-", "4.0", "-"]);
    }
}

//! `weir top`: intended, acknowledged and observed shares, again and again.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::Context;
use crate::{
    duration,
    failure::Failure,
    live::{Keys, Screen},
    output::Format,
    signals::Signals,
    traffic,
};

/// Watch what was intended, what is acknowledged and what traffic does.
///
/// The table is drawn again at each interval; q or Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir top\n  weir top shop/front/web --window 60s\n  weir top --once -o json"
)]
pub(crate) struct Top {
    /// Only this gateway
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
    let window_s = top.window.as_secs().max(1);
    let gateway = top.gateway.as_deref();
    if context.output.format != Format::Table {
        let window = window_s.to_string();
        let mut query = vec![("window", window.as_str())];
        query.extend(gateway.map(|gateway| ("gateway", gateway)));
        let value: Value = context.client.get("/traffic", &query).await?;
        return context.output.tree(&value);
    }
    if top.once {
        let traffic = traffic::read(&context.client, gateway, window_s).await?;
        return context
            .output
            .print(&traffic::render(&traffic, context.output.color));
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
        let traffic = traffic::read(&context.client, gateway, window_s).await?;
        screen.draw(&traffic::render(&traffic, context.output.color))?;
    }
}
